//! What a step is about, and its summary for the status page. The instance of a step is not in its
//! summary: the page counts steps with the same summary and names their instances.

use super::{Action, Step};
use crate::scaling::topic::Topic;

impl Action {
    fn topic(&self) -> Topic {
        match self {
            Self::ResumeLaunch { .. } | Self::Launch { .. } => Topic::Launch,
            Self::RestPool { .. } | Self::ForgetRest { .. } => Topic::Capacity,
            Self::NoteMissing { .. } | Self::NotePresent { .. } => Topic::Drift,
            Self::RenewToken { .. } => Topic::Token,
            Self::Terminate { .. } | Self::TerminateOrphan { .. } => Topic::Terminate,
            Self::Remove { .. } => Topic::Removal,
            Self::ReleaseUnclaimed { .. } | Self::MarkEnds { .. } => Topic::Slots,
            Self::Drain { .. } | Self::Reopen { .. } => Topic::Drain,
            Self::DeleteReplica { .. } => Topic::Replica,
            Self::MoveAddress { .. } | Self::NoteAddresses { .. } => Topic::Address,
            Self::RememberUnknown { .. } => Topic::Record,
            Self::MoveImage { .. } => Topic::Image,
        }
    }

    /// What is done. None for launches: how many instances came of them is in the results.
    fn summary(&self) -> Option<String> {
        Some(match self {
            Self::ResumeLaunch { .. } | Self::Launch { .. } => return None,
            Self::NoteMissing { .. } => "note as missing".to_owned(),
            Self::NotePresent { .. } => "note as present".to_owned(),
            Self::NoteAddresses { .. } => "note the addresses".to_owned(),
            Self::Terminate { .. } | Self::TerminateOrphan { .. } => "terminate".to_owned(),
            Self::Remove { .. } => "remove the row".to_owned(),
            Self::ReleaseUnclaimed { slots: 1 } => "release 1 slot".to_owned(),
            Self::ReleaseUnclaimed { slots } => format!("release {slots} slots"),
            Self::MarkEnds { sessions } => format!("tell agents of {sessions} ends"),
            Self::Drain { .. } => "drain".to_owned(),
            Self::Reopen { .. } => "take the drain back".to_owned(),
            Self::RenewToken { .. } => "renew the token".to_owned(),
            Self::RestPool { refusal } => format!("rest {}", refusal.pool),
            Self::ForgetRest { refusal } => format!("use {} again", refusal.pool),
            Self::DeleteReplica { .. } => "delete".to_owned(),
            Self::MoveAddress { ip, to, from, .. } => match from {
                Some(from) => format!("move {ip} from {from} to {to}"),
                None => format!("give {ip} to {to}"),
            },
            Self::RememberUnknown { .. } => "record unknown replicas".to_owned(),
            Self::MoveImage { image, from, to } => format!("move {image} from {from} to {to}"),
        })
    }
}

impl Step {
    pub fn topic(&self) -> Topic {
        self.action.topic()
    }

    /// What is done and why, as in `drain (free 9 of 4)`; for launches only why.
    pub fn summary(&self) -> String {
        let why = self.reason.summary();
        match self.action.summary() {
            Some(action) => format!("{action} ({why})"),
            None => why,
        }
    }
}
