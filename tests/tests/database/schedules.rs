//! Schedules: what the table accepts, and what passes and the status page read of it.

use anyhow::Result;
use scaling_tests::database::{Database, ENVIRONMENT, REGION};
use scaling_tests::graphql::Engine;
use serde_json::{Value, json};
use shared::settings::RegionSettings;

/// A schedule's columns but those that a case changes.
fn insert(changes: &[(&str, &str)]) -> String {
    let mut columns = vec![
        ("region", format!("'{REGION}'")),
        ("from_time", "'09:00'".to_owned()),
        ("until_time", "'17:00'".to_owned()),
        ("time_zone", "'Europe/Berlin'".to_owned()),
        ("slots", "20".to_owned()),
        ("set_by", "'ann'".to_owned()),
    ];
    for (column, value) in changes {
        columns.retain(|(known, _)| known != column);
        columns.push((column, (*value).to_owned()));
    }
    let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
    let values: Vec<_> = columns.iter().map(|(_, value)| value.as_str()).collect();
    let (names, values) = (names.join(", "), values.join(", "));
    format!("INSERT INTO schedules ({names}) VALUES ({values})")
}

#[tokio::test]
async fn schedule_that_cannot_work_is_refused_by_a_rule_that_says_what_is_wrong() -> Result<()> {
    let (_database, session) = Database::with_region(4).await?;
    let cases: [(&[(&str, &str)], &str); 13] = [
        (&[("region", "'nowhere'")], "schedules_region_fkey"),
        (
            &[("time_zone", "'Europe/Berln'")],
            "schedules_time_zone_known",
        ),
        (
            &[("time_zone", "'posix/Europe/Berlin'")],
            "schedules_time_zone_known",
        ),
        (&[("time_zone", "'CEST-2'")], "schedules_time_zone_known"),
        (
            &[("days", "'MON,,TUE'")],
            "schedules_days_are_mon_to_sun_with_commas",
        ),
        (
            &[("days", "'mon'")],
            "schedules_days_are_mon_to_sun_with_commas",
        ),
        (
            &[("from_time", "'24:00'")],
            "schedules_from_time_before_24_00",
        ),
        (
            &[("until_time", "'09:00'")],
            "schedules_until_time_is_not_from_time",
        ),
        (&[("kind", "'CEILING'")], "schedules_kind_floor_or_fixed"),
        (&[("slots", "-1")], "schedules_slots_0_to_100000"),
        (&[("set_by", "''")], "schedules_set_by_1_to_200_characters"),
        (
            &[
                ("valid_from", "'2026-02-01'"),
                ("valid_until", "'2026-01-31'"),
            ],
            "schedules_valid_until_not_before_valid_from",
        ),
        (
            &[("valid_until", "'infinity'")],
            "schedules_valid_until_2000_to_9998",
        ),
    ];
    for (changes, rule) in cases {
        let refused = session.run(&insert(changes)).await.unwrap_err();
        assert!(
            format!("{refused:#}").contains(rule),
            "{changes:?}: {refused:#}"
        );
    }
    session.run(&insert(&[])).await?;
    let refused = session
        .run("UPDATE schedules SET time_zone = 'Nowhere/Else'")
        .await
        .unwrap_err();
    let message = format!("{refused:#}");
    assert!(
        message.contains("use a name such as Europe/Berlin"),
        "{message}"
    );
    Ok(())
}

