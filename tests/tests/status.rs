//! The status function on the deployed stack, from outside: all of its answers to a caller with the
//! token. It writes nothing but sessions that ended, and only the history names users.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use dynamodb_adapter::DynamoStore;
use reqwest::{Method, RequestBuilder};
use scaling_tests::deployed::{Answer, Deployed, REMAPPED_CHALLENGE, SOON, client_request};
use scaling_tests::logs::{Log, leaks_and_panics};
use scaling_tests::wait::eventually;
use serde_json::{Value, json};
use shared::ids::Owner;
use shared::lock::{Lease, LockAttempt, RegionLock};

const REGION: &str = "us-east-1";
const PAUSED: &str = "eu-west-1";
const NEXT_IMAGE: &str = "ami-01000000000000002";
const USER: &str = "ann the user";

/// Longer than everything before the wait for it, on a busy machine.
const STALE_SECONDS: u64 = 45;

#[tokio::test]
async fn status_is_served_over_http() {
    let deployed = Deployed::start("status", |options| {
        options.ec2.pending_ms = Some(200);
        options.ec2.agent_boot_ms = Some(50);
        options.ec2.agent_session_ms = Some(600_000);
        let stale = ("StaleSeconds".to_owned(), STALE_SECONDS.to_string());
        options.parameters.push(stale);
    })
    .await;
    deployed.set_up(REGION, 10).await;
    let paused = "INSERT INTO regions (name, target_free, max_instances, launch_choices, paused)
                  VALUES ($1, 9, 9, '[]', true)";
    deployed.sql.execute(paused, &[&PAUSED]).await.unwrap();

    healthy_before_the_first_pass(&deployed).await;
    filled_with_a_user(&deployed).await;
    history_has_the_users_session(&deployed).await;
    usage_has_the_session(&deployed).await;
    upgrade_that_cannot_launch(&deployed).await;
    only_for_the_token(&deployed).await;
    log_out_ends_the_session(&deployed).await;
    decision_by_its_id(&deployed).await;
    status_changes_nothing(&deployed).await;
    held_lock(&deployed).await;
    stale_and_healthy_again(&deployed).await;
    assert_no_secret_in_the_log(&deployed).await;
    deployed.stack.stop();
}

fn request(deployed: &Deployed, method: Method, path: &str) -> RequestBuilder {
    let url = format!("{}{path}", deployed.stack.env().status_url);
    reqwest::Client::new().request(method, url)
}

/// Sends `GET` with the token. No answer names the user.
async fn get(deployed: &Deployed, path: &str) -> Answer {
    let token = &deployed.stack.env().status_token;
    let answer = Answer::of(request(deployed, Method::GET, path).bearer_auth(token)).await;
    let text = answer.body.to_string();
    for identity in [USER, "session-of-ann", "ann@example.com"] {
        assert!(!text.contains(identity), "{path}: {text}");
    }
    answer
}

async fn get_json(deployed: &Deployed, path: &str) -> Value {
    let answer = get(deployed, path).await;
    assert_eq!(answer.status, 200, "{path}: {answer:#?}");
    answer.body
}

/// The only answer that names users.
async fn history_has_the_users_session(deployed: &Deployed) {
    let path = "history.csv?from=2020-01-01&to=2100-01-01T00%3A00%3A00Z";
    let token = &deployed.stack.env().status_token;
    let answer = request(deployed, Method::GET, path).bearer_auth(token);
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let kind = answer.headers()["content-type"].to_str().unwrap();
    assert!(kind.starts_with("text/csv"), "{kind}");
    assert_eq!(answer.headers().get("link"), None, "the only page");
    let csv = answer.text().await.unwrap();
    let rows: Vec<_> = csv.lines().collect();
    assert_eq!(rows.len(), 2, "{csv}");
    assert!(rows[0].starts_with("user_id,session_id,region,"), "{csv}");
    let row = format!("{USER},session-of-ann,{REGION},i-");
    assert!(rows[1].starts_with(&row), "{csv}");
    assert_eq!(rows[1].split(',').count(), rows[0].split(',').count());

    let without = Answer::of(request(deployed, Method::GET, path)).await;
    assert_eq!(without.status, 401, "{without:#?}");
    let wrong = get(deployed, "history.csv?from=soon&to=2100-01-01").await;
    assert_eq!(wrong.status, 400, "{wrong:#?}");
    assert!(wrong.body.to_string().contains("`from`"), "{wrong:#?}");
}

