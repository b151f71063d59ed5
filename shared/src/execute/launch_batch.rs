//! One batch of launches: the calls of `RunInstances` at the same time, then the rows of all of
//! them, then their intents are closed. Each write is one request for the whole batch, because
//! DynamoDB's transactions for one region exclude each other. If a function dies in between, the
//! next pass finds the open intents and continues.

use std::sync::PoisonError;

use futures::future::join_all;

use super::executor::{Executor, Stop};
use super::launch_request::LaunchRequestError;
use crate::db::{DbError, WriteOutcome};
use crate::host::{HostError, HostErrorKind};
use crate::lock::LockError;
use crate::model::{CapacityPool, Intent, Machine, NewInstance, Refusal};
use crate::scaling::Fleet;
use crate::store::IntentClosure;

/// The number of `RunInstances` calls at the same time. EC2 allows an account five of them at once
/// in a region, and two more each second ("Request throttling for the Amazon EC2 API" in the EC2
/// developer guide). A call takes a second or more, so that further batches stay near that rate.
pub(super) const AT_ONCE: usize = 5;

/// The outcome of one attempt at one launch. Texts say why.
pub(super) enum LaunchOutcome {
    /// This many instances were launched and have not ended, and the intent is closed.
    Launched(usize),
    /// This many replicas were launched. They are known from EC2's listing only, which lags: the
    /// intent stays open until the listing contains them all.
    Unlisted(usize),
    /// EC2 had no capacity: the intent is closed, and the refusal is recorded. The next option may
    /// succeed.
    NoCapacity(String),
    /// The request cannot succeed in this pool: the intent is closed.
    Refused(String),
    /// The request cannot succeed in any pool: the intent is closed, or was not recorded.
    Impossible(String),
    /// Unknown or unfinished: the intent stays open. It may have succeeded, so that another launch
    /// could be one too many.
    Open(String),
}

impl LaunchOutcome {
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open(_))
    }

    /// Nothing was launched, and nothing will be.
    pub(super) fn is_refused(&self) -> bool {
        matches!(
            self,
            Self::NoCapacity(_) | Self::Refused(_) | Self::Impossible(_)
        )
    }
}

/// Whether an earlier pass may have sent a launch's request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum EarlierRequest {
    None,
    Possible,
}

/// What EC2 answered to one launch.
enum Answer {
    /// Its machines, those included that have ended since.
    Machines(Vec<Machine>),
    Error(HostError),
    /// Unknown, and why.
    Open(String),
}

