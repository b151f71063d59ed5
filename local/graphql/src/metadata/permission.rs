//! What a role may do with a table, as `tables/*.yaml` declares it.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Permission<Rule> {
    pub(crate) role: String,
    pub(crate) permission: Rule,
    #[serde(default, rename = "comment")]
    _comment: Option<String>,
}

/// A list of column names, or `"*"` for all columns.
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

/// A boolean expression over a row, or a value to set. It is passed to postrust
/// unchanged.
pub(crate) type Json = serde_json::Value;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Select {
    pub(crate) columns: Columns,
    pub(crate) filter: Json,
    pub(crate) limit: Option<u64>,
    #[serde(default)]
    pub(crate) allow_aggregations: bool,
    /// The fields of queries that the role has for the table; all without it.
    pub(crate) query_root_fields: Option<Vec<RootField>>,
    /// The engine serves no subscriptions.
    #[serde(rename = "subscription_root_fields")]
    _subscription_root_fields: Option<Vec<RootField>>,
}

/// A field for a table at the root of queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RootField {
    Select,
    SelectByPk,
    SelectAggregate,
}

impl RootField {
    /// Each with what follows the table's name.
    pub(crate) const ALL: [(Self, &str); 3] = [
        (Self::Select, ""),
        (Self::SelectByPk, "_by_pk"),
        (Self::SelectAggregate, "_aggregate"),
    ];
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
