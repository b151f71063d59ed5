//! Assigning a slot in a large region: the SQL function alone, and a round trip over GraphQL.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hasura_adapter::{HasuraAssigner, HasuraClient, HasuraSettings};
use local_stack::stack::Stack;
use scaling_bench::{Quantity, Row, Samples, Section};
use scaling_tests::graphql::function_token;
use scaling_tests::proxy::{self, Proxy};
use serde_json::Value;
use shared::assign::{
    AssignOutcome, AssignRequest, Assigner as _, ClientBuild, SessionId, SessionLimits, UserId,
};
use shared::function_token::FunctionRole;
use tokio_postgres::Client;

use crate::fleet::{FIRST_HALF, INSTANCES, NOWHERE, REGION, SECOND_HALF, SLOTS};

const WARM_UP: usize = 20;
const ASSIGNS: usize = 500;
/// For the cases that take long.
const SLOW_ASSIGNS: usize = 50;

pub(crate) async fn measure(stack: &Stack, sql: &Client) -> Result<Section> {
    let version: String = sql.query_one("SHOW server_version", &[]).await?.get(0);
    let mut rows = Vec::new();
    let cases = [
        (
            "a slot on the first instance with room",
            FIRST_HALF,
            "ASSIGNED",
            ASSIGNS,
        ),
        (
            "the same requests again: the slot is held already",
            FIRST_HALF,
            "ALREADY_ASSIGNED",
            ASSIGNS,
        ),
        (
            "the requested image is on the last half",
            SECOND_HALF,
            "ASSIGNED",
            SLOW_ASSIGNS,
        ),
        (
            "the requested image is on no instance: refused",
            NOWHERE,
            "NO_INSTANCE_AVAILABLE",
            SLOW_ASSIGNS,
        ),
    ];
    for (what, sha, outcome, times) in cases {
        let samples = in_postgres(sql, sha, outcome, times)
            .await
            .with_context(|| what.to_owned())?;
        rows.push(Row::timed(format!("SQL: {what}"), &samples));
    }
    rows.extend(over_graphql(stack).await?);
    Ok(Section {
        title: format!(
            "assign, {INSTANCES} instances with {} slots",
            INSTANCES * SLOTS
        ),
        method: format!(
            "SQL: the function's execution time in PostgreSQL {version} (EXPLAIN ANALYZE), warm, \
             without waiting for the disk (fsync and synchronous_commit are off). GraphQL: a \
             round trip of the service's own client, through a counting proxy and the local engine \
             (postrust in place of Hasura). All three are dev builds."
        ),
        rows,
    })
}

async fn in_postgres(sql: &Client, sha: &str, outcome: &str, times: usize) -> Result<Samples> {
    // The requests of `ASSIGNED` and `ALREADY_ASSIGNED` are the same, so that the second case
    // repeats the first.
    let session = |n: usize| format!("'{sha}-{n}', 'session'");
    let call = |n| {
        format!(
            "assign_slot({}, '[\"{REGION}\"]', '{sha}', 3, 'dev', false)",
            session(n)
        )
    };
    let mut samples = Samples::default();
    for n in 0..WARM_UP + times {
        let explain = format!(
            "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) SELECT * FROM {}",
            call(n)
        );
        let plan: Value = sql.query_one(&explain, &[]).await?.get(0);
        let millis = plan[0]["Execution Time"]
            .as_f64()
            .context("the plan of EXPLAIN has no Execution Time")?;
        if n >= WARM_UP {
            samples.push(Duration::from_secs_f64(millis / 1e3));
        }
    }
    // EXPLAIN does not return the function's answer; one more call shows that it was the expected
    // one.
    let last = if outcome == "ASSIGNED" {
        WARM_UP + times
    } else {
        0
    };
    let check = format!("SELECT outcome FROM {}", call(last));
    let found: String = sql.query_one(&check, &[]).await?.get(0);
    ensure!(
        found == outcome,
        "assign_slot answered {found}, not {outcome}"
    );
    Ok(samples)
}

async fn over_graphql(stack: &Stack) -> Result<Vec<Row>> {
    let env = stack.env();
    let counter = Proxy::start(&env.hasura_url, proxy::graphql_operation)?;
    let settings = HasuraSettings {
        url: counter.url().to_owned(),
        token: function_token(FunctionRole::Assigner, &env.hasura_jwt_key)?,
        timeout: Duration::from_secs(10),
    };
    let client = HasuraClient::new(http_client::client()?, &settings)?;
    let assigner = HasuraAssigner::new(client, 3, "dev");
    let mut samples = Samples::default();
    for n in 0..WARM_UP + ASSIGNS {
        let request = AssignRequest {
            user: UserId::parse(&format!("graphql-{n}"))?,
            session: SessionId::parse("session")?,
            regions: vec![REGION.into()],
            client: ClientBuild::Sha(FIRST_HALF.into()),
            limits: SessionLimits::default(),
        };
        let started = Instant::now();
        let outcome = assigner.assign(&request).await?;
        if n >= WARM_UP {
            samples.push(started.elapsed());
        }
        ensure!(
            matches!(outcome, AssignOutcome::Assigned(_)),
            "assign answered {outcome:?}"
        );
    }
    let requests = u64::try_from(counter.take().len().div_ceil(WARM_UP + ASSIGNS))?;
    let requests = Row::single("GraphQL: requests for an assign", Quantity::Count(requests));
    Ok(vec![
        Row::timed("GraphQL: a slot, one round trip", &samples),
        requests
            .samples(WARM_UP + ASSIGNS)
            .at_most(Quantity::Count(1)),
    ])
}
