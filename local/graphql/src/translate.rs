//! Translates Hasura's metadata into postrust's metadata format.

use anyhow::{Result, ensure};
use serde_json::{Map, Value, json};

use crate::catalog::Catalog;
use crate::metadata::{Columns, Function, Metadata, Permission, Table};

/// The document that postrust reads from `PGRST_GRAPHQL_METADATA`.
///
/// # Errors
///
/// When the metadata does not grant any permission (postrust would then serve
/// everything to everyone), or needs a feature that postrust does not have.
pub(crate) fn to_postrust(metadata: &Metadata, catalog: &Catalog) -> Result<Value> {
    let mut tables = Map::new();
    for table in &metadata.tables {
        tables.insert(table.table.to_string(), translate_table(table, catalog)?);
    }
    let grants = |table: &Value| {
        table["permissions"]
            .as_object()
            .is_some_and(|p| !p.is_empty())
    };
    ensure!(
        tables.values().any(grants),
        "the metadata has no table permission: the engine would not restrict any role"
    );
    let mut functions = Map::new();
    for function in &metadata.functions {
        functions.insert(function.function.to_string(), translate_function(function)?);
    }
    Ok(json!({
        "tables": tables,
        "functions": functions,
        "introspection_disabled_for": metadata.introspection_disabled_for,
    }))
}

fn translate_table(table: &Table, catalog: &Catalog) -> Result<Value> {
    let mut roles = Map::new();
    grant(&mut roles, "select", &table.select_permissions, |rule| {
        let mut granted = json!({
            "columns": columns(&rule.columns),
            "filter": rule.filter,
            "allow_aggregations": rule.allow_aggregations,
        });
        if let Some(limit) = rule.limit {
            granted["limit"] = json!(limit);
        }
        granted
    });
    grant(&mut roles, "insert", &table.insert_permissions, |rule| {
        json!({
            "columns": columns(&rule.columns),
            "check": rule.check,
            "set": rule.set,
            "backend_only": rule.backend_only,
        })
    });
    grant(&mut roles, "update", &table.update_permissions, |rule| {
        json!({
            "columns": columns(&rule.columns),
            "filter": rule.filter,
            "check": rule.check,
            "set": rule.set,
        })
    });
    grant(
        &mut roles,
        "delete",
        &table.delete_permissions,
        |rule| json!({"filter": rule.filter}),
    );

    let declared = table
        .object_relationships
        .iter()
        .chain(&table.array_relationships);
    let relationships = declared
        .map(|relationship| {
            let key = &relationship.using.foreign_key_constraint_on;
            let constraint = catalog.constraint(&table.table, key)?;
            Ok(json!({"name": relationship.name, "using": constraint}))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(json!({"declared_relationships": relationships, "permissions": roles}))
}

fn grant<Rule>(
    roles: &mut Map<String, Value>,
    verb: &str,
    permissions: &[Permission<Rule>],
    translate: impl Fn(&Rule) -> Value,
) {
    for permission in permissions {
        let role = roles.entry(&permission.role).or_insert_with(|| json!({}));
        role[verb] = translate(&permission.permission);
    }
}

fn columns(columns: &Columns) -> Value {
    match columns {
        Columns::Named(names) => json!(names),
        Columns::All(_) => json!("*"),
    }
}

fn translate_function(function: &Function) -> Result<Value> {
    let name = &function.function;
    let configuration = &function.configuration;
    ensure!(
        configuration.exposed_as.as_deref() == Some("mutation"),
        "function {name}: exposed_as must be `mutation`; other functions are not supported"
    );
    // postrust recognises a session argument only by this name.
    ensure!(
        configuration
            .session_argument
            .as_deref()
            .is_none_or(|name| name == "hasura_session"),
        "function {name}: session_argument must be `hasura_session`"
    );
    let roles: Vec<_> = function.permissions.iter().map(|p| &p.role).collect();
    Ok(json!({"exposed_as": "mutation", "roles": roles}))
}
