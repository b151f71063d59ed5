//! `doctor` on the deployed stack: sound as it is set up, and each thing that can be broken there is
//! found by its check, with its remedy, while the other checks stay as they were.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

use std::process::Command;

use aws_sdk_dynamodb::types::TimeToLiveSpecification;
use jiff::SignedDuration;
use local_stack::doctor::report;
use local_stack::project;
use scaling_tests::deployed::{Deployed, SOON, set_fast_ec2};
use scaling_tests::wait::eventually;
use secrecy::ExposeSecret as _;
use serde_json::json;
use shared::clock::Clock as _;
use shared::doctor::{Check, Report, Verdict};
use shared::function_token::FunctionRole;
use startup::SystemClock;

const REGION: &str = "us-east-1";

/// Checks that cannot be ok here: there is no topic, no Service Quotas, and no schedule.
const LOCAL: [&str; 3] = ["alerts", "passes", "quota"];

async fn examine(deployed: &Deployed) -> Report {
    let answer = deployed.invoke(&json!({"doctor": true})).await;
    report(answer).expect("a report")
}

fn check<'a>(report: &'a Report, name: &str) -> &'a Check {
    let found = report.checks.iter().find(|check| check.check == name);
    found.unwrap_or_else(|| panic!("no check {name}: {report}"))
}

/// The names of the checks that are not ok, but for those that cannot be.
fn bad(report: &Report) -> Vec<&str> {
    let bad = report.checks.iter().filter(|it| it.verdict != Verdict::Ok);
    let mut names: Vec<_> = bad.map(|it| it.check.as_str()).collect();
    names.retain(|name| !LOCAL.contains(name));
    names.dedup();
    names
}

/// One thing that is broken in SQL, and mended again.
struct Fault {
    breaks: &'static str,
    mends: &'static str,
    /// The checks that must find it.
    checks: &'static [&'static str],
    verdict: Verdict,
    says: &'static str,
}

const TRIGGER: &str = "notify_hasura_region_wake_INSERT";

fn faults() -> Vec<Fault> {
    let wrong = |breaks, mends, checks, says| Fault {
        breaks,
        mends,
        checks,
        verdict: Verdict::Wrong,
        says,
    };
    vec![
        wrong(
            "ALTER TABLE region_wakeups DISABLE TRIGGER \"notify_hasura_region_wake_INSERT\"",
            "ALTER TABLE region_wakeups ENABLE TRIGGER \"notify_hasura_region_wake_INSERT\"",
            &["event-triggers"],
            "notify_hasura_region_wake_INSERT",
        ),
        wrong(
            "ALTER FUNCTION heartbeat RENAME TO heartbeat_gone",
            "ALTER FUNCTION heartbeat_gone RENAME TO heartbeat",
            &["schema"],
            "function heartbeat",
        ),
        wrong(
            "UPDATE hdb_catalog.hdb_metadata
             SET metadata = replace(metadata::text, 'HASURA_EVENT_URL', 'ANOTHER_URL')::json",
            "UPDATE hdb_catalog.hdb_metadata
             SET metadata = replace(metadata::text, 'ANOTHER_URL', 'HASURA_EVENT_URL')::json",
            &["metadata"],
            "region_wake",
        ),
        wrong(
            "DELETE FROM local_stack.migrations WHERE version = 1795285620000",
            "INSERT INTO local_stack.migrations (version, name) VALUES (1795285620000, 'doctor')",
            &["migrations"],
            "1795285620000_doctor",
        ),
        wrong(
            "INSERT INTO local_events.event_log (schema_name, table_name, trigger_name, payload,
                 created_at, due_at)
             VALUES ('public', 'region_wakeups', 'region_wake', '{}', now() - interval '5 minutes',
                 now() + interval '1 hour')",
            "DELETE FROM local_events.event_log WHERE payload = '{}'",
            &["events"],
            "HASURA_EVENT_URL",
        ),
        wrong(
            "UPDATE images SET image_id = 'ami-0fffffffffffffff0'",
            "UPDATE images SET image_id = 'IMAGE'",
            &["image", "launch"],
            "Copy the image",
        ),
        wrong(
            "UPDATE regions SET launch_choices = jsonb_set(launch_choices, '{0,instance_type}',
                 '\"m7g.large\"')",
            "UPDATE regions SET launch_choices = jsonb_set(launch_choices, '{0,instance_type}',
                 '\"m6i.large\"')",
            &["image", "launch"],
            "m7g.large runs arm64",
        ),
        wrong(
            "UPDATE regions SET launch_choices = jsonb_set(launch_choices, '{1,subnet_id}',
                 '\"subnet-0ffffffffffffffff\"')",
            "UPDATE regions SET launch_choices = 'CHOICES'",
            &["subnets"],
            "regions.launch_choices",
        ),
        wrong(
            "UPDATE regions SET security_groups = '[\"sg-0ffffffffffffffff\"]'",
            "UPDATE regions SET security_groups = '[{\"key\": \"scaling\", \"value\": \"hosts\"}]'",
            &["security-groups", "launch"],
            "regions.security_groups",
        ),
        wrong(
            "UPDATE regions SET launch_choices = jsonb_set(launch_choices, '{1,spot}', 'true')",
            "UPDATE regions SET launch_choices = 'CHOICES'",
            &["spot-role"],
            "create-service-linked-role",
        ),
        // The last one: it makes events, and they make passes.
        wrong(
            "UPDATE app_versions SET client_sha = 'typo'",
            "UPDATE app_versions SET client_sha = (SELECT client_sha FROM images LIMIT 1)",
            &["app-version"],
            "app_versions.client_sha",
        ),
    ]
}

