//! Users and their clients, and what host agents report to the database about them.

use futures::FutureExt;
use jiff::SignedDuration;
use shared::assign::{
    AssignOutcome, AssignRefusal, AssignRequest, Assigner, ClientBuild, SessionId, UserId,
};
use shared::ids::InstanceId;
use testing::{AgentOutcome, SlotStatus};

use crate::agents::AgentState;
use crate::builds;
use crate::faults::Fault;
use crate::ports::Intercepted;
use crate::scheduled::{AssignAnswer, AssignAttempt, Event, ProcessKind, Scheduled};
use crate::simulation::Simulation;

/// How often a client that was refused or not answered tries again.
const RETRIES: u32 = 4;

fn millis(millis: u64) -> SignedDuration {
    SignedDuration::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

impl Simulation {
    pub(crate) fn user_arrives(&mut self) {
        if self.winding_down {
            return;
        }
        let wait = self.random.between(1..=2 * self.scenario.user_interval);
        self.schedule_in(millis(wait), Event::UserArrives);
        // Few users with many sessions, so that limits and repeated requests matter.
        let user = format!("user-{}", self.random.below(12));
        let session = format!("session-{}", self.random.below(3));
        let attempt = AssignAttempt {
            user,
            session,
            retries: 0,
        };
        if self.random.chance(150) {
            // Two requests at the same moment, as an impatient client sends.
            self.send_assign(attempt.clone());
        }
        self.send_assign(attempt);
    }

    pub(crate) fn send_assign(&mut self, attempt: AssignAttempt) {
        let mut regions = self.scenario.region_names();
        let turn = self.random.below(regions.len() as u64);
        regions.rotate_left(usize::try_from(turn).unwrap_or(0));
        let (Ok(user), Ok(session)) = (
            UserId::parse(&attempt.user),
            SessionId::parse(&attempt.session),
        ) else {
            return;
        };
        let client = if self.scenario.releases.is_some() {
            self.builds.random_client()
        } else if self.random.chance(500) {
            ClientBuild::CurrentImage
        } else {
            ClientBuild::Sha(builds::first_image(0).client_sha)
        };
        let request = AssignRequest {
            user,
            session,
            regions,
            client,
        };
        let name = format!("assign {}/{}", attempt.user, attempt.session);
        self.spawn(name, ProcessKind::Client(attempt), |world, id| {
            let assigner = Intercepted::<dyn Assigner>::new(
                world.backends.assigner.clone(),
                world.call_context(id),
            );
            async move { assigner.assign(&request).await }.boxed()
        });
    }

    /// The client reads its answer.
    pub(crate) fn handle_assign_answer(&mut self, attempt: AssignAttempt, answer: &AssignAnswer) {
        match answer {
            Err(_) => self.retry_assign(attempt),
            Ok(AssignOutcome::Refused { reason, .. }) => {
                if *reason == AssignRefusal::NoInstanceAvailable {
                    self.retry_assign(attempt);
                }
            }
            Ok(AssignOutcome::Assigned(assignment)) => {
                if self.random.chance(100) {
                    // The client repeats a request that was answered.
                    self.retry_assign(attempt.clone());
                }
                if self.faults.occurs(Fault::SlotNotClaimed) {
                    return;
                }
                let connects = Event::UserConnects {
                    instance: assignment.instance_id.clone(),
                    slot: assignment.slot_id.clone(),
                    attempt,
                };
                let wait = self.random.between(100..=15_000);
                self.schedule_in(millis(wait), connects);
            }
        }
    }

    pub(crate) fn retry_assign(&mut self, mut attempt: AssignAttempt) {
        if attempt.retries < RETRIES && !self.winding_down {
            attempt.retries += 1;
            let wait = self.random.between(300..=6000);
            self.schedule_in(millis(wait), Event::AssignRetry(attempt));
        }
    }

    pub(crate) fn connect_user(
        &mut self,
        instance: &InstanceId,
        slot: &str,
        attempt: &AssignAttempt,
    ) {
        if self.agents.update(instance, &self.world) != AgentState::Reachable {
            return;
        }
        let Some(agent) = self.agents.get_mut(instance) else {
            return;
        };
        let launch = agent.launch.clone();
        let tables = &mut self.world.database.rows().tables;
        let claim = tables.claim_slot(slot, &attempt.user, &attempt.session, &launch);
        if claim.outcome != AgentOutcome::Claimed {
            return;
        }
        tables.report_slot(slot, SlotStatus::Running, &launch);
        if agent.sessions.insert(slot.to_owned()) {
            let length = self.random.between(1..=self.scenario.longest_session);
            let (instance, slot) = (instance.clone(), slot.to_owned());
            let ends = Event::SessionEnds { instance, slot };
            let at = self.world.now() + millis(length * 1000);
            self.queue.add(at, Scheduled::Event(ends));
        }
    }

    pub(crate) fn end_session(&mut self, instance: InstanceId, slot: String) {
        match self.agents.update(&instance, &self.world) {
            AgentState::Dead => {}
            AgentState::SilentUntil(until) => {
                let wait = until.duration_since(self.now());
                self.schedule_in(wait, Event::SessionEnds { instance, slot });
            }
            AgentState::Reachable => {
                if let Some(agent) = self.agents.get_mut(&instance) {
                    agent.sessions.remove(&slot);
                    let launch = agent.launch.clone();
                    let tables = &mut self.world.database.rows().tables;
                    tables.report_slot(&slot, SlotStatus::Dying, &launch);
                }
                let wait = self.random.between(50..=3000);
                self.schedule_in(millis(wait), Event::SlotCleared { instance, slot });
            }
        }
    }

    pub(crate) fn clear_slot(&mut self, instance: InstanceId, slot: String) {
        match self.agents.update(&instance, &self.world) {
            AgentState::Dead => {}
            AgentState::SilentUntil(until) => {
                let wait = until.duration_since(self.now());
                self.schedule_in(wait, Event::SlotCleared { instance, slot });
            }
            AgentState::Reachable => {
                if let Some(agent) = self.agents.get(&instance) {
                    let tables = &mut self.world.database.rows().tables;
                    tables.replace_slot(&slot, &agent.launch);
                }
            }
        }
    }
}