/// As counts, of each period.
async fn usage_has_the_session(deployed: &Deployed) {
    for period in ["hour", "day", "week"] {
        let usage = get_json(deployed, &format!("usage?period={period}")).await;
        let total = &usage["total"];
        let counts = ["sessions", "at_once", "waited", "unserved"].map(|name| &total[name]);
        assert_eq!(
            counts,
            [&json!(1), &json!(1), &json!(0), &json!(0)],
            "{usage:#}"
        );
        let seconds = |name: &str| total[name].as_f64().unwrap_or(-1.0);
        assert!(seconds("occupied_seconds") > 0.0, "{usage:#}");
        assert!(seconds("empty_seconds") > 0.0, "{usage:#}");
        let regions = usage["regions"].as_array().unwrap();
        assert_eq!(regions.len(), 2, "{usage:#}");
    }
    let region = get_json(deployed, &format!("usage?region={REGION}")).await;
    assert_eq!(region["regions"].as_array().map(Vec::len), Some(1));
    let unknown = get(deployed, "usage?region=mars-1").await;
    assert_eq!(unknown.status, 404, "{unknown:#?}");
}

/// The region's part of `/`.
async fn region(deployed: &Deployed) -> Value {
    let status = get_json(deployed, "").await;
    let regions = status["regions"].as_array().expect("regions");
    let region = regions.iter().find(|region| region["region"] == REGION);
    region.expect(REGION).clone()
}

/// Sends the health check, without a token.
async fn health(deployed: &Deployed) -> (u16, Value) {
    let answer = Answer::of(request(deployed, Method::GET, "healthz")).await;
    (answer.status, answer.body)
}

async fn healthy_before_the_first_pass(deployed: &Deployed) {
    assert_eq!(health(deployed).await, (200, json!({"status": 1})));
    let status = get_json(deployed, "").await;
    assert_eq!(status["status"], 1);
    assert_eq!(status["isMaster"], true);
    assert_eq!(status["stale_seconds"], STALE_SECONDS);
    let regions = status["regions"].as_array().unwrap();
    let names: Vec<_> = regions.iter().map(|region| &region["region"]).collect();
    assert_eq!(names, [PAUSED, REGION]);
    for region in regions {
        assert_eq!(region["lock"], Value::Null);
        assert_eq!(region["last_decision"], Value::Null);
    }
}

async fn filled_with_a_user(deployed: &Deployed) {
    deployed.reconcile().await;
    deployed.filled_to(4).await;
    let mut ask = client_request(REGION, "session-of-ann");
    ask["user_email"] = json!("ann@example.com");
    let answer = deployed.assign(USER, &ask).await;
    assert_eq!(answer.status, 200, "{answer:#?}");
    let report = deployed.reconcile().await;
    let reports = report["regions"].as_array().unwrap();
    let report = reports.iter().find(|report| report["region"] == REGION);
    let report = report.unwrap();
    assert_eq!(report["plan"]["steps"][0]["do"], "launch", "{report:#}");
    deployed.filled_to(5).await;

    let region = region(deployed).await;
    for (field, value) in [("target", 4), ("free", 5), ("starting", 0), ("occupied", 1)] {
        assert_eq!(region[field], value, "{field}: {region:#}");
    }
    assert_eq!(region["instances"]["ACTIVE"], 3);
    assert_eq!(region["images"][0]["state"], "CURRENT");
    assert_eq!(region["lock"]["held"], false);
    assert_eq!(region["stale"], false);
    let last = &region["last_decision"];
    assert_eq!(last["trigger"]["kind"], "by_hand");
    assert_eq!(last["plan"], report["plan"], "as the pass reported it");
    assert_eq!(last["results"], report["results"]);
    assert_eq!(
        (&last["outcome"], &region["undecided"]),
        (&json!("done"), &json!(0))
    );
    assert!(last["duration_ms"].as_i64().is_some(), "{last:#}");
    assert_eq!(region["looked"]["version"], last["version"]);
}

/// The upgrade is warming, and EC2 refuses each of its launches for lack of capacity.
async fn upgrade_that_cannot_launch(deployed: &Deployed) {
    let full = json!([
        {"subnet_id": "subnet-01a0000000000000a", "available": 0},
        {"subnet_id": "subnet-01b0000000000000b", "available": 0},
    ]);
    deployed.set_faults(&json!({"capacity": full})).await;
    let upgrade = json!({"client_sha": "sha-of-the-next", "images": {REGION: NEXT_IMAGE}});
    deployed.invoke(&json!({"image_upgrade": upgrade})).await;
    let region = region(deployed).await;
    let warming = &region["upgrade"]["warming"];
    assert_eq!(warming["image"], NEXT_IMAGE, "{region:#}");
    assert_eq!(warming["named"], false);
    assert_eq!(
        (&warming["target"], &warming["free"]),
        (&json!(4), &json!(0))
    );
    assert!(warming["deadline"].is_string(), "{warming}");
    let refusals = region["refusals"].as_array().unwrap();
    assert_eq!(refusals.len(), 2, "{refusals:#?}");
    assert_eq!(refusals[0]["instance_type"], "m6i.large");
    assert_eq!(region["open_intents"], json!([]));
    let notes = region["last_decision"]["plan"]["notes"].to_string();
    assert!(notes.contains("upgrade to"), "{notes}");
    deployed.set_faults(&json!({})).await;
}

