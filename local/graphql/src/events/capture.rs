//! Generates Postgres triggers from the metadata. They write an event in the transaction
//! of the change itself, so that an event exists exactly if the change is committed.

use anyhow::{Context, Result, ensure};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::metadata::{Columns, EventColumns, EventTrigger, Metadata, QualifiedName};

/// Creates the schema `local_events` with its tables and functions.
const SCHEMA: &str = include_str!("capture.sql");

/// Hasura's limit for a trigger's name, in bytes. Postgres truncates the names that are
/// derived from it at 63 bytes.
const MAX_NAME_BYTES: usize = 42;

/// Replaces the Postgres triggers by those for the event triggers in the metadata.
///
/// This is one transaction, which locks the tables, so that no change is missed while
/// triggers are replaced.
///
/// # Errors
///
/// Names the trigger that is invalid or cannot be created.
pub(crate) async fn install(connection: &mut PgConnection, metadata: &Metadata) -> Result<()> {
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql(SCHEMA)
        .execute(&mut *transaction)
        .await
        .context("create the schema local_events")?;
    for table in &metadata.tables {
        for trigger in &table.event_triggers {
            check_name(&trigger.name)?;
            for sql in statements(&table.table, trigger) {
                sqlx::raw_sql(AssertSqlSafe(sql))
                    .execute(&mut *transaction)
                    .await
                    .with_context(|| {
                        format!(
                            "create the event trigger `{}` on {}",
                            trigger.name, table.table
                        )
                    })?;
            }
        }
    }
    transaction.commit().await?;
    Ok(())
}

/// Accepts the names that Hasura accepts.
fn check_name(name: &str) -> Result<()> {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    ensure!(
        starts && name.chars().all(plain) && name.len() <= MAX_NAME_BYTES,
        "event trigger `{name}`: the name must start with a letter or `_`, contain only letters, \
         digits, `_` and `-`, and have at most {MAX_NAME_BYTES} bytes"
    );
    Ok(())
}

/// The `CREATE TRIGGER` statements of an event trigger: one per operation.
fn statements(table: &QualifiedName, trigger: &EventTrigger) -> Vec<String> {
    let definition = &trigger.definition;
    let operations = [
        ("INSERT", &definition.insert),
        ("UPDATE", &definition.update),
        ("DELETE", &definition.delete),
    ];
    let declared = operations.into_iter().filter_map(|(operation, columns)| {
        let columns = columns.as_ref()?;
        Some(statement(table, &trigger.name, operation, columns))
    });
    declared.collect()
}

fn statement(table: &QualifiedName, name: &str, operation: &str, columns: &EventColumns) -> String {
    let condition = match operation {
        "UPDATE" => format!("WHEN ({}) ", changed(&columns.columns)),
        _ => String::new(),
    };
    let payload_columns = match &columns.payload {
        Some(Columns::Named(names)) => {
            format!(", {}", literal(&serde_json::json!(names).to_string()))
        }
        Some(Columns::All(_)) | None => String::new(),
    };
    format!(
        "CREATE TRIGGER {trigger} AFTER {operation} ON {schema}.{table} FOR EACH ROW {condition}\
         EXECUTE FUNCTION local_events.capture({name}{payload_columns})",
        trigger = identifier(&format!("notify_hasura_{name}_{operation}")),
        schema = identifier(&table.schema),
        table = identifier(&table.name),
        name = literal(name),
    )
}

/// The SQL condition that an update changes one of the columns.
fn changed(columns: &Columns) -> String {
    match columns {
        Columns::All(_) => "OLD.* IS DISTINCT FROM NEW.*".to_owned(),
        Columns::Named(names) if names.is_empty() => "false".to_owned(),
        Columns::Named(names) => {
            let changed = |name: &String| {
                let column = identifier(name);
                format!("OLD.{column} IS DISTINCT FROM NEW.{column}")
            };
            names.iter().map(changed).collect::<Vec<_>>().join(" OR ")
        }
    }
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generated(definition: &str) -> Vec<String> {
        let table = QualifiedName {
            schema: "public".to_owned(),
            name: "instances".to_owned(),
        };
        let yaml = format!("{{name: t, webhook_from_env: URL, definition: {definition}}}");
        statements(&table, &serde_yaml_ng::from_str(&yaml).unwrap())
    }

    #[test]
    fn update_is_captured_only_when_a_listed_column_changes() {
        assert_eq!(
            generated("{update: {columns: [status, 'a\"b']}}"),
            [
                "CREATE TRIGGER \"notify_hasura_t_UPDATE\" AFTER UPDATE ON \"public\".\"instances\" \
                 FOR EACH ROW WHEN (OLD.\"status\" IS DISTINCT FROM NEW.\"status\" OR \
                 OLD.\"a\"\"b\" IS DISTINCT FROM NEW.\"a\"\"b\") \
                 EXECUTE FUNCTION local_events.capture('t')"
            ]
        );
    }

    #[test]
    fn each_operation_has_its_own_trigger_with_its_payload_columns() {
        let statements =
            generated("{insert: {columns: '*', payload: [\"it's\"]}, delete: {columns: '*'}}");
        assert_eq!(statements.len(), 2);
        assert!(
            statements[0].ends_with("local_events.capture('t', '[\"it''s\"]')"),
            "{statements:?}"
        );
        assert!(statements[1].contains("AFTER DELETE"), "{statements:?}");
    }

    #[test]
    fn manual_trigger_captures_no_changes() {
        assert_eq!(generated("{enable_manual: true}"), Vec::<String>::new());
    }

    #[test]
    fn name_that_hasura_rejects_is_rejected() {
        for name in ["", "1st", "a b", "a'b", &"x".repeat(43)] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        assert!(check_name("region_wake").is_ok());
    }
}
