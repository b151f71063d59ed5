//! Steps and notes as JSON: the data for programs, with the topic, the summary and the text for
//! people. [`crate::history::StoredDecision`] reads it.

use serde::{Serialize, Serializer};

use super::{Action, Note, Step};
use crate::ids::InstanceId;
use crate::scaling::reason::Reason;
use crate::scaling::topic::Topic;

#[derive(Serialize)]
struct ReasonJson<'r> {
    #[serde(flatten)]
    reason: &'r Reason,
    text: String,
}

impl<'r> From<&'r Reason> for ReasonJson<'r> {
    fn from(reason: &'r Reason) -> Self {
        Self {
            reason,
            text: reason.to_string(),
        }
    }
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Json<'s> {
            #[serde(flatten)]
            action: &'s Action,
            topic: Topic,
            summary: String,
            because: ReasonJson<'s>,
        }
        Json {
            action: &self.action,
            topic: self.topic(),
            summary: self.summary(),
            because: (&self.reason).into(),
        }
        .serialize(serializer)
    }
}

impl Serialize for Note {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Json<'n> {
            #[serde(skip_serializing_if = "Option::is_none")]
            instance: Option<&'n InstanceId>,
            topic: Topic,
            summary: String,
            #[serde(flatten)]
            reason: ReasonJson<'n>,
            #[serde(skip_serializing_if = "std::ops::Not::not")]
            alert: bool,
        }
        Json {
            instance: self.instance.as_ref(),
            topic: self.reason.topic(),
            summary: self.reason.summary(),
            reason: (&self.reason).into(),
            alert: self.alert,
        }
        .serialize(serializer)
    }
}
