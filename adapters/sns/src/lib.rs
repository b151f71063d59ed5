//! Alerts on an SNS topic: one message per region and pass.

use async_trait::async_trait;
use shared::alerts::{Alerts, Problem};
use shared::ids::RegionName;

/// The most problems in one message. SNS allows 256 KB, more than an operator reads.
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
    async fn send(&self, region: &RegionName, problems: &[Problem]) -> bool {
        let lines: Vec<_> = problems
            .iter()
            .take(MESSAGE_LINES)
            .map(|problem| problem.text.as_str())
            .collect();
        let mut message = lines.join("\n");
        if problems.len() > MESSAGE_LINES {
            let others = problems.len() - MESSAGE_LINES;
            message.push_str(&format!("\n… and {others} more, in the log"));
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
            tracing::error!(topic = self.topic_arn, %error, "alert not sent");
            return false;
        }
        true
    }
}
