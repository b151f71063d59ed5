//! What `doctor` reads of the database and of the engine, through its adapter.

use anyhow::Result;
use hasura_adapter::HasuraDoctor;
use jiff::Timestamp;
use local_stack::project;
use scaling_tests::database::{Database, Session};
use scaling_tests::graphql::{Engine, JWT_KEY, agent_claims, error_code, sign};
use scaling_tests::metadata::altered;
use shared::doctor::facts::{Events, Stranger};
use shared::doctor::ports::{DatabaseProbe as _, ProbeError};
use shared::doctor::{Verdict, judge};
use shared::function_token::FunctionRole::{self, Passes, Status};
use startup::SystemClock;

fn doctor(engine: &Engine, role: FunctionRole) -> Result<HasuraDoctor> {
    let settings = engine.settings(role)?;
    Ok(HasuraDoctor::new(http_client::client()?, &settings)?)
}

fn now() -> Timestamp {
    use shared::clock::Clock as _;
    SystemClock.now()
}

async fn stranger(engine: &Engine, key: &str) -> Result<Stranger> {
    let in_a_minute = u64::try_from(now().as_second())? + 60;
    let token = sign(&agent_claims("none", in_a_minute), key)?;
    Ok(doctor(engine, Passes)?.as_agent(&token).await?)
}

/// The log that Hasura keeps, as far as it is read.
async fn keep_hasuras_log(session: &Session) -> Result<()> {
    session
        .run(
            "CREATE SCHEMA IF NOT EXISTS hdb_catalog;
             CREATE TABLE hdb_catalog.event_log (
                 id text, schema_name text, table_name text, trigger_name text, payload jsonb,
                 delivered boolean, error boolean, tries integer, created_at timestamp,
                 archived boolean);
             CREATE TABLE hdb_catalog.event_invocation_logs (
                 id text, event_id text, status integer, created_at timestamp)",
        )
        .await
}

/// Sets the timeouts that docs/hasura.md recommends, in this database only.
async fn bound_statements(session: &Session) -> Result<()> {
    session
        .run(
            "DO $$
             DECLARE
                 setting text;
             BEGIN
                 FOREACH setting IN ARRAY ARRAY['statement_timeout', 'lock_timeout',
                     'idle_in_transaction_session_timeout']
                 LOOP
                     EXECUTE format('ALTER ROLE %I IN DATABASE %I SET %I = 60000',
                         current_user, current_database(), setting);
                 END LOOP;
             END
             $$",
        )
        .await
}

#[tokio::test]
async fn database_and_engine_of_this_release_are_as_they_have_to_be() -> Result<()> {
    let (database, session) = Database::with_region(4).await?;
    bound_statements(&session).await?;
    let engine = Engine::with_allow_list(&database).await?;
    let doctor = doctor(&engine, Passes)?;
    let facts = doctor.database().await?;
    for check in judge::database(&facts) {
        // This engine delivers no events.
        let expected = match check.check.as_str() {
            "event-triggers" => Verdict::Wrong,
            _ => Verdict::Ok,
        };
        assert_eq!(check.verdict, expected, "{check:?}");
    }
    let hasura = doctor.hasura().await?;
    for check in judge::hasura(&hasura, Some(&facts)) {
        assert_eq!(check.verdict, Verdict::Ok, "{check:?}");
    }
    assert_eq!(hasura.triggers.len(), 3, "{:?}", hasura.triggers);
    assert_eq!(doctor.events().await?, None, "without Hasura's log");
    let stranger = stranger(&engine, JWT_KEY).await?;
    assert_eq!(stranger, Stranger::OnlyListed);
    let checks = [
        judge::agents(&stranger),
        judge::allow_list(Some(&stranger), Some(&hasura)),
    ];
    for check in checks {
        assert_eq!(check.verdict, Verdict::Ok, "{check:?}");
    }
    Ok(())
}

