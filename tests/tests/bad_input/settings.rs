//! Wrong rows of an operator: they are named, and affect neither other regions nor running
//! instances.

use local_stack::project;
use local_stack::seed::CLIENT_SHA;
use scaling_tests::deployed::Deployed;
use serde_json::{Value, json};

use crate::{SOUND, ask};
use scaling_tests::region::Region;

const BROKEN: &str = "us-west-2";
const IMAGE: &str = "ami-03000000000000001";

/// Settings with which instances can be launched. Each case breaks one of them.
fn sound() -> Value {
    json!({
        "algorithm": "default",
        "launch_choices": [choice(2)],
        "security_groups": [{"key": "scaling", "value": "hosts"}],
        "instance_profile": null,
        "user_data_template": null,
        "scale_up_step": 0,
    })
}

fn choice(capacity: impl Into<Value>) -> Value {
    json!({
        "instance_type": "m6i.large",
        "capacity": capacity.into(),
        "subnet_id": "subnet-03a0000000000000a",
    })
}

/// A setting, and the words that the report must contain.
type Case = (Value, &'static [&'static str]);

/// Values that no launch can use. The database rejects them, but a row may be older than its rules.
fn unusable() -> Vec<Case> {
    let mut tag = choice(2);
    tag["subnet_tag"] = json!({"key": "Name", "value": "hosts"});
    let mut misspelt = choice(2);
    misspelt["subnet"] = json!("subnet-03a0000000000000a");
    let mut market = choice(2);
    market["spot"] = json!("cheap");
    let mut wildcard = choice(2);
    wildcard
        .as_object_mut()
        .map(|choice| choice.remove("subnet_id"));
    wildcard["subnet_tag"] = json!({"key": "Name", "value": "hosts*"});
    let mut large = choice(2);
    large["instance_type"] = json!("enormous");
    let choices: &[&str] = &["`regions`", BROKEN, "`launch_choices`", "item 0"];
    let wrong = |item: Value| (json!({"launch_choices": [item]}), choices);
    let template: &[&str] = &["`regions`", BROKEN, "`user_data_template`"];
    let user_data = |text: &str| (json!({"user_data_template": text}), template);
    vec![
        wrong(json!("m6i.large")),
        wrong(json!({"instance_type": "m6i.large", "capacity": 2})),
        wrong(tag),
        wrong(misspelt),
        wrong(market),
        wrong(wildcard),
        wrong(large),
        wrong(choice("two")),
        wrong(choice(0)),
        wrong(choice(-1)),
        wrong(choice(1.5)),
        wrong(choice(1001)),
        wrong(choice(3_000_000_000_u64)),
        (
            json!({"security_groups": [{"id": "sg-0300000000000000a"}]}),
            &["`regions`", BROKEN, "`security_groups`", "item 0"],
        ),
        (
            json!({"instance_profile": "two words"}),
            &["`regions`", BROKEN, "`instance_profile`"],
        ),
        user_data("TOKEN=${AGENT_TOKN}"),
        user_data("REGION=${REGION}"),
        user_data("${AGENT_TOKEN} ${what is not shown"),
        user_data(&format!("{}${{AGENT_TOKEN}}", "x".repeat(20_000))),
    ]
}

fn unlaunchable() -> Vec<Case> {
    let nowhere = json!({"key": "Name", "value": "nowhere"});
    let mut by_tag = choice(2);
    by_tag
        .as_object_mut()
        .map(|choice| choice.remove("subnet_id"));
    by_tag["subnet_tag"] = nowhere.clone();
    let mut unknown_type = choice(2);
    unknown_type["instance_type"] = json!("m6i.enormous");
    vec![
        (
            json!({"launch_choices": [by_tag]}),
            &["subnet", "Name=nowhere"],
        ),
        (json!({"launch_choices": [unknown_type]}), &["m6i.enormous"]),
        (json!({"launch_choices": []}), &["no_launch_choice"]),
        (
            json!({"security_groups": [nowhere]}),
            &["security_groups", "Name=nowhere"],
        ),
        // Only the values of a launch make it too long.
        (
            json!({"user_data_template": format!("{}${{AGENT_TOKEN}}", "x".repeat(16_300))}),
            &["`user_data_template`", "setting_invalid", " bytes", "16384"],
        ),
    ]
}

pub(crate) async fn broken_rows_are_named_and_affect_nothing_else(deployed: &Deployed) {
    let region = Region {
        deployed,
        name: BROKEN,
    };
    region.insert(sound()).await;
    region.set_image(IMAGE, "CURRENT").await;
    unusable_settings_are_alerted(&region).await;
    let settings = json!({"algorithm": "fastest"});
    region.set(&settings).await;
    let report = others_are_done(&region, &settings).await;
    assert_eq!(report["outcome"], "failed", "{report:#}");
    let named = ["regions", BROKEN, "algorithm", "fastest", "default"];
    assert_named(&settings, &report["error"], &named);
    for (settings, named) in unlaunchable() {
        region.set(&sound()).await;
        region.set(&settings).await;
        let report = others_are_done(&region, &settings).await;
        assert_named(&settings, &report, named);
    }
    region.set(&sound()).await;
    for (image, state, named) in [
        (
            "ami-030000000000000de",
            "CURRENT",
            &["ami-030000000000000de", "InvalidAMIID"][..],
        ),
        (
            "ami-0300000000000dead",
            "CURRENT",
            &["ami-0300000000000dead", "InvalidAMIID"],
        ),
        (IMAGE, "RETIRED", &["no_image"]),
    ] {
        region.set_image(image, state).await;
        let settings = json!({"image": image, "state": state});
        let report = others_are_done(&region, &settings).await;
        assert_named(&settings, &report, named);
    }

    region.set_image(IMAGE, "CURRENT").await;
    let report = region.reconcile().await;
    assert_eq!(report["outcome"], "done", "once repaired: {report:#}");
    region.filled_to(4).await;
    broken_region_keeps_serving(&region).await;
}

