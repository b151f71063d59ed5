//! Launching: record the intent, call `RunInstances`, insert the rows, close the intent. If a
//! function dies in between, the next pass finds the open intent and continues.

use super::executor::{Executor, Stop};
use super::launch_request::{LaunchRequestError, Placement};
use crate::db::DbError;
use crate::host::{HostError, HostErrorKind};
use crate::ids::{ClientSha, ImageId, LaunchId};
use crate::lock::LockError;
use crate::model::{CapacityRefusal, Intent, Machine, NewInstance};
use crate::report::StepResult;
use crate::scaling::{Fleet, LaunchOption, Step};
use crate::store::IntentClosure;

/// The outcome of one attempt at one launch.
enum LaunchAttempt {
    /// This many instances were launched, and the intent is closed.
    Launched(usize),
    /// EC2 had no capacity: the intent is closed, and the refusal is recorded. The next option may
    /// succeed.
    NoCapacity(HostError),
    /// The request cannot succeed: the intent is closed.
    Refused(HostError),
    /// Unknown or unfinished, and why: the intent stays open.
    Open(String),
    /// This many replicas were launched. They are known from EC2's listing only, which lags: the
    /// intent stays open until the listing contains them all.
    Unlisted(usize),
}

/// Whether an earlier pass may have sent a launch's request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum EarlierRequest {
    None,
    Possible,
}

