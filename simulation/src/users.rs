//! Users, their clients, and what host agents tell the database about them.

use futures::FutureExt;
use jiff::SignedDuration;
use shared::assign::{
    AssignOutcome, AssignRefusal, AssignRequest, Assigner, ClientBuild, SessionId, UserId,
};
use shared::ids::InstanceId;
use shared::model::InstanceStatus;
use testing::{AgentOutcome, SlotStatus};

use crate::agents::Says;
use crate::faults::Fault;
use crate::ports::Gated;
use crate::rollouts;
use crate::simulation::{Ask, Happening, Purpose, Simulation, Told};

/// A client that was refused or not answered asks again so often.
const TRIES: u32 = 4;
/// Agents say that they live this often.
const BEAT: SignedDuration = SignedDuration::from_secs(15);

fn millis(millis: u64) -> SignedDuration {
    SignedDuration::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

impl Simulation {
    pub(crate) fn user_comes(&mut self) {
        if self.over {
            return;
        }
        let wait = self.dice.between(1..=2 * self.scenario.user_every);
        self.happens_in(millis(wait), Happening::UserComes);
        // Few users with many sessions: limits and repeated requests matter.
        let user = format!("user-{}", self.dice.below(12));
        let session = format!("session-{}", self.dice.below(3));
        let ask = Ask {
            user,
            session,
            tries: 0,
        };
        if self.dice.chance(150) {
            // Twice at the same moment, as an impatient client does.
            self.ask(ask.clone());
        }
        self.ask(ask);
    }

    pub(crate) fn ask(&mut self, ask: Ask) {
        let mut regions = self.scenario.names();
        let turn = self.dice.below(regions.len() as u64);
        regions.rotate_left(usize::try_from(turn).unwrap_or(0));
        let (Ok(user), Ok(session)) = (UserId::parse(&ask.user), SessionId::parse(&ask.session))
        else {
            return;
        };
        let client = if self.scenario.rolling.is_some() {
            self.rollouts.client()
        } else if self.dice.chance(500) {
            ClientBuild::CurrentImage
        } else {
            ClientBuild::Sha(rollouts::first_image(0).client_sha)
        };
        let request = AssignRequest {
            user,
            session,
            regions,
            client,
        };
        let name = format!("assign {}/{}", ask.user, ask.session);
        self.spawn(name, Purpose::Client(ask), |world, id| {
            let assigner =
                Gated::<dyn Assigner>::new(world.behind.assigner.clone(), world.seat(id));
            async move { assigner.assign(&request).await }.boxed()
        });
    }

    /// The client reads its answer.
    pub(crate) fn told(&mut self, ask: Ask, told: &Told) {
        match told {
            Err(_) => self.asks_again(ask),
            Ok(AssignOutcome::Refused { reason, .. }) => {
                if *reason == AssignRefusal::NoInstanceAvailable {
                    self.asks_again(ask);
                }
            }
            Ok(AssignOutcome::Assigned(assignment)) => {
                if self.dice.chance(100) {
                    // It asks again although it was answered.
                    self.asks_again(ask.clone());
                }
                if self.faults.strikes(Fault::SlotNotClaimed) {
                    return;
                }
                let connects = Happening::Connects {
                    instance: assignment.instance_id.clone(),
                    slot: assignment.slot_id.clone(),
                    ask,
                };
                let wait = self.dice.between(100..=15_000);
                self.happens_in(millis(wait), connects);
            }
        }
    }

    pub(crate) fn asks_again(&mut self, mut ask: Ask) {
        if ask.tries < TRIES && !self.over {
            ask.tries += 1;
            let wait = self.dice.between(300..=6000);
            self.happens_in(millis(wait), Happening::AsksAgain(ask));
        }
    }

    pub(crate) fn connects(&mut self, instance: &InstanceId, slot: &str, ask: &Ask) {
        if self.agents.says(instance, &self.world) != Says::Now {
            return;
        }
        let Some(agent) = self.agents.get_mut(instance) else {
            return;
        };
        let launch = agent.launch.clone();
        let tables = &mut self.world.database.rows().tables;
        let claim = tables.claim_slot(slot, &ask.user, &ask.session, &launch);
        if claim.outcome != AgentOutcome::Claimed {
            return;
        }
        tables.report_slot(slot, SlotStatus::Running, &launch);
        if agent.sessions.insert(slot.to_owned()) {
            let length = self.dice.between(1..=self.scenario.longest_session);
            let (instance, slot) = (instance.clone(), slot.to_owned());
            let ends = Happening::SessionEnds { instance, slot };
            let at = self.world.now() + millis(length * 1000);
            self.queue.add(at, crate::simulation::Due::Happening(ends));
        }
    }

    pub(crate) fn session_ends(&mut self, instance: InstanceId, slot: String) {
        match self.agents.says(&instance, &self.world) {
            Says::Nothing => {}
            Says::Later(until) => {
                let wait = until.duration_since(self.now());
                self.happens_in(wait, Happening::SessionEnds { instance, slot });
            }
            Says::Now => {
                if let Some(agent) = self.agents.get_mut(&instance) {
                    agent.sessions.remove(&slot);
                    let launch = agent.launch.clone();
                    let tables = &mut self.world.database.rows().tables;
                    tables.report_slot(&slot, SlotStatus::Dying, &launch);
                }
                let wait = self.dice.between(50..=3000);
                self.happens_in(millis(wait), Happening::SlotIsCleared { instance, slot });
            }
        }
    }

    pub(crate) fn slot_is_cleared(&mut self, instance: InstanceId, slot: String) {
        match self.agents.says(&instance, &self.world) {
            Says::Nothing => {}
            Says::Later(until) => {
                let wait = until.duration_since(self.now());
                self.happens_in(wait, Happening::SlotIsCleared { instance, slot });
            }
            Says::Now => {
                if let Some(agent) = self.agents.get(&instance) {
                    let tables = &mut self.world.database.rows().tables;
                    tables.replace_slot(&slot, &agent.launch);
                }
            }
        }
    }

    pub(crate) fn boots(&mut self, id: InstanceId) {
        if self.agents.says(&id, &self.world) != Says::Now {
            return;
        }
        let now = self.now();
        let Some(agent) = self.agents.get_mut(&id) else {
            return;
        };
        let answer = {
            let tables = &mut self.world.database.rows().tables;
            tables.register_host(&id, &format!("address of {id}"), &agent.launch, now)
        };
        match answer.outcome {
            AgentOutcome::Registered => {
                agent.registered = true;
                agent.heard_at = Some(now);
                self.happens_in(BEAT, Happening::Beats(id));
            }
            // Its row is on its way.
            AgentOutcome::Retry => self.happens_in(millis(2500), Happening::Boots(id)),
            _ => self.shut_down(&id),
        }
    }

    pub(crate) fn beats(&mut self, id: InstanceId) {
        let wait = match self.agents.says(&id, &self.world) {
            Says::Nothing => return,
            Says::Later(until) => until.duration_since(self.now()),
            Says::Now => BEAT,
        };
        if wait == BEAT {
            let now = self.now();
            let Some(agent) = self.agents.get_mut(&id) else {
                return;
            };
            let (answer, empty) = {
                let tables = &mut self.world.database.rows().tables;
                let answer = tables.heartbeat(&id, &agent.launch, now);
                (answer, !tables.is_occupied(&id))
            };
            if answer.outcome == AgentOutcome::ShutDown {
                return self.shut_down(&id);
            }
            agent.heard_at = Some(now);
            if answer.status == Some(InstanceStatus::Draining) && empty {
                return self.shut_down(&id);
            }
        }
        self.happens_in(wait, Happening::Beats(id));
    }

    /// The agent's machine ends itself.
    fn shut_down(&mut self, id: &InstanceId) {
        let now = self.now();
        if let Some(agent) = self.agents.get_mut(id) {
            agent.alive = false;
            let region = agent.region.clone();
            self.world.host(&region).state().ec2.terminate(id, now);
            self.announce_end(&region, id);
        }
    }
}
