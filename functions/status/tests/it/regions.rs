//! The JSON of regions and decisions, and the number of requests that it takes.

use jiff::SignedDuration;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use shared::lock::RegionLock;
use shared::model::{
    DayCost, DrainCause, ImageState, Intent, LaunchRequest, LaunchTally, UnpricedTime,
};
use shared::report::{PassOutcome, StepResult};
use shared::scaling::{Action, Note, Reason, Step};
use shared::settings::{BadSetting, ScheduleKind};
use shared::store::{IntentClosure, StateStore};
use shared::trigger::Trigger;
use testing::{NOW, at, image_overview, region_overview, schedule};

use crate::support::{World, decision};

async fn only_region(world: &World) -> Value {
    let answer = world.get("/").await;
    assert_eq!(answer.status, 200, "{answer:#?}");
    answer.body["regions"][0].clone()
}

#[tokio::test]
async fn region_has_its_counts_and_last_decision() {
    let world = World::decided(10);
    let status = world.get("/").await.body;
    assert_eq!(
        (&status["status"], &status["isMaster"]),
        (&json!(1), &json!(true))
    );
    let region = &status["regions"][0];
    assert_eq!(region["region"], "us-east-1");
    assert_eq!(region["algorithm"], "default");
    for (field, value) in [("target", 4), ("free", 1), ("starting", 2), ("occupied", 2)] {
        assert_eq!(region[field], value, "{field}");
    }
    let counts = json!({"PRE_CONNECTION": 1, "ACTIVE": 1, "DRAINING": 1, "TERMINATING": 0,
        "open": 1});
    assert_eq!(region["instances"], counts);
    assert_eq!(region["images"][0]["instances"], counts);
    assert_eq!(region["images"][0]["state"], "CURRENT");
    let last = &region["last_decision"];
    assert_eq!(last["decision"], "us-east-1/1");
    assert_eq!(last["trigger"], json!({"kind": "schedule"}));
    assert_eq!(last["outcome"], "done");
    assert_eq!(last["duration_ms"], 250);
    assert_eq!(last["plan"]["figures"]["free"], 3);
    assert_eq!(region["settings"]["max_instances"], 10);
}

#[tokio::test]
async fn week_ahead_lists_schedules_with_who_set_them_and_until_when() {
    let mut region = region_overview("us-east-1");
    region.target = 20;
    let mut weekly = schedule(3, ScheduleKind::Floor, 20, ("09:00", "17:00"));
    weekly.days = vec![Weekday::Monday];
    weekly.zone = TimeZone::get("Asia/Kolkata").unwrap();
    weekly.valid_until = Some("2026-03-01".parse().unwrap());
    weekly.note = "class <b>".to_owned();
    region.schedules = vec![
        weekly,
        schedule(4, ScheduleKind::Fixed, 0, ("11:00", "13:00")),
    ];
    let world = World::of([region]);
    world.decide("us-east-1", 1, NOW);
    let answer = world.get("/regions/us-east-1").await.body;
    assert_eq!(answer["region"]["target"], 20);
    let times = answer["region"]["schedule"].as_array().unwrap();
    assert_eq!(
        times.len(),
        9,
        "each day for a week, today twice, and Monday"
    );
    let today = json!({
        "from": "2026-01-01T11:00:00Z", "until": "2026-01-01T13:00:00Z",
        "local": "Thu 2026-01-01 11:00 to Thu 13:00", "time_zone": "UTC", "schedule": 4,
        "kind": "FIXED", "slots": 0, "set_by": "ann", "note": "", "valid_until": null,
    });
    assert_eq!(times[0], today);
    let monday = json!({
        "from": "2026-01-05T03:30:00Z", "until": "2026-01-05T11:30:00Z",
        "local": "Mon 2026-01-05 09:00 to Mon 17:00", "time_zone": "Asia/Kolkata", "schedule": 3,
        "kind": "FLOOR", "slots": 20, "set_by": "ann", "note": "class <b>",
        "valid_until": "2026-03-01",
    });
    assert_eq!(times[4], monday);
    let page = world.get("/regions/us-east-1?format=html").await.page;
    for text in [
        "Schedules: the week ahead",
        "Mon 2026-01-05 09:00 to Mon 17:00</th><td>Asia/Kolkata</td>",
        "<td>now</td><td>exactly 0</td><td>ann (schedule 4)</td><td>no end</td>",
        "<td>at least 20</td><td>ann (schedule 3)</td><td>2026-03-01</td><td>class &#60;b&#62;</td>",
    ] {
        assert!(page.contains(text), "{text} in {page}");
    }
}

