//! Metrics of the deployed stack: read back from the functions' logs as CloudWatch reads them, and
//! from `/metrics`.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

use std::collections::{BTreeMap, BTreeSet};

use scaling_tests::deployed::{Deployed, SOON, client_request, set_fast_ec2};
use scaling_tests::wait::eventually;
use serde_json::{Value, json};
use shared::metrics::*;

const REGION_NAME: &str = "us-east-1";

/// A value that CloudWatch reads: the metric's name, its unit, its dimensions.
#[derive(Clone, Debug)]
struct Sample {
    name: String,
    unit: String,
    dimensions: BTreeMap<String, String>,
    value: f64,
}

/// The values of a line, by the specification of the embedded metric format: each definition names
/// members at the root, and a value counts once for each set of dimensions.
fn samples(line: &Value) -> Vec<Sample> {
    let mut samples = vec![];
    let directives = line["_aws"]["CloudWatchMetrics"]
        .as_array()
        .expect("a list");
    assert!(
        line["_aws"]["Timestamp"].as_i64() > Some(1_700_000_000_000),
        "{line}"
    );
    for directive in directives {
        assert_eq!(directive["Namespace"], NAMESPACE);
        for set in directive["Dimensions"].as_array().expect("sets") {
            let names = set.as_array().expect("names").iter();
            let dimensions: BTreeMap<_, _> = names
                .map(|name| {
                    let name = name.as_str().expect("a name").to_owned();
                    let value = line[&name]
                        .as_str()
                        .unwrap_or_else(|| panic!("{name}: {line}"));
                    assert!(!value.is_empty(), "{line}");
                    (name, value.to_owned())
                })
                .collect();
            for definition in directive["Metrics"].as_array().expect("definitions") {
                let name = definition["Name"].as_str().expect("a name");
                let values = match &line[name] {
                    Value::Array(values) => values.clone(),
                    value => vec![value.clone()],
                };
                assert!((1..=100).contains(&values.len()), "{line}");
                samples.extend(values.iter().map(|value| Sample {
                    name: name.to_owned(),
                    unit: definition["Unit"].as_str().expect("a unit").to_owned(),
                    dimensions: dimensions.clone(),
                    value: value.as_f64().unwrap_or_else(|| panic!("{name}: {line}")),
                }));
            }
        }
    }
    samples
}

/// The lines with metrics of all functions. Each is invoked once more, because the local AWS has the
/// last lines of a process only after that.
async fn lines(deployed: &Deployed) -> Vec<Value> {
    let env = deployed.stack.env();
    deployed.reconcile().await;
    deployed
        .request(reqwest::Method::GET, "")
        .send()
        .await
        .expect("assign-user answers");
    let rejected = post_event(deployed, "").await;
    assert!(!rejected.status().is_success());
    let mut lines = vec![];
    let hasura_event = deployed.hasura_event_function();
    let functions = [
        Some(&env.assign_user_function),
        Some(&env.reconcile_function),
        Some(&hasura_event),
        // It runs passes, too, when EC2 reports news.
        env.instance_state_change_function.as_ref(),
    ];
    for function in functions.into_iter().flatten() {
        let log = deployed.function_log(function).await.text;
        let of_metrics = log
            .lines()
            .filter(|line| line.contains("CloudWatchMetrics"));
        // The whole line is JSON, or CloudWatch does not read it.
        lines.extend(of_metrics.map(|line| serde_json::from_str::<Value>(line).expect(line)));
    }
    lines.sort_by_key(|line| line["_aws"]["Timestamp"].as_i64());
    lines
}

async fn post_event(deployed: &Deployed, body: impl Into<reqwest::Body>) -> reqwest::Response {
    let env = deployed.stack.env();
    let url = env
        .hasura_event_url
        .as_deref()
        .expect("the function has a URL");
    let post = reqwest::Client::new()
        .post(url)
        .header("x-event-secret", &env.hasura_event_secret)
        .body(body);
    post.send().await.expect("hasura-event answers")
}

/// Costs are measured where there are prices.
const PRICES: &str = "INSERT INTO prices (region, instance_type, market, per_hour)
    SELECT name, launch_choices -> 0 ->> 'instance_type', 'ON_DEMAND', 1000 FROM regions";

/// A launch that fails, then a full buffer, all of which is taken; and one event, twice.
async fn let_things_happen(deployed: &Deployed) {
    let fails = json!({"calls": [
        {"on": {"action": "RunInstances"}, "effect": {"error": "InternalError"}, "times": 20},
    ]});
    deployed.set_faults(&fails).await;
    deployed.set_up(REGION_NAME, 2).await;
    deployed.sql.batch_execute(PRICES).await.expect(PRICES);
    deployed.reconcile().await;
    deployed.set_faults(&json!({})).await;
    deployed.reconcile().await;
    deployed.filled_to(4).await;
    for user in ["ann", "bob", "cid", "dan"] {
        let answer = deployed.assign(user, &client_request(REGION_NAME, 1)).await;
        assert_eq!(answer.status, 200, "{answer:#?}");
    }
    let refused = deployed
        .assign("eve", &client_request(REGION_NAME, 1))
        .await;
    assert_eq!(
        refused.body["error"], "NO_INSTANCE_AVAILABLE",
        "{refused:#?}"
    );
    let new = json!({"region": REGION_NAME, "bucket": "1970-01-01T00:00:00+00:00"});
    let event = json!({
        "id": "twice", "trigger": {"name": "region_wake"},
        "event": {"op": "INSERT", "data": {"old": null, "new": new}},
    });
    for _ in 0..2 {
        let answer = post_event(deployed, event.to_string()).await;
        assert_eq!(answer.status(), 200);
    }
}

