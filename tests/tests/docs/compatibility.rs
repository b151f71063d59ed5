//! `docs/compatibility.md` answers every row of the two tables of differences, with tests that exist.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use local_stack::project;
use scaling_tests::markdown::Page;

use crate::paths::files;

/// A table's heading, the letter of its rows, and how many there are.
const TABLES: [(&str, char, usize); 2] = [("AWS", 'A', 20), ("Hasura", 'H', 13)];

const COLUMNS: [&str; 4] = ["#", "what really happens", "what we do", "tests"];

/// The texts between backticks.
pub(crate) fn codes(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_difference_is_answered_once() {
    let page = Page::read("docs/compatibility.md");
    for (title, letter, count) in TABLES {
        let rows = page.table(title);
        let ids: Vec<_> = rows.iter().map(|row| row["#"].clone()).collect();
        let expected: Vec<_> = (1..=count).map(|n| format!("{letter}{n}")).collect();
        assert_eq!(ids, expected, "{title}");
        for row in &rows {
            for column in COLUMNS {
                let text = row.get(column).map(String::as_str).unwrap_or_default();
                assert!(!text.is_empty(), "{}: nothing in {column:?}", row["#"]);
            }
        }
    }
}

#[test]
fn every_difference_names_tests_that_exist() {
    let page = Page::read("docs/compatibility.md");
    let tests = names_of_tests();
    let mut missing = Vec::new();
    for (title, ..) in TABLES {
        for row in page.table(title) {
            let named = codes(&row["tests"]);
            if named.is_empty() {
                missing.push(format!("{}: names no test", row["#"]));
            }
            let unknown = named.iter().filter(|name| !tests.contains_key(**name));
            missing.extend(unknown.map(|name| format!("{}: no test {name}", row["#"])));
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Every test of the repository, with its file: functions below an attribute `#[test]`,
/// `#[tokio::test]` and the like, and the steps of the stories on the deployed stack.
pub(crate) fn names_of_tests() -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for file in files() {
        let is_rust = Path::new(&file)
            .extension()
            .is_some_and(|extension| extension == "rs");
        let text = is_rust.then(|| fs::read_to_string(project::root().join(&file)));
        let Some(Ok(text)) = text else { continue };
        let has_tests = text.contains("test]") || file.contains("tests/");
        for line in text.lines().filter(|_| has_tests) {
            let declared = line.trim_start().trim_start_matches("pub(crate) ");
            let declared = declared.trim_start_matches("async ");
            let name = declared.strip_prefix("fn ");
            let name = name.and_then(|rest| rest.split(['(', '<']).next());
            if let Some(name) = name {
                names.insert(name.to_owned(), file.clone());
            }
        }
    }
    names
}

/// Row H10. Metadata that is applied before the migrations names tables that do not exist, and it
/// replaces what the server has.
#[test]
fn pages_apply_migrations_before_metadata_and_to_a_hasura_of_its_own() {
    let mut pages = 0;
    for page in Page::all() {
        let lines = page.code_lines("sh");
        let at = |command: &str| lines.iter().position(|line| line.text.contains(command));
        let migrations = at("hasura migrate apply");
        let metadata = at("hasura metadata apply");
        if let (Some(migrations), Some(metadata)) = (migrations, metadata) {
            assert!(migrations < metadata, "{}", page.path.display());
            pages += 1;
        }
    }
    assert!(pages > 0, "no page applies both");
    let deploy = Page::read("docs/deploy.md").text();
    for says in ["a Hasura of its own", "replaces all metadata"] {
        assert!(deploy.contains(says), "docs/deploy.md: {says}");
    }
}