/// A day of ten machine-hours, of which some have no price.
fn day(day: &str, cost: Option<f64>, unpriced_hours: f64) -> DayCost {
    let unpriced = UnpricedTime {
        instance_type: "m6i.large".to_owned(),
        market: "SPOT".to_owned(),
        seconds: unpriced_hours * 3600.0,
    };
    DayCost {
        day: day.parse().unwrap(),
        currency: Some("USD".to_owned()),
        cost,
        machine_seconds: 36_000.0,
        unpriced_seconds: unpriced.seconds,
        unpriced: (unpriced_hours > 0.0)
            .then_some(unpriced)
            .into_iter()
            .collect(),
        uncounted_hours: 0,
    }
}

#[tokio::test]
async fn costs_are_those_of_days_and_of_the_month_and_what_has_no_price_is_unknown() {
    let mut region = region_overview("us-east-1");
    region.settings.monthly_budget = Some(50);
    let world = World::of([region]);
    world.decide("us-east-1", 1, NOW);
    let path = "/regions/us-east-1?format=html";
    assert!(
        !world.get(path).await.page.contains("Costs"),
        "nothing to show"
    );
    world.overview.state().costs = vec![
        day("2026-01-01", Some(5.25), 2.0),
        day("2025-12-31", Some(9.5), 0.0),
        day("2025-12-30", None, 10.0),
        day("2025-12-01", Some(1.0), 0.0),
    ];
    let body = world.get("/regions/us-east-1").await.body;
    let costs = body["costs"].as_array().unwrap();
    assert_eq!(costs.len(), 3, "31 days");
    assert_eq!(costs[0]["cost"], 5.25);
    assert_eq!(costs[0]["unpriced"][0]["instance_type"], "m6i.large");
    assert_eq!(costs[2]["cost"], Value::Null);
    let page = world.get(path).await.page;
    for text in [
        "This month: at least 5.25 USD of 50 USD (10 %).",
        "2026-01-01</th><td class=\"n\">10.0</td><td class=\"n\">at least 5.25 USD</td><td>2.0 h of m6i.large (spot)</td>",
        "2025-12-31</th><td class=\"n\">10.0</td><td class=\"n\">9.50 USD</td><td></td>",
        "2025-12-30</th><td class=\"n\">10.0</td><td class=\"n\">unknown</td>",
    ] {
        assert!(page.contains(text), "{text} in {page}");
    }
    let further = world.get("/regions/us-east-1?before=9").await.body;
    assert_eq!(further["costs"], json!([]), "they are on the first page");
}

#[tokio::test]
async fn settings_that_cannot_work_are_listed_with_column_and_remedy() {
    let mut region = region_overview("us-east-1");
    region.problems = vec![BadSetting {
        column: "user_data_template",
        problem: "it lacks ${AGENT_TOKEN}: add it".to_owned(),
    }];
    let answer = only_region(&World::of([region])).await;
    assert_eq!(
        answer["setting_problems"],
        json!([{"column": "user_data_template", "problem": "it lacks ${AGENT_TOKEN}: add it"}])
    );
    let sound = only_region(&World::of([region_overview("us-east-1")])).await;
    assert_eq!(sound["setting_problems"], json!([]));
}

