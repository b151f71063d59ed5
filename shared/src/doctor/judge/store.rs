//! The DynamoDB table and the SNS topic.

use super::unread;
use crate::doctor::facts::{Table, Topic};
use crate::doctor::ports::ProbeError;
use crate::doctor::report::Check;

/// `table` is the answer of DynamoDB.
pub fn table(table: &Result<Table, ProbeError>) -> Check {
    const NAME: &str = "table";
    const REMEDY: &str = "Deploy the stack again. If the table was made by hand, make it as \
                          template.yaml does: keys `pk` (HASH) and `sk` (RANGE), both texts, and \
                          time to live on `ttl`.";
    let facts = match table {
        Ok(facts) => facts,
        Err(ProbeError::Missing(reason)) => {
            return Check::wrong(
                NAME,
                reason.clone(),
                "No pass runs: there is no lock and no record of launches.",
                REMEDY,
            );
        }
        Err(error) => {
            return unread(
                NAME,
                error,
                "dynamodb:DescribeTable and dynamodb:DescribeTimeToLive",
            );
        }
    };
    let key = |(name, part, kind): &(String, String, String)| format!("{name} {part} {kind}");
    let mut keys: Vec<_> = facts.keys.iter().map(key).collect();
    keys.sort();
    if keys != ["pk HASH S", "sk RANGE S"] {
        return Check::wrong(
            NAME,
            format!("its keys are {}", keys.join(", ")),
            "Locks and launches cannot be stored.",
            REMEDY,
        );
    }
    if facts.status != "ACTIVE" && facts.status != "UPDATING" {
        return Check::wrong(
            NAME,
            format!("it is {}", facts.status),
            "Locks and launches cannot be stored.",
            "Wait until it is ACTIVE, or restore it.",
        );
    }
    match facts.ttl.as_deref() {
        Some("ttl") => Check::ok(NAME, "its keys and its time to live are right"),
        other => Check::wrong(
            NAME,
            match other {
                Some(attribute) => format!("items expire by `{attribute}`, not by `ttl`"),
                None => "items do not expire".to_owned(),
            },
            "Old decisions and event ids are never deleted: the table grows for ever.",
            "aws dynamodb update-time-to-live --table-name TABLE \
             --time-to-live-specification Enabled=true,AttributeName=ttl",
        ),
    }
}

/// `topic`: none if the stack has no topic.
pub fn alerts(topic: Option<&Result<Topic, ProbeError>>) -> Check {
    const NAME: &str = "alerts";
    match topic {
        None => Check::warning(
            NAME,
            "the stack has no topic",
            "Problems are in the log only: nobody is told.",
            "Deploy with AlertTopicArn.",
        ),
        Some(Err(ProbeError::Missing(reason))) => Check::wrong(
            NAME,
            reason.clone(),
            "Problems are in the log only: nobody is told.",
            "Deploy with the ARN of a topic that exists as AlertTopicArn.",
        ),
        Some(Err(error)) => unread(NAME, error, "sns:GetTopicAttributes"),
        Some(Ok(Topic { subscribers: 0 })) => Check::warning(
            NAME,
            "the topic has no confirmed subscription",
            "Alerts are sent, and nobody receives them.",
            "Subscribe to the topic (`aws sns subscribe`), and confirm it.",
        ),
        Some(Ok(Topic { subscribers })) => {
            Check::ok(NAME, format!("the topic has {subscribers} subscriptions"))
        }
    }
}