#[tokio::test]
async fn each_fault_of_a_deployment_is_found_by_its_check() {
    let deployed = Deployed::start("doctor", set_fast_ec2).await;
    let empty = examine(&deployed).await;
    assert_eq!(check(&empty, "regions").verdict, Verdict::Wrong);

    deployed.set_up(REGION, 10).await;
    deployed.deliver_events().await;
    deployed.reconcile().await;
    deployed.filled_to(4).await;
    // An event of each instance that became ACTIVE is delivered.
    let sound = async || examine(&deployed).await;
    let report = eventually("a sound deployment", SOON, sound, |it| bad(it).is_empty()).await;
    assert_eq!(check(&report, "launch").verdict, Verdict::Ok, "{report}");

    let row = "SELECT (SELECT launch_choices::text FROM regions), (SELECT image_id FROM images)";
    let row = deployed.sql.query_one(row, &[]).await.expect(row);
    let (choices, image): (String, String) = (row.get(0), row.get(1));
    for fault in faults() {
        deployed
            .sql
            .batch_execute(fault.breaks)
            .await
            .expect(fault.breaks);
        let report = examine(&deployed).await;
        let mut names = bad(&report);
        names.sort_unstable();
        let mut expected = fault.checks.to_vec();
        expected.sort_unstable();
        assert_eq!(names, expected, "{}: {report}", fault.breaks);
        let first = check(&report, fault.checks[0]);
        assert_eq!(first.verdict, fault.verdict, "{}: {report}", fault.breaks);
        let text = format!("{} {}", first.finding, first.remedy);
        assert!(text.contains(fault.says), "{}: {text}", fault.breaks);
        let mends = fault
            .mends
            .replace("CHOICES", &choices)
            .replace("IMAGE", &image);
        deployed.sql.batch_execute(&mends).await.expect(&mends);
    }
    // A trigger that was never made, as when Hasura got its variables too late.
    let define =
        format!("SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = '{TRIGGER}'");
    let definition: String = deployed
        .sql
        .query_one(&define, &[])
        .await
        .expect(&define)
        .get(0);
    let drop_it = format!("DROP TRIGGER \"{TRIGGER}\" ON region_wakeups");
    deployed.sql.batch_execute(&drop_it).await.expect(&drop_it);
    let report = examine(&deployed).await;
    let triggers = check(&report, "event-triggers");
    assert!(
        triggers.remedy.contains("recreate_event_triggers"),
        "{report}"
    );
    deployed
        .sql
        .batch_execute(&definition)
        .await
        .expect(&definition);

    refused_permission_is_named(&deployed).await;
    table_without_expiry_is_found(&deployed).await;
    key_set_that_is_gone_is_found(&deployed).await;
    stuck_lock_is_found(&deployed).await;
    function_with_another_secret_is_found(&deployed).await;
    token_that_ends_soon_is_found(&deployed).await;

    deployed.reconcile().await;
    let report = examine(&deployed).await;
    assert_eq!(bad(&report), [""; 0], "{report}");
    status_shows_the_report_to_who_is_logged_in(&deployed, &report).await;
    command_prints_the_report(&report);
    deployed.stack.stop();
}

async fn refused_permission_is_named(deployed: &Deployed) {
    let refused = json!({"calls": [{
        "on": {"action": "RunInstances"}, "effect": {"error": "UnauthorizedOperation"}
    }]});
    deployed.set_faults(&refused).await;
    let report = examine(deployed).await;
    assert_eq!(bad(&report), ["launch"], "{report}");
    let launch = check(&report, "launch");
    assert!(
        launch.remedy.contains("Deploy this release's template"),
        "{report}"
    );
    deployed.set_faults(&json!({})).await;
}