/// Each is rejected by a rule, and alerted by a pass that finds it in an older row.
async fn unusable_settings_are_alerted(region: &Region<'_>) {
    for (settings, _) in unusable() {
        let refused = region.try_set(&settings).await.expect_err("a broken rule");
        let refused = format!("{refused:#}");
        assert!(refused.contains("\"regions_"), "{settings}: {refused}");
    }
    run_script(region.deployed, "down.sql").await;
    for (settings, named) in unusable() {
        region.set(&sound()).await;
        region.set(&settings).await;
        let report = others_are_done(region, &settings).await;
        assert_eq!(report["outcome"], "done", "{settings}: {report:#}");
        assert_alerted(&settings, &report["plan"], named);
        assert_alerted(&settings, &region.plan().await, named);
    }
    region.set(&sound()).await;
    run_script(region.deployed, "up.sql").await;
}

/// Takes the rules that rows of earlier versions may break away, or makes them again.
async fn run_script(deployed: &Deployed, name: &str) {
    let folder = "hasura/migrations/default/1795285740000_settings_that_work";
    let path = project::root().join(folder).join(name);
    let script = std::fs::read_to_string(&path).expect(name);
    deployed.sql.batch_execute(&script).await.expect(name);
}

#[track_caller]
fn assert_alerted(settings: &Value, plan: &Value, named: &[&str]) {
    let notes = plan["notes"].as_array().map_or(&[][..], Vec::as_slice);
    let alert = notes
        .iter()
        .find(|note| note["reason"] == "setting_invalid");
    let alert = alert.unwrap_or_else(|| panic!("{settings}: no alert in {plan:#}"));
    assert_eq!(alert["alert"], true, "{settings}: {alert:#}");
    assert_named(settings, &alert["text"], named);
}

/// Runs a pass over all regions. The others are done; in this one nothing is launched and no intent
/// stays open.
async fn others_are_done(region: &Region<'_>, settings: &Value) -> Value {
    let report = region.deployed.reconcile().await;
    let others = Region {
        name: SOUND,
        ..*region
    };
    let sound = others.part_of(&report);
    assert_eq!(sound["outcome"], "done", "{settings}: {report:#}");
    let none: [String; 0] = [];
    assert_eq!(region.machines().await, none, "{settings}");
    assert_eq!(region.open_intents().await, none, "{settings}");
    region.part_of(&report).clone()
}

/// Running instances and their users are not affected by a setting that cannot work.
async fn broken_region_keeps_serving(region: &Region<'_>) {
    let (machines, rows) = (region.machines().await, region.rows().await);
    assert_eq!(machines.len(), 2);
    let settings = json!({"user_data_template": format!("{}${{AGENT_TOKEN}}", "x".repeat(16_300))});
    region.set(&settings).await;
    let report = region.reconcile().await;
    assert_eq!(report["outcome"], "done", "{report:#}");
    assert_alerted(&settings, &report["plan"], &["`user_data_template`"]);
    let mut body = ask(1);
    body["regions"] = json!([BROKEN]);
    body["client_commit_hash"] = json!(format!("sha-of-{BROKEN}"));
    let answer = region.deployed.assign("resident", &body).await;
    assert_eq!(answer.status, 200, "{answer:#?}");
    assert_eq!(region.machines().await, machines);
    assert_eq!(region.rows().await, rows);

    region.set(&sound()).await;
    let report = region.reconcile().await;
    assert_eq!(report["outcome"], "done", "repaired again: {report:#}");
    region.filled_to(5).await;
}

/// The names of the constraints state the rule.
pub(crate) async fn database_refuses_settings_that_are_never_valid(deployed: &Deployed) {
    let image =
        format!("(region, image_id, client_sha, state) VALUES ('{SOUND}', 'ami-x', '{CLIENT_SHA}'");
    let refused = [
        (
            "UPDATE regions SET target_free = -1",
            "regions_target_free_not_negative",
        ),
        (
            "UPDATE regions SET heartbeat_seconds = 0",
            "regions_heartbeat_seconds_positive",
        ),
        (
            "UPDATE regions SET launch_choices = '{}'",
            "regions_launch_choices_is_an_array",
        ),
        (
            "UPDATE regions SET launch_choices = '[7]'",
            "regions_launch_choices_items_are_objects",
        ),
        (
            "UPDATE regions SET user_data_template = '${NOPE} ${AGENT_TOKEN}'",
            "regions_user_data_template_has_known_placeholders",
        ),
        (
            &format!("INSERT INTO images {image}, 'SERVED')"),
            "images_state_known",
        ),
    ];
    for (sql, constraint) in refused {
        let error = deployed.sql.execute(sql, &[]).await.expect_err(sql);
        let named = error.as_db_error().and_then(|error| error.constraint());
        assert_eq!(named, Some(constraint), "{sql}: {error}");
    }
}

#[track_caller]
fn assert_named(settings: &Value, report: &Value, named: &[&str]) {
    let text = report.to_string();
    for word in named {
        assert!(
            text.contains(word),
            "{settings}: {word} is not in {report:#}"
        );
    }
}
