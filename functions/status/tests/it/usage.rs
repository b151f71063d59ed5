//! `/usage`: the figures as JSON and as a page.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use shared::db::DbError;
use shared::usage::figures::{Bucket, Figures, Histogram, RegionUsage};
use status::auth::Access;
use testing::NOW;

use crate::support::{Answer, TOKEN, World, request};

const WAIT_BOUNDS: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];
const LENGTH_BOUNDS: [f64; 5] = [60.0, 900.0, 3_600.0, 14_400.0, 86_400.0];

fn histogram(bounds: &[f64], counts: &[u64]) -> Histogram {
    let bounds = bounds.iter().copied().map(Some).chain([None]);
    let counts = counts.iter().copied().chain(std::iter::repeat(0));
    let bucket = |(below, sessions)| Bucket { below, sessions };
    Histogram(bounds.zip(counts).map(bucket).collect())
}

/// The figures of an hour with this number of sessions; a few users waited, and one in fifty left.
fn hour(region: &str, hours_ago: i64, sessions: u64) -> RegionUsage {
    let waited = sessions / 10;
    let short = waited / 2;
    let begun = NOW.as_second().div_euclid(3_600) * 3_600;
    let machine_seconds = 3_600.0 * (2 + sessions / 3) as f64;
    RegionUsage {
        region: region.into(),
        from: Timestamp::from_second(begun - hours_ago * 3_600).unwrap(),
        figures: Figures {
            sessions,
            waited,
            unserved: sessions / 50,
            waits: histogram(
                &WAIT_BOUNDS,
                &[sessions - waited, 0, 0, short, 0, waited - short],
            ),
            ends: [
                ("AGENT".to_owned(), sessions),
                ("NEVER_CLAIMED".to_owned(), 1),
            ]
            .into(),
            lengths: histogram(&LENGTH_BOUNDS, &[sessions / 9, sessions / 3, sessions / 2]),
            instances_gone: 2,
            died_young: [("NEVER_REGISTERED".to_owned(), u64::from(hours_ago % 8 == 0))].into(),
            machine_seconds,
            occupied_seconds: machine_seconds * 0.7,
            slot_seconds: machine_seconds * 4.0,
            session_seconds: machine_seconds * 2.0,
        },
    }
}

/// A week of two regions, whose days have a morning and a night.
fn week() -> Vec<RegionUsage> {
    let regions = [("eu-west-1", 0), ("us-east-1", 6)];
    let hours = regions.into_iter().flat_map(|(region, later)| {
        (0..24 * 7).map(move |ago| {
            let local = (NOW.as_second().div_euclid(3_600) - ago - later).rem_euclid(24);
            let busy = 14 - (local - 13).abs();
            hour(region, ago, u64::try_from(busy * busy).unwrap())
        })
    });
    hours.collect()
}

async fn browse(world: &World, path: &str) -> Answer {
    let mut event = request("GET", path, Some(&format!("Bearer {TOKEN}")));
    event["headers"]["accept"] = json!("text/html");
    world.send(event).await
}

