//! `docs/security.md`: every threat names the tests that fail without what stops it.

use scaling_tests::markdown::Page;

use crate::compatibility::{codes, names_of_tests};

const COLUMNS: [&str; 5] = ["who", "holds", "can reach", "what stops them", "tests"];

#[test]
fn every_threat_names_tests_that_exist() {
    let tests = names_of_tests();
    let rows = Page::read("docs/security.md").table("Threat model");
    assert!(rows.len() > 10, "{rows:#?}");
    let mut missing = Vec::new();
    for row in &rows {
        for column in COLUMNS {
            assert!(!row[column].is_empty(), "{}: no {column}", row["who"]);
        }
        let named = codes(&row["tests"]);
        let says_why = row["tests"].starts_with("none: ");
        assert!(says_why || !named.is_empty(), "{}: no test", row["who"]);
        let unknown = named.iter().filter(|name| !tests.contains_key(**name));
        missing.extend(unknown.map(|name| format!("{}: no test {name}", row["who"])));
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
