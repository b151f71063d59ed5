//! What happens after the faults have stopped: the system has to converge within a number of
//! passes.

use jiff::SignedDuration;
use serde_json::json;
use shared::ids::{InstanceId, RegionName};
use shared::model::{ImageState, InstanceStatus};
use shared::pass::PassRequest;
use shared::report::PassOutcome;
use shared::scaling::Reason;
use shared::trigger::Trigger;
use testing::invariants::rest::{StoreView, rows_differ};
use testing::{InstanceRow, Tables};

use crate::checks::{Check, Violation};
use crate::simulation::Simulation;

/// The number of scheduled passes, one a minute, within which a region converges without faults.
/// The longest chain that the settings of the simulation allow: sessions end (7 minutes); an agent
/// that died during them is found silent (4), or its machine has to be recorded as missing (2);
/// surplus instances are then drained, one a pass (8 at most), and wait to shut down (3); a refused
/// choice is tried again (3), and what was launched boots, or does not boot and is replaced (4);
/// each removal takes another pass or two to verify. All that may have to wait for up to an hour: for
/// a pool to rest, or for `launches_per_hour`.
pub const MAX_PASSES: u32 = 40 + 60;

impl Simulation {
    /// Stops the faults and lets scheduled passes run until the system has converged. Returns the
    /// number of passes; a violation is reported to the checks.
    pub fn converge(&mut self) -> u32 {
        self.stop_faults();
        for minute in 1..=MAX_PASSES {
            let until = self.now() + SignedDuration::from_mins(1);
            self.run_until(until);
            if self.violation().is_some() {
                return minute;
            }
            if !self.is_busy() && self.reason_not_converged().is_none() {
                return minute;
            }
            self.approve_removals();
        }
        let reason = self
            .reason_not_converged()
            .unwrap_or_else(|| "functions still run".to_owned());
        let text = format!("not converged after {MAX_PASSES} passes: {reason}");
        self.checks.report(Violation::new(Check::Converges, text));
        MAX_PASSES
    }

    fn stop_faults(&mut self) {
        self.winding_down = true;
        self.faults.stop();
        self.builds.repair_images();
        self.trace.line(|| "* faults stop".to_owned());
        for region in self.scenario.region_names() {
            self.reset_ec2_conditions(&region);
            if let Some(settings) = self.world.database.rows().tables.settings_mut(&region) {
                settings.paused = false;
                settings.enabled = true;
                // Otherwise there is always an instance to replace.
                settings.endings.max_age = None;
                // A region without capacity in any of its choices cannot converge.
                settings.max_instances = settings.max_instances.max(1);
            }
        }
    }

    /// Why the system has not converged, if it has not.
    pub fn reason_not_converged(&self) -> Option<String> {
        self.scenario.region_names().iter().find_map(|region| {
            let reason = self.reason_in(region)?;
            Some(format!("{region}: {reason}"))
        })
    }

    fn reason_in(&self, region: &RegionName) -> Option<String> {
        let left = self.store_view(region).work_left();
        let unfinished = (!left.is_empty())
            .then(|| left.join(", "))
            .or_else(|| self.rows_unlike_machines(region))
            .or_else(|| self.serves_nobody(region))
            .or_else(|| self.unfinished_upgrade(region));
        if unfinished.is_some() {
            return unfinished;
        }
        if let Some(id) = self.agents.silent_in(region, &self.world) {
            return Some(format!(
                "the agent of {id} is dead, and the instance has not been removed"
            ));
        }
        match self.dry_run(region) {
            Ok(plan) if plan.is_empty() => None,
            Ok(plan) => Some(format!("a pass has something to do: {plan}")),
            Err(error) => Some(error),
        }
    }

    /// What is left in the store. A process that died does not release its lock: the lock is held
    /// until it expires.
    fn store_view(&self, region: &RegionName) -> StoreView {
        let mut items = self.world.store.items();
        let items = items.of(region);
        let is_held = |held: &testing::Held| held.expires_at > self.now().as_millisecond();
        StoreView {
            open_intents: items.open.keys().map(ToString::to_string).collect(),
            has_wake_mark: items.wake_mark.is_some(),
            lock_is_held: items.lock.as_ref().is_some_and(is_held),
            other: Vec::new(),
        }
    }