async fn only_for_the_token(deployed: &Deployed) {
    let token = &deployed.stack.env().status_token;
    for path in [
        "",
        "regions/us-east-1",
        "decisions/us-east-1/1",
        "usage",
        "nothing",
    ] {
        let get = || request(deployed, Method::GET, path);
        let wrong = format!("{}x", &token[1..]);
        for refused in [
            get(),
            get().bearer_auth(&wrong),
            get().basic_auth(token, Some("wrong")),
        ] {
            let answer = Answer::of(refused).await;
            assert_eq!(answer.status, 401, "{path}: {answer:#?}");
            let challenges = answer.headers[REMAPPED_CHALLENGE].to_str().unwrap();
            assert!(challenges.contains("Basic") && challenges.contains("Bearer"));
        }
        let let_in = Answer::of(get().basic_auth("anybody", Some(token))).await;
        let there = if path == "nothing" { 404 } else { 200 };
        assert_eq!(let_in.status, there, "{path}: {let_in:#?}");
        assert_eq!(let_in.headers["cache-control"], "no-store");
    }
    let post = request(deployed, Method::POST, "").bearer_auth(token);
    assert_eq!(Answer::of(post).await.status, 405);
    let head = request(deployed, Method::HEAD, "").bearer_auth(token);
    let head = Answer::of(head).await;
    assert_eq!((head.status, head.body), (200, Value::Null));
}

/// For every copy of its cookie, in every process of the function.
async fn log_out_ends_the_session(deployed: &Deployed) {
    let browser = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let url = &deployed.stack.env().status_url;
    let log_in = async || {
        let form = format!("next=%2F&token={}", deployed.stack.env().status_token);
        let answer = browser.post(format!("{url}login")).body(form).send().await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 303);
        let cookie = answer.headers()["set-cookie"].to_str().unwrap();
        cookie.split(';').next().unwrap().to_owned()
    };
    let send = async |method: Method, path: &str, cookie: &str| {
        let request = browser.request(method, format!("{url}{path}"));
        let answer = request.header("cookie", cookie).send().await.unwrap();
        answer.status().as_u16()
    };
    let (cookie, other) = (log_in().await, log_in().await);
    assert_eq!(send(Method::GET, "", &cookie).await, 200);
    assert_eq!(send(Method::POST, "logout", &cookie).await, 303);
    for _ in 0..5 {
        let gets = (0..4).map(|_| send(Method::GET, "", &cookie));
        let statuses = futures::future::join_all(gets).await;
        assert_eq!(statuses, [401; 4]);
    }
    assert_eq!(send(Method::GET, "", &other).await, 200);
}

async fn decision_by_its_id(deployed: &Deployed) {
    let page = get_json(deployed, &format!("regions/{REGION}")).await;
    let decisions = page["decisions"].as_array().unwrap();
    assert!(decisions.len() >= 3, "{page:#}");
    assert_eq!(decisions[0], page["region"]["last_decision"]);
    let first = decisions.last().unwrap();
    let id = first["decision"].as_str().unwrap();
    assert_eq!(id, format!("{REGION}/1"));
    let decision = get_json(deployed, &format!("decisions/{id}")).await;
    assert_eq!(
        decision, *first,
        "short enough to be shown in full on the page"
    );
    let colon = id.replace('/', ":");
    assert_eq!(
        get_json(deployed, &format!("decisions/{colon}")).await,
        decision
    );
    assert_eq!(decision["plan"]["figures"]["free"], 0);
    let why = decision["plan"]["steps"][0]["because"]["text"].as_str();
    assert!(why.unwrap().contains("below target"), "{decision:#}");
    let older = get_json(deployed, &format!("regions/{REGION}?before=2")).await;
    assert_eq!(older["decisions"], json!([decision]));
    assert_eq!(older["older"], Value::Null);
    let unknown = get(deployed, &format!("decisions/{REGION}/4711")).await;
    assert_eq!(unknown.status, 404, "{unknown:#?}");
}

