use serde_json::{Value, json};

use super::*;

fn columns(row: Value) -> Columns {
    match row {
        Value::Object(columns) => columns,
        other => panic!("not a row: {other}"),
    }
}

/// A row with the required columns only.
fn row() -> Columns {
    columns(json!({
        "name": "us-east-1",
        "target_free": 4,
        "max_instances": 10,
        "launch_choices": [{"instance_type": "m6i.large", "capacity": 2, "subnet_id": "subnet-01a0000000000000a"}],
    }))
}

fn with(column: &str, value: Value) -> Columns {
    let mut row = row();
    row.insert(column.to_owned(), value);
    row
}

#[test]
fn row_with_required_columns_has_the_defaults_of_the_table() {
    let settings = RegionSettings::from_columns(&row()).unwrap();
    assert!(settings.enabled && !settings.paused);
    assert_eq!(settings.algorithm, "default");
    assert_eq!((settings.scale_up_step, settings.scale_down_step), (1, 1));
    assert_eq!(settings.timeouts, Timeouts::default());
    assert_eq!(settings.timeouts.heartbeat, SignedDuration::from_secs(90));
    assert_eq!(settings.upgrades, Upgrades::default());
    assert_eq!(settings.upgrades.bake, SignedDuration::from_mins(30));
    assert_eq!(settings.upgrades.old_image, None, "off");
    assert_eq!(settings.replicas, ReplicaSettings::default());
    assert_eq!(
        (settings.replicas.capacity, settings.replicas.min_available),
        (1, 3)
    );
    assert_eq!(settings.replicas.api.time_limit.as_secs(), 3);
}

#[test]
fn column_of_null_has_the_default() {
    for setting in TABLE.iter().filter(|setting| setting.default != REQUIRED) {
        let settings = RegionSettings::from_columns(&with(setting.column, Value::Null));
        assert_eq!(
            settings,
            RegionSettings::from_columns(&row()),
            "{}",
            setting.column
        );
    }
}

#[test]
fn every_number_of_the_table_is_read() {
    let unchanged = RegionSettings::from_columns(&row()).unwrap();
    let numbers = TABLE.iter().filter(|setting| setting.kind == Kind::Number);
    // Read by SQL functions only.
    let by_sql = ["claim_seconds", "history_days"];
    for setting in numbers.filter(|setting| !by_sql.contains(&setting.column)) {
        let changed = RegionSettings::from_columns(&with(
            setting.column,
            json!(if setting.column == "heartbeat_seconds" {
                7
            } else {
                777
            }),
        ));
        assert_ne!(changed.unwrap(), unchanged, "{}", setting.column);
    }
}

#[test]
fn empty_text_counts_as_not_set() {
    for column in ["instance_profile", "user_data_template", "address_suffix"] {
        let settings = RegionSettings::from_columns(&with(column, json!(""))).unwrap();
        assert_eq!(settings, RegionSettings::from_columns(&row()).unwrap());
    }
}

/// The schema rejects most of these, but a row may come from an older schema.
#[test]
fn bad_column_is_named_with_its_value() {
    for (column, value) in [
        ("name", json!("Europe")),
        ("enabled", json!("yes")),
        ("target_free", json!(-1)),
        ("max_instances", json!(4_294_967_296_i64)),
        ("scale_up_step", json!(1.5)),
        ("address_source", json!("elastic")),
        ("address_source", json!("reported")),
        ("address_suffix", json!(".example.com")),
        ("address_suffix", json!(7)),
        ("heartbeat_seconds", json!(0)),
        ("lost_seconds", json!(90)),
        ("bake_seconds", json!("soon")),
        ("old_image_seconds", json!(-5)),
        ("replica_capacity", json!(0)),
        ("replica_min_available", json!(-1)),
        ("replica_api_protocol", json!("gopher")),
        ("replica_api_port", json!(65_536)),
        ("replica_api_port", json!(0)),
        ("replica_api_path", json!("row")),
        ("replica_api_seconds", json!(0)),
        ("replica_unknown_seconds", json!(-60)),
        ("replica_address_tag", json!("pool")),
    ] {
        let error = RegionSettings::from_columns(&with(column, value.clone())).unwrap_err();
        assert_eq!(error.column, column, "{error}");
        assert!(!error.problem.is_empty());
    }
}

#[test]
fn missing_required_column_is_named() {
    for setting in TABLE.iter().filter(|setting| setting.default == REQUIRED) {
        let mut row = row();
        row.remove(setting.column);
        let problems = RegionSettings::problems(&row);
        let columns: Vec<_> = problems.iter().map(|problem| problem.column).collect();
        assert_eq!(columns, [setting.column]);
    }
}

