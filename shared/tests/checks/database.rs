//! The database, its events, Hasura, and what host agents may read.

use std::collections::BTreeMap;
use std::fs;

use jiff::SignedDuration;
use shared::doctor::Verdict::{self, Ok as Fine, Warning, Wrong};
use shared::doctor::facts::{
    Asked, Database, DatabaseUser, EventTrigger, Events, Hasura, Pool, Seen, Source, Stranger,
};
use shared::doctor::judge;
use shared::doctor::ports::ProbeError;
use shared::settings::TABLE;
use testing::NOW;

use crate::{assert_check, named};

/// Everything as this release has it.
pub(crate) fn sound() -> Database {
    let text = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let folder = "../hasura/metadata/databases/default/functions";
    let functions = fs::read_dir(folder).unwrap().filter_map(|file| {
        let name = file.unwrap().file_name().into_string().unwrap();
        Some(
            name.strip_prefix("public_")?
                .strip_suffix(".yaml")?
                .to_owned(),
        )
    });
    Database {
        version_num: 160_004,
        now: NOW,
        max_connections: 100,
        functions: functions.collect(),
        region_columns: TABLE.iter().map(|it| it.column.to_owned()).collect(),
        event_triggers: text(&[
            "app_versions.notify_hasura_app_version_changed_INSERT",
            "app_versions.notify_hasura_app_version_changed_UPDATE",
            "instances.notify_hasura_instance_status_changed_UPDATE",
            "region_wakeups.notify_hasura_region_wake_INSERT",
        ]),
        disabled_triggers: Vec::new(),
        user: Some(DatabaseUser {
            name: "hasura".to_owned(),
            ..DatabaseUser::default()
        }),
    }
}

fn migrations() -> BTreeMap<String, bool> {
    let folders = fs::read_dir("../hasura/migrations/default").unwrap();
    let version = |name: String| name.split_once('_').unwrap().0.to_owned();
    folders
        .map(|it| {
            (
                version(it.unwrap().file_name().into_string().unwrap()),
                false,
            )
        })
        .collect()
}

/// Each role in each list of permissions.
fn grants() -> Vec<String> {
    let mut grants = Vec::new();
    for folder in ["functions", "tables"] {
        let folder = format!("../hasura/metadata/databases/default/{folder}");
        for file in fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap();
            let Some(name) = stem.strip_prefix("public_") else {
                continue;
            };
            let mut verb = "";
            let text = fs::read_to_string(&path).unwrap();
            for line in text.lines() {
                if let Some(key) = line.strip_suffix(':').filter(|key| !key.starts_with(' ')) {
                    verb = match key {
                        "permissions" => "function",
                        key => key.strip_suffix("_permissions").unwrap_or_default(),
                    };
                }
                if let Some(role) = line.strip_prefix("  - role: ") {
                    grants.push(format!("{verb} {name} {role}"));
                }
            }
        }
    }
    grants
}

