//! From an assign that leaves too few free slots to the launch that makes up for it. Only the event
//! of the database is between them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use local_stack::stack::Stack;
use reqwest::Client as Http;
use scaling_bench::{Quantity, Row, Samples, Section};
use scaling_tests::ledger::Ledger;
use scaling_tests::proxy::{self, Proxy};
use scaling_tests::settings;
use serde_json::{Value, json};
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use crate::{burst, fleet};

const REGION: &str = "us-west-1";
const CLIENT_SHA: &str = "build";
/// The target of free slots. Each instance has one slot, so that every user causes a launch.
const TARGET: i64 = 4;

const WARM_UP: usize = 2;
const ROUNDS: usize = 20;
/// The number of counted wakes; the figure is their maximum.
const COUNTED: usize = 5;

const GOAL: Duration = Duration::from_secs(1);

/// The time limit of everything that is waited for.
const TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

pub(crate) async fn measure(stack: &Stack, sql: &Client) -> Result<Section> {
    let bench = WakeBench {
        stack,
        sql,
        http: Http::new(),
        function: format!("{}-hasura-event", stack.env().stack_name),
    };
    let settings_before = bench.emulator_settings().await?;
    bench.set_up().await?;
    bench.call_event_delivery("POST", "resume").await?;
    let mut rows = bench.measure_times().await?;
    let (counts, requested) = bench.count_requests().await?;
    rows.extend(counts);
    // Later sections are measured without the passes that their events would start.
    bench.call_event_delivery("POST", "pause").await?;
    bench.set_emulator_settings(&settings_before).await?;
    fleet::remove(sql, REGION).await?;
    Ok(Section {
        title: "wake to launch".to_owned(),
        method: format!(
            "A user takes a slot over HTTP, which leaves {} of {TARGET} free in a region of \
             {TARGET} instances; no schedule runs. Time is from the start of the assign's \
             transaction to RunInstances at the emulator, by way of the event trigger (the local \
             delivery in place of Hasura's) and the deployed `hasura-event`, a dev build, warm. \
             The event stands for two seconds, and causes one more pass when they are over: \
             requests are those of both passes, of which the first launches and the second finds \
             nothing to do. They requested: {requested}.",
            TARGET - 1
        ),
        rows,
    })
}

struct WakeBench<'a> {
    stack: &'a Stack,
    sql: &'a Client,
    http: Http,
    function: String,
}

/// The times of one wake, in milliseconds since the epoch.
struct Moments {
    assigned: i64,
    /// The event was sent to `hasura-event`.
    sent: i64,
    launched: i64,
}

