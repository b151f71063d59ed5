//! Handles the events of the simulated world, and what follows from the end of a process.

use std::any::Any;

use aws_lambda_events::lambda_function_urls::LambdaFunctionUrlResponse;
use jiff::SignedDuration;
use lambda_runtime::Diagnostic;
use serde_json::{Value, json};
use shared::report::PassOutcome;
use shared::scaling::DecideError;

use crate::checks::{Check, Violation};
use crate::faults::Fault;
use crate::scheduled::{AssignAnswer, Event, ProcessKind};
use crate::simulation::Simulation;

impl Simulation {
    /// Schedules the events that start a run.
    pub(crate) fn schedule_first_events(&mut self) {
        self.start_schedule();
        self.schedule_in(SignedDuration::from_secs(1), Event::UserArrives);
        self.schedule_in(SignedDuration::from_secs(40), Event::OperatorActs);
        self.schedule_in(SignedDuration::from_secs(30), Event::RandomFailure);
        for region in self.scenario.region_names() {
            self.schedule_in(
                SignedDuration::from_secs(10),
                Event::Ec2ConditionsChange(region),
            );
        }
        self.start_releases();
        self.start_endings();
    }

    /// Starts the schedule of EventBridge. A minute is long enough for a pass to end before the
    /// next one.
    pub(crate) fn start_schedule(&mut self) {
        self.schedule_in(SignedDuration::from_secs(5), Event::ScheduleTick);
    }

    /// Applies an event to the world.
    pub(crate) fn handle_event(&mut self, event: Event) {
        match event {
            Event::ScheduleTick => self.tick(),
            Event::UserArrives => self.user_arrives(),
            Event::AssignRetry(attempt) => self.send_assign(attempt),
            Event::UserConnects {
                instance,
                slot,
                attempt,
            } => self.connect_user(&instance, &slot, &attempt),
            Event::SessionEnds { instance, slot } => self.end_session(instance, slot),
            Event::SlotCleared { instance, slot } => self.clear_slot(instance, slot),
            Event::AgentBoots(instance) => self.boot_agent(instance),
            Event::Heartbeat(instance) => self.send_heartbeat(instance),
            Event::InstanceReclaimed(instance) => self.reclaim_instance(&instance),
            Event::LaunchFails(instance) => self.end_launch(&instance),
            Event::Ec2ConditionsChange(region) => self.change_ec2_conditions(region),
            Event::RandomFailure => self.inject_failure(),
            Event::OperatorActs => self.act_as_operator(),
            Event::SomebodyEnds => self.end_something(),
            Event::ReleaseActivity => self.do_release_activity(),
            Event::UpgradeRequested(request) => self.request_upgrade(&request),
            Event::AppVersionSet(build) => self.set_app_version(build),
            Event::AgentDies(instance) => self.kill_agent(&instance),
            Event::RowFree(instance) => self.free_row(&instance),
            Event::HasuraEventDelivered(event) => self.deliver_hasura_event(event),
            Event::Ec2EventDelivered(event) => self.deliver_ec2_event(event),
        }
    }

    /// A tick of EventBridge's schedule. It does not wait for earlier invocations.
    fn tick(&mut self) {
        let event = || json!({"source": "aws.events", "detail-type": "Scheduled Event"});
        if !self.faults.occurs(Fault::ScheduleMissed) {
            self.reconcile("reconcile", event());
            if self.faults.occurs(Fault::ScheduleTwice) {
                self.reconcile("reconcile again", event());
            }
        }
        self.schedule_in(SignedDuration::from_mins(1), Event::ScheduleTick);
    }

    /// Starts an invocation of `reconcile`.
    pub(crate) fn reconcile(&mut self, name: &str, event: Value) {
        let skew = self.random_skew();
        self.spawn(name, ProcessKind::Reconcile, |world, id| {
            let reconciler = world.reconciler(id, skew);
            Box::pin(async move { reconcile::handle(&reconciler, event, &id.to_string()).await })
        });
    }

    /// Handles the answer of a process that ended.
    pub(crate) fn handle_end(&mut self, kind: ProcessKind, output: &(dyn Any + Send)) {
        match kind {
            ProcessKind::Reconcile => {
                let answer = output.downcast_ref::<Result<reconcile::Response, Diagnostic>>();
                if let Some(Err(error)) = answer
                    && error.error_type == "BadRequest"
                {
                    let text = format!("reconcile: {}", error.error_message);
                    self.checks
                        .report(Violation::new(Check::FunctionsRespond, text));
                }
                let reports = answer.and_then(|answer| answer.as_ref().ok());
                for report in reports.iter().flat_map(|response| &response.regions) {
                    if let PassOutcome::Failed { error } = &report.outcome {
                        self.report_rejected_plan(error);
                    }
                }
            }
            ProcessKind::HasuraEvent(event) => {
                let status = output
                    .downcast_ref::<LambdaFunctionUrlResponse>()
                    .map_or(0, |answer| answer.status_code);
                let body = output
                    .downcast_ref::<LambdaFunctionUrlResponse>()
                    .and_then(|answer| answer.body.as_deref());
                self.report_rejected_plan(body.unwrap_or_default());
                if (200..300).contains(&status) {
                    self.checks.note_event_accepted(&event);
                } else if (400..500).contains(&status) {
                    let text = format!("hasura-event answered {} with {status}", event.id);
                    self.checks
                        .report(Violation::new(Check::FunctionsRespond, text));
                } else {
                    self.trace
                        .line(|| format!("* {}: the response is {status}", event.id));
                    self.retry_hasura_event(event);
                }
            }
            ProcessKind::Ec2Event(event) => {
                let answer = output.downcast_ref::<Result<Value, Diagnostic>>();
                if let Some(Ok(response)) = answer {
                    self.report_rejected_plan(&response.to_string());
                }
                if answer.is_none_or(Result::is_err) {
                    self.retry_ec2_event(event);
                }
            }
            ProcessKind::Client(attempt) => {
                if let Some(answer) = output.downcast_ref::<AssignAnswer>() {
                    self.handle_assign_answer(attempt, answer);
                }
            }
        }
    }

    /// Reports a plan that its own check rejected. The pass then has done nothing, so that no other
    /// check would find it.
    fn report_rejected_plan(&mut self, text: &str) {
        let rejection = DecideError::UnsafePlan(String::new()).to_string();
        if text.contains(&rejection) {
            self.checks
                .report(Violation::new(Check::FunctionsRespond, text));
        }
    }

    /// Handles the death of a process.
    pub(crate) fn handle_death(&mut self, kind: ProcessKind) {
        match kind {
            ProcessKind::Reconcile => {}
            ProcessKind::HasuraEvent(event) => self.retry_hasura_event(event),
            ProcessKind::Ec2Event(event) => self.retry_ec2_event(event),
            // A client without an answer retries.
            ProcessKind::Client(attempt) => self.retry_assign(attempt),
        }
    }
}
