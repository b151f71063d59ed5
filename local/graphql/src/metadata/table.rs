//! Tracked tables and their relationships, as `tables/*.yaml` declares them.

use serde::Deserialize;

use super::permission::{Delete, Insert, Permission, Select, Update};
use super::{EventTrigger, QualifiedName};

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

/// Either a column of the table itself, or a column of another table that
/// references this table.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum ForeignKey {
    Own(String),
    Other(OtherKey),
}

impl std::fmt::Display for ForeignKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Own(column) => write!(f, "column `{column}`"),
            Self::Other(other) => write!(f, "column `{}` of {}", other.column, other.table),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OtherKey {
    pub(crate) column: String,
    pub(crate) table: QualifiedName,
}
