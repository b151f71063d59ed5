//! What can be asked of the scaling table.

use std::time::Duration;

use jiff::Timestamp;
use shared::ids::{Owner, RegionName};
use shared::lock::Lease;
use shared::model::Intent;
use shared::report::Decision;
use shared::store::IntentClosure;

pub(crate) const REGIONS: [&str; 2] = ["eu-west-1", "us-east-1"];

/// Something that is asked at a time.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) at: Timestamp,
    pub(crate) ask: Ask,
}

#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Acquire(RegionName, Owner, Duration),
    Release(Lease),
    Outbid(Lease, i64),
    Mark(RegionName, String),
    /// The mark that was seen as the so-many-th: ids of marks are each store's own.
    Clear(RegionName, usize),
    IsWanted(RegionName),
    IsSeen(String),
    RecordSeen(String),
    Memory(RegionName),
    Open(Lease, Intent),
    Close(Lease, IntentClosure),
    Decide(Lease, Decision),
}

impl Ask {
    /// The variant's name.
    pub(crate) fn name(&self) -> String {
        let text = format!("{self:?}");
        text.chars().take_while(|c| c.is_alphanumeric()).collect()
    }

    /// The lease under which it is asked, if that matters.
    pub(crate) fn lease(&self) -> Option<&Lease> {
        match self {
            Self::Release(lease)
            | Self::Outbid(lease, _)
            | Self::Open(lease, _)
            | Self::Close(lease, _)
            | Self::Decide(lease, _) => Some(lease),
            _ => None,
        }
    }

    pub(crate) fn lease_mut(&mut self) -> Option<&mut Lease> {
        match self {
            Self::Release(lease)
            | Self::Outbid(lease, _)
            | Self::Open(lease, _)
            | Self::Close(lease, _)
            | Self::Decide(lease, _) => Some(lease),
            _ => None,
        }
    }
}
