//! Launching what a plan asks for: resuming open intents, then trying the options in order. One
//! request launches one instance, so that each has its own intent and its own agent token.

use super::executor::{Executor, Stop};
use super::launch_batch::{AT_ONCE, EarlierRequest, LaunchOutcome};
use super::launch_request::Placement;
use crate::ids::{ClientSha, ImageId};
use crate::lock::LockError;
use crate::model::Intent;
use crate::report::StepResult;
use crate::scaling::{Action, Fleet, LaunchOption, Plan, Step};

/// The launches of one step in one pool.
struct Group {
    /// How many instances the step needs from this pool.
    count: u32,
    requested: u32,
    /// How many of the requested ones were not refused: they exist, or may exist.
    taken: u32,
    outcomes: Vec<LaunchOutcome>,
}

impl Executor<'_> {
    /// Sends the requests of all open intents again, each under its own token. Returns false if
    /// the outcome of one is still unknown.
    pub(super) async fn resume(
        &self,
        plan: &Plan,
        results: &mut Vec<StepResult>,
    ) -> Result<bool, Stop> {
        let mut open: Vec<(&Step, &Intent)> = vec![];
        for step in &plan.steps {
            let Action::ResumeLaunch { launch } = &step.action else {
                continue;
            };
            let mut intents = self.snapshot.open_intents.iter();
            match intents.find(|intent| intent.launch_id == *launch) {
                Some(intent) => open.push((step, intent)),
                None => {
                    let reason = "the snapshot does not have this intent";
                    results.push(StepResult::failed(&step.action, reason));
                }
            }
        }
        for batch in open.chunks(AT_ONCE) {
            self.check_time()?;
            let intents: Vec<_> = batch.iter().map(|(_, intent)| *intent).collect();
            let outcomes = self
                .request_launches(&intents, EarlierRequest::Possible)
                .await?;
            for ((step, _), outcome) in batch.iter().zip(&outcomes) {
                results.push(match outcome {
                    LaunchOutcome::Launched(n) => {
                        StepResult::launched(&step.action, *n, format!("{n} launched"))
                    }
                    LaunchOutcome::Unlisted(n) => {
                        StepResult::launched(&step.action, *n, unlisted(*n))
                    }
                    LaunchOutcome::NoCapacity(why)
                    | LaunchOutcome::Refused(why)
                    | LaunchOutcome::Impossible(why)
                    | LaunchOutcome::Open(why) => StepResult::failed(&step.action, why),
                });
            }
            if outcomes.iter().any(LaunchOutcome::is_open) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Tries the options in order until all instances are launched. What one pool has no capacity
    /// for is requested from the next. Returns false if the outcome of a launch is unknown: nothing
    /// else may be launched then.
    pub(super) async fn launch(
        &self,
        step: &Step,
        image: (&ImageId, &ClientSha),
        options: &[LaunchOption],
        plan: &Plan,
        results: &mut Vec<StepResult>,
    ) -> Result<bool, Stop> {
        self.check_time()?;
        let settings = &self.snapshot.settings;
        let before = results.len();
        let groups = match self.host.security_groups(&settings.security_groups).await {
            Ok(groups) => groups,
            Err(error) => {
                results.push(StepResult::failed("look up regions.security_groups", error));
                return Ok(true);
            }
        };
        let mut room = LaunchOption::most(options);
        let mut missing_slots = u32::MAX;
        for option in options {
            let subnets = match self.host.subnets(&option.choice.subnet).await {
                Ok(subnets) => subnets,
                Err(error) => {
                    let place = format!("look up the subnet of choice {}", option.choice);
                    results.push(StepResult::failed(place, error));
                    continue;
                }
            };
            let capacity = option.choice.capacity.max(1);
            for subnet_id in subnets
                .into_iter()
                .filter(|id| !plan.rests(&option.choice, id, image.0, self.now))
            {
                let count = option.count.min(missing_slots.div_ceil(capacity)).min(room);
                let each = LaunchOption {
                    count: match self.algorithm.fleet() {
                        // Instances of one request would share their user data, and so their
                        // agent's token.
                        Fleet::Instances => 1,
                        Fleet::Replicas => count,
                    },
                    choice: option.choice.clone(),
                };
                let placement = Placement {
                    option: &each,
                    subnet_id,
                    security_group_ids: groups.clone(),
                };
                let group = self.launch_in(image, &placement, count, results).await?;
                if group.is_open() || group.is_over() {
                    return Ok(!group.is_open());
                }
                room = room.saturating_sub(group.taken);
                missing_slots = (count - group.taken).saturating_mul(capacity);
            }
        }
        // Not added if a result above already says what went wrong.
        if results[before..].iter().all(|result| result.ok) {
            let reason = "EC2 has no capacity for any launch choice, now or in the last minutes";
            results.push(StepResult::failed(&step.action, reason));
        }
        Ok(true)
    }

    /// Launches up to `count` instances in one pool, and adds one result for them.
    async fn launch_in(
        &self,
        image: (&ImageId, &ClientSha),
        placement: &Placement<'_>,
        count: u32,
        results: &mut Vec<StepResult>,
    ) -> Result<Group, Stop> {
        let mut group = Group {
            count,
            requested: 0,
            taken: 0,
            outcomes: vec![],
        };
        let ended = self.launch_group(image, placement, &mut group).await;
        let machine = placement.option.choice.machine();
        let name = format!("launch {count} x {machine} in {}", placement.subnet_id);
        // A pass whose time is used up still reports what it has launched.
        if ended.is_ok() || !group.outcomes.is_empty() {
            results.push(group.result(name));
        }
        ended.map(|()| group)
    }

    /// Records and requests the group's launches, some at a time, until one of them fails.
    async fn launch_group(
        &self,
        image: (&ImageId, &ClientSha),
        placement: &Placement<'_>,
        group: &mut Group,
    ) -> Result<(), Stop> {
        let each = placement.option.count.max(1);
        let launches: Vec<_> = (0..group.count / each).collect();
        for batch in launches.chunks(AT_ONCE) {
            self.check_time()?;
            let intents = batch.iter().map(|_| {
                self.launches.intent(
                    self.algorithm.fleet(),
                    &self.snapshot.settings,
                    image,
                    placement.clone(),
                    self.ids,
                    self.now,
                )
            });
            let intents: Vec<_> = match intents.collect::<Result<_, _>>() {
                Ok(intents) => intents,
                Err(error) => {
                    let impossible = LaunchOutcome::Impossible(error.to_string());
                    group.outcomes.push(impossible);
                    break;
                }
            };
            let tally = self.tally(|tally| {
                for intent in &intents {
                    tally.add(intent.request.count, intent.created_at);
                }
            });
            match self.store.open_intents(self.lease, &intents, &tally).await {
                Ok(()) => {}
                Err(error @ LockError::Lost { .. }) => {
                    return Err(Stop::LockLost(error.to_string()));
                }
                // They may have been recorded.
                Err(error) => {
                    group.outcomes.push(LaunchOutcome::Open(error.to_string()));
                    break;
                }
            }
            let intents: Vec<_> = intents.iter().collect();
            let outcomes = self
                .request_launches(&intents, EarlierRequest::None)
                .await?;
            for (intent, outcome) in intents.iter().zip(&outcomes) {
                group.requested += intent.request.count;
                if !outcome.is_refused() {
                    group.taken += intent.request.count;
                }
            }
            group.outcomes.extend(outcomes);
            // Others would fare alike.
            if group.taken < group.requested || group.is_open() {
                break;
            }
        }
        Ok(())
    }
}

impl Group {
    fn is_open(&self) -> bool {
        self.outcomes.iter().any(LaunchOutcome::is_open)
    }

    /// Nothing is left for another pool, or it would fail there too.
    fn is_over(&self) -> bool {
        let is_impossible = |outcome: &_| matches!(outcome, LaunchOutcome::Impossible(_));
        self.taken == self.count || self.outcomes.iter().any(is_impossible)
    }

    /// One result for all launches, with the first reason of each kind of problem.
    fn result(&self, name: String) -> StepResult {
        let (mut launched, mut unlisted_count, mut open_count) = (0, 0, 0);
        let (mut open, mut refused, mut no_capacity) = (None, None, None);
        for outcome in &self.outcomes {
            match outcome {
                LaunchOutcome::Launched(n) => launched += n,
                LaunchOutcome::Unlisted(n) => unlisted_count += n,
                LaunchOutcome::NoCapacity(why) => no_capacity = no_capacity.or(Some(why)),
                LaunchOutcome::Refused(why) | LaunchOutcome::Impossible(why) => {
                    refused = refused.or(Some(why));
                }
                LaunchOutcome::Open(why) => {
                    open_count += 1;
                    open = open.or(Some(why));
                }
            }
        }
        let left = self.count - self.taken;
        let mut parts = vec![];
        if launched > 0 {
            parts.push(format!("{launched} launched"));
        }
        if unlisted_count > 0 {
            parts.push(unlisted(unlisted_count));
        }
        if let Some(why) = open {
            parts.push(format!("{open_count} open: {why}"));
        }
        match (refused, no_capacity) {
            (Some(why), _) => parts.push(format!("{left} not launched: {why}")),
            // Not a failure: the next subnet or option may have capacity.
            (None, Some(why)) => parts.push(format!("no capacity for {left}: {why}")),
            (None, None) if left > 0 => parts.push(format!("{left} not requested")),
            (None, None) => {}
        }
        let launches = launched + unlisted_count;
        StepResult {
            step: name,
            ok: open.is_none() && refused.is_none(),
            result: parts.join("; "),
            launched: (launches > 0).then_some(launches),
        }
    }
}

fn unlisted(count: usize) -> String {
    format!("{count} launched, open until EC2 lists them")
}