#[tokio::test]
async fn pass_and_page_read_the_schedules_with_the_settings() -> Result<()> {
    let (_database, session) = Database::with_region(4).await?;
    session.add_region("eu-west-1", 0).await?;
    session
        .run(&insert(&[("until_time", "'24:00'"), ("days", "'SAT,SUN'")]))
        .await?;
    session
        .run(&insert(&[
            ("kind", "'FIXED'"),
            ("valid_from", "'2026-01-05'"),
        ]))
        .await?;
    session
        .run(&insert(&[
            ("valid_until", "'2020-01-05'"),
            ("note", "'over'"),
        ]))
        .await?;
    let observed = session
        .row(&format!(
            "SELECT * FROM observe_region('{REGION}', '{ENVIRONMENT}')"
        ))
        .await?;
    let schedules = &observed["settings"]["schedules"];
    assert_eq!(
        schedules[0],
        json!({
            "id": 1, "days": "SAT,SUN", "from_time": "09:00:00", "until_time": "24:00:00",
            "time_zone": "Europe/Berlin", "kind": "FLOOR", "slots": 20, "valid_from": null,
            "valid_until": null, "set_by": "ann", "note": "",
        })
    );
    assert_eq!(schedules[1]["valid_from"], json!("2026-01-05"));
    assert_eq!(schedules.as_array().map(Vec::len), Some(2), "one is over");
    let row = observed["settings"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    let settings = RegionSettings::from_columns(&row)?;
    assert_eq!(
        (settings.schedules.len(), settings.schedule_problems),
        (2, vec![])
    );
    let statuses = session
        .rows(&format!("SELECT * FROM status_regions('{ENVIRONMENT}')"))
        .await?;
    assert_eq!(
        statuses[0]["settings"]["schedules"],
        json!([]),
        "another region"
    );
    assert_eq!(statuses[1]["settings"]["schedules"], *schedules);
    Ok(())
}

/// Whatever PostgreSQL accepts, the functions know.
#[tokio::test]
async fn every_time_zone_that_is_accepted_can_be_read() -> Result<()> {
    let (_database, session) = Database::with_region(4).await?;
    session
        .run(
            "INSERT INTO schedules (region, from_time, until_time, time_zone, slots, set_by)
             SELECT r.name, '09:00', '17:00', z.name, 1, 'ann' FROM regions r, pg_timezone_names z
             WHERE z.name !~ '^(posix|right)/'
                AND z.name NOT IN ('localtime', 'posixrules', 'Factory')",
        )
        .await?;
    let observed = session
        .row(&format!(
            "SELECT * FROM observe_region('{REGION}', '{ENVIRONMENT}')"
        ))
        .await?;
    let row = observed["settings"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    let settings = RegionSettings::from_columns(&row)?;
    assert!(
        settings.schedules.len() > 400,
        "{}",
        settings.schedules.len()
    );
    assert_eq!(settings.schedule_problems, []);
    Ok(())
}

/// As `docs/schedules.md` has it.
#[tokio::test]
async fn administrator_adds_and_removes_a_schedule_through_graphql() -> Result<()> {
    let (database, session) = Database::with_region(4).await?;
    let engine = Engine::start(&database).await?;
    let add = r#"mutation {
        insert_schedules_one(object: {
            region: "us-east-1", days: "MON,WED", from_time: "09:00", until_time: "10:30",
            time_zone: "Europe/Berlin", kind: "FLOOR", slots: 40,
            valid_from: "2026-09-01", valid_until: "2027-01-31",
            set_by: "anna@example.com", note: "course CS-101"
        }) { id }
    }"#;
    let answer = engine.admin(add).await?;
    let id = answer["data"]["insert_schedules_one"]["id"].clone();
    assert!(id.is_number(), "{answer}");
    let wrong = add.replace("Europe/Berlin", "Berlin");
    let refused: Value = engine.admin(&wrong).await?;
    let message = refused["errors"][0]["message"].as_str().unwrap_or_default();
    assert!(message.contains("schedules_time_zone_known"), "{refused}");
    let remove = format!("mutation {{ delete_schedules_by_pk(id: {id}) {{ note }} }}");
    let answer = engine.admin(&remove).await?;
    assert_eq!(
        answer["data"]["delete_schedules_by_pk"]["note"],
        "course CS-101"
    );
    assert_eq!(session.count("SELECT FROM schedules").await?, 0);
    Ok(())
}
