//! From an assign that leaves too few free slots to the launch that makes up for it, with the
//! database's event between them and nothing else.

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
/// Of instances with one slot each: every user is missing one.
const TARGET: i64 = 4;

const WARM_UP: usize = 2;
const ROUNDS: usize = 20;
/// Each of these is counted, and the most of them is the figure.
const COUNTED: usize = 5;

const GOAL: Duration = Duration::from_secs(1);

/// For anything that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

pub(crate) async fn measure(stack: &Stack, sql: &Client) -> Result<Section> {
    let bench = Bench {
        stack,
        sql,
        http: Http::new(),
        function: format!("{}-hasura-event", stack.env().stack_name),
    };
    let pace = bench.pace().await?;
    bench.set_up().await?;
    bench.ask_events("POST", "resume").await?;
    let mut rows = bench.times().await?;
    let (counts, asked) = bench.counts().await?;
    rows.extend(counts);
    // What comes after is measured without passes that its events would start.
    bench.ask_events("POST", "pause").await?;
    bench.set_pace(&pace).await?;
    fleet::remove(sql, REGION).await?;
    Ok(Section {
        title: "wake to launch".to_owned(),
        how: format!(
            "A user takes a slot over HTTP, which leaves {} of {TARGET} free in a region of \
             {TARGET} instances; no schedule runs. Time is from the start of the assign's \
             transaction to RunInstances at the emulator, by way of the event trigger (the local \
             delivery in the place of Hasura's) and the deployed `hasura-event`, a dev build, \
             warm. The event stands for two seconds, and is looked at again when they are over: \
             requests are those of both looks, of which the first launches and the second finds \
             nothing to do. They asked: {asked}.",
            TARGET - 1
        ),
        rows,
    })
}

struct Bench<'a> {
    stack: &'a Stack,
    sql: &'a Client,
    http: Http,
    function: String,
}

/// When things happened to one wake, in milliseconds since the epoch.
struct Moments {
    assigned: i64,
    /// The event was given to `hasura-event`.
    told: i64,
    launched: i64,
}

