//! Users and their clients, and what host agents report to the database about them.

use futures::FutureExt;
use jiff::SignedDuration;
use shared::assign::{
    AssignOutcome, AssignRefusal, AssignRequest, Assigner, ClientBuild, SessionId, SessionLimits,
    UserId,
};
use shared::ids::InstanceId;
use testing::{AgentOutcome, SlotStatus};

use crate::agents::AgentState;
use crate::builds;
use crate::faults::Fault;
use crate::ports::Intercepted;
use crate::scheduled::{AssignAnswer, AssignAttempt, Event, ProcessKind, Scheduled};
use crate::simulation::Simulation;

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
        // Now and then many come together, so that there is a line.
        let count = if self.random.chance(100) { 8 } else { 1 };
        for _ in 0..count {
            self.request_slot();
        }
    }

    fn request_slot(&mut self) {
        let Some(request) = self.random_request() else {
            return;
        };
        // Some users leave at once, and some stay in line for long.
        let retries = *self.random.pick(&[0, 4, 10, 30]);
        let attempt = AssignAttempt { request, retries };
        if self.random.chance(150) {
            // Two requests at the same moment, as an impatient client sends.
            self.send_assign(attempt.clone());
        }
        self.send_assign(attempt);
    }

    fn random_request(&mut self) -> Option<AssignRequest> {
        // Few users with many sessions, so that limits and repeated requests matter.
        let user = UserId::parse(&format!("user-{}", self.random.below(16)));
        let session = SessionId::parse(&format!("session-{}", self.random.below(3)));
        let mut regions = self.scenario.region_names();
        let turn = self.random.below(regions.len() as u64);
        regions.rotate_left(usize::try_from(turn).unwrap_or(0));
        if self.random.chance(300) {
            regions.truncate(1);
        }
        let client = if self.scenario.releases.is_some() {
            self.builds.random_client()
        } else if self.random.chance(500) {
            ClientBuild::CurrentImage
        } else {
            ClientBuild::Sha(builds::first_image(0).client_sha)
        };
        Some(AssignRequest {
            user: user.ok()?,
            session: session.ok()?,
            regions,
            client,
            limits: SessionLimits::default(),
        })
    }

    pub(crate) fn send_assign(&mut self, attempt: AssignAttempt) {
        let request = attempt.request.clone();
        let name = format!("assign {}/{}", request.user, request.session);
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
                if matches!(reason, AssignRefusal::NoInstanceAvailable(_)) {
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
        if attempt.retries > 0 && !self.winding_down {
            attempt.retries -= 1;
            // Some come back when they have already left the line.
            let longest = if self.random.chance(100) {
                40_000
            } else {
                6000
            };
            let wait = self.random.between(300..=longest);
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
        let now = self.world.now();
        let tables = &mut self.world.database.rows().tables;
        let AssignRequest { user, session, .. } = &attempt.request;
        let claim = tables.claim_slot(slot, user.as_str(), session.as_str(), &launch, now);
        if claim.outcome != AgentOutcome::Claimed {
            return;
        }
        tables.report_slot(slot, SlotStatus::Running, &launch, now);
        if agent.sessions.insert(slot.to_owned()) {
            let crashes = agent.crashes;
            let length = match self.random.between(1..=self.scenario.longest_session) {
                _ if crashes => 1,
                length => length,
            };
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
                    let now = self.world.now();
                    let tables = &mut self.world.database.rows().tables;
                    tables.report_slot(&slot, SlotStatus::Dying, &launch, now);
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
                    let now = self.world.now();
                    let tables = &mut self.world.database.rows().tables;
                    tables.replace_slot(&slot, &agent.launch, now);
                }
            }
        }
    }
}