#[test]
fn replica_settings_of_a_row_override_the_given_defaults() {
    let defaults = columns(json!({"replica_capacity": 5, "replica_trim": true}));
    let row = columns(json!({"replica_capacity": 3, "replica_trim": null}));
    let settings = ReplicaSettings::from_columns(&overlay(defaults, &row)).unwrap();
    assert_eq!((settings.capacity, settings.trim), (3, true));
}

/// One choice of two slots in a subnet.
fn choice() -> Value {
    json!({"instance_type": "m6i.large", "capacity": 2, "subnet_id": "subnet-01a0000000000000a"})
}

fn choice_with(field: &str, value: Value) -> Value {
    let mut choice = choice();
    choice[field] = value;
    choice
}

/// The settings of a row in which only columns that launches need are wrong, and its one problem.
#[track_caller]
fn launch_problem(row: &Columns) -> (RegionSettings, BadSetting) {
    let settings = RegionSettings::from_columns(row).unwrap();
    let [problem] = settings.launch_problems.as_slice() else {
        panic!("{:?}", settings.launch_problems)
    };
    let problem = problem.clone();
    (settings, problem)
}

#[test]
fn choice_that_cannot_work_is_named_and_the_others_are_kept() {
    let by_tag = |key: &str, value: &str| {
        let mut choice = choice();
        choice.as_object_mut().unwrap().remove("subnet_id");
        choice["subnet_tag"] = json!({"key": key, "value": value});
        choice
    };
    let mut without_capacity = choice();
    without_capacity.as_object_mut().unwrap().remove("capacity");
    for (wrong, words) in [
        (json!("m6i.large"), "an object with `instance_type`"),
        (json!({}), "missing field `instance_type`"),
        (without_capacity, "missing field `capacity`"),
        (
            choice_with("capacity", json!("two")),
            "`capacity` is \"two\"",
        ),
        (
            choice_with("capacity", json!(0)),
            "`capacity` must be 1 to 1000",
        ),
        (choice_with("capacity", json!(-1)), "`capacity` is -1"),
        (choice_with("capacity", json!(1.5)), "`capacity` is 1.5"),
        (
            choice_with("capacity", json!(1001)),
            "`capacity` must be 1 to 1000",
        ),
        (
            choice_with("capacity", json!(3_000_000_000_u64)),
            "`capacity` must be",
        ),
        (choice_with("spot", json!("cheap")), "boolean"),
        (
            choice_with("subnet", json!("subnet-1")),
            "unknown field `subnet`",
        ),
        (
            choice_with("instance_type", json!("large")),
            "`instance_type` is \"large\"",
        ),
        (
            choice_with("subnet_id", json!("subnet-b")),
            "\"subnet-b\" is not an id",
        ),
        (
            choice_with("subnet_id", json!("vpc-01a0000000000000a")),
            "`subnet-`",
        ),
        (
            choice_with("subnet_tag", json!({"key": "a", "value": "b"})),
            "either",
        ),
        (by_tag("", "hosts"), "`key` is empty"),
        (by_tag("Name", "hosts-*"), "wildcards"),
        (choice(), "it repeats an item before it"),
    ] {
        let row = with("launch_choices", json!([choice(), wrong]));
        let (settings, problem) = launch_problem(&row);
        assert_eq!(problem.column, "launch_choices");
        assert!(problem.problem.starts_with("item 1 ("), "{problem}");
        assert!(problem.problem.contains(words), "{words}: {problem}");
        assert_eq!(settings.launch_choices.len(), 1, "{problem}");
        assert!(settings.can_launch());
        assert!(!problem.problem.contains("u32"), "{problem}");
    }
}

#[test]
fn problems_of_many_items_are_bounded() {
    let wrong = choice_with("instance_type", json!("x".repeat(5000)));
    let (settings, problem) = launch_problem(&with("launch_choices", json!(vec![wrong; 20])));
    assert!(settings.launch_choices.is_empty());
    assert!(problem.problem.len() < 4000, "{problem}");
    assert!(problem.problem.ends_with("15 other items are wrong, too"));
    let many = json!(vec![choice(); 65]);
    let (_, problem) = launch_problem(&with("launch_choices", many));
    assert!(problem.problem.contains("at most 64"), "{problem}");
}

