//! Writes what the Hasura project has into constants, so that `doctor` knows: migrations, permissions, and
//! the documents that the allow list must have.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let mut migrations = Vec::new();
    for path in entries("../hasura/migrations/default")? {
        migrations.push(stem(&path));
    }
    let mut grants = Vec::new();
    for path in entries("../hasura/metadata/databases/default/functions")? {
        if let Some(name) = stem(&path).strip_prefix("public_") {
            let text = fs::read_to_string(&path)?;
            grants
                .extend(roles(&text, "permissions").map(|role| format!("function {name} {role}")));
        }
    }
    for path in entries("../hasura/metadata/databases/default/tables")? {
        if let Some(name) = stem(&path).strip_prefix("public_") {
            let text = fs::read_to_string(&path)?;
            for verb in ["select", "insert", "update", "delete"] {
                let key = format!("{verb}_permissions");
                grants.extend(roles(&text, &key).map(|role| format!("{verb} {name} {role}")));
            }
        }
    }
    let mut documents = Vec::new();
    for folder in [
        "../adapters/hasura/graphql",
        "../local/host-agent/src/graphql",
        "../hasura/earlier_agents",
        "../hasura/operators",
    ] {
        for path in entries(folder)? {
            documents.push((stem(&path), fs::read_to_string(&path)?));
        }
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "cargo tells a build script in a variable where to write"
    )]
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    let mut constants = String::new();
    let _ = writeln!(constants, "const MIGRATIONS: &[&str] = &{migrations:?};");
    let _ = writeln!(constants, "const GRANTS: &[&str] = &{grants:?};");
    let _ = writeln!(
        constants,
        "const DOCUMENTS: &[(&str, &str)] = &{documents:?};"
    );
    fs::write(Path::new(&out).join("project.rs"), constants)
}

/// The files of a folder, by name.
fn entries(folder: &str) -> io::Result<Vec<PathBuf>> {
    println!("cargo:rerun-if-changed={folder}");
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        paths.push(entry?.path());
    }
    paths.sort();
    Ok(paths)
}

fn stem(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// The roles in the list under a key at the top of a file, which is formatted as Hasura's command line does.
fn roles<'a>(yaml: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = yaml
        .lines()
        .skip_while(move |line| line.strip_suffix(':') != Some(key));
    let list = lines.skip(1).take_while(|line| line.starts_with(' '));
    list.filter_map(|line| line.strip_prefix("  - role: "))
}
