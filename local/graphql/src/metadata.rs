//! The part of Hasura's metadata that this project uses, read from the folder
//! that the Hasura CLI applies.
//!
//! Unknown keys are rejected. Ignoring a key could expose rows that a rule is
//! meant to hide, and no test would detect it.

mod allow_list;
mod connection;
mod event_trigger;
mod permission;
mod table;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use serde_yaml_ng::Value;

use self::allow_list::{Allowed, ApiLimits, Collection};
pub(crate) use self::event_trigger::{EventColumns, EventHeader, EventTrigger, RetryConf};
pub(crate) use self::permission::{Columns, Permission, RootField};
pub(crate) use self::table::{ForeignKey, Table};

/// The tables and functions that are tracked in the database `default`.
#[derive(Debug)]
pub(crate) struct Metadata {
    pub(crate) tables: Vec<Table>,
    pub(crate) functions: Vec<Function>,
    pub(crate) introspection_disabled_for: Vec<String>,
    /// The documents that roles may send where the allow list is enforced.
    pub(crate) allow_list: Vec<String>,
    /// All of it, as Hasura stores it.
    pub(crate) stored: serde_json::Value,
}

/// The name of a table or function, with its database schema.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QualifiedName {
    pub(crate) schema: String,
    pub(crate) name: String,
}

impl std::fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// A tracked function, as `functions/*.yaml` declares it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Function {
    pub(crate) function: QualifiedName,
    #[serde(default)]
    pub(crate) configuration: FunctionConfiguration,
    #[serde(default)]
    pub(crate) permissions: Vec<FunctionPermission>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FunctionConfiguration {
    pub(crate) exposed_as: Option<String>,
    pub(crate) session_argument: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FunctionPermission {
    pub(crate) role: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Database {
    name: String,
    kind: String,
    /// How Hasura connects. The local engine takes the connection as an argument, and checks that
    /// Hasura would understand this.
    configuration: serde_json::Value,
    tables: Value,
    functions: Value,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Version {
    version: u8,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Introspection {
    disabled_for_roles: Vec<String>,
}

/// Files of features that the local engine does not support. They must be empty.
const UNSUPPORTED: [&str; 9] = [
    "actions.yaml",
    "backend_configs.yaml",
    "cron_triggers.yaml",
    "inherited_roles.yaml",
    "metrics_config.yaml",
    "network.yaml",
    "opentelemetry.yaml",
    "remote_schemas.yaml",
    "rest_endpoints.yaml",
];

impl Metadata {
    /// Reads a metadata folder of the Hasura CLI, with config version 3.
    ///
    /// # Errors
    ///
    /// When a file is missing, malformed, or uses a feature that the local engine
    /// does not support. The error names the file.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let version: Version = read_yaml(&folder.join("version.yaml"))?;
        ensure!(
            version.version == 3,
            "{}: the metadata version must be 3, not {}",
            folder.join("version.yaml").display(),
            version.version
        );
        for name in UNSUPPORTED {
            let path = folder.join(name);
            if path.exists() && !is_empty(&read_yaml(&path)?) {
                bail!(
                    "{}: the local engine does not support this feature; the file must be empty",
                    path.display()
                );
            }
        }
        let introspection: Introspection =
            read_yaml(&folder.join("graphql_schema_introspection.yaml"))?;

        let path = folder.join("databases/databases.yaml");
        let databases: Vec<Database> = read_yaml(&path)?;
        let [database] = databases.as_slice() else {
            bail!("{}: exactly one database is supported", path.display());
        };
        ensure!(
            database.name == "default" && database.kind == "postgres",
            "{}: the database must have the name `default` and the kind `postgres`",
            path.display()
        );
        serde_json::from_value::<connection::Configuration>(database.configuration.clone())
            .with_context(|| format!("{}: `configuration`", path.display()))?;
        let collections: Vec<Collection> = read_yaml(&folder.join("query_collections.yaml"))?;
        let allowed: Vec<Allowed> = read_yaml(&folder.join("allow_list.yaml"))?;
        let limits: ApiLimits = read_yaml(&folder.join("api_limits.yaml"))?;
        let tables: Vec<serde_json::Value> = read_list(&path, &database.tables)?;
        let functions: Vec<serde_json::Value> = read_list(&path, &database.functions)?;
        let stored = json!({
            "version": 3,
            "sources": [{
                "name": "default",
                "kind": "postgres",
                "configuration": database.configuration,
                "tables": tables,
                "functions": functions,
            }],
            "query_collections": collections,
            "allowlist": allowed,
            "api_limits": limits,
        });
        Ok(Self {
            tables: read_list(&path, &database.tables)?,
            functions: read_list(&path, &database.functions)?,
            introspection_disabled_for: introspection.disabled_for_roles,
            allow_list: allow_list::documents(&collections, &allowed)?,
            stored,
        })
    }

    /// Fields of queries that a role does not have although it may read their table, as
    /// `(role, field)`.
    pub(crate) fn hidden_fields(&self) -> BTreeSet<(String, String)> {
        let mut hidden = BTreeSet::new();
        for table in &self.tables {
            for granted in &table.select_permissions {
                let Some(shown) = &granted.permission.query_root_fields else {
                    continue;
                };
                for (kind, end) in RootField::ALL {
                    if !shown.contains(&kind) {
                        let field = format!("{}{end}", table.table.name);
                        hidden.insert((granted.role.clone(), field));
                    }
                }
            }
        }
        hidden
    }
}

fn read_yaml<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_yaml_ng::from_str(&text).with_context(|| format!("{} is invalid", path.display()))
}

/// Reads a list that the CLI may split into files: the list and each of its entries
/// may be a string `!include FILE`. The path is relative to the file that contains it.
fn read_list<T: DeserializeOwned>(file: &Path, value: &Value) -> Result<Vec<T>> {
    let (file, entries): (PathBuf, Vec<Value>) = match included_path(file, value) {
        Some(path) => (path.clone(), read_yaml(&path)?),
        None => (file.to_owned(), parse(file, value)?),
    };
    entries
        .iter()
        .map(|entry| match included_path(&file, entry) {
            Some(path) => read_yaml(&path),
            None => parse(&file, entry),
        })
        .collect()
}

fn parse<T: DeserializeOwned>(file: &Path, value: &Value) -> Result<T> {
    serde_yaml_ng::from_value(value.clone())
        .with_context(|| format!("{} is invalid", file.display()))
}

fn included_path(file: &Path, value: &Value) -> Option<PathBuf> {
    let name = value.as_str()?.strip_prefix("!include ")?;
    Some(file.parent().unwrap_or(Path::new("")).join(name.trim()))
}

/// Whether a document consists only of empty lists and maps.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Sequence(items) => items.is_empty(),
        Value::Mapping(map) => map.values().all(is_empty),
        _ => false,
    }
}
