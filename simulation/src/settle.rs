//! When faults stop, everything comes to rest: how soon, and what rest is.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use shared::clock::Clock;
use shared::ids::{InstanceId, RegionName};
use shared::model::ImageState;
use shared::pass::{PassRequest, Reconciler};
use shared::report::PassOutcome;
use shared::scaling::Reason;
use shared::settings::RegionSettings;
use shared::trigger::Trigger;
use testing::InstanceRow;

use crate::checks::{Check, Violation};
use crate::simulation::Simulation;

/// Scheduled passes, one a minute, after which a region is at rest once nothing goes wrong any
/// more. The longest chain that the simulation's settings allow: sessions end (7 minutes); an
/// agent that died in them is found silent (4), or its machine has to be called missing (2);
/// what is surplus then is drained one a pass (8 instances at most) and waits to shut down (3);
/// a refused choice is asked again (3), and what was launched boots, or does not and is
/// replaced (4); each removal takes another pass or two to verify.
pub const SETTLING_PASSES: u32 = 40;

impl Simulation {
    /// Ends the storm and lets passes come until all is at rest. The number of passes that it
    /// took, or the rule that did not hold.
    pub fn settle(&mut self) -> u32 {
        self.calm_down();
        for minute in 1..=SETTLING_PASSES {
            let until = self.now() + SignedDuration::from_mins(1);
            self.run_until(until);
            if self.violation().is_some() {
                return minute;
            }
            if !self.is_busy() && self.unrest().is_none() {
                return minute;
            }
            self.approve_what_the_guard_keeps();
        }
        let why = self
            .unrest()
            .unwrap_or_else(|| "functions run on".to_owned());
        let text = format!("not at rest after {SETTLING_PASSES} passes: {why}");
        self.checks.report(Violation::new(Check::Settles, text));
        SETTLING_PASSES
    }

    fn calm_down(&mut self) {
        self.over = true;
        self.faults.stop();
        self.rollouts.heal();
        self.trace
            .line(|| "* nothing goes wrong any more".to_owned());
        for region in self.scenario.names() {
            self.clear_weather(&region);
            if let Some(settings) = self.world.database.rows().tables.settings_mut(&region) {
                settings.paused = false;
                settings.enabled = true;
                // A region without a choice that EC2 can fill is the operator's to mend.
                settings.max_instances = settings.max_instances.max(1);
            }
        }
    }

    /// What keeps the world from being at rest, if anything does.
    pub fn unrest(&self) -> Option<String> {
        self.scenario.names().iter().find_map(|region| {
            let why = self.unrest_in(region)?;
            Some(format!("{region}: {why}"))
        })
    }

    fn unrest_in(&self, region: &RegionName) -> Option<String> {
        {
            let mut items = self.world.store.items();
            let items = items.of(region);
            if !items.open.is_empty() {
                return Some(format!("open intents {:?}", items.open.keys()));
            }
            if items.wake_mark.is_some() {
                return Some("it is still marked as wanted".to_owned());
            }
            let is_held = |held: &testing::Held| held.expires_at > self.now().as_millisecond();
            if items.lock.as_ref().is_some_and(is_held) {
                return Some("its lock is held".to_owned());
            }
        }
        {
            let rows = self.world.database.rows();
            let known: Vec<_> = rows
                .tables
                .instances
                .iter()
                .filter(|(_, row)| row.region == *region)
                .map(|(id, _)| id)
                .collect();
            let host = self.world.host(region);
            let state = host.state();
            let live: Vec<_> = state.ec2.live(self.now()).collect();
            if live != known {
                return Some(format!("EC2 has {live:?}, and rows are {known:?}"));
            }
        }
        if let Some(why) = self.unfinished_upgrade(region) {
            return Some(why);
        }
        if let Some(id) = self.agents.silent_in(region, &self.world) {
            return Some(format!(
                "the agent of {id} is dead, and it has not been given up"
            ));
        }
        match self.plan(region) {
            Ok(plan) if plan.is_empty() => None,
            Ok(plan) => Some(format!("there is something to do: {plan}")),
            Err(error) => Some(error),
        }
    }

    /// An upgrade ends, one way or the other, and leaves the buffer on the current image.
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
                return Some(format!("{} is {} yet", image.id, image.state));
            }
            let is_over = matches!(image.state, ImageState::Retired | ImageState::Failed);
            let is_left = |(id, row): &(&InstanceId, &InstanceRow)| {
                row.region == *region && row.image_id == image.id && !tables.is_occupied(id)
            };
            if is_over && let Some((id, _)) = tables.instances.iter().find(is_left) {
                return Some(format!("{id} of {} is there, and nobody uses it", image.id));
            }
        }
        let current: Vec<_> = images()
            .filter(|image| image.state == ImageState::Current)
            .map(|image| image.id.clone())
            .collect();
        if current.is_empty() {
            // None was ever asked for that came up: there is nothing to launch from.
            let left = tables.instances.values().any(|row| row.region == *region);
            return left.then(|| "instances are there, and no image".to_owned());
        }
        let free = tables.free_slots_on(region, &current, self.now());
        let RegionSettings {
            target_free,
            max_instances,
            ..
        } = tables.regions[region].settings;
        let of_region = |row: &&InstanceRow| row.region == *region;
        let live = tables.instances.values().filter(of_region).count();
        let has_room = live < usize::try_from(max_instances).unwrap_or(usize::MAX);
        (free < target_free && has_room)
            .then(|| format!("{free} of {target_free} are free on {current:?}, and there is room"))
    }

    /// What a pass would do now.
    fn plan(&self, region: &RegionName) -> Result<shared::scaling::Plan, String> {
        let passes = self.world.onlooker();
        let order = order(&passes);
        let report = now_or_never(passes.dry_run(region, &order))?;
        match (report.outcome, report.plan) {
            (PassOutcome::DryRun, Some(plan)) => Ok(plan),
            (outcome, _) => Err(format!("a dry run is {outcome:?}")),
        }
    }

    /// The operator gives the word that the guard waits for.
    fn approve_what_the_guard_keeps(&mut self) {
        for region in self.scenario.names() {
            let Ok(plan) = self.plan(&region) else {
                continue;
            };
            let is_guard =
                |note: &shared::scaling::Note| matches!(note.reason, Reason::Guard { .. });
            if plan.notes.iter().any(is_guard) {
                let event = json!({"regions": [region], "approve_mass_removal": true});
                self.reconcile("approved", event);
                // Before the schedule's next pass: beside it, this one finds the region busy.
                self.follow_up_now();
            }
        }
    }
}

fn order(passes: &Reconciler) -> PassRequest {
    PassRequest {
        trigger: Trigger::ByHand,
        id: "onlooker".to_owned(),
        began: now(&*passes.clock),
        approve_mass_removal: false,
    }
}

fn now(clock: &dyn Clock) -> Timestamp {
    clock.now()
}

/// Behind the gates nothing waits.
fn now_or_never<T>(future: impl Future<Output = T>) -> Result<T, String> {
    use futures::FutureExt;
    future
        .now_or_never()
        .ok_or_else(|| "a fake has waited for something".to_owned())
}
