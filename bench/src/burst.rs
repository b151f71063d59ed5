//! Many users at the same time, at the function URL of the deployed `assign-user`.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use local_stack::seed::APP_VERSION;
use local_stack::stack::Stack;
use reqwest::{RequestBuilder, StatusCode};
use scaling_bench::{Quantity, Row, Samples, Section};
use serde_json::{Value, json};

use crate::fleet::{FIRST_HALF, INSTANCES, REGION, SLOTS};

/// The number of concurrent users, and the number of all users.
const BURSTS: [(usize, usize); 3] = [(1, 100), (8, 400), (32, 800)];

const REFUSALS: usize = 100;

/// For one answer, when 32 users share two cores.
const TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) async fn measure(stack: &Stack) -> Result<Section> {
    let http = reqwest::Client::builder().timeout(TIMEOUT).build()?;
    let mut rows = vec![refusals(stack, &http).await?];
    for (at_once, users) in BURSTS {
        // Warm-up, not measured: it starts a process of the function for each concurrent user.
        burst(
            stack,
            &http,
            &format!("warm-up-{at_once}"),
            at_once,
            at_once,
        )
        .await?;
        let started = Instant::now();
        let samples = burst(stack, &http, &format!("burst-{at_once}"), at_once, users).await?;
        let rate = samples.count() as f64 / started.elapsed().as_secs_f64();
        let title = format!("{at_once} at once");
        rows.push(
            Row::single(format!("{title}: assigns"), Quantity::PerSecond(rate)).samples(users),
        );
        rows.push(Row::timed(format!("{title}: one assign"), &samples));
    }
    Ok(Section {
        title: "bursts of users".to_owned(),
        method: format!(
            "Each user requests one slot, over HTTP, in the region of {INSTANCES} instances with {} \
             slots. Function, GraphQL engine and client are dev builds, and share the machine's \
             cores with PostgreSQL and with the local AWS, which runs the function. After each \
             invocation, the local AWS waits up to 50 ms for a line on standard error. This shows \
             how the whole stack behaves under load, not how fast AWS is.",
            INSTANCES * SLOTS
        ),
        rows,
    })
}

/// The cost of the way to the function: it refuses these requests without calling anything.
async fn refusals(stack: &Stack, http: &reqwest::Client) -> Result<Row> {
    let mut samples = Samples::default();
    // The first request starts the process.
    for n in 0..=REFUSALS {
        let started = Instant::now();
        let status = request(stack, http, REGION, FIRST_HALF)
            .send()
            .await?
            .status();
        ensure!(
            status == StatusCode::UNAUTHORIZED,
            "a request without a token is answered {status}"
        );
        if n > 0 {
            samples.push(started.elapsed());
        }
    }
    Ok(Row::timed(
        "1 at once: refused, the token is missing",
        &samples,
    ))
}

async fn burst(
    stack: &Stack,
    http: &reqwest::Client,
    name: &str,
    at_once: usize,
    users: usize,
) -> Result<Samples> {
    let users = (0..users).map(|user| {
        let user = format!("{name}-{user}");
        // Before the time is taken.
        let token = stack.token(&user);
        (user, token)
    });
    let users: Vec<_> = users.collect();
    let times: Vec<Duration> = stream::iter(users)
        .map(|(user, token)| async move {
            let started = Instant::now();
            let answer = assign(stack, http, &token?).await;
            answer.with_context(|| format!("assign {user}"))?;
            Ok::<_, anyhow::Error>(started.elapsed())
        })
        .buffer_unordered(at_once)
        .try_collect()
        .await?;
    Ok(times.into_iter().collect())
}

async fn assign(stack: &Stack, http: &reqwest::Client, token: &str) -> Result<()> {
    let request = request(stack, http, REGION, FIRST_HALF);
    let answer = request.bearer_auth(token).send().await?;
    let status = answer.status();
    let body: Value = answer.json().await?;
    ensure!(status.is_success(), "answered {status}: {body}");
    Ok(())
}

/// An assign request without its token.
pub(crate) fn request(
    stack: &Stack,
    http: &reqwest::Client,
    region: &str,
    client_sha: &str,
) -> RequestBuilder {
    let url = format!("{}mandelbox/assign", stack.env().assign_user_url);
    http.post(url).json(&json!({
        "regions": [region],
        "client_commit_hash": client_sha,
        "user_email": "somebody@example.com",
        "version": APP_VERSION,
        "session_id": 1,
    }))
}
