//! An operator's GraphQL requests, sent with the administrator's secret.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::env_file::StackEnv;

/// A GraphQL client with the administrator's permissions.
#[derive(Clone)]
pub struct Operator {
    url: String,
    admin_secret: String,
}

impl Operator {
    pub fn new(env: &StackEnv) -> Self {
        Self {
            url: format!("{}/v1/graphql", env.hasura_url),
            admin_secret: env.hasura_admin_secret.clone(),
        }
    }

    /// Runs `document` and returns the response's `data`.
    ///
    /// # Errors
    /// When the engine does not answer, or answers with errors.
    pub async fn query(&self, document: &str, variables: Value) -> Result<Value> {
        let mut response: Value = reqwest::Client::new()
            .post(&self.url)
            .header("x-hasura-admin-secret", &self.admin_secret)
            .json(&json!({"query": document, "variables": variables}))
            .send()
            .await
            .context("send a GraphQL request")?
            .json()
            .await
            .context("read the GraphQL response")?;
        ensure!(
            response.get("errors").is_none(),
            "the GraphQL response has errors: {}",
            response["errors"]
        );
        Ok(response["data"].take())
    }

    /// The number of `WAITING` slots in `region`.
    ///
    /// # Errors
    /// Those of [`Operator::query`].
    pub async fn free_slots(&self, region: &str) -> Result<usize> {
        let document = "query FreeSlots($region: String!) {
            slots(where: {region: {_eq: $region}, status: {_eq: \"WAITING\"}}) { id }
        }";
        let data = self.query(document, json!({"region": region})).await?;
        Ok(data["slots"].as_array().map_or(0, Vec::len))
    }
}

/// Leaves out the secret.
impl std::fmt::Debug for Operator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operator")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}
