//! Files with secrets: nobody but their owner can read them, not even for a moment.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use uuid::Uuid;

/// Writes a file that only this user can read. A file that is there is replaced: truncated, it would keep
/// its mode, and whoever has it open could read on.
///
/// # Errors
/// When `path` cannot be written.
pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    let replace = || {
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(content.as_ref())
    };
    replace().with_context(|| format!("write {}", path.display()))
}

/// 64 hexadecimal digits: an HS256 key needs at least 32 bytes.
pub(crate) fn random_secret() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn file_that_everybody_could_read_is_private_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("env");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        write(&path, "secret").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "secret");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
