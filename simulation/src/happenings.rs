//! What happens in the world by itself, and what follows from the end of a process.

use std::any::Any;
use std::fmt;

use aws_lambda_events::lambda_function_urls::LambdaFunctionUrlResponse;
use hasura_event::HasuraEvents;
use jiff::SignedDuration;
use lambda_runtime::Diagnostic;
use secrecy::SecretString;
use serde_json::{Value, json};
use shared::ids::InstanceId;
use shared::report::PassOutcome;

use crate::checks::{Check, Violation};
use crate::ec2_events::Says;
use crate::events::{DatabaseEvent, SECRET};
use crate::faults::Fault;
use crate::rollouts::Flaw;
use crate::simulation::{Happening, Purpose, Simulation, Told};
use crate::world::ENVIRONMENT;

/// As the triggers' `retry_conf` says: so often, and so long after a failure.
const EVENT_RETRIES: u32 = 5;
const EVENT_INTERVAL: SignedDuration = SignedDuration::from_secs(10);

impl Simulation {
    /// What begins with the run.
    pub(crate) fn set_off(&mut self) {
        self.schedule();
        self.happens_in(SignedDuration::from_secs(1), Happening::UserComes);
        self.happens_in(SignedDuration::from_secs(40), Happening::Operator);
        self.happens_in(SignedDuration::from_secs(30), Happening::Misfortune);
        for region in self.scenario.names() {
            self.happens_in(SignedDuration::from_secs(10), Happening::Weather(region));
        }
        self.begin_rollouts();
    }

    /// EventBridge's schedule begins; a whole minute after the start, a minute's passes have
    /// had time to end.
    pub(crate) fn schedule(&mut self) {
        self.happens_in(SignedDuration::from_secs(5), Happening::Minute);
    }

