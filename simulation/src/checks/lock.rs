//! The lock and the fence, seen from outside. Who holds a lock follows from what was granted, and
//! not from what the table or the database report.

use std::collections::{BTreeMap, BTreeSet};

use shared::ids::RegionName;
use shared::lock::Lease;

use super::context::StepContext;
use super::rule::{Check, Violation};
use crate::effects::Effect;
use crate::yield_points::ProcessId;

#[derive(Debug, Default)]
pub(super) struct Lock {
    /// The last lease that was granted. Its owner may write until the next one is granted.
    holder: BTreeMap<RegionName, Lease>,
    /// Regions whose lock was released.
    free: BTreeSet<RegionName>,
    held_by: BTreeMap<(ProcessId, RegionName), Lease>,
    /// The highest version under which a pass observed the region.
    fence: BTreeMap<RegionName, i64>,
}

impl Lock {
    pub(super) fn check_effect(
        &mut self,
        context: &StepContext<'_>,
        process: ProcessId,
        effect: &Effect,
        found: &mut Vec<Violation>,
    ) {
        match effect {
            Effect::LockAcquired(lease) => self.check_acquired(context, process, lease, found),
            Effect::LockReleased(lease) => {
                if self.is_holder(lease) {
                    self.free.insert(lease.region.clone());
                }
            }
            Effect::PassBegan { fence, .. } => {
                let in_force = self.fence.entry(fence.region.clone()).or_default();
                *in_force = fence.version.max(*in_force);
            }
            Effect::DatabaseWrite { call, fence, .. } => {
                let in_force = self.fence.get(&fence.region).copied().unwrap_or(0);
                if fence.version < in_force {
                    let version = fence.version;
                    let text =
                        format!("{call} under version {version}, below the fence at {in_force}");
                    found.push(Violation::new(Check::NoWriteBelowFence, text));
                }
            }
            Effect::IntentsOpened(lease, _) => self.check_write("open_intents", lease, found),
            Effect::IntentsClosed(lease, _) => self.check_write("close_intents", lease, found),
            Effect::DecisionRecorded(lease) => self.check_write("record_decision", lease, found),
            Effect::LaunchRequested { region, .. } => {
                self.check_ec2_call("launch", context, process, region, found);
            }
            Effect::TerminateRequested { region, .. } => {
                self.check_ec2_call("terminate", context, process, region, found);
            }
            Effect::WakeMarkSet(_)
            | Effect::WakeMarkCleared(_)
            | Effect::SlotAssigned { .. }
            | Effect::UserRefused { .. }
            | Effect::UserAnswered(_)
            | Effect::UpgradeRequested { .. }
            | Effect::ImageMoved { .. } => {}
        }
    }

    fn is_holder(&self, lease: &Lease) -> bool {
        let holder = self.holder.get(&lease.region);
        holder.is_some_and(|h| h.owner == lease.owner && h.version == lease.version)
    }

    fn check_acquired(
        &mut self,
        context: &StepContext<'_>,
        process: ProcessId,
        lease: &Lease,
        found: &mut Vec<Violation>,
    ) {
        if let Some(holder) = self.holder.get(&lease.region) {
            // The holder's clock may be behind by as much as the holder stops before the end of its
            // lease.
            let relied_on =
                !self.free.contains(&lease.region) && context.world.now() < holder.expires_at;
            if holder.owner != lease.owner && relied_on {
                let text = format!("{lease:?} was granted while {holder:?} is valid");
                found.push(Violation::new(Check::OneLockHolder, text));
            }
            if holder.owner != lease.owner && holder.version >= lease.version {
                let text = format!("{lease:?} is not newer than {holder:?}");
                found.push(Violation::new(Check::OneLockHolder, text));
            }
        }
        self.free.remove(&lease.region);
        self.holder.insert(lease.region.clone(), lease.clone());
        let key = (process, lease.region.clone());
        self.held_by.insert(key, lease.clone());
    }

    fn check_write(&self, call: &str, lease: &Lease, found: &mut Vec<Violation>) {
        if !self.is_holder(lease) {
            let holder = self.holder.get(&lease.region);
            let text = format!("{call} under {lease:?}, but the holder is {holder:?}");
            found.push(Violation::new(Check::NoWriteWithoutLock, text));
        }
    }

    fn check_ec2_call(
        &self,
        what: &str,
        context: &StepContext<'_>,
        process: ProcessId,
        region: &RegionName,
        found: &mut Vec<Violation>,
    ) {
        if context.late_request || context.delayed.contains(&process) {
            return;
        }
        let own = self.held_by.get(&(process, region.clone()));
        if !own.is_some_and(|lease| self.is_holder(lease)) {
            let holder = self.holder.get(region);
            let text = format!("{process} called {what} at EC2, but the holder is {holder:?}");
            found.push(Violation::new(Check::NoEc2CallWithoutLock, text));
        }
    }
}
