//! A stack of its own for the day, with its regions filled.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::DemoOptions;
use super::clock::Pace;
use super::places::{self, PLACES, Place};
use super::witness::Witness;
use crate::ec2::set_faults;
use crate::invoke::schedule;
use crate::options::{Schedule, StackOptions};
use crate::stack::Stack;
use crate::steps::step;
use crate::up::{filled, shown};
use crate::world::World;

/// Between two scheduled passes: the minute of a day that is hundreds of times as fast.
const PASS_EVERY: Duration = Duration::from_secs(2);

/// So many scheduled passes may fail one after the other.
const FAILED_PASSES: u32 = 5;

/// Of the day: the shortest session, and the longest one.
const SESSION: (Duration, Duration) = (Duration::from_secs(20 * 60), Duration::from_secs(150 * 60));

pub(super) struct Stage {
    pub(super) stack: Stack,
    pub(super) witness: Witness,
    pub(super) world: World,
    pub(super) pace: Pace,
    /// Where EC2 has no capacity.
    short: RefCell<Vec<Value>>,
}

impl Stage {
    /// Starts the stack, says where the page is, and fills the buffers.
    pub(super) async fn set(options: &DemoOptions) -> Result<Self> {
        let pace = Pace::of_minutes(options.minutes);
        let stack_options = stack_options(options, pace);
        println!(
            "starting the stack in {}",
            shown(&stack_options.stack.dir())
        );
        let stack = Stack::start(&stack_options).await?;
        let witness = Witness::begin(&stack.env().database_url).await?;
        let world = World::read(None)?;
        places::insert(&stack.operator(), &world, pace).await?;
        let stage = Self {
            stack,
            witness,
            world,
            pace,
            short: RefCell::default(),
        };
        stage.announce(options);
        step("first pass", stage.stack.reconcile(&schedule())).await?;
        let all = PLACES.iter().map(async |place: &Place| {
            let seed = place.seed();
            filled(&stage.stack, &seed).await
        });
        step("free places everywhere", futures::future::try_join_all(all)).await?;
        Ok(stage)
    }

    fn announce(&self, options: &DemoOptions) {
        let env = self.stack.env();
        println!(
            "
The page is there: open it in a browser and keep it beside this. It refreshes itself.

  {}
  token: {}

A day with {} users in {} minutes. The clock is UTC; eu-west-1 is in Ireland, us-east-1 in
Virginia (5 hours behind), us-west-2 in Oregon (8 hours behind). A machine (VM) has 4 places.
\"14 on 5 VMs, 4/6\": 14 users on 5 machines, and 4 places are free where 6 should be.
Ctrl-C ends everything.
",
            env.status_url,
            env.status_token,
            options.users(),
            options.minutes,
        );
    }

    /// Does `work` on the stage, with a pass now and then as the schedule brings one.
    ///
    /// # Errors
    /// Those of `work`; or a part of the stack ended by itself, or passes keep failing.
    pub(super) async fn during<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            message = self.stack.failed() => bail!(message),
            error = self.passes() => Err(error),
            result = work => result,
        }
    }

    async fn passes(&self) -> anyhow::Error {
        let mut failed = 0;
        let mut ticks = tokio::time::interval(PASS_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.stack.reconcile(&schedule()).await {
                Ok(_) => failed = 0,
                Err(error) if failed == FAILED_PASSES => return error,
                Err(_) => failed += 1,
            }
        }
    }

    /// EC2 warns of an instance's end, and ends it.
    pub(super) async fn interrupt(&self, instance: &str, warning: Duration) -> Result<()> {
        let warning = u64::try_from(warning.as_millis())?;
        self.set_faults(json!([{
            "on": {"instance_id": instance},
            "effect": {"interrupt": {"warning_ms": warning}},
        }]))
        .await
    }

    /// EC2 has nothing more in these places.
    pub(super) async fn set_short(&self, capacity: Vec<Value>) -> Result<()> {
        self.short.replace(capacity);
        self.set_faults(json!([])).await
    }

    async fn set_faults(&self, instances: Value) -> Result<()> {
        let capacity = self.short.borrow().clone();
        let faults = json!({"capacity": capacity, "instances": instances});
        set_faults(&self.stack.env().ec2_control_url, &faults).await
    }

    /// How many machines EC2 has launched, and how many of them it has ended.
    pub(super) async fn machines(&self) -> Result<(usize, usize)> {
        let url = format!("{}/ledger", self.stack.env().ec2_control_url);
        let answer = reqwest::get(url).await.context("read EC2's ledger")?;
        let ledger: Value = answer.json().await.context("read EC2's ledger")?;
        let machines = ledger["instances"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        let ended = |machine: &&Value| !machine["ended_by"].is_null();
        Ok((machines.len(), machines.iter().filter(ended).count()))
    }
}

fn stack_options(options: &DemoOptions, pace: Pace) -> StackOptions {
    let millis = |of_day| u64::try_from(pace.real(of_day).as_millis()).ok();
    let mut stack = StackOptions::named(&options.name);
    stack.ports_from = options.ports_from;
    stack.schedule = Schedule::Off;
    stack.ec2.pending_ms = Some(2_500);
    stack.ec2.shutting_down_ms = Some(1_000);
    stack.ec2.listing_lag_ms = Some(300);
    stack.ec2.agent_boot_ms = Some(1_000);
    stack.ec2.agent_connect_ms = Some(300);
    stack.ec2.agent_poll_ms = Some(500);
    stack.ec2.agent_session_ms = millis(SESSION.0);
    stack.ec2.agent_session_max_ms = millis(SESSION.1);
    stack
}