    pub(crate) fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Minute => self.minute(),
            Happening::UserComes => self.user_comes(),
            Happening::AsksAgain(ask) => self.ask(ask),
            Happening::Connects {
                instance,
                slot,
                ask,
            } => self.connects(&instance, &slot, &ask),
            Happening::SessionEnds { instance, slot } => self.session_ends(instance, slot),
            Happening::SlotIsCleared { instance, slot } => self.slot_is_cleared(instance, slot),
            Happening::Boots(instance) => self.boots(instance),
            Happening::Beats(instance) => self.beats(instance),
            Happening::IsTaken(instance) => self.is_taken(&instance),
            Happening::Weather(region) => self.weather(region),
            Happening::Misfortune => self.misfortune(),
            Happening::Operator => self.operator(),
            Happening::Rollout => self.rollout(),
            Happening::AsksFor(wish) => self.asks_for(&wish),
            Happening::Names(build) => self.names(build),
            Happening::AgentDies(instance) => self.agent_dies(&instance),
            Happening::Deliver(event) => self.deliver(event),
            Happening::Ec2Says(event) => self.ec2_says(event),
        }
    }

    /// EventBridge's schedule, which never waits for what it started before.
    fn minute(&mut self) {
        let event = || json!({"source": "aws.events", "detail-type": "Scheduled Event"});
        if !self.faults.strikes(Fault::ScheduleMissed) {
            self.reconcile("reconcile", event());
            if self.faults.strikes(Fault::ScheduleTwice) {
                self.reconcile("reconcile again", event());
            }
        }
        self.happens_in(SignedDuration::from_mins(1), Happening::Minute);
    }

    /// One invocation of `reconcile`.
    pub(crate) fn reconcile(&mut self, name: &str, event: Value) {
        let skew = self.skew();
        self.spawn(name, Purpose::Reconcile, |world, id| {
            let passes = world.reconciler(id, skew);
            Box::pin(async move { reconcile::handle(&passes, event, &id.to_string()).await })
        });
    }

    /// An event leaves Hasura, at once or later, once or twice or not at all.
    pub(crate) fn send(&mut self, event: &DatabaseEvent) {
        if self.faults.strikes(Fault::EventLost) {
            return;
        }
        let mut copies = 1;
        if self.faults.strikes(Fault::EventTwice) {
            copies = 2;
        }
        for _ in 0..copies {
            let after = if self.faults.strikes(Fault::EventDelayed) {
                self.dice.between(1000..=90_000)
            } else {
                self.dice.between(5..=300)
            };
            let after = SignedDuration::from_millis(i64::try_from(after).unwrap_or(0));
            self.happens_in(after, Happening::Deliver(event.clone()));
        }
    }

    fn deliver(&mut self, event: DatabaseEvent) {
        let (skew, request) = (self.skew(), event.request());
        let name = format!("hasura-event {}", event.id);
        self.spawn(name, Purpose::Webhook(event), |world, id| {
            let function = HasuraEvents {
                reconciler: world.reconciler(id, skew),
                secret: SecretString::from(SECRET),
                environment: ENVIRONMENT.to_owned(),
            };
            Box::pin(async move { function.handle(request, &id.to_string()).await })
        });
    }

    fn deliver_again(&mut self, mut event: DatabaseEvent) {
        if event.attempts < EVENT_RETRIES {
            event.attempts += 1;
            self.happens_in(EVENT_INTERVAL, Happening::Deliver(event));
        }
    }

    /// What follows from a process's answer.
    pub(crate) fn ended(&mut self, purpose: Purpose, left: &(dyn Any + Send)) {
        match purpose {
            Purpose::Reconcile => {
                let answer = left.downcast_ref::<Result<reconcile::Response, Diagnostic>>();
                if let Some(Err(error)) = answer
                    && error.error_type == "BadRequest"
                {
                    let text = format!("reconcile: {}", error.error_message);
                    self.checks.report(Violation::new(Check::Answers, text));
                }
                let reports = answer.and_then(|answer| answer.as_ref().ok());
                for report in reports.iter().flat_map(|response| &response.regions) {
                    if let PassOutcome::Failed { error } = &report.outcome {
                        self.plan_refused(error);
                    }
                }
            }
            Purpose::Webhook(event) => {
                let status = left
                    .downcast_ref::<LambdaFunctionUrlResponse>()
                    .map_or(0, |answer| answer.status_code);
                let body = left
                    .downcast_ref::<LambdaFunctionUrlResponse>()
                    .and_then(|answer| answer.body.as_deref());
                self.plan_refused(body.unwrap_or_default());
                if (200..300).contains(&status) {
                    self.checks.event_taken(&event);
                } else if (400..500).contains(&status) {
                    let text = format!("hasura-event answers {} with {status}", event.id);
                    self.checks.report(Violation::new(Check::Answers, text));
                } else {
                    self.trace
                        .line(|| format!("* {} is answered {status}", event.id));
                    self.deliver_again(event);
                }
            }
            Purpose::InstanceEvent(event) => {
                let answer = left.downcast_ref::<Result<Value, Diagnostic>>();
                if let Some(Ok(said)) = answer {
                    self.plan_refused(&said.to_string());
                }
                if answer.is_none_or(Result::is_err) {
                    self.ec2_says_again(event);
                }
            }
            Purpose::Client(ask) => {
                if let Some(told) = left.downcast_ref::<Told>() {
                    self.told(ask, told);
                }
            }
        }
    }

    /// A pass that made a plan which breaks what must always hold has done nothing at all.
    fn plan_refused(&mut self, said: &str) {
        if said.contains("the plan breaks what must always hold") {
            self.checks.report(Violation::new(Check::Answers, said));
        }
    }

    /// What follows from a process's death.
    pub(crate) fn died(&mut self, purpose: Purpose) {
        match purpose {
            Purpose::Reconcile => {}
            Purpose::Webhook(event) => self.deliver_again(event),
            Purpose::InstanceEvent(event) => self.ec2_says_again(event),
            // The client has no answer, and asks again.
            Purpose::Client(ask) => self.asks_again(ask),
        }
    }

    /// Machines that were launched just now will boot.
    pub(crate) fn expect_boots(&mut self) {
        let now = self.now();
        for region in self.scenario.names() {
            let host = self.world.host(&region);
            let launched: Vec<_> = {
                let state = host.state();
                let bindings = state.ec2.tokens.values();
                let launch_of = |request: &shared::model::LaunchRequest| {
                    let tag = request
                        .tags
                        .iter()
                        .find(|(k, _)| k == shared::host::tags::LAUNCH);
                    let launch = tag.map_or_else(|| "".into(), |(_, id)| id.as_str().into());
                    (launch, request.image_id.clone())
                };
                bindings
                    .flat_map(|b| b.ids.iter().map(|id| (id.clone(), launch_of(&b.request))))
                    .filter(|(id, _)| !self.agents.knows(id))
                    .collect()
            };
            for (id, (launch, image)) in launched {
                self.agents.add(id.clone(), region.clone(), launch);
                let boots = host.state().ec2.delays.boot;
                self.announce(&region, &id, Says::Running, boots);
                let flaw = self.rollouts.flaw_of(&image);
                if flaw == Some(Flaw::NeverBoots) || self.faults.strikes(Fault::NeverBoots) {
                    continue;
                }
                if flaw == Some(Flaw::Dies) {
                    let lives = self.rollouts.dice.between(20..=100);
                    let lives = SignedDuration::from_secs(i64::try_from(lives).unwrap_or(0));
                    self.happens_in(lives, Happening::AgentDies(id.clone()));
                }
                let boot = SignedDuration::from_millis(
                    i64::try_from(self.dice.between(17_000..=45_000)).unwrap_or(0),
                );
                self.queue.add(
                    now + boot,
                    crate::simulation::Due::Happening(Happening::Boots(id)),
                );
            }
        }
    }

    fn agent_dies(&mut self, id: &InstanceId) {
        if let Some(agent) = self.agents.get_mut(id) {
            agent.alive = false;
        }
    }

    /// A living agent to do something to.
    pub(crate) fn some_agent(&mut self) -> Option<InstanceId> {
        let agents = self.agents.in_service();
        (!agents.is_empty()).then(|| self.dice.pick(&agents).clone())
    }
}

/// A line of the trace.
impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deliver(event) => write!(f, "{} of {} is sent", event.id, event.trigger),
            Self::Ec2Says(event) => {
                write!(f, "EC2 says that {} is {:?}", event.instance, event.says)
            }
            other => write!(f, "{other:?}"),
        }
    }
}
