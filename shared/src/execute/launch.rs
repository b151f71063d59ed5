//! Launching: the intent, then `RunInstances`, then the rows, then the intent is closed.
//! Wherever a function dies in between, the next pass finds the intent and goes on.

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

/// What became of one attempt at one launch.
enum LaunchAttempt {
    /// So many rows were recorded, and the intent is closed.
    Launched(usize),
    /// No room: closed, remembered; the next option may have some.
    NoCapacity(HostError),
    /// It cannot succeed as it is: closed.
    Refused(HostError),
    /// Not known, or not finished: the intent stays open.
    Open(String),
    /// So many replicas were launched. Nothing but EC2's list knows of them, and it lags: the
    /// intent stays open until they are all in it.
    Unlisted(usize),
}

/// Whether an earlier pass may have asked EC2 for a launch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Never,
    Before,
}

impl Executor<'_> {
    /// Asks again, under the same token, for what an earlier pass recorded. False when it is
    /// still not known what became of it.
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
                "the intent is not in the snapshot",
            ));
            return Ok(true);
        };
        let attempt = if intent.is_resumable(self.now) {
            self.ask(intent, Asked::Before).await?
        } else {
            self.look_up(intent, Asked::Before).await?
        };
        let settled = !matches!(attempt, LaunchAttempt::Open(_));
        results.push(match attempt {
            LaunchAttempt::Launched(rows) => {
                StepResult::launched(&step.action, rows, format!("{rows} recorded"))
            }
            LaunchAttempt::Unlisted(n) => StepResult::launched(&step.action, n, unlisted(n)),
            LaunchAttempt::NoCapacity(error) | LaunchAttempt::Refused(error) => {
                StepResult::failed(&step.action, error)
            }
            LaunchAttempt::Open(why) => StepResult::failed(&step.action, why),
        });
        Ok(settled)
    }

    /// Tries the options in order until one has room.
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
                .filter(|id| !self.refused_lately(option, id))
            {
                self.in_time()?;
                let what = format!(
                    "launch {} x {} in {subnet_id}",
                    option.count,
                    option.choice.machine()
                );
                let placement = Placement {
                    option,
                    subnet_id,
                    security_group_ids: groups.clone(),
                };
                let image = (image_id, client_sha);
                let intent = match self.launches.intent(
                    self.algorithm.fleet(),
                    settings,
                    image,
                    placement,
                    self.ids,
                    self.now,
                ) {
                    Ok(intent) => intent,
                    Err(error) => {
                        results.push(StepResult::failed(&step.action, error));
                        return Ok(());
                    }
                };
                if let Err(error) = self.store.open_intent(self.lease, &intent).await {
                    return self.not_recorded(&what, error, results);
                }
                match self.ask(&intent, Asked::Never).await? {
                    LaunchAttempt::Launched(rows) => {
                        results.push(StepResult::launched(what, rows, format!("{rows} launched")));
                        return Ok(());
                    }
                    LaunchAttempt::Unlisted(n) => {
                        results.push(StepResult::launched(what, n, unlisted(n)));
                        return Ok(());
                    }
                    // What this option lacks the next one may have.
                    LaunchAttempt::NoCapacity(error) => {
                        results.push(StepResult::ok(what, format!("the next is asked: {error}")));
                    }
                    LaunchAttempt::Refused(error) => {
                        let denied = error.kind == HostErrorKind::Denied;
                        results.push(StepResult::failed(what, error));
                        if denied {
                            return Ok(());
                        }
                    }
                    // It may have been launched: asking for another choice could launch twice.
                    LaunchAttempt::Open(why) => {
                        results.push(StepResult::failed(what, why));
                        return Ok(());
                    }
                }
            }
        }
        // Where something else went wrong, that is the reason.
        if results[before..].iter().all(|result| result.ok) {
            let why = "EC2 has no capacity for any launch choice, or refused it lately";
            results.push(StepResult::failed(&step.action, why));
        }
        Ok(())
    }

    fn refused_lately(&self, option: &LaunchOption, subnet_id: &str) -> bool {
        let mut refusals = self.snapshot.refusals.iter();
        refusals.any(|refusal| refusal.covers(&option.choice, subnet_id, self.now))
    }

    fn not_recorded(
        &self,
        what: &str,
        error: LockError,
        results: &mut Vec<StepResult>,
    ) -> Result<(), Stop> {
        if let LockError::Lost { .. } = error {
            return Err(Stop::LockLost(error.to_string()));
        }
        results.push(StepResult::failed(what, error));
        Ok(())
    }

    /// One `RunInstances` for one recorded intent, and what follows from its answer.
    async fn ask(&self, intent: &Intent, asked: Asked) -> Result<LaunchAttempt, Stop> {
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
            // Somebody may hold machines under this token: look, and never launch again.
            HostErrorKind::AlreadyTerminated | HostErrorKind::TokenMismatch => {
                self.look_up(intent, Asked::Before).await
            }
            // An earlier attempt may have gone through before the setting or the permission
            // was changed: what it launched must not be forgotten.
            HostErrorKind::Denied | HostErrorKind::Invalid | HostErrorKind::Gone => {
                match self.look_up(intent, asked).await? {
                    LaunchAttempt::Launched(0) => Ok(LaunchAttempt::Refused(error)),
                    found => Ok(found),
                }
            }
            HostErrorKind::Unclear | HostErrorKind::LeaseTooShort => Ok(LaunchAttempt::Open(
                format!("{error}; asked again under the same token"),
            )),
        }
    }

    /// Records what was launched under the intent's token, without launching.
    async fn look_up(&self, intent: &Intent, asked: Asked) -> Result<LaunchAttempt, Stop> {
        match self.host.launched_under(&intent.client_token).await {
            Ok(machines)
                if machines.is_empty() && asked == Asked::Before && self.may_lag(intent) =>
            {
                let why = "EC2 lists nothing of it, but its listings lag";
                Ok(LaunchAttempt::Open(why.to_owned()))
            }
            Ok(machines) => self.finish(intent, &machines).await,
            Err(error) => Ok(LaunchAttempt::Open(error.to_string())),
        }
    }

    /// What was launched may not be listed yet: as long as an unknown machine would be left
    /// alone for that reason.
    fn may_lag(&self, intent: &Intent) -> bool {
        let age = self.now.duration_since(intent.created_at);
        age < self.snapshot.settings.timeouts.orphan
    }

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

    /// Closes a launch of replicas once EC2's list has them all, or should have by now.
    async fn finish_replicas(
        &self,
        intent: &Intent,
        machines: &[Machine],
    ) -> Result<LaunchAttempt, Stop> {
        let launched = machines.len();
        let is_seen = |machine: &Machine| {
            machine.state.is_going() || self.snapshot.machines.contains_key(&machine.id)
        };
        if !machines.iter().all(is_seen) && self.may_lag(intent) {
            return Ok(LaunchAttempt::Unlisted(launched));
        }
        let outcome = format!("{launched} of {} launched", intent.request.count);
        self.close(intent, &outcome, None, LaunchAttempt::Launched(launched))
            .await
    }

    async fn close(
        &self,
        intent: &Intent,
        outcome: &str,
        refusal: Option<CapacityRefusal>,
        then: LaunchAttempt,
    ) -> Result<LaunchAttempt, Stop> {
        let closing = IntentClosure {
            launch_id: intent.launch_id.clone(),
            outcome: outcome.to_owned(),
            refusal,
        };
        match self.store.close_intent(self.lease, &closing).await {
            Ok(()) => Ok(then),
            Err(error @ LockError::Lost { .. }) => Err(Stop::LockLost(error.to_string())),
            Err(error) => Ok(LaunchAttempt::Open(error.to_string())),
        }
    }
}

fn unlisted(count: usize) -> String {
    format!("{count} launched, open until EC2 lists them")
}
