//! The lock and the fence, as seen from outside: who holds what is told by what was granted,
//! not by what the table or the database say of themselves.

use std::collections::{BTreeMap, BTreeSet};

use shared::ids::RegionName;
use shared::lock::Lease;

use super::{Check, Scene, Violation};
use crate::facts::Fact;
use crate::gate::ProcessId;

#[derive(Debug, Default)]
pub(super) struct Lock {
    /// The last that was granted: its owner may write until somebody else is granted the next.
    holder: BTreeMap<RegionName, Lease>,
    /// Given back: anybody may take it.
    free: BTreeSet<RegionName>,
    held_by: BTreeMap<(ProcessId, RegionName), Lease>,
    /// The highest version under which a region was shown.
    fence: BTreeMap<RegionName, i64>,
}

impl Lock {
    pub(super) fn fact(
        &mut self,
        scene: &Scene<'_>,
        process: ProcessId,
        fact: &Fact,
        found: &mut Vec<Violation>,
    ) {
        match fact {
            Fact::Acquired(lease) => self.acquired(scene, process, lease, found),
            Fact::Released(lease) => {
                if self.is_holder(lease) {
                    self.free.insert(lease.region.clone());
                }
            }
            Fact::Began { fence } => {
                let in_force = self.fence.entry(fence.region.clone()).or_default();
                *in_force = fence.version.max(*in_force);
            }
            Fact::Wrote { call, fence, .. } => {
                let in_force = self.fence.get(&fence.region).copied().unwrap_or(0);
                if fence.version < in_force {
                    let version = fence.version;
                    let text = format!("{call} under {version}, with the fence at {in_force}");
                    found.push(Violation::new(Check::NoWriteBelowFence, text));
                }
            }
            Fact::Opened(lease, _) => self.wrote("open_intent", lease, found),
            Fact::Closed(lease, _) => self.wrote("close_intent", lease, found),
            Fact::Decided(lease) => self.wrote("record_decision", lease, found),
            Fact::AskedToLaunch { region, .. } => {
                self.asked("launch", scene, process, region, found);
            }
            Fact::AskedToTerminate { region, .. } => {
                self.asked("terminate", scene, process, region, found);
            }
            Fact::Marked(_)
            | Fact::Cleared(_)
            | Fact::Assigned { .. }
            | Fact::AskedForImage { .. }
            | Fact::ImageMoved { .. } => {}
        }
    }

    fn is_holder(&self, lease: &Lease) -> bool {
        let holder = self.holder.get(&lease.region);
        holder.is_some_and(|h| h.owner == lease.owner && h.version == lease.version)
    }

    fn acquired(
        &mut self,
        scene: &Scene<'_>,
        process: ProcessId,
        lease: &Lease,
        found: &mut Vec<Violation>,
    ) {
        if let Some(holder) = self.holder.get(&lease.region) {
            // Its own clock may be behind by as much as it stops early.
            let relied_on =
                !self.free.contains(&lease.region) && scene.world.now() < holder.expires_at;
            if holder.owner != lease.owner && relied_on {
                let text = format!("{lease:?} was granted while {holder:?} is in force");
                found.push(Violation::new(Check::OneHolder, text));
            }
            if holder.owner != lease.owner && holder.version >= lease.version {
                let text = format!("{lease:?} is no newer than {holder:?}");
                found.push(Violation::new(Check::OneHolder, text));
            }
        }
        self.free.remove(&lease.region);
        self.holder.insert(lease.region.clone(), lease.clone());
        let key = (process, lease.region.clone());
        self.held_by.insert(key, lease.clone());
    }

    fn wrote(&self, call: &str, lease: &Lease, found: &mut Vec<Violation>) {
        if !self.is_holder(lease) {
            let holder = self.holder.get(&lease.region);
            let text = format!("{call} under {lease:?}, and the holder is {holder:?}");
            found.push(Violation::new(Check::NoWriteWithoutLock, text));
        }
    }

    fn asked(
        &self,
        what: &str,
        scene: &Scene<'_>,
        process: ProcessId,
        region: &RegionName,
        found: &mut Vec<Violation>,
    ) {
        if scene.straggler || scene.late.contains(&process) {
            return;
        }
        let own = self.held_by.get(&(process, region.clone()));
        if !own.is_some_and(|lease| self.is_holder(lease)) {
            let holder = self.holder.get(region);
            let text = format!("{process} asked EC2 to {what}, and the holder is {holder:?}");
            found.push(Violation::new(Check::NoAskWithoutLock, text));
        }
    }
}
