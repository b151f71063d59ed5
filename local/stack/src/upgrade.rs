//! What an operator says to bring a new image into service: the image, and the client for it.

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::{Value, json};

use crate::env_file::StackEnv;
use crate::invoke::invoke;
use crate::ministack::sdk_config;
use crate::operator::Operator;
use crate::options::StackChoice;
use crate::seed::ENVIRONMENT;

/// The build of the client app that a second image serves, unless another is named.
pub const NEXT_CLIENT_SHA: &str = "b7c0e61f4a2d98537c1e5b90d6a8f3e2c4b7a019";

/// The version that it is published as.
pub(crate) const NEXT_VERSION: &str = "1.1.0";

/// An image for a region.
#[derive(Args, Clone, Debug)]
pub struct ImageUpgrade {
    #[command(flatten)]
    pub stack: StackChoice,
    /// The region that gets it
    #[arg(long, default_value = "us-east-1")]
    pub region: String,
    /// The image; the emulator's second one in us-east-1 unless another is named
    #[arg(long, default_value = "ami-01000000000000002")]
    pub image: String,
    /// The commit that its client was built from
    #[arg(long, default_value = NEXT_CLIENT_SHA)]
    pub client_sha: String,
}

impl ImageUpgrade {
    /// Asks `reconcile` as a deploy pipeline does; its answer.
    ///
    /// # Errors
    /// When the stack does not run, or the order is not understood.
    pub async fn ask(&self) -> Result<Value> {
        let env = StackEnv::read(&self.stack.env_path())?;
        let order = order(&self.client_sha, &json!({&self.region: self.image}));
        let sdk = sdk_config(&env.aws_endpoint_url);
        invoke(&sdk, &env.reconcile_function, &order).await
    }
}

/// What a deploy pipeline sends: `images` has the image's id for each region that gets one.
pub(crate) fn order(client_sha: &str, images: &Value) -> Value {
    json!({"image_upgrade": {"client_sha": client_sha, "images": images}})
}

/// Whether a region of the answer has an error.
pub fn was_refused(answer: &Value) -> bool {
    let regions = answer["regions"].as_array();
    regions.is_none_or(|all| all.iter().any(|region| region["outcome"] == "failed"))
}

/// A published client.
#[derive(Args, Clone, Debug)]
pub struct AppVersion {
    #[command(flatten)]
    pub stack: StackChoice,
    /// The commit that it was built from
    #[arg(long, default_value = NEXT_CLIENT_SHA)]
    pub client_sha: String,
    /// What its users see
    #[arg(long, default_value = NEXT_VERSION)]
    pub version: String,
}

impl AppVersion {
    /// Writes the row that says what clients should run.
    ///
    /// # Errors
    /// When the stack does not run.
    pub async fn publish(&self) -> Result<()> {
        let env = StackEnv::read(&self.stack.env_path())?;
        publish(&Operator::of(&env), &self.version, &self.client_sha).await?;
        println!("clients should be {} ({})", self.version, self.client_sha);
        Ok(())
    }
}

/// Says which client users should run from now on.
pub(crate) async fn publish(operator: &Operator, version: &str, client_sha: &str) -> Result<()> {
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
    answer.context("set the app version")?;
    Ok(())
}
