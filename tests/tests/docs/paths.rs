//! Paths that pages name in backticks.

use std::process::Command;

use local_stack::project;
use scaling_tests::markdown::Page;

const PAGES: [&str; 4] = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/architecture.md",
    "docs/testing.md",
];

/// Folders that builds and runs create; git ignores them.
const CREATED: [&str; 3] = [".local/", "target/", "build/"];

const EXTENSIONS: [&str; 9] = [
    ".rs", ".md", ".toml", ".yaml", ".sh", ".sql", ".graphql", ".txt", ".svg",
];

#[test]
fn paths_in_backticks_exist() {
    let files = files();
    let mut missing = Vec::new();
    for page in PAGES.map(Page::read) {
        for code in page.inline_code() {
            let path = code.text.as_str();
            if is_path(path) && !files.iter().any(|file| is_named_by(file, path)) {
                missing.push(format!("{}:{}: {path}", page.path.display(), code.line));
            }
        }
    }
    assert!(missing.is_empty(), "no such file or folder: {missing:#?}");
}

/// Every file that git tracks or would track, from the repository's root.
pub(crate) fn files() -> Vec<String> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(project::root())
        .output()
        .expect("git lists the files");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("paths are UTF-8");
    let files: Vec<_> = text.lines().map(str::to_owned).collect();
    let exist = files.into_iter();
    exist
        .filter(|file| project::root().join(file).exists())
        .collect()
}

/// Whether a text is the path of a file or a folder of the repository: a file by its extension, a
/// folder by a slash that is not in front.
fn is_path(text: &str) -> bool {
    let is_plain = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_./*…".contains(c));
    let is_created = CREATED
        .iter()
        .any(|folder| text.starts_with(folder.trim_end_matches('/')));
    let is_file = EXTENSIONS.iter().any(|extension| text.ends_with(extension));
    let folders: Vec<String> = top_folders();
    let is_folder = folders
        .iter()
        .any(|folder| text == folder || text.starts_with(&format!("{folder}/")));
    is_plain && !is_created && (is_file && !text.starts_with('.') || is_folder)
}

fn top_folders() -> Vec<String> {
    let entries = project::root().read_dir().expect("the repository's root");
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let is_folder = entry.path().is_dir();
            let name = entry.file_name().into_string().ok()?;
            (is_folder && name != ".git").then_some(name)
        })
        .collect()
}

/// Whether `named` means `file`, a folder above it, or, if it has no slash, a file of that name
/// anywhere. `*`, `…` and `NAME` stand for any part of a name.
fn is_named_by(file: &str, named: &str) -> bool {
    let named = named.trim_end_matches('/');
    let named_parts: Vec<_> = named.split('/').collect();
    let file_parts: Vec<_> = file.split('/').collect();
    if named_parts.len() == 1 {
        return file_parts.iter().any(|part| matches(part, named));
    }
    named_parts.len() <= file_parts.len()
        && named_parts
            .iter()
            .zip(&file_parts)
            .all(|(named, part)| matches(part, named))
}

/// Whether a name fits a pattern with at most one placeholder.
fn matches(name: &str, pattern: &str) -> bool {
    for placeholder in ["NAME", "*", "…"] {
        if let Some((start, end)) = pattern.split_once(placeholder) {
            return name.len() >= start.len() + end.len()
                && name.starts_with(start)
                && name.ends_with(end);
        }
    }
    name == pattern
}

#[test]
fn placeholder_in_a_path_stands_for_any_name() {
    let file = "functions/status/src/lib.rs";
    for named in [
        "functions/NAME/",
        "functions/*/src",
        "lib.rs",
        "functions/s…/src/lib.rs",
    ] {
        assert!(is_named_by(file, named), "{named}");
    }
    for named in ["functions/NAME/tests", "main.rs", "functions/a…/src/lib.rs"] {
        assert!(!is_named_by(file, named), "{named}");
    }
}
