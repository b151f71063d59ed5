//! Passes that find nothing to do, on the deployed stack: their requests and their duration.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use local_stack::invoke::schedule;
use local_stack::ports::Ports;
use local_stack::process::{Process, Program};
use local_stack::project;
use local_stack::seed::RegionSeed;
use local_stack::stack::Stack;
use scaling_bench::{Quantity, Row, Samples, Section};
use scaling_tests::proxy::{self, Proxy};
use scaling_tests::settings;
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::fleet;

const PASSES: usize = 20;
/// The number of counted passes; the figure is their maximum.
const COUNTED: usize = 5;

/// The time limit of all passes together until nothing is left to do.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(120);
/// The time limit of all passes together that launch the large region.
const FILL_TIMEOUT: Duration = Duration::from_secs(600);
const EMULATOR_START_TIMEOUT: Duration = Duration::from_secs(30);

/// Goals of a pass: one request to GraphQL and one to EC2 for each thousand instances, which is
/// what both return at once, and five to DynamoDB. A scheduled invocation makes two more to DynamoDB,
/// however many regions it has: it notes its time, and asks whether it is to search for strays.
pub(crate) const PAGE: usize = 1_000;
pub(crate) const DYNAMODB_GOAL: u64 = 5 + 2;

const SMALL: &str = "us-east-1";
pub(crate) const LARGE: &str = "us-west-2";
const LARGE_INSTANCES: usize = 2_500;
/// What one pass launches of them, so that it ends within its time.
const MOST_AT_ONCE: usize = 2_500;

pub(crate) async fn measure(stack: &Stack, sql: &Client) -> Result<Section> {
    let small = MeasuredRegion {
        stack,
        region: SMALL,
        instances: 2,
        ec2_control: stack.env().ec2_control_url.clone(),
    };
    fill_small(stack).await?;
    small.settle().await?;
    let times = small.measure_times().await?;
    let (mut rows, requested) = small.count_requests().await?;
    rows.extend(times);

    // The schedule starts a pass for every region, and only one region's is to be counted.
    fleet::remove(sql, SMALL).await?;
    let (_emulator, endpoint) = emulator_without_agents(stack).await?;
    let large = MeasuredRegion {
        stack,
        region: LARGE,
        instances: LARGE_INSTANCES,
        ec2_control: format!("{endpoint}/_emulator"),
    };
    let function = &stack.env().reconcile_function;
    settings::set(stack, function, &[("AWS_ENDPOINT_URL_EC2", &endpoint)]).await?;
    fill_large(stack, sql, LARGE_INSTANCES).await?;
    large.settle().await?;
    rows.extend(large.count_requests().await?.0);
    rows.extend(large.measure_times().await?);

    Ok(Section {
        title: "a quiet region's pass".to_owned(),
        method: format!(
            "Scheduled invocations of the deployed `reconcile`, a dev build, warm. Proxies before \
             the GraphQL engine and DynamoDB count; EC2's calls are in the emulator's ledger. The \
             small region was filled with host agents, the large one without; both by the service \
             itself. A pass of the small one requested: {requested}."
        ),
        rows,
    })
}

/// The region whose passes are measured. No other region exists.
struct MeasuredRegion<'a> {
    stack: &'a Stack,
    region: &'a str,
    instances: usize,
    ec2_control: String,
}

impl MeasuredRegion<'_> {
    /// Invokes `reconcile` as EventBridge does. The pass must find nothing to do.
    async fn run_scheduled_pass(&self) -> Result<Value> {
        let report = self.stack.reconcile(&schedule()).await?["regions"].take();
        ensure!(
            is_quiet_alone(&report),
            "{} is not quiet: {report:#}",
            self.region
        );
        Ok(report[0].clone())
    }

    /// Runs passes until nothing is left to do and nothing is starting.
    async fn settle(&self) -> Result<()> {
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        let only = json!({"regions": [self.region]});
        loop {
            let report = self.stack.reconcile(&only).await?["regions"][0].take();
            if is_quiet(&report) && report["plan"]["figures"]["starting"] == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "{} is not quiet after {SETTLE_TIMEOUT:?}: {report:#}",
                    self.region
                );
            }
        }
    }

    async fn measure_times(&self) -> Result<Vec<Row>> {
        self.run_scheduled_pass().await?;
        let (mut passes, mut invocations) = (Samples::default(), Samples::default());
        for _ in 0..PASSES {
            let started = Instant::now();
            let report = self.run_scheduled_pass().await?;
            invocations.push(started.elapsed());
            let millis = report["duration_ms"]
                .as_u64()
                .context("the report has no duration_ms")?;
            passes.push(Duration::from_millis(millis));
        }
        Ok(vec![
            Row::timed(self.title("the pass, by its own report"), &passes),
            Row::timed(self.title("the invocation, for its caller"), &invocations),
        ])
    }

    /// Counts the requests of passes. Returns the rows, and the requests of the last pass by name.
    async fn count_requests(&self) -> Result<(Vec<Row>, String)> {
        let env = self.stack.env();
        let graphql = Proxy::start(&env.hasura_url, proxy::graphql_operation)?;
        let dynamodb = Proxy::start(&env.aws_endpoint_url, proxy::dynamodb_action)?;
        let proxied = [
            ("HASURA_URL", graphql.url()),
            ("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.url()),
        ];
        settings::set(self.stack, &env.reconcile_function, &proxied).await?;
        // The first invocation starts the process.
        self.run_scheduled_pass().await?;
        let (mut max, mut last) = ([0; 4], String::new());
        for _ in 0..COUNTED {
            let calls_before = self.ec2_calls().await?.len();
            graphql.take();
            dynamodb.take();
            self.run_scheduled_pass().await?;
            let (graphql, dynamodb) = (graphql.take(), dynamodb.take());
            let ec2 = self.ec2_calls().await?.split_off(calls_before);
            let of_regions = graphql.iter().filter(|name| *name == "Regions").count();
            let counts = [
                graphql.len() - of_regions,
                of_regions,
                ec2.len(),
                dynamodb.len(),
            ];
            max = std::array::from_fn(|n| counts[n].max(max[n]));
            last = format!(
                "{} of GraphQL, {} of EC2, {} of DynamoDB",
                graphql.join(", "),
                ec2.join(", "),
                dynamodb.join(", ")
            );
        }
        let direct = [
            ("HASURA_URL", env.hasura_url.as_str()),
            ("AWS_ENDPOINT_URL_DYNAMODB", env.aws_endpoint_url.as_str()),
        ];
        settings::set(self.stack, &env.reconcile_function, &direct).await?;

        let row = |what: &str, count: usize| {
            Row::single(self.title(what), Quantity::Count(count as u64)).samples(COUNTED)
        };
        let [pass, of_regions, ec2, dynamodb] = max;
        let pages = Quantity::Count(self.instances.div_ceil(PAGE) as u64);
        let rows = vec![
            row("GraphQL requests of the pass", pass).at_most(pages),
            row("GraphQL requests before it, to list regions", of_regions),
            row("EC2 calls (DescribeInstances)", ec2).at_most(pages),
            row("DynamoDB calls of the invocation", dynamodb)
                .at_most(Quantity::Count(DYNAMODB_GOAL)),
        ];
        Ok((rows, last))
    }

    /// The actions of all calls to EC2 so far.
    async fn ec2_calls(&self) -> Result<Vec<String>> {
        let url = format!("{}/ledger", self.ec2_control);
        let ledger: Value = reqwest::get(&url).await?.json().await.context(url)?;
        let calls = ledger["calls"]
            .as_array()
            .context("EC2's ledger has no list of calls")?;
        let actions = calls.iter().filter_map(|call| call["action"].as_str());
        Ok(actions.map(str::to_owned).collect())
    }

    fn title(&self, what: &str) -> String {
        format!("{} instances: {what}", self.instances)
    }
}