#[tokio::test]
async fn allow_list_that_is_not_enforced_is_warned_of() -> Result<()> {
    let (database, _session) = Database::with_region(4).await?;
    let engine = Engine::start(&database).await?;
    let hasura = doctor(&engine, Passes)?.hasura().await?;
    let stranger = stranger(&engine, JWT_KEY).await?;
    assert_eq!(judge::agents(&stranger).verdict, Verdict::Ok);
    let check = judge::allow_list(Some(&stranger), Some(&hasura));
    assert_eq!(check.verdict, Verdict::Warning, "{check:?}");
    Ok(())
}

#[tokio::test]
async fn change_of_the_metadata_is_found_without_the_admin_secret() -> Result<()> {
    let (database, session) = Database::with_region(4).await?;
    let functions = "databases/default/functions/";
    for (file, from, to, check, says) in [
        (
            format!("{functions}public_assign_slot.yaml"),
            "  - role: assigner\n",
            "  - role: assigner\n  - role: status\n",
            "roles",
            "function assign_slot status",
        ),
        (
            "databases/default/tables/public_region_wakeups.yaml".to_owned(),
            "webhook_from_env: HASURA_EVENT_URL",
            "webhook_from_env: ANOTHER_URL",
            "metadata",
            "region_wake",
        ),
        (
            "databases/databases.yaml".to_owned(),
            "max_connections: 40",
            "max_connections: 1000",
            "pool",
            "1000 connections",
        ),
    ] {
        let metadata = altered(&file, from, to)?;
        let engine = Engine::with_metadata(&database, metadata.path()).await?;
        let doctor = doctor(&engine, Passes)?;
        let checks = judge::hasura(&doctor.hasura().await?, Some(&doctor.database().await?));
        let wrong: Vec<_> = checks
            .iter()
            .filter(|it| it.verdict != Verdict::Ok)
            .collect();
        assert_eq!(wrong.len(), 1, "{checks:#?}");
        assert_eq!(wrong[0].check, check);
        assert!(wrong[0].finding.contains(says), "{wrong:?}");
    }
    // The URL of the database may have its password.
    let facts = session
        .row("SELECT facts::text FROM doctor_metadata()")
        .await?;
    assert!(!facts.to_string().contains("database_url"), "{facts}");
    Ok(())
}

#[tokio::test]
async fn metadata_in_another_database_cannot_be_seen() -> Result<()> {
    let (database, session) = Database::with_region(4).await?;
    let engine = Engine::start(&database).await?;
    session.run("DROP SCHEMA hdb_catalog CASCADE").await?;
    let error = doctor(&engine, Passes)?.hasura().await.unwrap_err();
    assert!(matches!(error, ProbeError::Missing(_)), "{error}");
    let check = judge::no_metadata("roles", &error);
    assert_eq!(check.verdict, Verdict::Warning);
    Ok(())
}

#[tokio::test]
async fn token_of_another_key_is_rejected() -> Result<()> {
    let (database, _session) = Database::with_region(4).await?;
    let engine = Engine::start(&database).await?;
    let rejected = stranger(&engine, "another key of more than thirty-two bytes").await?;
    assert!(matches!(rejected, Stranger::Rejected(_)), "{rejected:?}");
    Ok(())
}

#[tokio::test]
async fn table_that_agents_may_read_by_mistake_is_found() -> Result<()> {
    let (database, _session) = Database::with_region(4).await?;
    let metadata = altered(
        "databases/default/tables/public_regions.yaml",
        "select_permissions:\n",
        "select_permissions:\n  - role: host_agent\n    permission:\n      \
         columns:\n        - name\n      filter: {}\n",
    )?;
    let engine = Engine::with_metadata(&database, metadata.path()).await?;
    let check = judge::agents(&stranger(&engine, JWT_KEY).await?);
    assert_eq!(check.verdict, Verdict::Wrong, "{check:?}");
    assert!(check.finding.contains("regions (1 rows)"), "{check:?}");
    Ok(())
}

