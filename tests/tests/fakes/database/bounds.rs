//! Moments when an age is exactly at its bound, where a rule is easily off by one.

use jiff::{SignedDuration, Timestamp};
use shared::db::Fence;
use shared::ids::{InstanceId, RegionName};
use shared::model::InstanceStatus;
use shared::model::TerminateIf;
use testing::Tables;

use super::steps::{Action, launch_of};

/// The kind of age. The long ones are rare: all agents fall silent during them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Claim,
    MissingBeat,
    ResumedBeat,
    Lost,
    Waiting,
    Gap,
    Forgotten,
}

pub(crate) const KINDS: &[Kind] = &[
    Kind::Claim,
    Kind::Claim,
    Kind::MissingBeat,
    Kind::ResumedBeat,
    Kind::Lost,
    Kind::Waiting,
    Kind::Waiting,
    Kind::Gap,
    Kind::Gap,
    Kind::Forgotten,
];

/// The moment of a bound, and the rows that it concerns.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub(crate) at: Timestamp,
    kind: Kind,
    pub(crate) region: RegionName,
    instance: InstanceId,
}

impl Bound {
    /// The step whose answer depends on the age.
    pub(crate) fn action(&self, fence: Fence) -> Action {
        let instances = vec![self.instance.clone()];
        match self.kind {
            Kind::Claim => Action::Release(fence),
            Kind::MissingBeat => Action::Terminate(fence, instances, TerminateIf::Missing),
            Kind::ResumedBeat => {
                Action::Heartbeat(self.instance.clone(), launch_of(&self.instance))
            }
            Kind::Lost => Action::Terminate(fence, instances, TerminateIf::Lost),
            Kind::Waiting => Action::Observe(self.region.clone()),
            Kind::Gap | Kind::Forgotten => Action::BeginPass(fence),
        }
    }
}

/// All bounds of a kind in the existing regions.
pub(crate) fn all(tables: &Tables, kind: Kind, now: Timestamp) -> Vec<Bound> {
    let seconds = SignedDuration::from_secs;
    let mut bounds = vec![];
    let mut add = |at, region: &RegionName, instance: Option<&InstanceId>| {
        bounds.push(Bound {
            at,
            kind,
            region: region.clone(),
            instance: instance.cloned().unwrap_or_else(|| "".into()),
        });
    };
    for slot in tables.slots.values() {
        let host = tables.instances.get(&slot.instance_id);
        if let (Kind::Claim, Some(at), Some(host)) = (kind, slot.allocated_at, host) {
            add(at + seconds(90), &host.region, None);
        }
    }
    for (id, beat) in &tables.heartbeats {
        let host = &tables.instances[id];
        let waits = tables.regions[&host.region].settings.timeouts;
        // The other region's bound is too long to be observed through.
        let is_short = waits.lost < seconds(300);
        let at = match kind {
            _ if host.status == InstanceStatus::Terminating => continue,
            Kind::MissingBeat | Kind::ResumedBeat => beat.beat_at + waits.heartbeat,
            Kind::Lost if is_short => {
                let watched = tables.watched_since(&host.region, now);
                watched.map_or(beat.beat_at, |at| at.max(beat.beat_at)) + waits.lost
            }
            _ => continue,
        };
        add(at, &host.region, Some(id));
    }
    for ((_, region, _), waits) in &tables.waiting_users {
        if kind == Kind::Waiting {
            add(waits.last_at + tables.line_time(region), region, None);
        }
    }
    for (region, row) in &tables.regions {
        let last_pass_at = tables.fences.get(region).and_then(|f| f.last_pass_at);
        let gap = (row.settings.timeouts.lost / 2).max(seconds(90));
        if let (Kind::Gap, Some(at)) = (kind, last_pass_at) {
            add(at + gap, region, None);
        }
    }
    for (region, bucket) in &tables.wakeups {
        if kind == Kind::Forgotten {
            add(*bucket + seconds(3600), region, None);
        }
    }
    bounds
}
