//! What the database has, to hold the metadata against.
//!
//! postrust serves everything in the schema, tracked or not, and passes over
//! names that do not exist; Hasura serves what is tracked and reports the rest
//! as inconsistent. Comparing the two first makes them answer alike.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use sqlx::{Connection, PgConnection, Row};

use crate::metadata::{Columns, EventTrigger, ForeignKey, Metadata, QualifiedName, Table};

/// The one schema that is served.
pub(crate) const SCHEMA: &str = "public";

#[derive(Debug, Default)]
pub(crate) struct Catalog {
    /// Columns by table.
    pub(crate) tables: BTreeMap<QualifiedName, BTreeSet<String>>,
    pub(crate) foreign_keys: Vec<Key>,
    /// Functions that return rows of a table.
    pub(crate) functions: BTreeSet<QualifiedName>,
}

/// A foreign key of one column.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) constraint: String,
    pub(crate) table: QualifiedName,
    pub(crate) column: String,
    pub(crate) target: QualifiedName,
}

const COLUMNS: &str = "
    SELECT c.relname::text, a.attname::text FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relnamespace = to_regnamespace($1) AND c.relkind IN ('r', 'v', 'm', 'p', 'f')";

const FOREIGN_KEYS: &str = "
    SELECT k.conname::text, c.relname::text, a.attname::text, t.relname::text
    FROM pg_constraint k
    JOIN pg_class c ON c.oid = k.conrelid
    JOIN pg_class t ON t.oid = k.confrelid
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.conkey[1]
    WHERE k.contype = 'f' AND cardinality(k.conkey) = 1
        AND c.relnamespace = to_regnamespace($1) AND t.relnamespace = to_regnamespace($1)";

const FUNCTIONS: &str = "
    SELECT p.proname::text FROM pg_proc p
    JOIN pg_class c ON c.reltype = p.prorettype
    WHERE p.pronamespace = to_regnamespace($1) AND p.prokind = 'f'";

impl Catalog {
    /// Reads the catalogue of the served schema.
    pub(crate) async fn read(database_url: &str) -> Result<Self> {
        let mut connection = PgConnection::connect(database_url)
            .await
            .context("cannot connect to DATABASE_URL")?;
        let mut catalog = Self::default();
        for row in sqlx::query(COLUMNS)
            .bind(SCHEMA)
            .fetch_all(&mut connection)
            .await?
        {
            catalog
                .tables
                .entry(name(row.try_get(0)?))
                .or_default()
                .insert(row.try_get(1)?);
        }
        for row in sqlx::query(FOREIGN_KEYS)
            .bind(SCHEMA)
            .fetch_all(&mut connection)
            .await?
        {
            catalog.foreign_keys.push(Key {
                constraint: row.try_get(0)?,
                table: name(row.try_get(1)?),
                column: row.try_get(2)?,
                target: name(row.try_get(3)?),
            });
        }
        for row in sqlx::query(FUNCTIONS)
            .bind(SCHEMA)
            .fetch_all(&mut connection)
            .await?
        {
            catalog.functions.insert(name(row.try_get(0)?));
        }
        connection.close().await?;
        Ok(catalog)
    }

    /// Checks that exactly what exists is tracked, and that every column and
    /// relationship that the metadata names is there.
    ///
    /// # Errors
    ///
    /// The first difference, by name.
    pub(crate) fn check(&self, metadata: &Metadata) -> Result<()> {
        let tracked = metadata.tables.iter().map(|t| t.table.clone());
        same(
            "table",
            &tracked.collect(),
            &self.tables.keys().cloned().collect(),
        )?;
        let tracked = metadata.functions.iter().map(|f| f.function.clone());
        same("function", &tracked.collect(), &self.functions)?;
        metadata
            .tables
            .iter()
            .try_for_each(|table| self.check_table(table))
    }

    fn check_table(&self, table: &Table) -> Result<()> {
        let name = &table.table;
        for relationship in table
            .object_relationships
            .iter()
            .chain(&table.array_relationships)
        {
            self.constraint(name, &relationship.using.foreign_key_constraint_on)
                .with_context(|| format!("{name}: relationship `{}`", relationship.name))?;
        }
        for p in &table.select_permissions {
            self.check_columns(name, &p.permission.columns)?;
        }
        for p in &table.insert_permissions {
            self.check_columns(name, &p.permission.columns)?;
        }
        for p in &table.update_permissions {
            self.check_columns(name, &p.permission.columns)?;
        }
        table
            .event_triggers
            .iter()
            .try_for_each(|trigger| self.check_event(name, trigger))
    }

    fn check_event(&self, table: &QualifiedName, trigger: &EventTrigger) -> Result<()> {
        let definition = &trigger.definition;
        let events = [&definition.insert, &definition.update, &definition.delete];
        ensure!(
            definition.enable_manual || events.iter().any(|event| event.is_some()),
            "{table}: event trigger `{}` fires on nothing",
            trigger.name
        );
        for event in events.into_iter().flatten() {
            for columns in [Some(&event.columns), event.payload.as_ref()] {
                columns
                    .map_or(Ok(()), |columns| self.check_columns(table, columns))
                    .with_context(|| format!("event trigger `{}`", trigger.name))?;
            }
        }
        Ok(())
    }

    fn check_columns(&self, table: &QualifiedName, columns: &Columns) -> Result<()> {
        let Columns::Named(named) = columns else {
            return Ok(());
        };
        let existing = self.tables.get(table);
        for column in named {
            ensure!(
                existing.is_some_and(|columns| columns.contains(column)),
                "{table} has no column `{column}`"
            );
        }
        Ok(())
    }

    /// The constraint behind a relationship of `table`.
    pub(crate) fn constraint(&self, table: &QualifiedName, key: &ForeignKey) -> Result<&str> {
        let found = self.foreign_keys.iter().find(|found| match key {
            ForeignKey::Own(column) => found.table == *table && found.column == *column,
            ForeignKey::Other(other) => {
                found.target == *table && found.table == other.table && found.column == other.column
            }
        });
        match found {
            Some(key) => Ok(&key.constraint),
            None => bail!("no foreign key of one column matches {key:?}"),
        }
    }
}

fn same(
    kind: &str,
    tracked: &BTreeSet<QualifiedName>,
    existing: &BTreeSet<QualifiedName>,
) -> Result<()> {
    if let Some(name) = tracked.difference(existing).next() {
        bail!("{kind} {name} is tracked in the metadata but not in the database");
    }
    if let Some(name) = existing.difference(tracked).next() {
        bail!("{kind} {name} is in the database but not tracked in the metadata");
    }
    Ok(())
}

fn name(name: String) -> QualifiedName {
    QualifiedName {
        schema: SCHEMA.to_owned(),
        name,
    }
}