/// Without one of its groups or its profile, a machine would be another one than was meant.
#[test]
fn other_columns_that_cannot_work_keep_the_region_from_launching() {
    for (column, value, words) in [
        ("security_groups", json!("sg-1"), "a JSON array"),
        ("security_groups", json!([{"name": "sg-1"}]), "item 0"),
        ("security_groups", json!(["sg-1"]), "\"sg-1\" is not an id"),
        (
            "security_groups",
            json!([{"key": "a?", "value": "b"}]),
            "wildcards",
        ),
        (
            "security_groups",
            json!(vec!["sg-01a0000000000000a"; 17]),
            "at most 16",
        ),
        ("instance_profile", json!("two words"), "instance profile"),
        ("instance_profile", json!(7), "must be a text"),
        (
            "user_data_template",
            json!("${AGENT_TOKN}"),
            "${AGENT_TOKN}",
        ),
        (
            "user_data_template",
            json!("${REGION}"),
            "lacks ${AGENT_TOKEN}",
        ),
        (
            "user_data_template",
            json!("${AGENT_TOKEN} ${secret"),
            "at byte 15",
        ),
    ] {
        let (settings, problem) = launch_problem(&with(column, value));
        assert_eq!(problem.column, column);
        assert!(problem.problem.contains(words), "{words}: {problem}");
        assert!(!settings.can_launch(), "{problem}");
        assert_eq!(settings.target_free, 4, "the rest of the row is read");
    }
}

#[test]
fn every_column_that_cannot_work_is_reported() {
    let mut row = with("launch_choices", json!({"a": 1}));
    row.insert("security_groups".to_owned(), json!([7]));
    row.insert("instance_profile".to_owned(), json!(""));
    row.insert("user_data_template".to_owned(), json!("${NOPE}"));
    let problems = RegionSettings::problems(&row);
    let columns: Vec<_> = problems.iter().map(|problem| problem.column).collect();
    assert_eq!(
        columns,
        ["launch_choices", "security_groups", "user_data_template"]
    );
    row.insert("target_free".to_owned(), json!(-1));
    let problems = RegionSettings::problems(&row);
    assert_eq!(problems.len(), 1, "without it, no pass runs");
    assert_eq!(problems[0].column, "target_free");
}

#[test]
fn user_data_of_replicas_has_no_token() {
    let mut row = with("user_data_template", json!("${REGION}"));
    row.insert("algorithm".to_owned(), json!(REPLICA));
    assert_eq!(RegionSettings::problems(&row), []);
    row.insert("user_data_template".to_owned(), json!("${AGENT_TOKEN}"));
    let (_, problem) = launch_problem(&row);
    assert!(problem.problem.contains("${AGENT_TOKEN}"), "{problem}");
}

#[test]
fn choice_without_capacity_has_that_of_replicas_with_their_algorithm_only() {
    let subnet = "subnet-01a0000000000000a";
    let choices = json!([
        {"instance_type": "m6i.large", "subnet_id": subnet},
        {"instance_type": "m6i.xlarge", "capacity": 7, "subnet_id": subnet},
    ]);
    let mut row = with("launch_choices", choices);
    row.insert("replica_capacity".to_owned(), json!(3));
    let (_, problem) = launch_problem(&row);
    assert!(
        problem.problem.contains("missing field `capacity`"),
        "{problem}"
    );
    row.insert("algorithm".to_owned(), json!(REPLICA));
    let settings = RegionSettings::from_columns(&row).unwrap();
    assert_eq!(settings.launch_problems, []);
    let capacities: Vec<_> = settings
        .launch_choices
        .iter()
        .map(|choice| choice.capacity)
        .collect();
    assert_eq!(capacities, [3, 7]);
}

#[test]
fn region_gives_users_the_address_of_its_source() {
    let (private, public) = ("10.0.0.1".parse().ok(), "203.0.113.9".parse().ok());
    let source = |name: &str| {
        let mut row = with("address_source", json!(name));
        row.insert("address_suffix".to_owned(), json!("sandbox.example.com"));
        RegionSettings::from_columns(&row).unwrap().addresses
    };
    assert_eq!(source("private").of(private, public), private);
    assert_eq!(source("public").of(private, public), public);
    assert_eq!(source("public").of(private, None), None);
    let reported = source("reported");
    assert_eq!(reported.of(private, public), None);
    let suffix = "sandbox.example.com".to_owned();
    assert_eq!(reported, AddressSource::Reported { suffix });
}

#[test]
fn address_tag_is_a_key_and_a_value() {
    let tag: AddressTag = "pool=a=b".parse().unwrap();
    assert_eq!((tag.key.as_str(), tag.value.as_str()), ("pool", "a=b"));
    assert_eq!(tag.to_string(), "pool=a=b");
    for wrong in ["", "pool", "=a", "pool="] {
        assert!(wrong.parse::<AddressTag>().is_err(), "{wrong:?}");
    }
}