fn documents() -> BTreeMap<String, String> {
    let folders = [
        "../adapters/hasura/graphql",
        "../local/host-agent/src/graphql",
        "../hasura/earlier_agents",
        "../hasura/operators",
    ];
    let files = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap());
    files
        .map(|file| {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect()
}

pub(crate) fn sound_hasura() -> Hasura {
    Hasura {
        source: Some(Source {
            isolation_level: Some("read-committed".to_owned()),
            use_prepared_statements: Some(true),
            pool_settings: Pool {
                max_connections: Some(50),
                total_max_connections: None,
                pool_timeout: Some(5),
            },
        }),
        grants: grants(),
        triggers: vec![EventTrigger {
            name: "region_wake".to_owned(),
            url_from: Some("HASURA_EVENT_URL".to_owned()),
            secret_from: Some("HASURA_EVENT_SECRET".to_owned()),
        }],
        documents: documents(),
        migrations: Some(migrations()),
    }
}

fn user(facts: &mut Database) -> &mut DatabaseUser {
    facts.user.get_or_insert_default()
}

/// A fact, its check, and what the check has to say about it.
type Case<T> = (&'static str, fn(&mut T), Verdict, &'static str);

#[test]
fn each_fault_of_the_database_has_its_check() {
    let cases: [Case<Database>; 11] = [
        ("postgresql", |_| {}, Fine, "PostgreSQL 16.4"),
        (
            "postgresql",
            |it| it.version_num = 130_014,
            Wrong,
            "PostgreSQL 14 or newer",
        ),
        ("schema", |_| {}, Fine, "every function"),
        (
            "schema",
            |it| {
                it.functions.retain(|name| name != "assign_slot");
            },
            Wrong,
            "assign_slot",
        ),
        (
            "schema",
            |it| it.region_columns.retain(|name| name != "bake_seconds"),
            Wrong,
            "regions.bake_seconds",
        ),
        (
            "event-triggers",
            |it| {
                it.event_triggers
                    .retain(|name| !name.contains("region_wake"));
            },
            Wrong,
            "\"recreate_event_triggers\": true",
        ),
        (
            "event-triggers",
            |it| it.disabled_triggers = it.event_triggers[..1].to_vec(),
            Wrong,
            "app_version_changed_INSERT",
        ),
        ("database-user", |_| {}, Fine, "hasura is no superuser"),
        (
            "database-user",
            |it| it.user = None,
            Warning,
            "earlier release",
        ),
        (
            "database-user",
            |it| user(it).superusers.push("postgres".to_owned()),
            Warning,
            "postgres",
        ),
        (
            "database-user",
            |it| user(it).unbounded.push("statement_timeout".to_owned()),
            Warning,
            "ALTER ROLE",
        ),
    ];
    for (name, change, verdict, says) in cases {
        let mut facts = sound();
        change(&mut facts);
        assert_check(named(&judge::database(&facts), name), verdict, says);
    }
}

#[test]
fn each_event_trigger_is_missed_by_its_name() {
    for missing in sound().event_triggers {
        let mut facts = sound();
        facts.event_triggers.retain(|name| *name != missing);
        let checks = judge::database(&facts);
        assert_check(named(&checks, "event-triggers"), Wrong, &missing);
    }
}

#[test]
fn database_that_does_not_answer_says_what_to_correct() {
    for (error, says) in [
        (
            ProbeError::Missing("no field doctor".into()),
            "hasura migrate apply",
        ),
        (
            ProbeError::Denied("invalid-jwt".into()),
            "The functions' tokens",
        ),
        (
            ProbeError::Unavailable("connection refused".into()),
            "HasuraUrl",
        ),
    ] {
        let checks = judge::no_database(&error);
        assert_check(named(&checks, "schema"), Wrong, says);
        for name in ["postgresql", "event-triggers", "database-user", "clock"] {
            assert_check(named(&checks, name), Warning, "not checked");
        }
    }
}

#[test]
fn clock_is_judged_by_what_is_certain() {
    let check = |database_ms: i64, after_ms: i64| {
        let after = NOW + SignedDuration::from_millis(after_ms);
        let now = NOW + SignedDuration::from_millis(database_ms);
        judge::clock(&Database { now, ..sound() }, Asked { before: NOW, after })
    };
    // Within the request, any difference is possible and none is certain.
    for (database, after) in [(0, 40), (40, 40), (8_000, 8_000), (1_039, 40), (-999, 40)] {
        assert_eq!(check(database, after).verdict, Fine, "{database} {after}");
    }
    assert_check(&check(1_040, 40), Warning, "1.0 s ahead of");
    assert_check(&check(-4_999, 40), Warning, "5.0 s behind");
    assert_check(&check(-5_000, 40), Wrong, "NTP");
    assert_check(&check(5_040, 40), Wrong, "5.0 s ahead of");
}

fn events(delivered: i64, overdue: i64, failed: i64, last_status: Option<i32>) -> Vec<Events> {
    let trigger = "region_wake".to_owned();
    vec![Events {
        trigger,
        delivered,
        overdue,
        failed,
        last_status,
    }]
}

#[test]
fn events_that_do_not_come_are_told_with_the_cause() {
    for (found, verdict, says) in [
        (events(7, 0, 0, Some(200)), Fine, "7 delivered"),
        (events(0, 0, 0, None), Warning, "publish the app version"),
        (events(7, 3, 0, None), Wrong, "3 of region_wake"),
        (events(7, 3, 0, None), Wrong, "HasuraEventUrl"),
        (events(7, 3, 0, Some(401)), Wrong, "HASURA_EVENT_SECRET"),
        (events(7, 0, 2, Some(502)), Warning, "answered 502"),
        (Vec::new(), Warning, "no event was delivered"),
    ] {
        assert_check(&judge::events(Some(&found)), verdict, says);
    }
    assert_check(&judge::events(None), Warning, "event-triggers");
}

#[test]
fn each_fault_of_hasura_has_its_check() {
    let cases: [Case<Hasura>; 15] = [
        ("metadata", |_| {}, Fine, "1 event triggers"),
        (
            "metadata",
            |it| it.triggers[0].url_from = None,
            Wrong,
            "region_wake",
        ),
        (
            "metadata",
            |it| it.triggers[0].secret_from = Some("ANOTHER".to_owned()),
            Wrong,
            "region_wake",
        ),
        ("roles", |_| {}, Fine, "permissions are this release's"),
        (
            "roles",
            |it| it.grants.push("select slots status".to_owned()),
            Wrong,
            "select slots status",
        ),
        (
            "roles",
            |it| it.grants.retain(|grant| !grant.ends_with(" assigner")),
            Wrong,
            "function assign_slot assigner",
        ),
        ("migrations", |_| {}, Fine, "are applied"),
        ("migrations", |it| it.migrations = None, Warning, "schema"),
        (
            "migrations",
            |it| {
                it.migrations.as_mut().unwrap().remove("1795285620000");
            },
            Wrong,
            "1795285620000_doctor",
        ),
        (
            "migrations",
            |it| {
                it.migrations
                    .as_mut()
                    .unwrap()
                    .insert("1795284900000".into(), true);
            },
            Wrong,
            "1795284900000",
        ),
        (
            "migrations",
            |it| {
                it.migrations
                    .as_mut()
                    .unwrap()
                    .insert("1999999999999".into(), false);
            },
            Warning,
            "newer release",
        ),
        ("pool", |it| it.source = None, Wrong, "no source"),
        (
            "pool",
            |it| it.source.as_mut().unwrap().isolation_level = Some("serializable".into()),
            Wrong,
            "read-committed",
        ),
        (
            "pool",
            |it| it.source.as_mut().unwrap().pool_settings.max_connections = Some(96),
            Wrong,
            "96 connections",
        ),
        (
            "pool",
            |it| it.source.as_mut().unwrap().pool_settings.pool_timeout = None,
            Warning,
            "pool_timeout",
        ),
    ];
    for (name, change, verdict, says) in cases {
        let mut facts = sound_hasura();
        change(&mut facts);
        let checks = judge::hasura(&facts, Some(&sound()));
        assert_check(named(&checks, name), verdict, says);
    }
    let alone = judge::hasura(&sound_hasura(), None);
    assert_check(named(&alone, "pool"), Fine, "50");
}

#[test]
fn total_of_all_servers_is_what_the_database_must_bear() {
    let mut facts = sound_hasura();
    let pool = &mut facts.source.as_mut().unwrap().pool_settings;
    pool.total_max_connections = Some(300);
    let checks = judge::hasura(&facts, Some(&sound()));
    assert_check(named(&checks, "pool"), Wrong, "300 connections");
}

fn stranger(changes: &[(&str, Seen)]) -> Stranger {
    let own = std::iter::once((judge::OWN, Seen::Rows(0)));
    let foreign = judge::FOREIGN.iter().map(|table| (*table, Seen::NoField));
    let mut all: BTreeMap<&str, Seen> = own.chain(foreign).collect();
    all.extend(changes.iter().cloned());
    Stranger::Admitted(
        all.into_iter()
            .map(|(table, seen)| (table.to_owned(), seen))
            .collect(),
    )
}

#[test]
fn allow_list_must_be_enforced_and_this_releases() {
    let sound = sound_hasura();
    let mut older = sound_hasura();
    older.documents.remove("agent");
    let mut other = sound_hasura();
    let changed = other.documents["assign_slot"].replace("outcome", "outcomes");
    other.documents.insert("assign_slot".to_owned(), changed);
    let mut laid_out = sound_hasura();
    let lines = laid_out.documents["regions"].replace(' ', "\n  ");
    laid_out
        .documents
        .insert("regions".to_owned(), format!("# Regions\n{lines}"));
    let (listed, open) = (Stranger::OnlyListed, stranger(&[]));
    for (stranger, hasura, verdict, says) in [
        (Some(&listed), Some(&sound), Fine, "no others"),
        (Some(&listed), Some(&laid_out), Fine, "no others"),
        (Some(&listed), Some(&older), Wrong, "agent"),
        (Some(&listed), Some(&other), Wrong, "assign_slot"),
        (Some(&listed), None, Warning, "hasura metadata diff"),
        (
            Some(&open),
            Some(&sound),
            Warning,
            "HASURA_GRAPHQL_ENABLE_ALLOWLIST=true",
        ),
        (None, Some(&sound), Warning, "not known"),
    ] {
        assert_check(&judge::allow_list(stranger, hasura), verdict, says);
    }
}

#[test]
fn agent_without_an_instance_reads_nothing() {
    let listed = judge::agents(&Stranger::OnlyListed);
    assert_check(&listed, Fine, "the allow list only");

    for (changes, verdict, says) in [
        (vec![], Fine, "reads nothing"),
        (
            vec![("own_instance", Seen::Rows(1))],
            Wrong,
            "own_instance (1 rows)",
        ),
        // Even without a row: the role knows the table.
        (vec![("regions", Seen::Rows(0))], Wrong, "regions (0 rows)"),
        (
            vec![("own_instance", Seen::NoField)],
            Wrong,
            "no such field",
        ),
        (
            vec![("images", Seen::Failed("a database error".into()))],
            Wrong,
            "a database error",
        ),
    ] {
        assert_check(&judge::agents(&stranger(&changes)), verdict, says);
    }
    let rejected = Stranger::Rejected("JWSError JWSInvalidSignature (invalid-jwt)".into());
    assert_check(&judge::agents(&rejected), Wrong, "jwt_key");
}
