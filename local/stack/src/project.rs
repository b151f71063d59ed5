//! Paths of the checkout and of the programs that were built from it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// The root of the checkout that this crate was built from.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    // This crate is two folders below the root.
    here.ancestors().nth(2).unwrap_or(here)
}

/// The folder for everything that is built, downloaded or run. Git ignores it.
pub fn local() -> PathBuf {
    root().join(".local")
}

/// A path for messages: relative to the checkout's root, where people run commands.
pub(crate) fn relative(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

/// The path of a tool in the Python environment.
///
/// # Errors
/// When `local/setup.sh` has not installed it.
pub fn python_tool(name: &str) -> Result<PathBuf> {
    ensure_exists(local().join("venv/bin").join(name))
}

/// The path of a program of this workspace, from the same build as the running one.
///
/// # Errors
/// When it was not built.
pub fn binary(name: &str) -> Result<PathBuf> {
    let running = std::env::current_exe().context("find the path of the running program")?;
    let folder = running
        .parent()
        .context("the path of the running program has no folder")?;
    // Test programs are one level deeper.
    let folder = if folder.ends_with("deps") {
        folder.parent().unwrap_or(folder)
    } else {
        folder
    };
    ensure_exists(folder.join(name))
}

fn ensure_exists(path: PathBuf) -> Result<PathBuf> {
    ensure!(
        path.exists(),
        "{} is missing: run `make setup`",
        path.display()
    );
    Ok(path)
}
