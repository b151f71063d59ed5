//! The allow list: collections of documents, and the names of those collections that are allowed.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Collection {
    name: String,
    definition: Definition,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Definition {
    queries: Vec<Query>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Query {
    name: String,
    query: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Allowed {
    collection: String,
    scope: Scope,
}

/// For all roles: the community edition ignores every other scope.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Scope {
    global: bool,
}

/// The documents that every role may send.
///
/// # Errors
///
/// When a collection does not exist, is not for all roles, or has two queries of one name.
pub(super) fn documents(collections: &[Collection], allowed: &[Allowed]) -> Result<Vec<String>> {
    let mut documents = Vec::new();
    for entry in allowed {
        let name = &entry.collection;
        ensure!(
            entry.scope.global,
            "allow_list.yaml: `{name}` must be global; the community edition ignores other scopes"
        );
        let collection = collections.iter().find(|it| it.name == *name);
        let Some(collection) = collection else {
            anyhow::bail!("allow_list.yaml: query_collections.yaml has no collection `{name}`");
        };
        let mut names = BTreeSet::new();
        for query in &collection.definition.queries {
            ensure!(
                names.insert(&query.name),
                "query_collections.yaml: `{name}` has two queries with the name `{}`",
                query.name
            );
            documents.push(query.query.clone());
        }
    }
    Ok(documents)
}

/// Limits of requests, which the community edition reads and ignores.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApiLimits {
    depth_limit: DepthLimit,
    disabled: bool,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct DepthLimit {
    global: u32,
}
