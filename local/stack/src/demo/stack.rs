//! The demonstration's stack: its regions, its schedule, and the faults of its EC2 emulator.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::clock::Pace;
use super::options::DemoOptions;
use super::regions::{CAPACITY, DemoRegion, REGIONS, insert_regions};
use super::sessions::SessionLog;
use crate::ec2::set_faults;
use crate::fill::wait_for_free_slots;
use crate::invoke::schedule;
use crate::options::{Schedule, StackOptions};
use crate::project::relative;
use crate::stack::Stack;
use crate::steps::step;
use crate::world::World;

/// Pause between two scheduled passes. They are more frequent than the schedule's one a minute
/// because the simulated day is hundreds of times as fast.
pub(super) const PASS_INTERVAL: Duration = Duration::from_secs(2);

/// How many consecutive passes may fail, as the machine may be busy.
const MAX_FAILED_PASSES: u32 = 5;

/// The shortest and the longest session, in simulated time.
const SESSION_LENGTH: (Duration, Duration) =
    (Duration::from_secs(20 * 60), Duration::from_secs(150 * 60));

pub(super) struct DemoStack {
    pub(super) stack: Stack,
    pub(super) sessions: SessionLog,
    pub(super) world: World,
    pub(super) pace: Pace,
    /// The capacity faults in force, in the emulator's format.
    capacity_faults: RefCell<Vec<Value>>,
}

impl DemoStack {
    /// Starts the stack, prints where the status page is, and waits until every region has its
    /// free slots.
    ///
    /// # Errors
    /// When a component does not start, or a region does not get its free slots.
    pub(super) async fn start(options: &DemoOptions) -> Result<Self> {
        let pace = Pace::from_minutes(options.minutes);
        let stack_options = stack_options(options, pace);
        println!(
            "starting the local stack in {}",
            relative(&stack_options.stack.dir())
        );
        let stack = Stack::start(&stack_options).await?;
        let sessions = SessionLog::start(&stack.env().database_url).await?;
        let world = World::read(None)?;
        insert_regions(&stack.operator(), &world, pace, options).await?;
        let demo_stack = Self {
            stack,
            sessions,
            world,
            pace,
            capacity_faults: RefCell::default(),
        };
        demo_stack.print_introduction(options);
        let event = schedule();
        let first_pass = demo_stack.stack.reconcile(&event);
        step(
            "run the first reconcile pass, which launches VMs",
            first_pass,
        )
        .await?;
        let all = REGIONS.iter().map(async |region: &DemoRegion| {
            let seed = region.seed(options);
            wait_for_free_slots(&demo_stack.stack, &seed).await
        });
        let all = futures::future::try_join_all(all);
        step("wait for free slots in every region", all).await?;
        Ok(demo_stack)
    }

    fn print_introduction(&self, options: &DemoOptions) {
        let env = self.stack.env();
        println!(
            "
Open the status page in a browser and keep it beside this terminal. It refreshes itself.

  {}
  token: {}

The demonstration simulates a day with about {} users in {} minutes. A user's session needs a slot
on a virtual machine (VM). Each VM has {CAPACITY} slots, and each region has a target for its free slots.
Times are in UTC. Local time is UTC in eu-west-1 (Ireland), 5 hours behind in us-east-1 (Virginia)
and 8 hours behind in us-west-2 (Oregon). Ctrl-C stops everything.
",
            env.status_url,
            env.status_token,
            options.users(),
            options.minutes,
        );
    }

    /// Runs `work`, and meanwhile a pass for every region each [`PASS_INTERVAL`].
    ///
    /// # Errors
    /// Those of `work`; also when a component ends by itself, or passes keep failing.
    pub(super) async fn run_with_passes<T>(
        &self,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        tokio::select! {
            message = self.stack.failed() => bail!(message),
            error = self.run_passes() => Err(error),
            result = work => result,
        }
    }