    fn rows_unlike_machines(&self, region: &RegionName) -> Option<String> {
        let rows = self.world.database.rows();
        let instances = rows.tables.instances.iter();
        let known = instances
            .filter(|(_, row)| row.region == *region)
            .map(|(id, _)| id)
            .collect();
        let host = self.world.host(region);
        let state = host.state();
        let live = state.ec2.live(self.now()).collect();
        rows_differ(&known, &live)
    }

    /// An instance that is paid for, and that no user can be given to. It is left alone if the maximum
    /// leaves no room for another one: for all that a pass knows, its slots cool down.
    fn serves_nobody(&self, region: &RegionName) -> Option<String> {
        let rows = self.world.database.rows();
        let tables = &rows.tables;
        if !has_room(tables, region) {
            return None;
        }
        let (id, _) = tables.instances.iter().find(|(id, row)| {
            row.region == *region
                && row.status == InstanceStatus::Active
                && tables.slots_of(id).next().is_none()
        })?;
        Some(format!("{id} has no slots, and has not been removed"))
    }

    /// Every upgrade ends, successfully or not, and leaves the buffer on the current image.
    fn unfinished_upgrade(&self, region: &RegionName) -> Option<String> {
        let rows = self.world.database.rows();
        let tables = &rows.tables;
        let images = || {
            tables
                .images
                .iter()
                .filter(|((of, _), _)| of == region)
                .map(|(_, image)| image)
        };
        for image in images() {
            if matches!(image.state, ImageState::Warming | ImageState::Baking) {
                return Some(format!("{} is still {}", image.id, image.state));
            }
            let is_over = matches!(image.state, ImageState::Retired | ImageState::Failed);
            let is_unused = |(id, row): &(&InstanceId, &InstanceRow)| {
                row.region == *region && row.image_id == image.id && !tables.is_occupied(id)
            };
            if is_over && let Some((id, _)) = tables.instances.iter().find(is_unused) {
                return Some(format!("{id} of {} still exists without users", image.id));
            }
        }
        let current: Vec<_> = images()
            .filter(|image| image.state == ImageState::Current)
            .map(|image| image.id.clone())
            .collect();
        if current.is_empty() {
            // No image has ever become current, so that nothing can be launched.
            let left = tables.instances.values().any(|row| row.region == *region);
            return left.then(|| "instances exist without a current image".to_owned());
        }
        let free = tables.free_slots_on(region, &current, self.now());
        let settings = &tables.regions[region].settings;
        let target = shared::scaling::target(settings, self.now()).slots;
        (free < target && has_room(tables, region)).then(|| {
            format!("{free} of {target} slots are free on {current:?}, and the maximum leaves room")
        })
    }

    /// The plan that a pass would make now.
    fn dry_run(&self, region: &RegionName) -> Result<shared::scaling::Plan, String> {
        let reconciler = self.world.direct_reconciler();
        let request = PassRequest {
            trigger: Trigger::ByHand,
            id: "simulation".to_owned(),
            began: self.now(),
            approve_mass_removal: false,
        };
        let report = now_or_never(reconciler.dry_run(region, &request))?;
        match (report.outcome, report.plan) {
            (PassOutcome::DryRun, Some(plan)) => Ok(plan),
            (outcome, _) => Err(format!("a dry run is {outcome:?}")),
        }
    }

    /// The operator approves what the guard against mass removals stops.
    fn approve_removals(&mut self) {
        for region in self.scenario.region_names() {
            let Ok(plan) = self.dry_run(&region) else {
                continue;
            };
            let is_guard =
                |note: &shared::scaling::Note| matches!(note.reason, Reason::Guard { .. });
            if plan.notes.iter().any(is_guard) {
                let event = json!({"regions": [region], "approve_mass_removal": true});
                self.reconcile("approved", event);
                // The approved pass starts before the next scheduled one: while that one holds the
                // lock, it could not run.
                self.process_outside_changes();
            }
        }
    }
}

/// Whether the region's maximum leaves room for another instance.
fn has_room(tables: &Tables, region: &RegionName) -> bool {
    let of_region = |row: &&InstanceRow| row.region == *region;
    let live = tables.instances.values().filter(of_region).count();
    let most = tables.regions[region].settings.max_instances;
    live < usize::try_from(most).unwrap_or(usize::MAX)
}

/// The fakes behind the yield points never wait.
fn now_or_never<T>(future: impl Future<Output = T>) -> Result<T, String> {
    use futures::FutureExt;
    future
        .now_or_never()
        .ok_or_else(|| "a fake has not answered at once".to_owned())
}