#[tokio::test]
async fn free_counts_served_images_and_disabled_region_has_no_target() {
    let mut region = region_overview("us-east-1");
    region.enabled = false;
    for (id, state) in [
        ("ami-2", ImageState::Warming),
        ("ami-3", ImageState::Baking),
        ("ami-4", ImageState::Retired),
    ] {
        region.images.push(image_overview(id, state));
    }
    let answer = only_region(&World::of([region])).await;
    assert_eq!(answer["free"], 2, "current and baking");
    assert_eq!(
        (&answer["starting"], &answer["occupied"]),
        (&json!(8), &json!(8))
    );
    assert_eq!(answer["instances"]["ACTIVE"], 4);
    assert_eq!(answer["target"], 0);
}

#[tokio::test]
async fn upgrade_has_its_deadline_and_baking_image_its_end() {
    let mut region = region_overview("us-east-1");
    let mut warming = image_overview("ami-2", ImageState::Warming);
    warming.client_sha = "new".into();
    region.images.push(warming);
    region
        .images
        .push(image_overview("ami-0", ImageState::Baking));
    region.app_client_sha = Some("new".into());
    let upgrade = only_region(&World::of([region])).await["upgrade"].take();
    assert_eq!(
        upgrade,
        json!({
            "app_client_sha": "new",
            "warming": {"image": "ami-2", "client_sha": "new", "since": NOW,
                "deadline": at(9000), "named": true, "target": 4, "free": 1, "starting": 2},
            "baking": [{"image": "ami-0", "client_sha": "sha", "since": NOW, "until": at(1800)}],
        })
    );
}

#[tokio::test]
async fn algorithm_without_rows_has_the_counts_of_its_last_decision() {
    let mut region = region_overview("us-east-1");
    region.algorithm = "replica".to_owned();
    let world = World::of([region]);
    let before = only_region(&world).await;
    assert_eq!(
        (&before["free"], &before["starting"]),
        (&Value::Null, &Value::Null)
    );
    world.decide("us-east-1", 1, NOW);
    let answer = only_region(&world).await;
    let figures = &answer["last_decision"]["plan"]["figures"];
    assert_eq!(figures["free"], 3);
    for field in ["target", "free", "starting"] {
        assert_eq!(answer[field], figures[field], "{field}");
    }
    for field in ["occupied", "instances"] {
        assert_eq!(answer[field], Value::Null, "{field}");
    }
}

#[tokio::test]
async fn lock_has_holder_and_age_until_its_release() {
    let world = World::decided(60);
    assert_eq!(only_region(&world).await["lock"], Value::Null);
    let since = NOW - SignedDuration::from_secs(20);
    world.hold("us-east-1", since).await;
    let lock = only_region(&world).await["lock"].take();
    let held = json!({"held": true, "holder": "holder", "version": 1, "since": since,
        "age_seconds": 20, "until": at(30)});
    assert_eq!(lock, held);
    world
        .store
        .items()
        .of(&"us-east-1".into())
        .lock
        .as_mut()
        .unwrap()
        .expires_at = 0;
    let lock = only_region(&world).await["lock"].take();
    let released = json!({"held": false, "holder": null, "version": 1, "since": null,
        "age_seconds": null, "until": null});
    assert_eq!(lock, released);
}

#[tokio::test]
async fn crashed_holder_is_shown_and_passes_without_decision_are_counted() {
    let world = World::decided(300);
    for seconds in [240, 180, 60] {
        world
            .hold("us-east-1", NOW - SignedDuration::from_secs(seconds))
            .await;
        let mut items = world.store.items();
        items
            .of(&"us-east-1".into())
            .lock
            .as_mut()
            .unwrap()
            .expires_at = 0;
    }
    let answer = only_region(&world).await;
    assert_eq!(answer["lock"]["version"], 3);
    assert_eq!(answer["undecided"], 2, "versions 2 and 3");
    world.hold("us-east-1", NOW).await;
    assert_eq!(
        only_region(&world).await["undecided"],
        2,
        "it may still decide"
    );
    world
        .store
        .items()
        .of(&"us-east-1".into())
        .lock
        .as_mut()
        .unwrap()
        .expires_at = (NOW - SignedDuration::from_secs(1)).as_millisecond();
    let answer = only_region(&world).await;
    assert_eq!(answer["lock"]["held"], false);
    assert_eq!(
        answer["lock"]["holder"], "holder",
        "it did not release the lock"
    );
    assert_eq!(answer["undecided"], 3);
}

