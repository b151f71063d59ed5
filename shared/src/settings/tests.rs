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
        "launch_choices": [{"instance_type": "m6i.large", "capacity": 2, "subnet_id": "subnet-a"}],
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
    for setting in numbers.filter(|setting| setting.column != "claim_seconds") {
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
    for column in ["instance_profile", "user_data_template"] {
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
        ("launch_choices", json!({"a": 1})),
        (
            "launch_choices",
            json!([{"instance_type": "m6i.large", "subnet_id": "subnet-a"}]),
        ),
        ("security_groups", json!([{"name": "sg-1"}])),
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
        let error = RegionSettings::from_columns(&row).unwrap_err();
        assert_eq!(error.column, setting.column, "{error}");
    }
}

#[test]
fn replica_settings_of_a_row_override_the_given_defaults() {
    let defaults = columns(json!({"replica_capacity": 5, "replica_trim": true}));
    let row = columns(json!({"replica_capacity": 3, "replica_trim": null}));
    let settings = ReplicaSettings::from_columns(&overlay(defaults, &row)).unwrap();
    assert_eq!((settings.capacity, settings.trim), (3, true));
}

#[test]
fn choice_without_capacity_has_that_of_replicas_with_their_algorithm_only() {
    let choices = json!([
        {"instance_type": "m6i.large", "subnet_id": "subnet-a"},
        {"instance_type": "m6i.large", "capacity": 7, "subnet_id": "subnet-a"},
    ]);
    let mut row = with("launch_choices", choices);
    row.insert("replica_capacity".to_owned(), json!(3));
    let error = RegionSettings::from_columns(&row).unwrap_err();
    assert!(
        error.problem.contains("missing field `capacity`"),
        "{error}"
    );
    row.insert("algorithm".to_owned(), json!(REPLICA));
    let settings = RegionSettings::from_columns(&row).unwrap();
    let capacities: Vec<_> = settings
        .launch_choices
        .iter()
        .map(|choice| choice.capacity)
        .collect();
    assert_eq!(capacities, [3, 7]);
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
