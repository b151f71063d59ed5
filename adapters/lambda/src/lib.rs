//! Hands regions over to `reconcile` by asynchronous invocations.

mod doctor;

use async_trait::async_trait;
use aws_sdk_lambda::Client;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use serde_json::json;
use shared::ids::RegionName;
use shared::pass::{HandOverError, ReconcileInvoker};

pub use doctor::StackFunctions;

/// Invokes `reconcile` without waiting for its result.
#[derive(Clone, Debug)]
pub struct AsyncReconcile {
    pub client: Client,
    /// The ARN or the name of the function `reconcile`.
    pub function: String,
}

#[async_trait]
impl ReconcileInvoker for AsyncReconcile {
    async fn hand_over(&self, region: &RegionName, id: &str) -> Result<(), HandOverError> {
        let payload = json!({ "regions": [region], "hand_over": id });
        self.client
            .invoke()
            .function_name(&self.function)
            .invocation_type(InvocationType::Event)
            .payload(Blob::new(payload.to_string()))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| HandOverError(aws_settings::describe(&error)))
    }
}
