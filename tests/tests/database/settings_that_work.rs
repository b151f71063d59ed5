//! Settings that can never work: the database rejects them, with a constraint that names the rule, and
//! the code finds the same in rows from before the constraints.

use anyhow::{Context as _, Result};
use scaling_tests::database::{Database, Session};
use serde_json::{Value, json};
use shared::settings::{Columns, RegionSettings};

/// A column, its value, and the rule that it breaks: the constraint's name after the column's.
type Case = (&'static str, Value, &'static str);

/// The value can work.
const SOUND: &str = "";

fn choice() -> Value {
    json!({"instance_type": "m6i.large", "capacity": 2, "subnet_id": "subnet-01a0000000000000a"})
}

fn choice_with(field: &str, value: Value) -> Value {
    let mut choice = choice();
    choice[field] = value;
    choice
}

fn choice_without(field: &str) -> Value {
    let mut choice = choice();
    choice.as_object_mut().map(|choice| choice.remove(field));
    choice
}

fn by_tag(tag: Value) -> Value {
    let mut choice = choice_without("subnet_id");
    choice["subnet_tag"] = tag;
    choice
}

fn cases_of_choices() -> Vec<Case> {
    let tag = |key: &str, value: &str| json!({"key": key, "value": value});
    let of = |items: Vec<Value>, rule| ("launch_choices", Value::Array(items), rule);
    let wrong = |item: Value, rule| of(vec![item], rule);
    let capacity = |value: Value| {
        let item = choice_with("capacity", value);
        wrong(item, "items_capacity_1_to_1000")
    };
    let mut cases = vec![
        of(vec![], SOUND),
        of(vec![choice(), choice_with("spot", json!(true))], SOUND),
        of(
            vec![by_tag(tag("Name", "hosts ü (a)")), by_tag(tag("a", ""))],
            SOUND,
        ),
        of(vec![choice_with("subnet_tag", Value::Null)], SOUND),
        ("launch_choices", json!({}), "is_an_array"),
        wrong(json!("m6i.large"), "items_are_objects"),
        of(vec![choice(), json!([choice()])], "items_are_objects"),
        wrong(choice_without("capacity"), "items_have_a_capacity"),
        wrong(choice_with("capacity", json!([3])), "items_have_no_arrays"),
        wrong(
            choice_with("spot", json!("cheap")),
            "items_spot_is_a_boolean",
        ),
        wrong(choice_with("spot", Value::Null), "items_spot_is_a_boolean"),
        wrong(choice_with("subnet", json!("x")), "items_have_known_fields"),
        wrong(
            choice_with("instance_type", json!("large")),
            "items_have_an_instance_type",
        ),
        wrong(
            choice_with("instance_type", json!("M6i.large")),
            "items_have_an_instance_type",
        ),
        wrong(
            choice_with("instance_type", json!("m6i.large\n")),
            "items_have_an_instance_type",
        ),
        wrong(
            choice_with("instance_type", json!(7)),
            "items_have_an_instance_type",
        ),
        wrong(
            choice_without("instance_type"),
            "items_have_an_instance_type",
        ),
        wrong(
            choice_with("subnet_id", json!("subnet-b")),
            "items_subnet_id_is_an_id",
        ),
        wrong(
            choice_with("subnet_id", json!(7)),
            "items_subnet_id_is_an_id",
        ),
        wrong(choice_without("subnet_id"), "items_have_one_subnet"),
        wrong(
            choice_with("subnet_tag", tag("a", "b")),
            "items_have_one_subnet",
        ),
        wrong(by_tag(tag("", "hosts")), "items_subnet_tag_is_a_tag"),
        wrong(by_tag(tag("Name", "hosts-*")), "items_subnet_tag_is_a_tag"),
        wrong(
            by_tag(json!({"key": "Name", "value": 7})),
            "items_subnet_tag_is_a_tag",
        ),
        wrong(by_tag(json!({"key": "Name"})), "items_subnet_tag_is_a_tag"),
        wrong(by_tag(json!("Name")), "items_subnet_tag_is_a_tag"),
        of(vec![choice(); 65], "items_at_most_64"),
    ];
    let capacities = [
        json!("two"),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(1001),
        json!(null),
    ];
    cases.extend(capacities.map(capacity));
    cases
}

