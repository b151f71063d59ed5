//! Links between pages.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use local_stack::project;
use scaling_tests::markdown::Page;

#[test]
fn relative_links_and_anchors_resolve() {
    let pages = Page::all();
    let anchors: HashMap<&Path, Vec<String>> = pages
        .iter()
        .map(|page| (page.path.as_path(), page.anchors()))
        .collect();
    let mut broken = Vec::new();
    for page in &pages {
        for link in page.links() {
            if link.text.contains("://") || link.text.starts_with("mailto:") {
                continue;
            }
            if let Some(problem) = problem_of(page, &link.text, &anchors) {
                broken.push(format!(
                    "{}:{}: {}: {problem}",
                    page.path.display(),
                    link.line,
                    link.text
                ));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

fn problem_of(
    page: &Page,
    target: &str,
    anchors: &HashMap<&Path, Vec<String>>,
) -> Option<&'static str> {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = match file {
        "" => page.path.clone(),
        file => resolve(&page.path, file),
    };
    if !project::root().join(&path).exists() {
        return Some("there is no such file");
    }
    if anchor.is_empty() {
        return None;
    }
    match anchors.get(path.as_path()) {
        None => Some("the anchor is not in a page of the documentation"),
        Some(known) if !known.iter().any(|known| known == anchor) => {
            Some("there is no such heading")
        }
        Some(_) => None,
    }
}

/// The path of a link's file, from the page that has it.
fn resolve(page: &Path, file: &str) -> PathBuf {
    let folder = page.parent().unwrap_or(Path::new(""));
    let mut path = PathBuf::new();
    for component in folder.join(file).components() {
        match component {
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir => {}
            component => path.push(component),
        }
    }
    path
}