    /// Returns the error of the last pass when too many have failed.
    async fn run_passes(&self) -> anyhow::Error {
        let mut failed = 0;
        let mut ticks = tokio::time::interval(PASS_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.stack.reconcile(&schedule()).await {
                Ok(_) => failed = 0,
                Err(error) if failed == MAX_FAILED_PASSES => return error,
                Err(_) => failed += 1,
            }
        }
    }

    /// Makes EC2 warn of an instance's interruption, and terminate it after the real time
    /// `warning`.
    ///
    /// # Errors
    /// When the emulator does not answer.
    pub(super) async fn interrupt(&self, instance: &str, warning: Duration) -> Result<()> {
        let warning = u64::try_from(warning.as_millis())?;
        self.set_faults(json!([{
            "on": {"instance_id": instance},
            "effect": {"interrupt": {"warning_ms": warning}},
        }]))
        .await
    }

    /// Replaces EC2's capacity faults; an empty list means that capacity is unlimited.
    ///
    /// # Errors
    /// When the emulator does not answer.
    pub(super) async fn set_capacity_faults(&self, capacity: Vec<Value>) -> Result<()> {
        self.capacity_faults.replace(capacity);
        self.set_faults(json!([])).await
    }

    async fn set_faults(&self, instances: Value) -> Result<()> {
        let capacity = self.capacity_faults.borrow().clone();
        let faults = json!({"capacity": capacity, "instances": instances});
        set_faults(&self.stack.env().ec2_control_url, &faults).await
    }

    /// The numbers of instances that EC2 has launched and terminated.
    ///
    /// # Errors
    /// When the emulator does not answer.
    pub(super) async fn instance_counts(&self) -> Result<(usize, usize)> {
        let instances = self.ledger().await?;
        let ended = |instance: &&Value| !instance["ended_by"].is_null();
        Ok((instances.len(), instances.iter().filter(ended).count()))
    }

    /// The id and the region of each instance that EC2 has launched, and when, in seconds since 1970.
    ///
    /// # Errors
    /// When the emulator does not answer.
    pub(super) async fn launches(&self) -> Result<Vec<(String, String, f64)>> {
        let text = |of: &Value| of.as_str().map(str::to_owned);
        let launch = |instance: &Value| {
            let at = instance["launch_time_ms"].as_f64()? / 1_000.0;
            Some((text(&instance["id"])?, text(&instance["region"])?, at))
        };
        let launches: Option<Vec<_>> = self.ledger().await?.iter().map(launch).collect();
        launches.context("an instance of the EC2 emulator's ledger without id, region or launch")
    }

    /// The instances of EC2's ledger.
    async fn ledger(&self) -> Result<Vec<Value>> {
        let url = format!("{}/ledger", self.stack.env().ec2_control_url);
        let response = reqwest::get(url)
            .await
            .context("read the EC2 emulator's ledger")?;
        let mut ledger: Value = response
            .json()
            .await
            .context("read the EC2 emulator's ledger")?;
        match ledger["instances"].take() {
            Value::Array(instances) => Ok(instances),
            _ => Ok(Vec::new()),
        }
    }
}

fn stack_options(options: &DemoOptions, pace: Pace) -> StackOptions {
    let millis = |simulated| u64::try_from(pace.to_real(simulated).as_millis()).ok();
    let mut stack = StackOptions::named(&options.name);
    stack.ports_from = options.ports_from;
    stack.schedule = Schedule::Off;
    stack.ec2.pending_ms = Some(2_500);
    stack.ec2.shutting_down_ms = Some(1_000);
    stack.ec2.listing_lag_ms = Some(300);
    stack.ec2.agent_boot_ms = Some(1_000);
    stack.ec2.agent_connect_ms = Some(300);
    stack.ec2.agent_poll_ms = Some(500);
    stack.ec2.agent_session_ms = millis(SESSION_LENGTH.0);
    stack.ec2.agent_session_max_ms = millis(SESSION_LENGTH.1);
    stack
}