impl Executor<'_> {
    /// Sends the request of an open intent again, under the same token. Returns false if the
    /// outcome is still unknown.
    pub(super) async fn resume(
        &self,
        step: &Step,
        launch: &LaunchId,
        results: &mut Vec<StepResult>,
    ) -> Result<bool, Stop> {
        let intents = &self.snapshot.open_intents;
        let Some(intent) = intents.iter().find(|intent| intent.launch_id == *launch) else {
            results.push(StepResult::failed(
                &step.action,
                "the snapshot does not have this intent",
            ));
            return Ok(true);
        };
        let attempt = if intent.is_resumable(self.now) {
            self.request_launch(intent, EarlierRequest::Possible)
                .await?
        } else {
            self.look_up(intent, EarlierRequest::Possible).await?
        };
        let settled = !matches!(attempt, LaunchAttempt::Open(_));
        results.push(match attempt {
            LaunchAttempt::Launched(rows) => {
                StepResult::launched(&step.action, rows, format!("{rows} launched"))
            }
            LaunchAttempt::Unlisted(n) => StepResult::launched(&step.action, n, unlisted(n)),
            LaunchAttempt::NoCapacity(error) | LaunchAttempt::Refused(error) => {
                StepResult::failed(&step.action, error)
            }
            LaunchAttempt::Open(reason) => StepResult::failed(&step.action, reason),
        });
        Ok(settled)
    }

    /// Tries the options in order until EC2 has capacity for one.
    pub(super) async fn launch(
        &self,
        step: &Step,
        image_id: &ImageId,
        client_sha: &ClientSha,
        options: &[LaunchOption],
        results: &mut Vec<StepResult>,
    ) -> Result<(), Stop> {
        let settings = &self.snapshot.settings;
        let before = results.len();
        let groups = match self.host.security_groups(&settings.security_groups).await {
            Ok(groups) => groups,
            Err(error) => {
                results.push(StepResult::failed("look up regions.security_groups", error));
                return Ok(());
            }
        };
        for option in options {
            let subnets = match self.host.subnets(&option.choice.subnet).await {
                Ok(subnets) => subnets,
                Err(error) => {
                    let place = format!("look up the subnet of choice {}", option.choice);
                    results.push(StepResult::failed(place, error));
                    continue;
                }
            };
            for subnet_id in subnets
                .into_iter()
                .filter(|id| !self.was_refused_recently(option, id))
            {
                self.check_time()?;
                let placement = Placement {
                    option,
                    subnet_id,
                    security_group_ids: groups.clone(),
                };
                let image = (image_id, client_sha);
                if self.launch_in(step, image, placement, results).await? {
                    return Ok(());
                }
            }
        }
        // Not added if a result above already says what went wrong.
        if results[before..].iter().all(|result| result.ok) {
            let reason = "EC2 has no capacity for any launch choice, now or in the last minutes";
            results.push(StepResult::failed(&step.action, reason));
        }
        Ok(())
    }

    /// Launches in one subnet. Returns whether the step is over: launched, unknown, or denied. If
    /// it is not, the next subnet or option may succeed.
    async fn launch_in(
        &self,
        step: &Step,
        image: (&ImageId, &ClientSha),
        placement: Placement<'_>,
        results: &mut Vec<StepResult>,
    ) -> Result<bool, Stop> {
        let LaunchOption { choice, count } = placement.option;
        let step_name = format!(
            "launch {count} x {} in {}",
            choice.machine(),
            placement.subnet_id
        );
        let intent = match self.launches.intent(
            self.algorithm.fleet(),
            &self.snapshot.settings,
            image,
            placement,
            self.ids,
            self.now,
        ) {
            Ok(intent) => intent,
            Err(error) => {
                results.push(StepResult::failed(&step.action, error));
                return Ok(true);
            }
        };
        match self.store.open_intent(self.lease, &intent).await {
            Ok(()) => {}
            Err(error @ LockError::Lost { .. }) => return Err(Stop::LockLost(error.to_string())),
            Err(error) => {
                results.push(StepResult::failed(step_name, error));
                return Ok(true);
            }
        }
        let attempt = self.request_launch(&intent, EarlierRequest::None).await?;
        let is_over = match &attempt {
            LaunchAttempt::NoCapacity(_) => false,
            LaunchAttempt::Refused(error) => error.kind == HostErrorKind::Denied,
            // An open launch may have succeeded: another choice could then launch too many.
            LaunchAttempt::Launched(_) | LaunchAttempt::Unlisted(_) | LaunchAttempt::Open(_) => {
                true
            }
        };
        results.push(match attempt {
            LaunchAttempt::Launched(rows) => {
                StepResult::launched(step_name, rows, format!("{rows} launched"))
            }
            LaunchAttempt::Unlisted(n) => StepResult::launched(step_name, n, unlisted(n)),
            // Not a failure: the next subnet or option may have capacity.
            LaunchAttempt::NoCapacity(error) => StepResult::ok(
                step_name,
                format!("no capacity, the next one is tried: {error}"),
            ),
            LaunchAttempt::Refused(error) => StepResult::failed(step_name, error),
            LaunchAttempt::Open(reason) => StepResult::failed(step_name, reason),
        });
        Ok(is_over)
    }

    fn was_refused_recently(&self, option: &LaunchOption, subnet_id: &str) -> bool {
        let mut refusals = self.snapshot.refusals.iter();
        refusals.any(|refusal| refusal.covers(&option.choice, subnet_id, self.now))
    }

    /// Calls `RunInstances` for a recorded intent, and does what follows from the answer.
    async fn request_launch(
        &self,
        intent: &Intent,
        earlier: EarlierRequest,
    ) -> Result<LaunchAttempt, Stop> {
        let error = match self
            .host
            .launch(&intent.client_token, &intent.request)
            .await
        {
            Ok(machines) => return self.finish(intent, &machines).await,
            Err(error) => error,
        };
        match error.kind {
            HostErrorKind::Capacity => {
                let refusal = Some(CapacityRefusal::of(&intent.request, self.now));
                self.close(
                    intent,
                    "no capacity",
                    refusal,
                    LaunchAttempt::NoCapacity(error),
                )
                .await
            }
            // Machines may exist under this token: they are looked up, and nothing is launched.
            HostErrorKind::AlreadyTerminated | HostErrorKind::TokenMismatch => {
                self.look_up(intent, EarlierRequest::Possible).await
            }
            // An earlier attempt may have succeeded before a setting or permission was changed:
            // what it launched must be recorded.
            HostErrorKind::Denied | HostErrorKind::Invalid | HostErrorKind::Gone => {
                match self.look_up(intent, earlier).await? {
                    LaunchAttempt::Launched(0) => Ok(LaunchAttempt::Refused(error)),
                    found => Ok(found),
                }
            }
            HostErrorKind::Unclear | HostErrorKind::LeaseTooShort => Ok(LaunchAttempt::Open(
                format!("{error}; requested again under the same token"),
            )),
        }
    }

    /// Records the machines that were launched under the intent's token, without launching.
    async fn look_up(
        &self,
        intent: &Intent,
        earlier: EarlierRequest,
    ) -> Result<LaunchAttempt, Stop> {
        match self.host.launched_under(&intent.client_token).await {
            Ok(machines)
                if machines.is_empty()
                    && earlier == EarlierRequest::Possible
                    && self.may_lag(intent) =>
            {
                let reason = "EC2 does not list it, but listings lag";
                Ok(LaunchAttempt::Open(reason.to_owned()))
            }
            Ok(machines) => self.finish(intent, &machines).await,
            Err(error) => Ok(LaunchAttempt::Open(error.to_string())),
        }
    }

    /// Whether machines of this launch may be missing from listings because those lag: for as long
    /// as an unknown machine is left alone for the same reason.
    fn may_lag(&self, intent: &Intent) -> bool {
        let age = self.now.duration_since(intent.created_at);
        age < self.snapshot.settings.timeouts.orphan
    }

    /// Records a launch's machines, and closes the intent if that is complete.
    async fn finish(&self, intent: &Intent, machines: &[Machine]) -> Result<LaunchAttempt, Stop> {
        match self.algorithm.fleet() {
            Fleet::Instances => self.finish_instances(intent, machines).await,
            Fleet::Replicas => self.finish_replicas(intent, machines).await,
        }
    }

    /// Inserts the rows of a launch, then closes its intent.
    async fn finish_instances(
        &self,
        intent: &Intent,
        machines: &[Machine],
    ) -> Result<LaunchAttempt, Stop> {
        let Some(database) = self.instances else {
            return Ok(LaunchAttempt::Open(
                LaunchRequestError::NoHasura.to_string(),
            ));
        };
        let rows: Vec<NewInstance> = machines
            .iter()
            .filter(|machine| !machine.state.is_going())
            .map(|machine| NewInstance {
                id: machine.id.clone(),
                launch_id: intent.launch_id.clone(),
                image_id: intent.request.image_id.clone(),
                client_sha: intent.request.client_sha.clone(),
                instance_type: intent.request.instance_type.clone(),
                capacity: intent.request.capacity,
                launched_at: machine.launched_at,
            })
            .collect();
        if !rows.is_empty() {
            match database.record_instances(&self.lease.fence(), &rows).await {
                Ok(_) => {}
                Err(error @ DbError::Fenced { .. }) => {
                    return Err(Stop::LockLost(error.to_string()));
                }
                Err(error) => return Ok(LaunchAttempt::Open(error.to_string())),
            }
        }
        let outcome = format!("{} of {} launched", rows.len(), intent.request.count);
        self.close(intent, &outcome, None, LaunchAttempt::Launched(rows.len()))
            .await
    }

    /// Closes a launch of replicas once EC2's listing has them all, or does not lag that long.
    async fn finish_replicas(
        &self,
        intent: &Intent,
        machines: &[Machine],
    ) -> Result<LaunchAttempt, Stop> {
        let launched = machines.len();
        let is_listed = |machine: &Machine| {
            machine.state.is_going() || self.snapshot.machines.contains_key(&machine.id)
        };
        if !machines.iter().all(is_listed) && self.may_lag(intent) {
            return Ok(LaunchAttempt::Unlisted(launched));
        }
        let outcome = format!("{launched} of {} launched", intent.request.count);
        self.close(intent, &outcome, None, LaunchAttempt::Launched(launched))
            .await
    }

    /// Closes the intent. Returns `then`, or an open attempt if that failed.
    async fn close(
        &self,
        intent: &Intent,
        outcome: &str,
        refusal: Option<CapacityRefusal>,
        then: LaunchAttempt,
    ) -> Result<LaunchAttempt, Stop> {
        let closure = IntentClosure {
            launch_id: intent.launch_id.clone(),
            outcome: outcome.to_owned(),
            refusal,
        };
        match self.store.close_intent(self.lease, &closure).await {
            Ok(()) => Ok(then),
            Err(error @ LockError::Lost { .. }) => Err(Stop::LockLost(error.to_string())),
            Err(error) => Ok(LaunchAttempt::Open(error.to_string())),
        }
    }
}

fn unlisted(count: usize) -> String {
    format!("{count} launched, open until EC2 lists them")
}
