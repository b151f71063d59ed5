//! Fetches a running engine's schema with an introspection query. Only the parts that
//! [`crate::sdl`] prints are read.

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    /// Base URL of the engine, without a path.
    #[arg(long, env = "HASURA_URL")]
    url: String,
    #[arg(long, env = "HASURA_GRAPHQL_ADMIN_SECRET", hide_env_values = true)]
    admin_secret: String,
}

/// `ofType` is nested four times. The types that the engines generate need three: `[T!]!`.
const QUERY: &str = "
    query { __schema {
      queryType { name } mutationType { name } subscriptionType { name }
      types { kind name
        fields(includeDeprecated: true) { name args { ...Value } type { ...Type } }
        inputFields { ...Value }
        interfaces { name } possibleTypes { name }
        enumValues(includeDeprecated: true) { name } } } }
    fragment Value on __InputValue { name defaultValue type { ...Type } }
    fragment Type on __Type { kind name ofType { kind name ofType { kind name ofType { kind name
      ofType { kind name } } } } }";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Schema {
    pub(crate) query_type: Named,
    pub(crate) mutation_type: Option<Named>,
    pub(crate) subscription_type: Option<Named>,
    pub(crate) types: Vec<Type>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Named {
    pub(crate) name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Type {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) fields: Option<Vec<Field>>,
    pub(crate) input_fields: Option<Vec<InputValue>>,
    pub(crate) interfaces: Option<Vec<Named>>,
    pub(crate) possible_types: Option<Vec<Named>>,
    pub(crate) enum_values: Option<Vec<Named>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Kind {
    Scalar,
    Object,
    Interface,
    Union,
    Enum,
    InputObject,
    List,
    NonNull,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) args: Vec<InputValue>,
    pub(crate) r#type: TypeRef,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InputValue {
    pub(crate) name: String,
    pub(crate) default_value: Option<String>,
    pub(crate) r#type: TypeRef,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TypeRef {
    pub(crate) kind: Kind,
    pub(crate) name: Option<String>,
    pub(crate) of_type: Option<Box<TypeRef>>,
}

/// Fetches the administrator's schema of a running engine.
///
/// # Errors
///
/// When the engine is unreachable, rejects the query, or returns something else.
pub(crate) async fn fetch(args: &SchemaArgs) -> Result<Schema> {
    let url = format!("{}/v1/graphql", args.url.trim_end_matches('/'));
    let mut response: Value = reqwest::Client::new()
        .post(&url)
        .header("x-hasura-admin-secret", &args.admin_secret)
        .json(&json!({"query": QUERY}))
        .send()
        .await?
        .error_for_status()?
        .json()
        .await?;
    if let Some(errors) = response.get("errors") {
        bail!("{url} rejected the introspection query: {errors}");
    }
    serde_json::from_value(response["data"]["__schema"].take())
        .with_context(|| format!("the response of {url} is not an introspection result"))
}