#[tokio::test]
async fn every_metric_is_in_the_logs_with_its_unit_and_dimensions() {
    let deployed = Deployed::start("metrics", |options| {
        set_fast_ec2(options);
        options.ec2.agent_session_ms = Some(3_600_000);
        // Metrics do not depend on it.
        options
            .parameters
            .push(("LogLevel".to_owned(), "off".to_owned()));
    })
    .await;
    let_things_happen(&deployed).await;

    let all: BTreeSet<_> = METRICS
        .iter()
        .map(|metric| metric.name.to_owned())
        .collect();
    let is_complete = |lines: &Vec<Value>| {
        let samples: Vec<_> = lines.iter().flat_map(samples).collect();
        let names: BTreeSet<_> = samples.iter().map(|it| it.name.clone()).collect();
        let boots = values(&samples, BOOT_SECONDS, (REGION, REGION_NAME));
        names == all && boots.len() == 2
    };
    let read = async || lines(&deployed).await;
    let lines = eventually("every metric", SOON, read, is_complete).await;
    let samples: Vec<_> = lines.iter().flat_map(samples).collect();
    let stack = &deployed.stack.env().stack_name;
    for sample in &samples {
        assert_is_in_the_list(sample, stack);
    }
    assert_values(&samples);
    for line in &lines {
        let text = line.to_string();
        for user in ["ann", "bob", "cid", "dan", "eve", "somebody@example.com"] {
            assert!(!text.contains(&format!("\"{user}\"")), "{text}");
        }
    }
    assert_is_scraped(&deployed).await;
    deployed.stack.stop();
}

#[track_caller]
fn assert_is_in_the_list(sample: &Sample, stack: &str) {
    let mut all = METRICS.iter();
    let metric = all
        .find(|metric| metric.name == sample.name)
        .expect("listed");
    assert_eq!(sample.unit, metric.unit.as_str(), "{sample:?}");
    assert_eq!(sample.dimensions[STACK], stack, "{sample:?}");
    let given: BTreeSet<_> = sample.dimensions.keys().map(String::as_str).collect();
    let own: BTreeSet<_> = [STACK].iter().chain(metric.dimensions).copied().collect();
    let of_stack = metric.of_stack && given == BTreeSet::from([STACK]);
    assert!(given == own || of_stack, "{sample:?}");
}

/// The samples of a metric that have this dimension.
fn values(samples: &[Sample], metric: Metric, dimension: (&str, &str)) -> Vec<f64> {
    let (name, value) = dimension;
    let of = |sample: &&Sample| {
        sample.name == metric.name && sample.dimensions.get(name).map(String::as_str) == Some(value)
    };
    samples
        .iter()
        .filter(of)
        .map(|sample| sample.value)
        .collect()
}

fn assert_values(samples: &[Sample]) {
    let of_region = |metric| values(samples, metric, (REGION, REGION_NAME));
    let sum = |metric| of_region(metric).iter().sum::<f64>();
    let is = |value: f64, expected: f64| (value - expected).abs() < 1e-6;
    assert!(is(sum(ASSIGNS), 4.0), "{:?}", of_region(ASSIGNS));
    assert_eq!(of_region(TIME_TO_SLOT), [0.0; 4], "served at once");
    let refusals = values(samples, REFUSALS, (REASON, "NO_INSTANCE_AVAILABLE"));
    assert_eq!(refusals, [1.0]);
    assert!(is(sum(LAUNCHES), 2.0), "{:?}", of_region(LAUNCHES));
    let failures = values(samples, LAUNCH_FAILURES, (CODE, "InternalError"));
    assert!(failures.iter().sum::<f64>() >= 1.0, "{failures:?}");
    let boots = of_region(BOOT_SECONDS);
    assert_eq!(boots.len(), 2, "each instance once: {boots:?}");
    assert!(
        boots.iter().all(|boot| (0.0..60.0).contains(boot)),
        "{boots:?}"
    );
    assert!(of_region(EVENTS_SEEN).contains(&1.0));
    assert_eq!(of_region(EVENTS_REPEATED), [1.0]);
    let last = |metric| *of_region(metric).last().expect("a sample");
    assert!(is(last(OCCUPIED_SLOTS), 4.0) && is(last(FREE_SLOTS), 0.0));
    assert!(is(last(NO_FREE_SLOT), 1.0));
    assert!(last(MONTH_COST) > 0.0 && last(MONTH_COST) >= last(DAY_COST));
    assert!(is(last(UNPRICED_SECONDS), 0.0));
}

async fn assert_is_scraped(deployed: &Deployed) {
    let env = deployed.stack.env();
    let url = format!("{}/metrics", env.status_url.trim_end_matches('/'));
    let client = reqwest::Client::new();
    let answer = client.get(&url).send().await.expect("status answers");
    assert_eq!(answer.status(), 401);
    let answer = client.get(&url).bearer_auth(&env.status_token).send().await;
    let answer = answer.expect("status answers");
    assert_eq!(answer.status(), 200);
    let content = answer.headers()["content-type"]
        .to_str()
        .expect("a text")
        .to_owned();
    assert!(
        content.starts_with("text/plain; version=0.0.4"),
        "{content}"
    );
    let text = answer.text().await.expect("a text");
    let labels = r#"{region="us-east-1",algorithm="default"}"#;
    for (name, value) in [
        ("occupied_slots", 4),
        ("free_slots", 0),
        ("no_free_slot", 1),
    ] {
        let line = format!("{PROMETHEUS_PREFIX}{name}{labels} {value}\n");
        assert!(text.contains(&line), "{line}{text}");
    }
}
