//! Checks the metadata against the database's catalog.
//!
//! postrust serves everything in the schema, tracked or not, and ignores names that
//! do not exist. Hasura serves only what is tracked and reports unknown names as
//! inconsistent. If metadata and database match, both engines behave the same.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use sqlx::{Connection, PgConnection, Row};

use crate::metadata::{Columns, EventTrigger, ForeignKey, Metadata, QualifiedName, Table};

/// The only database schema that is served.
pub(crate) const SCHEMA: &str = "public";

/// The tables, foreign keys and functions of the served schema.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    /// Column names by table or view.
    pub(crate) tables: BTreeMap<QualifiedName, BTreeSet<String>>,
    pub(crate) foreign_keys: Vec<ForeignKeyConstraint>,
    /// Functions that return rows of a table.
    pub(crate) functions: BTreeSet<QualifiedName>,
}

/// A foreign key with a single column.
#[derive(Debug)]
pub(crate) struct ForeignKeyConstraint {
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
    /// Reads the catalog of the served schema.
    ///
    /// # Errors
    ///
    /// When the database is unreachable or a query fails.
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
                .entry(qualified(row.try_get(0)?))
                .or_default()
                .insert(row.try_get(1)?);
        }
        for row in sqlx::query(FOREIGN_KEYS)
            .bind(SCHEMA)
            .fetch_all(&mut connection)
            .await?
        {
            catalog.foreign_keys.push(ForeignKeyConstraint {
                constraint: row.try_get(0)?,
                table: qualified(row.try_get(1)?),
                column: row.try_get(2)?,
                target: qualified(row.try_get(3)?),
            });
        }
        for row in sqlx::query(FUNCTIONS)
            .bind(SCHEMA)
            .fetch_all(&mut connection)
            .await?
        {
            catalog.functions.insert(qualified(row.try_get(0)?));
        }
        connection.close().await?;
        Ok(catalog)
    }

    /// Checks that the metadata tracks exactly the tables and functions that exist,
    /// and that all columns and relationships in the metadata exist.
    ///
    /// # Errors
    ///
    /// Names the first difference.
    pub(crate) fn check(&self, metadata: &Metadata) -> Result<()> {
        let tracked = metadata.tables.iter().map(|t| t.table.clone());
        check_tracked(
            "table",
            &tracked.collect(),
            &self.tables.keys().cloned().collect(),
        )?;
        let tracked = metadata.functions.iter().map(|f| f.function.clone());
        check_tracked("function", &tracked.collect(), &self.functions)?;
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
            "{table}: event trigger `{}` has no operation and no enable_manual, so it never fires",
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

    /// The name of the foreign key constraint of a relationship of `table`.
    ///
    /// # Errors
    ///
    /// When the database has no such foreign key.
    pub(crate) fn constraint(&self, table: &QualifiedName, key: &ForeignKey) -> Result<&str> {
        let found = self.foreign_keys.iter().find(|found| match key {
            ForeignKey::Own(column) => found.table == *table && found.column == *column,
            ForeignKey::Other(other) => {
                found.target == *table && found.table == other.table && found.column == other.column
            }
        });
        match found {
            Some(key) => Ok(&key.constraint),
            None => bail!("the database has no single-column foreign key for {key}"),
        }
    }
}

fn check_tracked(
    kind: &str,
    tracked: &BTreeSet<QualifiedName>,
    existing: &BTreeSet<QualifiedName>,
) -> Result<()> {
    if let Some(name) = tracked.difference(existing).next() {
        bail!("{kind} {name} is tracked in the metadata but does not exist in the database");
    }
    if let Some(name) = existing.difference(tracked).next() {
        bail!("{kind} {name} exists in the database but is not tracked in the metadata");
    }
    Ok(())
}

fn qualified(name: String) -> QualifiedName {
    QualifiedName {
        schema: SCHEMA.to_owned(),
        name,
    }
}
