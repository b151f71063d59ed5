//! What `doctor` reads of the alert topic.

use async_trait::async_trait;
use aws_sdk_sns::error::ProvideErrorMetadata;
use shared::doctor::facts::Topic;
use shared::doctor::ports::{ProbeError, TopicProbe};

use crate::SnsAlerts;

#[async_trait]
impl TopicProbe for SnsAlerts {
    async fn topic(&self) -> Result<Topic, ProbeError> {
        let request = self.client.get_topic_attributes();
        let answer = request.topic_arn(&self.topic_arn).send().await;
        let answer = answer.map_err(|error| {
            let code = error.code().unwrap_or("no code");
            let text = aws_settings::describe(&error);
            match code {
                "AuthorizationError" | "AuthorizationErrorException" | "AccessDenied" => {
                    ProbeError::Denied(text)
                }
                "NotFound" | "NotFoundException" | "InvalidParameter" => {
                    ProbeError::Missing(format!("{}: {text}", self.topic_arn))
                }
                _ => ProbeError::Unavailable(text),
            }
        })?;
        let attribute = |name: &str| answer.attributes().and_then(|all| all.get(name));
        let subscribers = attribute("SubscriptionsConfirmed").and_then(|it| it.parse().ok());
        Ok(Topic {
            subscribers: subscribers.unwrap_or(0),
        })
    }
}
