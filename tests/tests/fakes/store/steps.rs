//! The steps of a history of the scaling table.

use std::time::Duration;

use jiff::Timestamp;
use shared::ids::{Owner, RegionName};
use shared::lock::Lease;
use shared::model::{Intent, LaunchTally, Refusal};
use shared::report::Decision;
use shared::store::IntentClosure;

pub(crate) const REGIONS: [&str; 2] = ["eu-west-1", "us-east-1"];

/// An action at a time.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) at: Timestamp,
    pub(crate) action: Action,
}

#[derive(Clone, Debug)]
pub(crate) enum Action {
    Acquire(RegionName, Owner, Duration),
    Release(Lease),
    AdvancePastFence(Lease, i64),
    Mark(RegionName, String),
    /// The number of a mark by its first return: each store has ids of its own for marks.
    Clear(RegionName, usize),
    HasWakeMark(RegionName),
    IsHeld(RegionName),
    IsSeen(String),
    RecordSeen(String),
    ReadState(RegionName),
    Open(Lease, Vec<Intent>, LaunchTally),
    Refuse(Lease, Vec<Refusal>, Vec<Refusal>),
    Close(Lease, Vec<IntentClosure>, LaunchTally),
    Decide(Lease, Box<Decision>),
}

impl Action {
    /// The variant's name.
    pub(crate) fn name(&self) -> String {
        let text = format!("{self:?}");
        text.chars().take_while(|c| c.is_alphanumeric()).collect()
    }

    /// The lease of the action, if it has one.
    pub(crate) fn lease(&self) -> Option<&Lease> {
        match self {
            Self::Release(lease)
            | Self::AdvancePastFence(lease, _)
            | Self::Open(lease, ..)
            | Self::Refuse(lease, ..)
            | Self::Close(lease, ..)
            | Self::Decide(lease, _) => Some(lease),
            _ => None,
        }
    }

    pub(crate) fn lease_mut(&mut self) -> Option<&mut Lease> {
        match self {
            Self::Release(lease)
            | Self::AdvancePastFence(lease, _)
            | Self::Open(lease, ..)
            | Self::Refuse(lease, ..)
            | Self::Close(lease, ..)
            | Self::Decide(lease, _) => Some(lease),
            _ => None,
        }
    }
}
