//! Alerts on an SNS topic, one message per region and pass.

use async_trait::async_trait;

use super::Alerts;
use crate::ids::RegionName;

/// SNS takes 256 KB a message; nobody reads that much.
const MESSAGE_LINES: usize = 50;

#[derive(Clone, Debug)]
pub struct SnsAlerts {
    client: aws_sdk_sns::Client,
    topic_arn: String,
    stack_id: String,
}

impl SnsAlerts {
    pub fn new(client: aws_sdk_sns::Client, topic_arn: String, stack_id: String) -> Self {
        Self {
            client,
            topic_arn,
            stack_id,
        }
    }
}

#[async_trait]
impl Alerts for SnsAlerts {
    async fn send(&self, region: &RegionName, problems: &[String]) {
        let mut message = problems
            .iter()
            .take(MESSAGE_LINES)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("\n");
        if problems.len() > MESSAGE_LINES {
            message.push_str(&format!(
                "\n… and {} more, in the log",
                problems.len() - MESSAGE_LINES
            ));
        }
        let sent = self
            .client
            .publish()
            .topic_arn(&self.topic_arn)
            .subject(format!("Scaling {} {region}", self.stack_id))
            .message(message)
            .send()
            .await;
        if let Err(error) = sent {
            let error = aws_sdk_sns::error::DisplayErrorContext(error);
            tracing::error!(topic = self.topic_arn, %error, "send alert");
        }
    }
}
