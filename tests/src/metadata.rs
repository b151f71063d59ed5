//! Copies of the project's Hasura metadata with a change.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use local_stack::project;
use tempfile::TempDir;

/// Copies the project's metadata and replaces one text in one file.
pub fn altered(file: &str, from: &str, to: &str) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    copy(&project::root().join("hasura/metadata"), folder.path())?;
    let path = folder.path().join(file);
    let text = fs::read_to_string(&path)?;
    ensure!(text.contains(from), "{file} has no {from:?}");
    fs::write(&path, text.replace(from, to))?;
    Ok(folder)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