impl Bench<'_> {
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
        let pace = json!({
            "pending_ms": 200, "shutting_down_ms": 100, "listing_lag_ms": 0,
            "agent": {"boot_ms": 0, "connect_ms": 1000, "session_ms": 1000},
        });
        self.set_pace(&pace).await
    }

    /// How fast the emulator's instances and agents are.
    async fn pace(&self) -> Result<Value> {
        let url = format!("{}/settings", self.stack.env().ec2_control_url);
        self.http.get(&url).send().await?.json().await.context(url)
    }

    async fn set_pace(&self, pace: &Value) -> Result<()> {
        let url = format!("{}/settings", self.stack.env().ec2_control_url);
        let answer = self.http.patch(&url).json(pace).send().await?;
        answer.error_for_status().context(url)?;
        Ok(())
    }

    /// Asks the delivery of the database's events.
    async fn ask_events(&self, method: &str, path: &str) -> Result<Value> {
        let url = self.stack.env().hasura_events_control_url.as_deref();
        let url = format!("{}/{path}", url.context("no events are delivered")?);
        let request = self.http.request(method.parse()?, &url);
        Ok(request.send().await?.json().await?)
    }

    async fn times(&self) -> Result<Vec<Row>> {
        let (mut launches, mut tellings) = (Samples::default(), Samples::default());
        for round in 0..WARM_UP + ROUNDS {
            self.at_rest().await?;
            let moments = self.wake(&format!("timed-{round}")).await?;
            if round >= WARM_UP {
                launches.push(between(moments.assigned, moments.launched));
                tellings.push(between(moments.assigned, moments.told));
            }
        }
        let fastest = Row::single("- the fastest of them", Quantity::Time(launches.min()));
        Ok(vec![
            Row::timed("assign to RunInstances", &launches).at_most(Quantity::Time(GOAL)),
            Row::timed("- of it until the event is sent", &tellings),
            fastest.samples(ROUNDS),
        ])
    }

    /// What a wake asks for, and what the last one asked in words.
    async fn counts(&self) -> Result<(Vec<Row>, String)> {
        let env = self.stack.env();
        let graphql = Proxy::before(&env.hasura_url, proxy::graphql_operation)?;
        let dynamodb = Proxy::before(&env.aws_endpoint_url, proxy::dynamodb_action)?;
        let between = [
            ("HASURA_URL", graphql.url()),
            ("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.url()),
        ];
        settings::set(self.stack, &self.function, &between).await?;
        let (mut most, mut last) = ([0; 3], String::new());
        // The first starts the process.
        for round in 0..=COUNTED {
            self.at_rest().await?;
            let calls_before = self.ec2_calls().await.len();
            graphql.take();
            dynamodb.take();
            self.wake(&format!("counted-{round}")).await?;
            let (graphql, dynamodb) = (graphql.take(), dynamodb.take());
            let ec2 = self.ec2_calls().await.split_off(calls_before);
            let counts = [graphql.len(), ec2.len(), dynamodb.len()];
            if round > 0 {
                most = std::array::from_fn(|n| counts[n].max(most[n]));
            }
            last = format!(
                "{} of GraphQL; {} of EC2; {} of DynamoDB",
                graphql.join(", "),
                ec2.join(", "),
                dynamodb.join(", ")
            );
        }
        let back = [
            ("HASURA_URL", env.hasura_url.as_str()),
            ("AWS_ENDPOINT_URL_DYNAMODB", env.aws_endpoint_url.as_str()),
        ];
        settings::set(self.stack, &self.function, &back).await?;
        let row =
            |what, count: usize| Row::single(what, Quantity::Count(count as u64)).samples(COUNTED);
        let [graphql, ec2, dynamodb] = most;
        let rows = vec![
            row("GraphQL requests of both looks", graphql),
            row("EC2 calls of both looks", ec2),
            row("DynamoDB calls of both looks", dynamodb),
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
        let launched = until("a launch", async || {
            let launches = self.launches().await;
            Ok(launches.get(launches_before).copied())
        })
        .await?;
        // An attempt to deliver is written down when it is over.
        self.events_are_done().await?;
        let told = self
            .moment(
                "SELECT max(started_at) FROM local_events.deliveries
                 WHERE trigger_name = 'region_wake'",
                &[],
            )
            .await?;
        Ok(Moments {
            assigned,
            told,
            launched,
        })
    }

    /// The one time that a query gives.
    async fn moment(&self, query: &str, params: &[&(dyn ToSql + Sync)]) -> Result<i64> {
        let query = format!("SELECT (extract(epoch FROM ({query})) * 1000)::bigint");
        let row = self.sql.query_one(&query, params).await?;
        let moment: Option<i64> = row.get(0);
        moment.with_context(|| format!("no time: {query}"))
    }

    /// Waits until users are gone, and what was launched for them; passes by hand see to it.
    async fn at_rest(&self) -> Result<()> {
        let only = json!({"regions": [REGION]});
        until("rest", async || {
            let report = self.stack.reconcile(&only).await?["regions"][0].take();
            let plan = &report["plan"];
            let idle = plan["steps"].as_array().is_some_and(Vec::is_empty);
            let figures = &plan["figures"];
            let full = figures["free"] == TARGET && figures["live"] == TARGET;
            Ok((idle && full).then_some(()))
        })
        .await?;
        self.events_are_done().await
    }

    async fn events_are_done(&self) -> Result<()> {
        until("the end of all events", async || {
            let state = self.ask_events("GET", "").await?;
            let done = state["events"]["pending"] == 0 && state["sending"] == 0;
            Ok(done.then_some(()))
        })
        .await
    }

    /// When each launch was asked for.
    async fn launches(&self) -> Vec<i64> {
        let ledger = Ledger::read(&self.stack.env().ec2_control_url).await;
        let calls = ledger.calls("RunInstances");
        let here = calls.filter(|call| call.region == REGION);
        here.map(|call| call.at_ms).collect()
    }

    /// The actions of all calls so far.
    async fn ec2_calls(&self) -> Vec<String> {
        let ledger = Ledger::read(&self.stack.env().ec2_control_url).await;
        let here = ledger.calls.into_iter().filter(|it| it.region == REGION);
        here.map(|call| call.action).collect()
    }
}

fn between(from_ms: i64, to_ms: i64) -> Duration {
    Duration::from_millis((to_ms - from_ms).max(0).unsigned_abs())
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("no {what} after {PATIENCE:?}");
        }
        tokio::time::sleep(POLL).await;
    }
}