#[tokio::test]
async fn intents_and_refusals_are_shown_without_secrets() {
    let world = World::decided(10);
    world.hold("us-east-1", NOW).await;
    let lease = world
        .store
        .items()
        .of(&"us-east-1".into())
        .lock
        .clone()
        .unwrap();
    let lease = shared::lock::Lease {
        region: "us-east-1".into(),
        owner: lease.owner,
        version: lease.version,
        expires_at: at(50),
        decided_at: None,
    };
    let intent = Intent {
        launch_id: "launch-1".into(),
        client_token: "the client token".into(),
        created_at: NOW,
        request: LaunchRequest {
            image_id: "ami-1".into(),
            client_sha: "sha".into(),
            spot: true,
            instance_type: "m6i.large".to_owned(),
            subnet_id: "subnet-a".to_owned(),
            security_group_ids: vec![],
            instance_profile: None,
            user_data: "user data with the agent's token".to_owned(),
            tags: vec![],
            count: 3,
            capacity: 2,
            imds_hop_limit: Some(1),
            ebs_optimized: false,
        },
    };
    let launches = LaunchTally::default();
    world
        .store
        .open_intents(&lease, &[intent], &launches)
        .await
        .unwrap();
    for (subnet, until) in [("subnet-b", at(100)), ("subnet-c", at(0))] {
        let closing = IntentClosure {
            launch_id: "launch-0".into(),
            outcome: "no capacity".to_owned(),
            refusal: Some(testing::refusal(false, "m6i.large", subnet, until)),
        };
        world
            .store
            .close_intents(&lease, &[closing], &launches)
            .await
            .unwrap();
    }
    world
        .store
        .set_wake_mark(&"us-east-1".into(), "event-9", NOW)
        .await
        .unwrap();
    let answer = only_region(&world).await;
    assert_eq!(
        answer["open_intents"],
        json!([{"launch": "launch-1", "since": NOW, "image": "ami-1", "client_sha": "sha",
            "spot": true, "instance_type": "m6i.large", "subnet_id": "subnet-a", "count": 3,
            "capacity": 2}])
    );
    assert_eq!(
        answer["refusals"].as_array().unwrap().len(),
        1,
        "one has run out"
    );
    assert_eq!(answer["refusals"][0]["subnet_id"], "subnet-b");
    assert_eq!(answer["wanted_by"], "event-9");
    let text = answer.to_string();
    for secret in ["the client token", "agent's token"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn unreadable_region_does_not_hide_others() {
    let world = World::of(["eu-west-1", "us-east-1"].map(region_overview));
    world.decide("eu-west-1", 1, NOW);
    world.decide("us-east-1", 1, NOW);
    world.fail("records");
    let answer = world.get("/").await;
    assert_eq!(answer.status, 200, "{answer:#?}");
    assert_eq!(answer.body["status"], 0);
    let regions = answer.body["regions"].as_array().unwrap();
    let of = |field: &str| {
        regions
            .iter()
            .map(|region| region[field].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("unreadable"), [json!(true), json!(false)]);
    assert_eq!(
        of("stale"),
        [json!(null), json!(false)],
        "unknown is not guessed"
    );
    assert_eq!(of("free"), [json!(1), json!(1)], "the database knows");
    assert!(!answer.body.to_string().contains("secret name"));
}

#[tokio::test]
async fn decision_is_shown_in_full_by_its_id() {
    let world = World::decided(10);
    let mut long = decision("us-east-1", 12, NOW);
    long.trigger = Trigger::DatabaseEvent {
        name: "region_wake".to_owned(),
    };
    long.plan.steps = (0..30)
        .map(|n| Step {
            action: Action::Drain {
                instance: format!("i-{n}").into(),
                cause: DrainCause::Surplus,
            },
            reason: Reason::Surplus {
                target: 4,
                free: 40,
            },
        })
        .collect();
    long.plan.notes = vec![Note {
        instance: None,
        reason: Reason::NoImage,
        alert: true,
    }];
    long.results = vec![StepResult::failed("drain i-1", "a user is there")];
    long.outcome = PassOutcome::Incomplete;
    world.record(long);
    for path in ["/decisions/us-east-1/12", "/decisions/us-east-1:12"] {
        let answer = world.get(path).await.body;
        assert_eq!(answer["decision"], "us-east-1/12");
        assert_eq!(answer["id"], "event-12");
        assert_eq!(
            answer["trigger"],
            json!({"kind": "database_event", "name": "region_wake"})
        );
        assert_eq!(answer["plan"]["figures"]["target"], 4);
        assert_eq!(answer["plan"]["steps"].as_array().unwrap().len(), 30);
        let why = &answer["plan"]["steps"][0]["because"];
        assert_eq!(why["reason"], "surplus");
        assert!(why["text"].as_str().unwrap().contains("40"), "{why}");
        assert_eq!(answer["plan"]["notes"][0]["alert"], true);
        assert_eq!(answer["results"][0]["ok"], false);
        assert_eq!(
            (&answer["outcome"], &answer["left_out"]),
            (&json!("incomplete"), &json!(0))
        );
    }
    let last = only_region(&world).await["last_decision"].take();
    assert_eq!(last["plan"]["steps"].as_array().unwrap().len(), 20);
    assert_eq!(last["left_out"], 10);
}

#[tokio::test]
async fn history_is_paged_to_its_beginning() {
    let world = World::of([region_overview("us-east-1")]);
    for version in 1..=120 {
        world.decide("us-east-1", version, NOW);
    }
    let mut path = "/regions/us-east-1".to_owned();
    let (mut seen, mut pages) = (vec![], 0);
    loop {
        let page = world.get(&path).await.body;
        assert_eq!(
            page["region"]["last_decision"]["version"], 120,
            "on every page"
        );
        let decisions = page["decisions"].as_array().unwrap();
        assert!(decisions.len() <= 50);
        seen.extend(
            decisions
                .iter()
                .map(|decision| decision["version"].as_i64().unwrap()),
        );
        pages += 1;
        match page["older"].as_str() {
            Some(older) => path = older.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, (1..=120).rev().collect::<Vec<_>>());
    assert_eq!(pages, 3);
}

#[tokio::test]
async fn number_of_requests_is_independent_of_history() {
    for decisions in [1, 1000] {
        let names: Vec<_> = (0..30).map(|n| format!("region-{n}")).collect();
        let world = World::of(names.iter().map(|name| region_overview(name)));
        for name in &names {
            for version in 1..=decisions {
                world.decide(name, version, NOW);
            }
        }
        let mut before = (0, 0);
        for (path, cost) in [
            ("/", (1, 60)),
            ("/healthz", (1, 30)),
            ("/?format=html", (1, 90)),
            ("/regions/region-7", (3, 4)),
            ("/regions/region-7?before=500", (2, 4)),
            ("/regions/region-7?format=html", (3, 4)),
            ("/decisions/region-7/1", (0, 1)),
        ] {
            assert_eq!(world.get(path).await.status, 200, "{path}");
            let after = world.requests();
            assert_eq!((after.0 - before.0, after.1 - before.1), cost, "{path}");
            before = after;
        }
    }
}
