//! Passes that find nothing to do, on the deployed stack: what they ask for, and how long they take.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use local_stack::process::{Process, Program};
use local_stack::project;
use local_stack::seed::RegionSeed;
use local_stack::stack::Stack;
use scaling_bench::{Quantity, Row, Samples, Section};
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::counter::{self, Counter};
use crate::fleet;
use crate::settings;

const PASSES: usize = 20;
/// Each is counted; the most counts.
const COUNTED: usize = 5;

/// Passes go on for so long until there is nothing to do.
const SETTLING: Duration = Duration::from_secs(120);

/// The goal: a `DescribeInstances` for each thousand instances, and DynamoDB calls.
const LISTED_AT_ONCE: u64 = 1_000;
const DYNAMODB_GOAL: u64 = 5;

const SMALL: &str = "us-east-1";
const LARGE: &str = "us-west-2";
const LARGE_INSTANCES: u32 = 2_500;

pub async fn measure(stack: &Stack, sql: &Client) -> Result<Section> {
    let schedule: Value = serde_json::from_str(include_str!("../../events/reconcile-schedule.json"))?;
    let mut rows = Vec::new();

    small_region(stack).await?;
    settle(stack, SMALL).await?;
    rows.extend(times("small region, by the schedule", stack, &schedule).await?);
    let counters = Counters::put_before(stack).await?;
    rows.extend(counters.count("small region, by the schedule", &schedule, 2).await?);
    let by_hand = json!({"regions": [SMALL]});
    rows.extend(counters.count("small region, by hand", &by_hand, 2).await?);

    let (_emulator, control) = emulator_without_agents(stack).await?;
    let counters = counters.with_ec2(control).await?;
    large_region(stack, sql).await?;
    settle(stack, LARGE).await?;
    let by_hand = json!({"regions": [LARGE]});
    let what = format!("{LARGE_INSTANCES} instances, by hand");
    rows.extend(counters.count(&what, &by_hand, u64::from(LARGE_INSTANCES)).await?);
    rows.extend(times(&what, stack, &by_hand).await?);

    Ok(Section {
        title: "a quiet region's pass".to_owned(),
        how: "".to_owned(),
        rows,
    })
}