impl WakeBench<'_> {
    async fn set_up(&self) -> Result<()> {
        self.sql
            .batch_execute(&format!(
                "INSERT INTO regions (name, target_free, max_instances, scale_up_step,
                     scale_down_step, launch_choices, security_groups)
                 VALUES ('{REGION}', {TARGET}, 20, 0, 0,
                     '[{{\"instance_type\": \"m6i.large\", \"capacity\": 1,
                         \"subnet_tag\": {{\"key\": \"Name\", \"value\": \"hosts-us-west-1a\"}}}}]',
                     '[{{\"key\": \"scaling\", \"value\": \"hosts\"}}]');
                 INSERT INTO images (region, image_id, client_sha, state)
                 VALUES ('{REGION}', 'ami-02000000000000001', '{CLIENT_SHA}', 'CURRENT')"
            ))
            .await?;
        // Users leave soon, so that what was launched for them can go before the next one comes.
        let fast = json!({
            "pending_ms": 200, "shutting_down_ms": 100, "listing_lag_ms": 0,
            "agent": {"boot_ms": 0, "connect_ms": 1000, "session_ms": 1000},
        });
        self.set_emulator_settings(&fast).await
    }

    /// The settings of the emulator: how fast its instances and agents are.
    async fn emulator_settings(&self) -> Result<Value> {
        let url = format!("{}/settings", self.stack.env().ec2_control_url);
        self.http.get(&url).send().await?.json().await.context(url)
    }

    async fn set_emulator_settings(&self, values: &Value) -> Result<()> {
        let url = format!("{}/settings", self.stack.env().ec2_control_url);
        let answer = self.http.patch(&url).json(values).send().await?;
        answer.error_for_status().context(url)?;
        Ok(())
    }

    /// Calls the delivery of the database's events.
    async fn call_event_delivery(&self, method: &str, path: &str) -> Result<Value> {
        let url = self.stack.env().hasura_events_control_url.as_deref();
        let url = format!("{}/{path}", url.context("the stack delivers no events")?);
        let request = self.http.request(method.parse()?, &url);
        Ok(request.send().await?.json().await?)
    }

    async fn measure_times(&self) -> Result<Vec<Row>> {
        let (mut launches, mut deliveries) = (Samples::default(), Samples::default());
        for round in 0..WARM_UP + ROUNDS {
            self.wait_until_full().await?;
            let moments = self.wake(&format!("timed-{round}")).await?;
            if round >= WARM_UP {
                launches.push(duration(moments.assigned, moments.launched));
                deliveries.push(duration(moments.assigned, moments.sent));
            }
        }
        let fastest = Row::single("- the fastest of them", Quantity::Time(launches.min()));
        Ok(vec![
            Row::timed("assign to RunInstances", &launches).at_most(Quantity::Time(GOAL)),
            Row::timed("- of it until the event is sent", &deliveries),
            fastest.samples(ROUNDS),
        ])
    }

    /// Counts the requests of wakes. Returns the rows, and the requests of the last wake by name.
    async fn count_requests(&self) -> Result<(Vec<Row>, String)> {
        let env = self.stack.env();
        let graphql = Proxy::start(&env.hasura_url, proxy::graphql_operation)?;
        let dynamodb = Proxy::start(&env.aws_endpoint_url, proxy::dynamodb_action)?;
        let proxied = [
            ("HASURA_URL", graphql.url()),
            ("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.url()),
        ];
        settings::set(self.stack, &self.function, &proxied).await?;
        let (mut max, mut last) = ([0; 3], String::new());
        // The first wake starts the process.
        for round in 0..=COUNTED {
            self.wait_until_full().await?;
            let calls_before = self.ec2_calls().await.len();
            graphql.take();
            dynamodb.take();
            self.wake(&format!("counted-{round}")).await?;
            let (graphql, dynamodb) = (graphql.take(), dynamodb.take());
            let ec2 = self.ec2_calls().await.split_off(calls_before);
            let counts = [graphql.len(), ec2.len(), dynamodb.len()];
            if round > 0 {
                max = std::array::from_fn(|n| counts[n].max(max[n]));
            }
            last = format!(
                "{} of GraphQL; {} of EC2; {} of DynamoDB",
                graphql.join(", "),
                ec2.join(", "),
                dynamodb.join(", ")
            );
        }
        let direct = [
            ("HASURA_URL", env.hasura_url.as_str()),
            ("AWS_ENDPOINT_URL_DYNAMODB", env.aws_endpoint_url.as_str()),
        ];
        settings::set(self.stack, &self.function, &direct).await?;
        let row =
            |what, count: usize| Row::single(what, Quantity::Count(count as u64)).samples(COUNTED);
        let [graphql, ec2, dynamodb] = max;
        let rows = vec![
            row("GraphQL requests of both passes", graphql),
            row("EC2 calls of both passes", ec2),
            row("DynamoDB calls of both passes", dynamodb),
        ];
        Ok((rows, last))
    }

    async fn wake(&self, user: &str) -> Result<Moments> {
        let launches_before = self.launches().await.len();
        let token = self.stack.token(user)?;
        let request = burst::request(self.stack, &self.http, REGION, CLIENT_SHA);
        let answer = request.bearer_auth(token).send().await?;
        ensure!(answer.status().is_success(), "{user} gets {answer:?}");
        let assigned = "SELECT allocated_at FROM slots WHERE user_id = $1";
        let assigned = self.moment(assigned, &[&user]).await?;
        let launched = until("the launch", async || {
            let launches = self.launches().await;
            Ok(launches.get(launches_before).copied())
        })
        .await?;
        // A delivery is recorded when it has ended.
        self.wait_for_events().await?;
        let sent = self
            .moment(
                "SELECT max(started_at) FROM local_events.deliveries
                 WHERE trigger_name = 'region_wake'",
                &[],
            )
            .await?;
        Ok(Moments {
            assigned,
            sent,
            launched,
        })
    }

    /// The result of a query for one time.
    async fn moment(&self, query: &str, params: &[&(dyn ToSql + Sync)]) -> Result<i64> {
        let query = format!("SELECT (extract(epoch FROM ({query})) * 1000)::bigint");
        let row = self.sql.query_one(&query, params).await?;
        let moment: Option<i64> = row.get(0);
        moment.with_context(|| format!("no time: {query}"))
    }

    /// Waits until users are gone and what was launched for them is drained, with passes by hand.
    async fn wait_until_full(&self) -> Result<()> {
        let only = json!({"regions": [REGION]});
        until("full region without work", async || {
            let report = self.stack.reconcile(&only).await?["regions"][0].take();
            let plan = &report["plan"];
            let idle = plan["steps"].as_array().is_some_and(Vec::is_empty);
            let figures = &plan["figures"];
            let full = figures["free"] == TARGET && figures["live"] == TARGET;
            Ok((idle && full).then_some(()))
        })
        .await?;
        self.wait_for_events().await
    }

    async fn wait_for_events(&self) -> Result<()> {
        until("the end of all events", async || {
            let state = self.call_event_delivery("GET", "").await?;
            let done = state["events"]["pending"] == 0 && state["sending"] == 0;
            Ok(done.then_some(()))
        })
        .await
    }

    /// The times of all launches.
    async fn launches(&self) -> Vec<i64> {
        let ledger = Ledger::read(&self.stack.env().ec2_control_url).await;
        let calls = ledger.calls("RunInstances");
        let here = calls.filter(|call| call.region == REGION);
        here.map(|call| call.at_ms).collect()
    }

    /// The actions of all calls to EC2 so far.
    async fn ec2_calls(&self) -> Vec<String> {
        let ledger = Ledger::read(&self.stack.env().ec2_control_url).await;
        let here = ledger.calls.into_iter().filter(|it| it.region == REGION);
        here.map(|call| call.action).collect()
    }
}

fn duration(from_ms: i64, to_ms: i64) -> Duration {
    Duration::from_millis((to_ms - from_ms).max(0).unsigned_abs())
}

async fn until<T>(what: &str, mut poll: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(found) = poll().await? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("{what}: not reached after {TIMEOUT:?}");
        }
        tokio::time::sleep(POLL).await;
    }
}
