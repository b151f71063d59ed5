//! The status page of a large service, as a browser requests it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use dynamodb_adapter::DynamoStore;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::SignedDuration;
use local_stack::stack::Stack;
use scaling_bench::{Quantity, Row, Samples, Section};
use shared::clock::Clock as _;
use shared::ids::{Owner, RegionName};
use shared::lock::{LockAttempt, RegionLock as _};
use shared::report::{Decision, PassOutcome};
use shared::scaling::{Counts, Plan};
use shared::store::StateStore as _;
use shared::trigger::Trigger;
use startup::SystemClock;
use tokio_postgres::Client;

use crate::fleet::{INSTANCES, REGION};

const REGIONS: usize = 30;
/// Each region has had a pass every minute for this time.
const HISTORY: SignedDuration = SignedDuration::from_hours(3);
const AT_ONCE: usize = 8;
const SAMPLES: usize = 30;

pub(crate) async fn measure(stack: &Stack, sql: &Client) -> Result<Section> {
    let others = "INSERT INTO regions (name, target_free, max_instances, launch_choices)
            SELECT 'xx-east-' || n, 4, 10, '[]' FROM generate_series(1, $1 - 1) n";
    sql.execute(others, &[&i32::try_from(REGIONS)?]).await?;
    let images = "INSERT INTO images (region, image_id, client_sha, state)
            SELECT name, 'ami-1', 'sha', 'CURRENT' FROM regions WHERE name LIKE 'xx-%'";
    sql.execute(images, &[]).await?;
    let names = sql.query("SELECT name FROM regions", &[]).await?;
    ensure!(names.len() == REGIONS, "{} regions", names.len());
    for name in &names {
        passes(stack, &RegionName::new(name.get::<_, &str>(0))).await?;
    }
    let mut rows = Vec::new();
    for (what, path, accept) in [
        ("page of all regions", String::new(), "text/html"),
        (
            "the same as JSON, without history",
            String::new(),
            "application/json",
        ),
        (
            "page of the large region",
            format!("regions/{REGION}"),
            "text/html",
        ),
    ] {
        let (samples, bytes) = ask(stack, &path, accept).await?;
        rows.push(Row::timed(what, &samples));
        rows.push(Row::single("- its size", Quantity::Bytes(bytes)));
    }
    Ok(Section {
        title: "the status page".to_owned(),
        method: format!(
            "Over HTTP, one request after the other, to the deployed `status`: {REGIONS} regions, \
             {INSTANCES} instances in one of them, a pass a minute in each for {} hours. Function, \
             GraphQL engine and local AWS are as above.",
            HISTORY.as_hours()
        ),
        rows,
    })
}

/// Writes to DynamoDB what passes of the last hours would have written.
async fn passes(stack: &Stack, region: &RegionName) -> Result<()> {
    let client = aws_sdk_dynamodb::Client::new(&stack.sdk_config());
    let store = DynamoStore::new(client, stack.env().scaling_table.clone());
    let now = SystemClock.now();
    let (owner, lease) = (Owner::new("bench"), Duration::from_secs(600));
    let lease = match store.acquire(region, &owner, now, lease).await? {
        LockAttempt::Acquired(lease) => lease,
        LockAttempt::Held { until, .. } => bail!("{region} is held until {until}"),
    };
    let (store, held) = (&store, &lease);
    stream::iter(0..HISTORY.as_mins())
        .map(|minute| async move {
            let counts = Counts {
                target: 4,
                free: u32::try_from(minute % 5)?,
                max: 10,
                ..Counts::default()
            };
            let decision = Decision {
                region: region.clone(),
                version: held.version + minute,
                at: now - HISTORY + SignedDuration::from_mins(minute),
                id: format!("bench-{minute}"),
                trigger: Trigger::Schedule,
                plan: Plan {
                    counts,
                    ..Plan::default()
                },
                results: Vec::new(),
                outcome: PassOutcome::Done,
                duration_ms: 100,
            };
            store.record_decision(held, &decision).await?;
            anyhow::Ok(())
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    store.release(&lease).await?;
    Ok(())
}

/// Requests a page. Returns the times, and the size of one answer in bytes.
async fn ask(stack: &Stack, path: &str, accept: &str) -> Result<(Samples, u64)> {
    let env = stack.env();
    let http = reqwest::Client::new();
    let mut samples = Samples::default();
    let mut bytes = 0;
    // The first request starts the process.
    for n in 0..=SAMPLES {
        let started = Instant::now();
        let request = http.get(format!("{}{path}", env.status_url));
        let request = request.bearer_auth(&env.status_token);
        let answer = request.header("accept", accept).send().await?;
        ensure!(answer.status().is_success(), "{path}: {}", answer.status());
        let page = answer.text().await.context("read the page")?;
        if n > 0 {
            samples.push(started.elapsed());
        }
        bytes = u64::try_from(page.len())?;
    }
    Ok((samples, bytes))
}
