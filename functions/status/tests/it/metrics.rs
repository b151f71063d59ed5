//! `/metrics`, as Prometheus reads it.

use serde_json::json;
use shared::metrics::{METRICS, PROMETHEUS_PREFIX};
use testing::region_overview;

use crate::support::{TOKEN, World, decision, request};

fn bearer() -> String {
    format!("Bearer {TOKEN}")
}

/// The samples of a text: name, labels, value.
fn samples(text: &str) -> Vec<(String, String, f64)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap();
            let labels = labels.strip_suffix('}').unwrap();
            (
                name.to_owned(),
                labels.to_owned(),
                value.parse().unwrap_or_else(|_| panic!("{line}")),
            )
        })
        .collect()
}

#[tokio::test]
async fn every_scraped_metric_is_described_and_has_a_sample_of_each_region() {
    let regions = ["eu-west-1", "us-east-1"];
    let world = World::of(regions.map(region_overview));
    for (region, free) in regions.into_iter().zip([0, 4]) {
        let mut decision = decision(region, 1, testing::NOW);
        decision.plan.counts.live = 2 + free;
        world.record(decision);
    }
    let answer = world
        .send(request("GET", "/metrics", Some(&bearer())))
        .await;
    assert_eq!(answer.status, 200, "{answer:#?}");
    let content = answer.headers["content-type"].to_str().unwrap();
    assert_eq!(content, "text/plain; version=0.0.4; charset=utf-8");
    let text = answer.page;
    let samples = samples(&text);
    for metric in METRICS {
        let name = format!("{PROMETHEUS_PREFIX}{}", metric.name);
        let of_metric = samples.iter().filter(|(of, ..)| *of == name);
        let labels: Vec<_> = of_metric.map(|(_, labels, _)| labels.as_str()).collect();
        if !metric.is_scraped {
            assert!(!text.contains(&name), "{name}\n{text}");
            continue;
        }
        assert!(text.contains(&format!("# HELP {name} {}\n", metric.meaning)));
        assert!(text.contains(&format!("# TYPE {name} gauge\n")));
        let expected = [
            r#"region="eu-west-1",algorithm="default""#,
            r#"region="us-east-1",algorithm="default""#,
        ];
        assert_eq!(labels, expected, "{name}\n{text}");
    }
    let value = |name: &str, region: &str| {
        let mut all = samples.iter();
        let found = all.find(|(of, labels, _)| of == name && labels.contains(region));
        found
            .unwrap_or_else(|| panic!("{name} of {region}\n{text}"))
            .2
    };
    assert!((value("scaling_live_instances", "us-east-1") - 6.0).abs() < f64::EPSILON);
    let overview = region_overview("us-east-1");
    let age = overview.now.duration_since(testing::NOW).as_secs_f64();
    assert!((value("scaling_stale_seconds", "us-east-1") - age.max(0.0)).abs() < 1e-9);
    assert!(text.ends_with('\n'), "the last line ends, too");
}

#[tokio::test]
async fn metrics_need_the_token_and_cost_what_the_overview_costs() {
    let world = World::decided(10);
    let answer = world.send(request("GET", "/metrics", None)).await;
    assert_eq!(answer.status, 401, "{answer:#?}");
    assert_eq!(answer.body["error"], json!("UNAUTHORIZED"));
    assert_eq!(world.requests(), (0, 0));

    world.send(request("GET", "/", Some(&bearer()))).await;
    let overview = world.requests();
    world
        .send(request("GET", "/metrics", Some(&bearer())))
        .await;
    assert_eq!(world.requests(), (overview.0 * 2, overview.1 * 2));

    let post = world
        .send(request("POST", "/metrics", Some(&bearer())))
        .await;
    assert_eq!(post.status, 405, "{post:#?}");
}

#[tokio::test]
async fn browser_gets_the_same_text() {
    let world = World::decided(10);
    let mut event = request("GET", "/metrics", Some(&bearer()));
    event["headers"]["accept"] = json!("text/html");
    let answer = world.send(event).await;
    assert_eq!(answer.status, 200, "{answer:#?}");
    assert!(answer.page.starts_with("# HELP "), "{}", answer.page);
}
