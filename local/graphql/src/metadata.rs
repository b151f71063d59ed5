//! The part of Hasura's metadata that this project uses, read from the folder
//! that the Hasura CLI applies.
//!
//! Unknown keys are refused. Ignoring one could serve rows that a rule was
//! written to withhold, and the tests would never notice.

mod event_trigger;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_yaml_ng::Value;

pub(crate) use self::event_trigger::{EventColumns, EventHeader, EventTrigger, RetryConf};

/// What the database `default` tracks.
#[derive(Debug)]
pub(crate) struct Metadata {
    pub(crate) tables: Vec<Table>,
    pub(crate) functions: Vec<Function>,
    pub(crate) introspection_disabled_for: Vec<String>,
}

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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    pub(crate) table: QualifiedName,
    #[serde(default)]
    pub(crate) object_relationships: Vec<Relationship>,
    #[serde(default)]
    pub(crate) array_relationships: Vec<Relationship>,
    #[serde(default)]
    pub(crate) select_permissions: Vec<Permission<Select>>,
    #[serde(default)]
    pub(crate) insert_permissions: Vec<Permission<Insert>>,
    #[serde(default)]
    pub(crate) update_permissions: Vec<Permission<Update>>,
    #[serde(default)]
    pub(crate) delete_permissions: Vec<Permission<Delete>>,
    #[serde(default)]
    pub(crate) event_triggers: Vec<EventTrigger>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Relationship {
    pub(crate) name: String,
    pub(crate) using: Using,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Using {
    pub(crate) foreign_key_constraint_on: ForeignKey,
}

/// Either a column of the table itself, or another table's column that points
/// at it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum ForeignKey {
    Own(String),
    Other(OtherKey),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OtherKey {
    pub(crate) column: String,
    pub(crate) table: QualifiedName,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Permission<Rule> {
    pub(crate) role: String,
    pub(crate) permission: Rule,
    #[serde(default, rename = "comment")]
    _comment: Option<String>,
}

/// A list of columns, or `"*"`.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Columns {
    Named(Vec<String>),
    All(Star),
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) enum Star {
    #[serde(rename = "*")]
    Star,
}

/// A boolean expression over a row, or the values to set: handed on as it is.
pub(crate) type Json = serde_json::Value;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Select {
    pub(crate) columns: Columns,
    pub(crate) filter: Json,
    pub(crate) limit: Option<u64>,
    #[serde(default)]
    pub(crate) allow_aggregations: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Insert {
    pub(crate) columns: Columns,
    pub(crate) check: Json,
    #[serde(default)]
    pub(crate) set: BTreeMap<String, Json>,
    #[serde(default)]
    pub(crate) backend_only: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Update {
    pub(crate) columns: Columns,
    pub(crate) filter: Json,
    #[serde(default)]
    pub(crate) check: Json,
    #[serde(default)]
    pub(crate) set: BTreeMap<String, Json>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Delete {
    pub(crate) filter: Json,
}

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
    /// How Hasura connects. Here the connection is an argument.
    #[serde(rename = "configuration")]
    _configuration: Value,
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

/// Files of features that the project does not use: refused unless empty.
const UNUSED: [&str; 12] = [
    "actions.yaml",
    "allow_list.yaml",
    "api_limits.yaml",
    "backend_configs.yaml",
    "cron_triggers.yaml",
    "inherited_roles.yaml",
    "metrics_config.yaml",
    "network.yaml",
    "opentelemetry.yaml",
    "query_collections.yaml",
    "remote_schemas.yaml",
    "rest_endpoints.yaml",
];

impl Metadata {
    /// Reads a metadata folder of the Hasura CLI's config version 3.
    ///
    /// # Errors
    ///
    /// When a file is missing or malformed, or says something that cannot be
    /// served here; the error names the file.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let version: Version = read_yaml(&folder.join("version.yaml"))?;
        ensure!(
            version.version == 3,
            "version.yaml: metadata version must be 3"
        );
        for name in UNUSED {
            let path = folder.join(name);
            if path.exists() && !says_nothing(&read_yaml(&path)?) {
                bail!(
                    "{}: not supported by the local engine; must be empty",
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
            "{}: the database must be `default`, of kind `postgres`",
            path.display()
        );
        Ok(Self {
            tables: read_list(&path, &database.tables)?,
            functions: read_list(&path, &database.functions)?,
            introspection_disabled_for: introspection.disabled_for_roles,
        })
    }
}

fn read_yaml<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_yaml_ng::from_str(&text).with_context(|| format!("cannot use {}", path.display()))
}

/// A list that the CLI splits over files: a string `!include FILE`, relative to
/// the file that holds it, stands for the list and for each of its entries.
fn read_list<T: DeserializeOwned>(file: &Path, value: &Value) -> Result<Vec<T>> {
    let (file, entries): (PathBuf, Vec<Value>) = match included(file, value) {
        Some(path) => (path.clone(), read_yaml(&path)?),
        None => (file.to_owned(), parse(file, value)?),
    };
    entries
        .iter()
        .map(|entry| match included(&file, entry) {
            Some(path) => read_yaml(&path),
            None => parse(&file, entry),
        })
        .collect()
}

fn parse<T: DeserializeOwned>(file: &Path, value: &Value) -> Result<T> {
    serde_yaml_ng::from_value(value.clone())
        .with_context(|| format!("cannot use {}", file.display()))
}

fn included(file: &Path, value: &Value) -> Option<PathBuf> {
    let name = value.as_str()?.strip_prefix("!include ")?;
    Some(file.parent().unwrap_or(Path::new("")).join(name.trim()))
}

/// Whether a file holds no more than empty lists and maps.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Sequence(items) => items.is_empty(),
        Value::Mapping(map) => map.values().all(says_nothing),
        _ => false,
    }
}
