//! What an operator does over GraphQL, with the administrator's secret.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::env_file::StackEnv;

#[derive(Clone)]
pub struct Operator {
    url: String,
    admin_secret: String,
}

impl Operator {
    pub fn of(env: &StackEnv) -> Self {
        Self {
            url: format!("{}/v1/graphql", env.hasura_url),
            admin_secret: env.hasura_admin_secret.clone(),
        }
    }

    /// The `data` of the answer.
    ///
    /// # Errors
    /// When the engine does not answer, or answers with errors.
    pub async fn query(&self, document: &str, variables: Value) -> Result<Value> {
        let mut answer: Value = reqwest::Client::new()
            .post(&self.url)
            .header("x-hasura-admin-secret", &self.admin_secret)
            .json(&json!({"query": document, "variables": variables}))
            .send()
            .await
            .context("ask GraphQL")?
            .json()
            .await
            .context("read the answer of GraphQL")?;
        ensure!(
            answer.get("errors").is_none(),
            "GraphQL answered {}",
            answer["errors"]
        );
        Ok(answer["data"].take())
    }

    /// How many slots of `region` wait for a user.
    pub async fn free_slots(&self, region: &str) -> Result<usize> {
        let document = "query FreeSlots($region: String!) {
            slots(where: {region: {_eq: $region}, status: {_eq: \"WAITING\"}}) { id }
        }";
        let data = self.query(document, json!({"region": region})).await?;
        Ok(data["slots"].as_array().map_or(0, Vec::len))
    }
}

/// Without the secret.
impl std::fmt::Debug for Operator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operator")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}
