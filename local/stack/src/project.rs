//! Where things are in the checkout, and where the programs are that were built from it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// The checkout that this crate was built from.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    // This crate is two folders below the root.
    here.ancestors().nth(2).unwrap_or(here)
}

/// Everything that is built, downloaded or run, and that git ignores.
pub fn local() -> PathBuf {
    root().join(".local")
}

/// A tool from the Python environment.
///
/// # Errors
/// When `local/setup.sh` has not made it yet.
pub fn python_tool(name: &str) -> Result<PathBuf> {
    existing(local().join("venv/bin").join(name))
}

/// A program of this workspace, from the same build as the running one.
///
/// # Errors
/// When it was not built.
pub fn binary(name: &str) -> Result<PathBuf> {
    let running = std::env::current_exe().context("find the running program")?;
    let folder = running
        .parent()
        .context("the running program has no folder")?;
    // Test programs are one level deeper.
    let folder = if folder.ends_with("deps") {
        folder.parent().unwrap_or(folder)
    } else {
        folder
    };
    existing(folder.join(name))
}

fn existing(path: PathBuf) -> Result<PathBuf> {
    ensure!(
        path.exists(),
        "{} is missing: run `make setup`",
        path.display()
    );
    Ok(path)
}