async fn table_without_expiry_is_found(deployed: &Deployed) {
    let set = async |enabled: bool| {
        let specification = TimeToLiveSpecification::builder()
            .enabled(enabled)
            .attribute_name("ttl")
            .build()
            .expect("a specification");
        let update = deployed.dynamodb().update_time_to_live();
        let update = update.table_name(&deployed.stack.env().scaling_table);
        let update = update.time_to_live_specification(specification);
        update.send().await.expect("the table is changed");
    };
    set(false).await;
    let report = examine(deployed).await;
    assert_eq!(bad(&report), ["table"], "{report}");
    set(true).await;
}

async fn key_set_that_is_gone_is_found(deployed: &Deployed) {
    deployed.stack.jwks().publish(json!({"keys": []}));
    let report = examine(deployed).await;
    assert_eq!(bad(&report), ["keys"], "{report}");
    deployed
        .stack
        .jwks()
        .publish(deployed.stack.keys().key_set());
}

async fn stuck_lock_is_found(deployed: &Deployed) {
    let lock = async |expires_at: &str| {
        use aws_sdk_dynamodb::types::AttributeValue;
        let update = deployed.dynamodb().update_item();
        let update = update
            .table_name(&deployed.stack.env().scaling_table)
            .key("pk", AttributeValue::S(format!("REGION#{REGION}")))
            .key("sk", AttributeValue::S("LOCK".to_owned()))
            .update_expression("SET expires_at = :at")
            .expression_attribute_values(":at", AttributeValue::N(expires_at.to_owned()));
        update.send().await.expect("the lock is changed");
    };
    // In the year 2100. A pass of an event that is still under way frees it.
    let stuck = async || {
        lock("4102444800000").await;
        examine(deployed).await
    };
    eventually("a stuck lock", SOON, stuck, |it| bad(it) == ["lock"]).await;
    lock("0").await;
}

async fn function_with_another_secret_is_found(deployed: &Deployed) {
    let lambda = aws_sdk_lambda::Client::new(&deployed.stack.sdk_config());
    let name = &deployed.stack.env().status_function;
    let found = lambda.get_function_configuration().function_name(name);
    let arn = found.send().await.expect("it is there").function_arn;
    let set = async |version: &str| {
        let tag = lambda.tag_resource().set_resource(arn.clone());
        let tag = tag.tags("scaling:secret-version", version);
        tag.send().await.expect("the function is tagged");
    };
    set("the-version-of-the-day-before").await;
    let report = examine(deployed).await;
    assert_eq!(bad(&report), ["functions"], "{report}");
    let functions = check(&report, "functions");
    assert!(functions.finding.contains(name), "{report}");
    set("").await;
}

async fn token_that_ends_soon_is_found(deployed: &Deployed) {
    let env = deployed.stack.env();
    let sdk = deployed.stack.sdk_config();
    let key = env.hasura_jwt_key.clone().into();
    let soon = SystemClock.now() + SignedDuration::from_hours(24 * 7);
    let token = FunctionRole::Passes.token(&key, soon).expect("a token");
    let lambda = aws_sdk_lambda::Client::new(&sdk);
    let name = &env.reconcile_function;
    let found = lambda.get_function_configuration().function_name(name);
    let found = found.send().await.expect("the function is there");
    let sound = found
        .environment
        .and_then(|it| it.variables)
        .expect("variables");
    let set = async |token: &str| {
        let mut variables = sound.clone();
        variables.insert("HASURA_TOKEN".to_owned(), token.to_owned());
        let environment = aws_sdk_lambda::types::Environment::builder();
        let environment = environment.set_variables(Some(variables)).build();
        let update = lambda.update_function_configuration();
        let update = update.function_name(name).environment(environment);
        update.send().await.expect("the function is changed");
    };
    set(token.expose_secret()).await;
    let report = examine(deployed).await;
    assert_eq!(bad(&report), ["tokens"], "{report}");
    set(&sound["HASURA_TOKEN"]).await;
}

async fn status_shows_the_report_to_who_is_logged_in(deployed: &Deployed, report: &Report) {
    let env = deployed.stack.env();
    let url = format!("{}doctor", env.status_url);
    let http = reqwest::Client::new();
    let stranger = http.get(&url).send().await.expect("status answers");
    assert_eq!(stranger.status(), 401);
    let page = http.get(&url).bearer_auth(&env.status_token);
    let page = page
        .header("accept", "text/html")
        .send()
        .await
        .expect("status answers");
    let page = page.text().await.expect("a page");
    assert!(page.contains("event-triggers"), "{page}");
    let json = http.get(&url).bearer_auth(&env.status_token).send().await;
    let stored: serde_json::Value = json.expect("status answers").json().await.expect("JSON");
    assert_eq!(stored["doctor"], json!(report));
}

fn command_prints_the_report(report: &Report) {
    let program = project::binary("local-stack").expect("the program was built");
    let output = Command::new(program)
        .args(["doctor", "--name", "doctor"])
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let count = report.count(Verdict::Ok);
    assert!(text.contains(&format!("{count} ok")), "{text}");
}
