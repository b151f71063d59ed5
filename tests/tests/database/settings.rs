//! The columns of operators' tables, compared with the code's table of settings and with the
//! documentation.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use scaling_tests::database::{Database, Session, text};
use scaling_tests::markdown::{Page, code_of};
use shared::settings::{NONE, REQUIRED, TABLE};

/// Columns that no setting reads.
const OTHER_COLUMNS: [&str; 2] = ["created_at", "updated_at"];

/// The columns of a table with their defaults, as the table of settings writes them.
async fn columns(session: &Session, table: &str) -> Result<BTreeMap<String, String>> {
    let query = format!(
        "SELECT column_name, column_default, is_nullable FROM information_schema.columns
         WHERE table_schema = 'public' AND table_name = '{table}'"
    );
    let rows = session.rows(&query).await?;
    let columns = rows.iter().map(|row| {
        let default = match row["column_default"].as_str() {
            // `'default'::text`
            Some(default) => {
                let value = default.split("::").next().unwrap_or_default();
                value.trim_matches('\'').to_owned()
            }
            None if row["is_nullable"] == "YES" => NONE.to_owned(),
            None => REQUIRED.to_owned(),
        };
        (text(row, "column_name"), default)
    });
    Ok(columns.collect())
}

#[tokio::test]
async fn columns_of_regions_match_the_table_of_settings() -> Result<()> {
    let session = Database::empty().await?.connect().await?;
    let mut columns = columns(&session, "regions").await?;
    for column in OTHER_COLUMNS {
        columns.remove(column).context(column)?;
    }
    for setting in TABLE {
        let column = columns.remove(setting.column).context(setting.column)?;
        // A variable may give the value where the column is null.
        let is_fallback = setting.variable.is_some() && column == NONE;
        ensure!(
            column == setting.default || is_fallback,
            "{}: {column} in the database, {} in the table of settings",
            setting.column,
            setting.default
        );
    }
    ensure!(columns.is_empty(), "no setting reads {columns:?}");
    Ok(())
}

#[tokio::test]
async fn columns_of_images_and_app_versions_match_the_documentation() -> Result<()> {
    let session = Database::empty().await?.connect().await?;
    let page = Page::read("docs/settings.md");
    for table in ["images", "app_versions"] {
        let rows = page.table(&format!("Columns of `{table}`"));
        let documented: BTreeMap<_, _> = rows
            .iter()
            .map(|row| {
                let default = &row["default"];
                let default = code_of(default).unwrap_or(default);
                let column = code_of(&row["column"]).unwrap_or_default();
                (column.to_owned(), default.to_owned())
            })
            .collect();
        assert_eq!(documented, columns(&session, table).await?, "{table}");
    }
    Ok(())
}
