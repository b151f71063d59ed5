//! `docs/settings.md` and the one table of a region's settings.

use std::collections::BTreeMap;

use scaling_tests::markdown::{Page, code_of};
use shared::settings::{NONE, REQUIRED, Setting, TABLE};

/// Columns that no setting reads.
const OTHER_COLUMNS: [&str; 2] = ["created_at", "updated_at"];

/// A variable that is not the default of a column: set on the function by hand.
const OTHER_VARIABLES: [&str; 1] = ["REPLICA_API_AUTHORITY"];

/// The rows of a table of settings: each name in the column `key` with its default.
pub(crate) fn documented_defaults(page: &Page, title: &str, key: &str) -> BTreeMap<String, String> {
    let rows = page.table(title);
    let defaults: BTreeMap<_, _> = rows
        .iter()
        .map(|row| {
            let name = code_of(&row[key]).unwrap_or_else(|| panic!("{title}: {row:?}"));
            (name.to_owned(), plain(&row["default"]))
        })
        .collect();
    assert_eq!(defaults.len(), rows.len(), "{title}: a name is repeated");
    defaults
}

/// Without emphasis.
fn plain(cell: &str) -> String {
    cell.trim_matches('*').to_owned()
}

/// A default as the documentation writes it.
fn written(setting: &Setting) -> String {
    match setting.default {
        REQUIRED | NONE => setting.default.to_owned(),
        value => format!("`{value}`"),
    }
}

#[test]
fn columns_in_the_documentation_match_the_table_of_settings() {
    let page = Page::read("docs/settings.md");
    let mut documented = documented_defaults(&page, "Columns of `regions`", "column");
    for column in OTHER_COLUMNS {
        assert!(documented.remove(column).is_some(), "{column}");
    }
    let settings: BTreeMap<_, _> = TABLE
        .iter()
        .map(|setting| (setting.column.to_owned(), written(setting)))
        .collect();
    assert_eq!(documented, settings);
}

#[test]
fn variables_in_the_documentation_match_the_table_of_settings() {
    let page = Page::read("docs/settings.md");
    let mut documented =
        documented_defaults(&page, "Environment variables of replicas", "variable");
    for variable in OTHER_VARIABLES {
        assert!(documented.remove(variable).is_some(), "{variable}");
    }
    // These name what a row must have, but not without a database: an empty image is found by its
    // variable, and a stack for replicas alone has no maximum unless it is set.
    assert_eq!(
        documented.remove("REPLICA_IMAGE").as_deref(),
        Some(REQUIRED)
    );
    assert_eq!(
        documented
            .insert("REPLICA_MAX".to_owned(), REQUIRED.to_owned())
            .as_deref(),
        Some(NONE)
    );
    let settings: BTreeMap<_, _> = TABLE
        .iter()
        .filter_map(|setting| Some((setting.variable?.to_owned(), written(setting))))
        .collect();
    assert_eq!(documented, settings);
}