#[tokio::test]
async fn only_reconciles_role_examines() -> Result<()> {
    let (database, _session) = Database::with_region(4).await?;
    let engine = Engine::start(&database).await?;
    for field in ["doctor", "doctor_events", "doctor_metadata"] {
        let query = format!("mutation {{ {field} {{ facts }} }}");
        let answer = engine.agent("i-1", &query).await?;
        assert_eq!(error_code(&answer), "validation-failed", "{answer}");
    }
    let status = doctor(&engine, Status)?;
    let refused = status.hasura().await;
    assert!(
        matches!(refused, Err(ProbeError::Missing(_))),
        "{refused:?}"
    );
    assert!(status.database().await.is_err());
    let expired = Passes.token(&JWT_KEY.into(), Timestamp::UNIX_EPOCH)?;
    let mut settings = engine.settings(Passes)?;
    settings.token = expired;
    let doctor = HasuraDoctor::new(http_client::client()?, &settings)?;
    let Err(ProbeError::Denied(reason)) = doctor.database().await else {
        panic!("the token has ended");
    };
    assert!(reason.contains("hasura_token_passes"), "{reason}");
    Ok(())
}

#[tokio::test]
async fn database_without_the_migration_is_missing_it() -> Result<()> {
    let (database, session) = Database::with_region(4).await?;
    for migration in ["1795286040000_roles", "1795285620000_doctor"] {
        let down = format!("hasura/migrations/default/{migration}/down.sql");
        let down = std::fs::read_to_string(project::root().join(down))?;
        session.run(&down).await?;
    }
    let metadata = altered(
        "databases/default/functions/functions.yaml",
        "- \"!include public_doctor.yaml\"\n- \"!include public_doctor_events.yaml\"\n- \"!include \
         public_doctor_metadata.yaml\"\n",
        "",
    )?;
    let tables = metadata.path().join("databases/default/tables/tables.yaml");
    let without = std::fs::read_to_string(&tables)?;
    std::fs::write(
        &tables,
        without.replace("- \"!include public_doctor_facts.yaml\"\n", ""),
    )?;
    let engine = Engine::with_metadata(&database, metadata.path()).await?;
    let facts = doctor(&engine, Passes)?.database().await;
    assert!(matches!(facts, Err(ProbeError::Missing(_))), "{facts:?}");
    Ok(())
}

#[tokio::test]
async fn events_of_the_last_day_are_counted_by_trigger() -> Result<()> {
    let (database, session) = Database::with_region(4).await?;
    let engine = Engine::start(&database).await?;
    keep_hasuras_log(&session).await?;
    let event = |id: &str, delivered: bool, error: bool, age: &str, tries: i32| {
        format!(
            "('{id}', 'public', 'region_wakeups', 'region_wake', '{{}}', {delivered}, {error}, \
             {tries}, localtimestamp - interval '{age}', false)"
        )
    };
    let events = [
        event("e-1", true, false, "2 hours", 1),
        event("e-2", true, false, "1 hour", 1),
        event("e-3", false, true, "30 minutes", 6),
        event("e-4", false, false, "61 seconds", 2),
        event("e-5", false, false, "10 seconds", 0),
        event("e-6", false, true, "25 hours", 6),
    ];
    session
        .run(&format!(
            "INSERT INTO hdb_catalog.event_log VALUES {}",
            events.join(", ")
        ))
        .await?;
    session
        .run(
            "INSERT INTO hdb_catalog.event_invocation_logs VALUES
                 ('l-1', 'e-4', 502, localtimestamp - interval '50 seconds'),
                 ('l-2', 'e-4', 401, localtimestamp - interval '40 seconds'),
                 ('l-3', 'e-2', 200, localtimestamp - interval '1 hour')",
        )
        .await?;
    let expected = Events {
        trigger: "region_wake".to_owned(),
        delivered: 2,
        overdue: 1,
        failed: 1,
        last_status: Some(401),
    };
    let found = doctor(&engine, Passes)?.events().await?;
    assert_eq!(found, Some(vec![expected]));
    Ok(())
}