fn cases_of_other_columns() -> Vec<Case> {
    let groups = |items: Value, rule| ("security_groups", items, rule);
    let profile = |text: &str, rule| ("instance_profile", json!(text), rule);
    let template = |text: &str, rule| ("user_data_template", json!(text), rule);
    let suffix = |text: &str, rule| ("address_suffix", json!(text), rule);
    // 200 bytes.
    let long_suffix = format!("{}example.com", "a2345678.".repeat(21));
    let long = "x".repeat(16 * 1024);
    vec![
        groups(json!([]), SOUND),
        groups(
            json!(["sg-01a0000000000000a", {"key": "scaling", "value": "a\nb"}]),
            SOUND,
        ),
        groups(json!("sg-1"), "is_an_array"),
        groups(json!(["sg-1"]), "items_are_ids_or_tags"),
        groups(json!([{"name": "sg-1"}]), "items_are_ids_or_tags"),
        groups(
            json!([{"key": "a?", "value": "b"}]),
            "items_are_ids_or_tags",
        ),
        groups(
            json!([{"key": "a", "value": null}]),
            "items_are_ids_or_tags",
        ),
        groups(json!([7]), "items_are_ids_or_tags"),
        groups(json!([["sg-01a0000000000000a"]]), "items_are_ids_or_tags"),
        groups(json!(vec!["sg-01a0000000000000a"; 17]), "items_at_most_16"),
        profile("", SOUND),
        profile("hosts", SOUND),
        profile("arn:aws:iam::123456789012:instance-profile/a/hosts", SOUND),
        profile("two words", "is_a_name_or_an_arn"),
        profile(
            "arn:aws:iam::123456789012:role/hosts",
            "is_a_name_or_an_arn",
        ),
        ("address_source", json!("public"), SOUND),
        ("address_source", json!("elastic"), "known"),
        ("address_source", json!("Private"), "known"),
        ("address_source", json!("reported"), "reported_has_a_suffix"),
        suffix("", SOUND),
        suffix("sandbox.example.com", SOUND),
        suffix("9-a.xn--nxasmq6b.example.c0", SOUND),
        suffix(&long_suffix, SOUND),
        suffix(&format!("a{long_suffix}"), "is_a_dns_suffix"),
        suffix("com", "is_a_dns_suffix"),
        suffix(".example.com", "is_a_dns_suffix"),
        suffix("example.com.", "is_a_dns_suffix"),
        suffix("a..example.com", "is_a_dns_suffix"),
        suffix("Sandbox.example.com", "is_a_dns_suffix"),
        suffix("*.example.com", "is_a_dns_suffix"),
        suffix("-a.example.com", "is_a_dns_suffix"),
        suffix("a-.example.com", "is_a_dns_suffix"),
        suffix("a_b.example.com", "is_a_dns_suffix"),
        suffix("10.0.0.1", "is_a_dns_suffix"),
        suffix("example.com\n", "is_a_dns_suffix"),
        suffix("ex\u{e4}mple.com", "is_a_dns_suffix"),
        suffix(&format!("{}.com", "a".repeat(64)), "is_a_dns_suffix"),
        template("", SOUND),
        template("${AGENT_TOKEN} $HOME $${X} ${REGION}", SOUND),
        template(&format!("{long}${{AGENT_TOKEN}}"), SOUND),
        template(&format!("x{long}${{AGENT_TOKEN}}"), "within_16_kb"),
        template("${AGENT_TOKN} ${AGENT_TOKEN}", "has_known_placeholders"),
        template("${AGENT_TOKEN} ${x", "has_known_placeholders"),
        template("REGION=${REGION}", "has_a_token"),
        template("$${AGENT_TOKEN} $$${AGENT_TOKEN}", "has_a_token"),
    ]
}

/// Writes the value with SQL, and returns the constraint that rejected it.
async fn rejected_by(session: &Session, column: &str, value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) if !column.ends_with("_groups") => text.clone(),
        other => other.to_string(),
    };
    let text = text.replace('\'', "''");
    let update = format!("UPDATE regions SET {column} = '{text}'");
    session.violated(&update).await.ok()
}

#[tokio::test]
async fn database_and_code_reject_the_same_settings() -> Result<()> {
    let (_database, session) = Database::with_region(4).await?;
    let sound = Columns::from_iter([
        ("name".to_owned(), json!("us-east-1")),
        ("target_free".to_owned(), json!(4)),
        ("max_instances".to_owned(), json!(10)),
        ("launch_choices".to_owned(), json!([])),
    ]);
    for (column, value, rule) in [cases_of_choices(), cases_of_other_columns()].concat() {
        let mut row = sound.clone();
        row.insert(column.to_owned(), value.clone());
        let problems = RegionSettings::problems(&row);
        let rejected = rejected_by(&session, column, &value).await;
        let shown = format!("{column} = {value:.200}: {problems:?}, {rejected:?}");
        if rule.is_empty() {
            assert!(problems.is_empty() && rejected.is_none(), "{shown}");
            continue;
        }
        assert_eq!(problems.len(), 1, "{shown}");
        assert_eq!(problems[0].column, column, "{shown}");
        let rejected = rejected.with_context(|| shown.clone())?;
        assert_eq!(rejected, format!("regions_{column}_{rule}"), "{shown}");
    }
    Ok(())
}

#[tokio::test]
async fn templates_of_replicas_have_no_token_and_choices_need_no_capacity() -> Result<()> {
    let (_database, session) = Database::with_region(4).await?;
    let choices = json!([choice_without("capacity")]);
    session
        .run(&format!(
            "UPDATE regions SET algorithm = 'replica', launch_choices = '{choices}',
             user_data_template = '${{REGION}}'"
        ))
        .await?;
    let error = rejected_by(&session, "user_data_template", &json!("${AGENT_TOKEN}")).await;
    let rule = "regions_user_data_template_of_replicas_has_no_token";
    assert_eq!(error.as_deref(), Some(rule));
    let error = rejected_by(&session, "algorithm", &json!("default")).await;
    assert!(
        error.is_some(),
        "its row would not work with the other algorithm"
    );
    Ok(())
}

/// A row from before the constraints does not keep them from being added.
#[tokio::test]
async fn row_that_breaks_a_rule_survives_the_migration() -> Result<()> {
    let (_database, session) = Database::with_region(4).await?;
    let folder = "hasura/migrations/default/1795285740000_settings_that_work";
    let script = |name: &str| {
        let path = local_stack::project::root().join(folder).join(name);
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    session.run(&script("down.sql")?).await?;
    session
        .run("UPDATE regions SET launch_choices = '[7]', user_data_template = '${NOPE}'")
        .await?;
    session.run(&script("up.sql")?).await?;
    let row = session
        .row("SELECT to_jsonb(r) AS row FROM regions r")
        .await?;
    let Value::Object(row) = &row["row"] else {
        anyhow::bail!("{row}")
    };
    let columns: Vec<_> = RegionSettings::problems(row)
        .into_iter()
        .map(|problem| problem.column)
        .collect();
    assert_eq!(columns, ["launch_choices", "user_data_template"]);
    session
        .run("UPDATE regions SET launch_choices = '[]', user_data_template = NULL")
        .await
}
