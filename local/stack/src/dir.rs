//! The folder of one stack: its data, logs, keys, and the records of its processes.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use nix::fcntl::{Flock, FlockArg};

use crate::leftovers;

/// Entries that are not removed with the rest: tokens of users stay valid from one start to the
/// next, and the logs of a failed run can be read.
const KEPT: [&str; 3] = ["keys", "lock", "logs"];

/// A stack's folder, locked by this process. Dropping it removes everything but the keys and the
/// logs.
#[derive(Debug)]
pub struct StackDir {
    path: PathBuf,
    _lock: Flock<File>,
}

impl StackDir {
    /// Locks the folder, ends the processes that a crashed run left behind, and removes its data.
    ///
    /// # Errors
    /// When another process has locked the folder, or it cannot be written.
    pub fn claim(path: &Path) -> Result<Self> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        }
        private_folder(path)?;
        // A database server that runs as another user has its own folder in here, and has to reach it.
        fs::set_permissions(path, fs::Permissions::from_mode(0o711))?;
        let path = path.canonicalize()?;
        let lock = lock(&path)?;
        let dir = Self { path, _lock: lock };
        leftovers::end(&dir.records(), &dir.path);
        dir.clear()?;
        for folder in [dir.records(), dir.home(), dir.tmp(), dir.path.join("logs")] {
            private_folder(&folder)?;
        }
        Ok(dir)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path for the data of one component. It is not created.
    pub fn data(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The log of one component.
    pub fn log(&self, name: &str) -> PathBuf {
        self.path.join("logs").join(format!("{name}.log"))
    }

    /// The folder of the users' keys, which stays from one start to the next.
    pub fn keys(&self) -> PathBuf {
        self.path.join("keys")
    }

    /// `HOME` of the stack's processes.
    pub fn home(&self) -> PathBuf {
        self.path.join("home")
    }

    /// `TMPDIR` of the stack's processes.
    pub fn tmp(&self) -> PathBuf {
        self.path.join("tmp")
    }

    /// The file that identifies a child process to a later run.
    pub(crate) fn record(&self, name: &str) -> PathBuf {
        self.records().join(name)
    }

    fn records(&self) -> PathBuf {
        self.path.join("run")
    }

    /// Ends the stack's remaining processes and removes everything but the keys and the logs.
    fn clear(&self) -> Result<()> {
        leftovers::end(&self.records(), &self.path);
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if KEPT.iter().any(|kept| entry.file_name() == *kept) {
                continue;
            }
            let path = entry.path();
            let removed = if entry.file_type()?.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.with_context(|| format!("remove {}", path.display()))?;
        }
        Ok(())
    }
}

impl Drop for StackDir {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            eprintln!("could not remove the stack's data: {error:#}");
        }
    }
}

/// Creates a folder that nobody else can look into: state, logs and temporary files of components have
/// secrets. One from before gets that mode.
pub(crate) fn private_folder(path: &Path) -> Result<()> {
    let create = || {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
    };
    create().with_context(|| format!("create {}", path.display()))
}

/// The kernel releases this lock when the process ends, however it ends.
fn lock(dir: &Path) -> Result<Flock<File>> {
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    let mut lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(mut file, _)| {
        let mut holder = String::new();
        let _ = file.read_to_string(&mut holder);
        anyhow!(
            "the stack in {} is in use by process {}: stop that process, or choose another stack with --name",
            dir.display(),
            holder.trim(),
        )
    })?;
    lock.set_len(0)?;
    writeln!(lock, "{}", std::process::id())?;
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_in_use_is_rejected_until_it_is_released() {
        let folder = tempfile::tempdir().unwrap();
        let held = StackDir::claim(folder.path()).unwrap();
        let error = StackDir::claim(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains(&format!("process {}", std::process::id())),
            "{error}"
        );
        drop(held);
        StackDir::claim(folder.path()).unwrap();
    }

    #[test]
    fn nobody_else_can_look_into_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stack");
        // As an earlier version left it.
        fs::create_dir_all(path.join("logs")).unwrap();
        fs::set_permissions(path.join("logs"), fs::Permissions::from_mode(0o755)).unwrap();
        let dir = StackDir::claim(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(
            mode(dir.path()),
            0o711,
            "a database server may pass through"
        );
        let folders = fs::read_dir(dir.path()).unwrap().flatten();
        let mut folders: Vec<_> = folders.map(|entry| entry.path()).collect();
        folders.retain(|path| path.is_dir());
        assert_eq!(folders.len(), 4, "{folders:?}");
        for folder in folders {
            assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        }
    }

    #[test]
    fn claim_after_a_crash_keeps_keys_and_logs_and_removes_data() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let dir = StackDir::claim(path).unwrap();
        fs::create_dir_all(dir.keys()).unwrap();
        fs::write(dir.keys().join("key"), "k").unwrap();
        fs::write(dir.log("component"), "l").unwrap();
        fs::create_dir(dir.data("postgres")).unwrap();
        drop(dir);
        assert!(!path.join("postgres").exists());

        // The state that a crash leaves.
        fs::create_dir(path.join("postgres")).unwrap();
        fs::write(path.join("env"), "e").unwrap();
        let dir = StackDir::claim(path).unwrap();
        assert!(!dir.data("postgres").exists());
        assert!(!dir.data("env").exists());
        assert!(dir.keys().join("key").exists());
        assert!(dir.log("component").exists());
    }
}