#[tokio::test]
async fn json_has_the_figures_in_all_by_region_and_by_step() {
    let world = World::decided(10);
    let last = hour("us-east-1", 1, 100);
    world.usage.set_figures([
        last.clone(),
        hour("eu-west-1", 1, 50),
        hour("us-east-1", 30, 7),
    ]);
    let answer = world.get("/usage").await;
    assert_eq!(answer.status, 200, "{answer:#?}");
    let body = answer.body;
    let begun = Timestamp::from_second(NOW.as_second().div_euclid(3_600) * 3_600).unwrap();
    let from = begun - SignedDuration::from_hours(23);
    assert_eq!(body["now"], json!(NOW));
    assert_eq!(
        (&body["period"], &body["region"]),
        (&json!("day"), &json!(null))
    );
    assert_eq!(
        (&body["from"], &body["step_seconds"]),
        (&json!(from), &json!(3_600))
    );
    let total = &body["total"];
    for (name, value) in [
        ("sessions", json!(150)),
        ("at_once", json!(135)),
        ("waited", json!(15)),
        ("unserved", json!(3)),
        ("ends", json!({"AGENT": 150, "NEVER_CLAIMED": 2})),
        ("instances_gone", json!(4)),
    ] {
        assert_eq!(total[name], value, "{name}: {body}");
    }
    assert_eq!(total["waits"][5], json!({"below": 60.0, "sessions": 8}));
    assert_eq!(total["waits"][9], json!({"below": null, "sessions": 0}));
    let seconds = |name: &str| total[name].as_f64().unwrap();
    let empty = seconds("machine_seconds") - seconds("occupied_seconds");
    assert!(
        (seconds("empty_seconds") - empty).abs() < 1e-6 && empty > 0.0,
        "{body}"
    );
    let regions = body["regions"].as_array().unwrap();
    let by_region: Vec<_> = regions
        .iter()
        .map(|it| (&it["region"], &it["sessions"]))
        .collect();
    let (eu, us) = (json!("eu-west-1"), json!("us-east-1"));
    assert_eq!(by_region, [(&eu, &json!(50)), (&us, &json!(100))]);
    let steps = body["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 24);
    assert_eq!(steps[22]["from"], json!(last.from));
    assert_eq!(steps[22]["sessions"], 150);
    assert_eq!(steps[0], json!({"from": from}), "nobody counted it");
}

#[tokio::test]
async fn period_and_region_choose_what_is_read_in_one_request() {
    let cases = [
        (
            "hour",
            SignedDuration::from_mins(5),
            SignedDuration::from_hours(1),
        ),
        (
            "day",
            SignedDuration::from_hours(1),
            SignedDuration::from_hours(24),
        ),
        (
            "week",
            SignedDuration::from_hours(1),
            SignedDuration::from_hours(24 * 7),
        ),
    ];
    for (period, step, length) in cases {
        let world = World::decided(10);
        world.usage.set_figures(week());
        let before = world.requests();
        let path = format!("/usage?period={period}&region=us-east-1");
        let answer = world.get(&path).await;
        assert_eq!(answer.status, 200, "{answer:#?}");
        let (from, to, asked) = world.usage.asked().unwrap();
        assert_eq!((to.duration_since(from), asked), (length, step), "{period}");
        assert!(from < NOW && NOW < to, "{period}: {from} {to}");
        assert_eq!(answer.body["regions"].as_array().map(Vec::len), Some(1));
        assert_eq!(world.usage.calls(), 1);
        assert_eq!(world.requests(), before, "neither regions nor DynamoDB");
    }
}

#[tokio::test]
async fn page_has_every_figure_as_text_and_loads_nothing() {
    let world = World::decided(10);
    world.usage.set_figures(week());
    for period in ["hour", "day", "week"] {
        let answer = browse(&world, &format!("/usage?period={period}")).await;
        assert_eq!(answer.status, 200, "{answer:#?}");
        let html = answer.page;
        assert!(!html.contains("<script"), "{period}: it does not refresh");
        assert!(!html.contains(" style="), "{period}: the policy forbids it");
        assert!(!html.contains("NaN") && !html.contains("inf"), "{period}");
        let current = format!("href=\"?period={period}\" aria-current=\"page\"");
        assert_eq!(html.matches("aria-current=").count(), 1);
        assert!(html.contains(&current), "{period}: {html}");
        for (heading, label) in [
            ("Who got a slot", "Table of sessions by time"),
            ("Machine-hours", "Table of machine-hours by time"),
        ] {
            assert!(html.contains(heading) && html.contains(label), "{period}");
        }
        assert_eq!(html.matches("role=\"img\" aria-label=\"").count(), 2);
        assert!(html.contains("format=json"));
        let json = world.get(&format!("/usage?period={period}")).await.body;
        let steps = json["steps"].as_array().unwrap().len();
        let rows = html
            .matches("<tr><th scope=\"row\" class=\"nowrap\">")
            .count();
        assert!(rows > 2 * steps, "{period}: {rows} rows for {steps} steps");
        let sessions = json["total"]["sessions"].to_string();
        assert!(html.contains(&format!("<dd>{sessions}</dd>")), "{period}");
    }
}

#[tokio::test]
async fn page_says_what_died_young_and_leads_to_each_region() {
    let world = World::decided(10);
    world.usage.set_figures(week());
    let html = browse(&world, "/usage?period=week").await.page;
    assert!(html.contains("<code>NEVER_REGISTERED</code>"), "{html}");
    assert!(html.contains("its agent had not registered"), "{html}");
    assert!(
        html.contains("href=\"?period=week&#38;region=us-east-1\""),
        "{html}"
    );
    let html = browse(&world, "/usage?region=us-east-1").await.page;
    assert!(html.contains("Usage of us-east-1, a day"), "{html}");
    assert!(!html.contains("By region"), "{html}");
}

#[tokio::test]
async fn hours_that_nobody_counted_are_said() {
    let world = World::decided(10);
    world.usage.set_figures([hour("us-east-1", 0, 5)]);
    let html = browse(&world, "/usage").await.page;
    assert!(
        html.contains("23 of 24 parts of this time have no figures"),
        "{html}"
    );
    world.usage.set_figures(week());
    let html = browse(&world, "/usage").await.page;
    assert!(!html.contains("have no figures"), "{html}");
}

#[tokio::test]
async fn overview_and_region_lead_to_it_if_there_is_a_database() {
    let mut world = World::decided(10);
    for (path, link) in [
        ("/", "href=\"usage\""),
        ("/regions/us-east-1", "href=\"../usage?region=us-east-1\""),
    ] {
        assert!(browse(&world, path).await.page.contains(link), "{path}");
    }
    world.function.usage = None;
    for path in ["/", "/regions/us-east-1"] {
        assert!(!browse(&world, path).await.page.contains("usage"), "{path}");
    }
    assert_eq!(world.get("/usage").await.status, 404);
}

#[tokio::test]
async fn wrong_requests_for_usage_are_rejected_with_what_is_wrong() {
    let world = World::decided(10);
    for (path, status, named) in [
        ("/usage?period=month", 400, "`period`"),
        ("/usage?region=US%20EAST", 400, "`region`"),
        ("/usage?region=mars-1", 404, "mars-1"),
    ] {
        let answer = world.get(path).await;
        assert_eq!(answer.status, status, "{answer:#?}");
        let message = answer.body["message"].as_str().unwrap();
        assert!(message.contains(named), "{path}: {message}");
    }
}

#[tokio::test]
async fn usage_is_for_those_who_see_the_rest() {
    let mut world = World::decided(10);
    world.usage.set_figures(week());
    let stranger = world.send(request("GET", "/usage", None)).await;
    assert_eq!(stranger.status, 401, "{stranger:#?}");
    assert_eq!(world.usage.calls(), 0);
    world.function.access = Access::Open;
    let open = world.send(request("GET", "/usage", None)).await;
    assert_eq!(open.status, 200, "it names no user: {open:#?}");
}

#[tokio::test]
async fn unreadable_usage_is_a_503_without_details() {
    let world = World::decided(10);
    world.usage.fail(DbError::Unavailable {
        operation: "read",
        reason: "hasura.internal refused".to_owned(),
    });
    let answer = world.get("/usage").await;
    assert_eq!(answer.status, 503, "{answer:#?}");
    assert!(!answer.page.contains("hasura"), "{answer:#?}");
}