/// Lets the service launch all instances of the large region, and registers them in PostgreSQL as
/// their agents would.
pub(crate) async fn fill_large(stack: &Stack, sql: &Client, instances: usize) -> Result<()> {
    let capacity = 2;
    let target = instances * capacity;
    sql.batch_execute(&format!(
        "INSERT INTO regions (name, target_free, max_instances, scale_up_step,
             heartbeat_seconds, lost_seconds, launch_choices)
         VALUES ('{LARGE}', {target}, {instances}, {MOST_AT_ONCE}, 86400, 172800,
             '[{{\"instance_type\": \"m6i.large\", \"capacity\": {capacity},
                 \"subnet_id\": \"subnet-03a0000000000000a\"}}]');
         INSERT INTO images (region, image_id, client_sha, state)
         VALUES ('{LARGE}', 'ami-03000000000000001', 'build', 'CURRENT')"
    ))
    .await?;
    let deadline = Instant::now() + FILL_TIMEOUT;
    loop {
        let report = stack.reconcile(&json!({"regions": [LARGE]})).await?["regions"][0].take();
        fleet::register_all(sql, LARGE)
            .await
            .with_context(|| format!("the pass that launches reported {report:#}"))?;
        // A region that finds no capacity is quiet, too.
        if is_quiet(&report) && report["plan"]["figures"]["live"] == instances {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "{LARGE} is not filled after {FILL_TIMEOUT:?}: {report:#}"
        );
    }
}

pub(crate) fn is_quiet(report: &Value) -> bool {
    let steps = report["plan"]["steps"].as_array();
    report["outcome"] == "done" && steps.is_some_and(Vec::is_empty)
}

/// Whether these are the reports of one region, which is quiet.
pub(crate) fn is_quiet_alone(reports: &Value) -> bool {
    reports.as_array().map(Vec::len) == Some(1) && is_quiet(&reports[0])
}

async fn fill_small(stack: &Stack) -> Result<()> {
    let seed = RegionSeed {
        region: SMALL.to_owned(),
        target_free: 4,
        max_instances: 10,
        capacity: 2,
    };
    seed.insert(&stack.operator(), None).await
}

/// Thousands of agents would be thousands of processes.
pub(crate) async fn emulator_without_agents(stack: &Stack) -> Result<(Process, String)> {
    let port = Ports::free().reserve("another EC2 emulator")?;
    let endpoint = format!("http://127.0.0.1:{}", port.port());
    // A subnet of the default world has room for 4,091 instances.
    let world = std::fs::read_to_string(project::root().join("local/ec2-emulator/world.json"))?;
    let file = stack.dir().data("large-world.json");
    std::fs::write(&file, world.replace("\"10.3.0.0/20\"", "\"10.103.0.0/16\""))?;
    let process = Program::new("ec2-emulator-2", project::binary("ec2-emulator")?)
        .arg(format!("--listen=127.0.0.1:{}", port.release()))
        .arg(format!("--world={}", file.display()))
        .args(["--pending-ms=0", "--listing-lag-ms=0"])
        .start(stack.dir())?;
    let ledger = format!("{endpoint}/_emulator/ledger");
    process
        .ready(EMULATOR_START_TIMEOUT, async || {
            reqwest::get(&ledger).await.is_ok()
        })
        .await?;
    Ok((process, endpoint))
}
