//! Alerts on an SNS topic: one message per region and pass.

mod doctor;

use async_trait::async_trait;
use shared::alerts::{Alerts, Problem};
use shared::ids::RegionName;
use shared::words::visible;

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
        let message = message(problems);
        let sent = self
            .client
            .publish()
            .topic_arn(&self.topic_arn)
            .subject(format!("Scaling {} {region}", self.stack_id))
            .message(message)
            .send()
            .await;
        if let Err(error) = sent {
            let error = aws_settings::describe(&error);
            tracing::error!(topic = self.topic_arn, error, "alert not sent");
            return false;
        }
        true
    }
}

/// One line for each problem. Texts of agents and of EC2 are in it: none may look like several.
fn message(problems: &[Problem]) -> String {
    let first = problems.iter().take(MESSAGE_LINES);
    let mut lines: Vec<_> = first.map(|it| visible(&it.text).to_string()).collect();
    if problems.len() > MESSAGE_LINES {
        let others = problems.len() - MESSAGE_LINES;
        lines.push(format!("… and {others} more, in the log"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> Problem {
        Problem {
            kind: "kind".to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn problem_is_one_line_without_hidden_characters() {
        let problems = [
            problem("the agent left: a\nall is well\u{2028}\u{202e}llew"),
            problem("second"),
        ];
        assert_eq!(
            message(&problems),
            "the agent left: a\\nall is well\\u{2028}\\u{202e}llew\nsecond"
        );
    }

    #[test]
    fn problems_past_the_limit_are_counted() {
        let problems = vec![problem("again"); MESSAGE_LINES + 3];
        let message = message(&problems);
        assert_eq!(message.lines().count(), MESSAGE_LINES + 1);
        assert!(message.ends_with("… and 3 more, in the log"), "{message}");
    }
}