/// All rows and items of both stores, except host agents' heartbeats, which continue.
async fn all_state(deployed: &Deployed) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for table in [
        "regions",
        "images",
        "app_versions",
        "instances",
        "slots",
        "waiting_users",
        "region_fences",
        "region_wakeups",
    ] {
        let sql = format!(
            "SELECT coalesce(jsonb_agg(to_jsonb(t) ORDER BY t::text), '[]') FROM {table} t"
        );
        let rows: Value = deployed.sql.query_one(&sql, &[]).await.unwrap().get(0);
        all.insert(table.to_owned(), rows.to_string());
    }
    for item in deployed.all_items().await {
        let sorted: BTreeMap<_, _> = item.iter().collect();
        let key = format!("{:?}/{:?}", item["pk"], item["sk"]);
        all.insert(key, format!("{sorted:?}"));
    }
    all
}

async fn status_changes_nothing(deployed: &Deployed) {
    let states = async || {
        let before = all_state(deployed).await;
        for path in [
            "",
            "regions/us-east-1",
            "decisions/us-east-1/1",
            "usage",
            "healthz",
            "nothing",
        ] {
            get(deployed, path).await;
        }
        (before, all_state(deployed).await)
    };
    // Agents of recently launched instances may still be at work.
    let (before, _) = eventually("two equal states", SOON, states, |(before, after)| {
        before == after
    })
    .await;
    assert!(
        before.keys().any(|key| key.contains("DECISIONS#")),
        "{before:#?}"
    );
    assert!(before["slots"].contains(USER), "a user is there");
}

async fn held_lock(deployed: &Deployed) {
    let store = DynamoStore::new(deployed.dynamodb(), &deployed.stack.env().scaling_table);
    let lease = taken(&store).await;
    let lock = region(deployed).await["lock"].take();
    assert_eq!(lock["held"], true, "{lock:#}");
    assert_eq!(lock["holder"], lease.owner.as_str());
    assert_eq!(lock["version"], lease.version);
    let age = lock["age_seconds"].as_i64().unwrap();
    assert!((-2..30).contains(&age), "{age}");
    store.release(&lease).await.unwrap();
    let region = region(deployed).await;
    assert_eq!(region["lock"]["holder"], Value::Null);
    assert_eq!(
        region["undecided"], 1,
        "this holder recorded no decision: {region:#}"
    );
}

async fn taken(store: &DynamoStore) -> Lease {
    let take = async || {
        let now = deployed_now();
        let lease = Duration::from_secs(50);
        store
            .acquire(&REGION.into(), &Owner::random(), now, lease)
            .await
            .unwrap()
    };
    let free = |attempt: &LockAttempt| matches!(attempt, LockAttempt::Acquired(_));
    match eventually("the lock", SOON, take, free).await {
        LockAttempt::Acquired(lease) => lease,
        LockAttempt::Held { until, .. } => panic!("held until {until}"),
    }
}

fn deployed_now() -> jiff::Timestamp {
    use shared::clock::Clock as _;
    startup::SystemClock.now()
}

async fn stale_and_healthy_again(deployed: &Deployed) {
    let stale = (503, json!({"status": 0, "stale": [REGION]}));
    let limit = Duration::from_secs(STALE_SECONDS) + SOON;
    eventually(
        "it is stale",
        limit,
        async || health(deployed).await,
        |seen| *seen == stale,
    )
    .await;
    let status = get_json(deployed, "").await;
    assert_eq!(
        (&status["status"], &status["stale"]),
        (&json!(0), &json!([REGION]))
    );
    deployed.reconcile().await;
    // Each process of the function remembers its answer for some seconds.
    let healthy = (200, json!({"status": 1}));
    eventually(
        "it is healthy",
        SOON,
        async || health(deployed).await,
        |seen| *seen == healthy,
    )
    .await;
    let of_paused = &get_json(deployed, "").await["regions"][0];
    assert_eq!(
        (&of_paused["region"], &of_paused["stale"]),
        (&json!(PAUSED), &json!(false))
    );
}

async fn assert_no_secret_in_the_log(deployed: &Deployed) {
    let log = deployed
        .function_log(&deployed.stack.env().status_function)
        .await;
    let text = format!("{}\n", log.text);
    assert!(text.contains("regions without a recent decision"), "{text}");
    let shown = leaks_and_panics(&[Log { text, ..log }], &deployed.secrets().await);
    assert!(shown.is_empty(), "{shown:#?}");
}
