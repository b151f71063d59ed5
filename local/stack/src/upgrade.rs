//! The two steps of an image upgrade for an operator: request the image, then publish the client
//! version that it serves.

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::{Value, json};

use crate::env_file::StackEnv;
use crate::invoke::invoke;
use crate::ministack::sdk_config;
use crate::operator::Operator;
use crate::options::StackChoice;
use crate::seed::ENVIRONMENT;

/// The build of the client app that the second image serves by default.
pub const NEXT_CLIENT_SHA: &str = "b7c0e61f4a2d98537c1e5b90d6a8f3e2c4b7a019";

/// The version as which [`NEXT_CLIENT_SHA`] is published.
pub(crate) const NEXT_VERSION: &str = "1.1.0";

/// A new image for a region.
#[derive(Args, Clone, Debug)]
pub struct ImageUpgrade {
    #[command(flatten)]
    pub stack: StackChoice,
    /// The region that gets the image
    #[arg(long, default_value = "us-east-1")]
    pub region: String,
    /// The image's id; the default is the EC2 emulator's second image in us-east-1
    #[arg(long, default_value = "ami-01000000000000002")]
    pub image: String,
    /// The commit of the client that the image serves
    #[arg(long, default_value = NEXT_CLIENT_SHA)]
    pub client_sha: String,
}

impl ImageUpgrade {
    /// Requests the upgrade from `reconcile`, as a deploy pipeline does. Returns the response.
    ///
    /// # Errors
    /// When the stack does not run, or the function rejects the request.
    pub async fn request(&self) -> Result<Value> {
        let env = StackEnv::read(&self.stack.env_path())?;
        let payload = upgrade_payload(&self.client_sha, &json!({&self.region: self.image}));
        let sdk = sdk_config(&env.aws_endpoint_url);
        invoke(&sdk, &env.reconcile_function, &payload).await
    }
}

/// The payload that a deploy pipeline sends. `images` maps each region to its new image's id.
pub(crate) fn upgrade_payload(client_sha: &str, images: &Value) -> Value {
    json!({"image_upgrade": {"client_sha": client_sha, "images": images}})
}

/// Whether a response of `reconcile` reports a failed region, or no regions at all.
pub fn has_failed(response: &Value) -> bool {
    let regions = response["regions"].as_array();
    regions.is_none_or(|all| all.iter().any(|region| region["outcome"] == "failed"))
}

/// A client version to publish.
#[derive(Args, Clone, Debug)]
pub struct AppVersion {
    #[command(flatten)]
    pub stack: StackChoice,
    /// The commit that the client was built from
    #[arg(long, default_value = NEXT_CLIENT_SHA)]
    pub client_sha: String,
    /// The version that the client's users see
    #[arg(long, default_value = NEXT_VERSION)]
    pub version: String,
}

impl AppVersion {
    /// Writes the row with the client that users should run.
    ///
    /// # Errors
    /// When the stack does not run, or GraphQL rejects the row.
    pub async fn publish(&self) -> Result<()> {
        let env = StackEnv::read(&self.stack.env_path())?;
        publish_app_version(&Operator::new(&env), &self.version, &self.client_sha).await?;
        println!(
            "published client version {}, built from commit {}",
            self.version, self.client_sha
        );
        Ok(())
    }
}

/// Writes the client version that users should run from now on.
///
/// # Errors
/// When GraphQL does not answer, or rejects the row.
pub(crate) async fn publish_app_version(
    operator: &Operator,
    version: &str,
    client_sha: &str,
) -> Result<()> {
    let document = "mutation($row: app_versions_insert_input!) {
        insert_app_versions_one(object: $row, on_conflict: {
            constraint: app_versions_pkey, update_columns: [version, client_sha]
        }) { environment }
    }";
    let row = json!({
        "environment": ENVIRONMENT,
        "version": version,
        "client_sha": client_sha,
    });
    let answer = operator.query(document, json!({"row": row})).await;
    answer.context("publish the app version")?;
    Ok(())
}
