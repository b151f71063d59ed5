//! What `doctor` reads of the stack's functions: which version of the secret each was deployed with.
//! The template sets it as a tag. The functions' variables, which hold the secrets, are not read:
//! the role does not allow it.

use async_trait::async_trait;
use aws_sdk_lambda::Client;
use aws_sdk_lambda::error::ProvideErrorMetadata;
use futures::future::try_join_all;
use shared::doctor::facts::Function;
use shared::doctor::ports::{FunctionsProbe, ProbeError};

/// What follows the stack's name in the names of its functions.
const ALL: [&str; 5] = [
    "reconcile",
    "hasura-event",
    "instance-state-change",
    "assign-user",
    "status",
];

/// The tag of the template's functions.
const SECRET_VERSION: &str = "scaling:secret-version";

/// Reads the tags of a stack's functions.
#[derive(Clone, Debug)]
pub struct StackFunctions {
    pub client: Client,
    /// The ARN of the function `reconcile`: the others differ in its end only.
    pub reconcile: String,
}

#[async_trait]
impl FunctionsProbe for StackFunctions {
    async fn functions(&self) -> Result<Vec<Function>, ProbeError> {
        let stack = self
            .reconcile
            .strip_suffix("reconcile")
            .unwrap_or(&self.reconcile);
        let each = ALL
            .iter()
            .map(|function| self.function(format!("{stack}{function}")));
        Ok(try_join_all(each).await?.into_iter().flatten().collect())
    }
}

impl StackFunctions {
    /// None if the stack has no such function.
    async fn function(&self, arn: String) -> Result<Option<Function>, ProbeError> {
        let name = arn.rsplit(':').next().unwrap_or(&arn).to_owned();
        let answer = match self.client.list_tags().resource(&arn).send().await {
            Ok(answer) => answer,
            Err(error) => {
                let code = error.code().unwrap_or("no code");
                let text = format!("{name}: {}", aws_settings::describe(&error));
                return match code {
                    "ResourceNotFoundException" => Ok(None),
                    "AccessDeniedException" | "AccessDenied" => Err(ProbeError::Denied(text)),
                    _ => Err(ProbeError::Unavailable(text)),
                };
            }
        };
        let version = answer.tags().and_then(|tags| tags.get(SECRET_VERSION));
        Ok(Some(Function {
            name,
            secret_version: version.filter(|version| !version.is_empty()).cloned(),
        }))
    }
}