impl Executor<'_> {
    /// Requests recorded launches at the same time, and does what follows from the answers. The
    /// outcomes are in the order of the intents.
    pub(super) async fn request_launches(
        &self,
        intents: &[&Intent],
        earlier: EarlierRequest,
    ) -> Result<Vec<LaunchOutcome>, Stop> {
        let calls = intents.iter().map(|intent| self.call(intent, earlier));
        let mut answers = join_all(calls).await;
        if self.algorithm.fleet() == Fleet::Instances {
            self.record_rows(intents, &mut answers).await?;
        }
        self.close(intents, &answers).await
    }

    /// Calls `RunInstances` for one intent. It looks up what exists if that is all that is left to
    /// do.
    async fn call(&self, intent: &Intent, earlier: EarlierRequest) -> Answer {
        if !intent.is_resumable(self.now) {
            return self.look_up(intent, earlier).await;
        }
        let (token, request) = (&intent.client_token, &intent.request);
        let error = match self.host.launch(token, request).await {
            Ok(machines) => return Answer::Machines(machines),
            Err(error) => error,
        };
        self.launch_failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(error.code.clone());
        match error.kind {
            HostErrorKind::Capacity | HostErrorKind::NotOffered => Answer::Error(error),
            // Machines may exist under this token: they are looked up, and nothing is launched.
            HostErrorKind::AlreadyTerminated | HostErrorKind::TokenMismatch => {
                self.look_up(intent, EarlierRequest::Possible).await
            }
            // An earlier attempt may have succeeded before a setting or permission was changed:
            // what it launched must be recorded.
            HostErrorKind::Denied | HostErrorKind::Invalid | HostErrorKind::Gone => {
                match self.look_up(intent, earlier).await {
                    Answer::Machines(machines) if machines.is_empty() => Answer::Error(error),
                    found => found,
                }
            }
            HostErrorKind::Unclear | HostErrorKind::LeaseTooShort => {
                Answer::Open(format!("{error}; requested again under the same token"))
            }
        }
    }

    /// Finds the machines that were launched under the intent's token, without launching.
    async fn look_up(&self, intent: &Intent, earlier: EarlierRequest) -> Answer {
        match self.host.launched_under(&intent.launch_id).await {
            Ok(machines)
                if machines.is_empty()
                    && earlier == EarlierRequest::Possible
                    && self.may_lag(intent) =>
            {
                Answer::Open("EC2 does not list it, but listings lag".to_owned())
            }
            Ok(machines) => Answer::Machines(machines),
            Err(error) => Answer::Open(error.to_string()),
        }
    }

    /// Whether machines of this launch may be missing from listings because those lag: for as long
    /// as an unknown machine is left alone for the same reason.
    fn may_lag(&self, intent: &Intent) -> bool {
        let age = self.now.duration_since(intent.created_at);
        age < self.snapshot.settings.timeouts.orphan
    }

    /// Inserts the rows of all launched machines. If that fails, their intents stay open.
    async fn record_rows(&self, intents: &[&Intent], answers: &mut [Answer]) -> Result<(), Stop> {
        let launches = intents.iter().zip(&*answers);
        let rows: Vec<_> = launches
            .flat_map(|(intent, answer)| answer.rows(intent))
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        let error = match self.instances {
            None => LaunchRequestError::NoHasura.to_string(),
            Some(database) => match database.record_instances(&self.lease.fence(), &rows).await {
                Ok(results) if results.iter().any(|row| row.outcome == WriteOutcome::Busy) => {
                    WriteOutcome::Busy.to_string()
                }
                Ok(_) => return Ok(()),
                Err(error @ DbError::Fenced { .. }) => {
                    return Err(Stop::LockLost(error.to_string()));
                }
                Err(error) => error.to_string(),
            },
        };
        for answer in answers {
            if let Answer::Machines(machines) = answer
                && !machines.is_empty()
            {
                *answer = Answer::Open(error.clone());
            }
        }
        Ok(())
    }

    /// Closes the intents whose launch is complete or refused. If that fails, they stay open.
    async fn close(
        &self,
        intents: &[&Intent],
        answers: &[Answer],
    ) -> Result<Vec<LaunchOutcome>, Stop> {
        let launches = intents.iter().zip(answers);
        let mut outcomes: Vec<_> = launches
            .map(|(intent, answer)| self.outcome(intent, answer))
            .collect();
        let is_closed = |outcome: &LaunchOutcome| {
            !matches!(outcome, LaunchOutcome::Open(_) | LaunchOutcome::Unlisted(_))
        };
        let mut closures = vec![];
        let mut not_launched = vec![];
        for ((intent, answer), outcome) in intents.iter().zip(answers).zip(&outcomes) {
            if is_closed(outcome) {
                closures.push(self.closure(intent, answer));
                not_launched.push((answer.not_launched(intent), intent.created_at));
            }
        }
        if closures.is_empty() {
            return Ok(outcomes);
        }
        let tally = self.tally(|tally| {
            for (count, at) in not_launched {
                tally.take_back(count, at);
            }
        });
        match self
            .store
            .close_intents(self.lease, &closures, &tally)
            .await
        {
            Ok(()) => {}
            Err(error @ LockError::Lost { .. }) => return Err(Stop::LockLost(error.to_string())),
            Err(error) => {
                for outcome in outcomes.iter_mut().filter(|outcome| is_closed(outcome)) {
                    *outcome = LaunchOutcome::Open(error.to_string());
                }
            }
        }
        Ok(outcomes)
    }

    fn outcome(&self, intent: &Intent, answer: &Answer) -> LaunchOutcome {
        match answer {
            Answer::Machines(machines) => match self.algorithm.fleet() {
                Fleet::Instances => LaunchOutcome::Launched(answer.rows(intent).len()),
                Fleet::Replicas if self.are_listed(machines) || !self.may_lag(intent) => {
                    LaunchOutcome::Launched(machines.len())
                }
                Fleet::Replicas => LaunchOutcome::Unlisted(machines.len()),
            },
            Answer::Error(error) => {
                let why = error.to_string();
                match error.kind {
                    HostErrorKind::Capacity | HostErrorKind::NotOffered => {
                        LaunchOutcome::NoCapacity(why)
                    }
                    HostErrorKind::Denied => LaunchOutcome::Impossible(why),
                    _ => LaunchOutcome::Refused(why),
                }
            }
            Answer::Open(why) => LaunchOutcome::Open(why.clone()),
        }
    }

    /// Whether the observed listing has all of these replicas.
    fn are_listed(&self, machines: &[Machine]) -> bool {
        machines.iter().all(|machine| {
            machine.state.is_going() || self.snapshot.machines.contains_key(&machine.id)
        })
    }

    fn closure(&self, intent: &Intent, answer: &Answer) -> IntentClosure {
        let refusal = match answer {
            Answer::Error(error) => self.refusal(intent, error),
            Answer::Machines(_) | Answer::Open(_) => None,
        };
        let outcome = match (answer, &refusal) {
            (_, Some(refusal)) => refusal.why.clone(),
            (Answer::Error(error), None) => format!("refused: {}", error.code),
            _ => format!(
                "{} of {} launched",
                answer.rows(intent).len(),
                intent.request.count
            ),
        };
        IntentClosure {
            launch_id: intent.launch_id.clone(),
            outcome,
            refusal,
        }
    }

    /// What EC2's error means for the intent's pool. All launches of one pass count as one rest:
    /// the rests before are those of the observation.
    fn refusal(&self, intent: &Intent, error: &HostError) -> Option<Refusal> {
        let next = |why: &str| {
            let (pool, before) = (CapacityPool::of(&intent.request), &self.snapshot.refusals);
            // Instances that this pass has just launched are launched before it.
            let at = self.now.max(self.clock.now());
            Refusal::next(pool, None, why.to_owned(), before, at)
        };
        match error.kind {
            HostErrorKind::Capacity => Some(next("no capacity")),
            HostErrorKind::NotOffered => Some(next("not offered there").for_long()),
            _ => None,
        }
    }
}

impl Answer {
    /// The rows of the machines that have not ended.
    fn rows(&self, intent: &Intent) -> Vec<NewInstance> {
        let Self::Machines(machines) = self else {
            return vec![];
        };
        machines
            .iter()
            .filter(|machine| !machine.state.is_going())
            .map(|machine| NewInstance {
                id: machine.id.clone(),
                launch_id: intent.launch_id.clone(),
                image_id: intent.request.image_id.clone(),
                client_sha: intent.request.client_sha.clone(),
                instance_type: intent.request.instance_type.clone(),
                subnet_id: Some(intent.request.subnet_id.clone()),
                spot: intent.request.spot,
                capacity: intent.request.capacity,
                launched_at: machine.launched_at,
                private_ip: machine.address,
                public_ip: machine.public_address,
            })
            .collect()
    }

    /// How many of the requested instances EC2 did not launch.
    fn not_launched(&self, intent: &Intent) -> u32 {
        let launched = match self {
            Self::Machines(machines) => u32::try_from(machines.len()).unwrap_or(u32::MAX),
            Self::Error(_) | Self::Open(_) => 0,
        };
        intent.request.count.saturating_sub(launched)
    }
}
