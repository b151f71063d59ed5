//! What a region's past is played again from, as `reconcile` reads it.

use std::collections::HashSet;

use anyhow::{Result, ensure};
use jiff::{SignedDuration, Timestamp};
use scaling_tests::database::{Database, REGION, Session, text};
use scaling_tests::graphql::Engine;
use serde_json::json;
use shared::db::DbError;
use shared::function_token::FunctionRole;
use shared::recording::{RecordedVisit, RecordingError, Recordings as _};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// The last whole hour but one.
async fn an_hour(session: &Session) -> Result<Timestamp> {
    let hour = "SELECT to_jsonb(date_bin('1 hour', now() - interval '2 hours', 'epoch')) AS hour";
    Ok(text(&session.row(hour).await?, "hour").parse()?)
}

/// Many, of which most end in the same moments: the pages have no other order than the slots' there.
const SESSIONS: i32 = 25_000;

#[tokio::test]
async fn recording_has_each_session_once_with_its_boots_and_machine_time() -> Result<()> {
    let (database, session) = Database::with_region(7).await?;
    let from = an_hour(&session).await?;
    session.host("i-1", 2).await?;
    session.assign_running("ann").await?;
    session
        .run(&format!(
            "UPDATE regions SET created_at = now() - interval '1 day';
             UPDATE slots SET first_allocated_at = '{from}' WHERE user_id = 'ann';
             UPDATE instances SET launched_at = '{from}'::timestamptz - interval '1 day';
             INSERT INTO session_history
             SELECT 'u' || n, 's', '{REGION}', 'i-9', 'ami-1', NULL, gen_random_uuid(), a, a, a, a,
                 '{from}'::timestamptz + interval '1 minute' * (1 + n % 3), 'AGENT', NULL, 0
             FROM generate_series(1, {SESSIONS}) n,
                 LATERAL (SELECT '{from}'::timestamptz + interval '1 millisecond' * n AS a) a;
             -- One that moved, one of another region, one that ended before, one that came later, and
             -- one that had waited.
             INSERT INTO session_history
             SELECT 'u', 's', r, 'i-9', 'ami-1', NULL, gen_random_uuid(), a - w, a, a, a, e, why, NULL,
                 extract(epoch FROM w)
             FROM (SELECT '{from}'::timestamptz AS h) h, LATERAL (VALUES
                 ('{REGION}', h, h + interval '1 minute', 'MOVED', interval '0'),
                 ('elsewhere', h, h + interval '1 minute', 'AGENT', interval '0'),
                 ('{REGION}', h - interval '5 hours', h - interval '3 hours', 'AGENT', interval '0'),
                 ('{REGION}', h + interval '1 hour', h + interval '2 hours', 'AGENT', interval '0'),
                 ('{REGION}', h - interval '1 hour', h + interval '9 minutes', 'AGENT', interval '7 s')
             ) AS t (r, a, e, why, w);
             INSERT INTO instance_history
             SELECT i, '{REGION}', 'l', 'ami-1', '3b1f', 't3.large', NULL, NULL, 2, l, l + b, NULL,
                 NULL, NULL, NULL, NULL, h + interval '30 minutes', r, 0, 0, 0, 0
             FROM (SELECT '{from}'::timestamptz AS h) h, LATERAL (VALUES
                 ('i-7', h, interval '50 seconds', 'DRAINED'),
                 ('i-8', h, interval '70 seconds', 'DRAINED'),
                 ('i-9', h, NULL, 'NEVER_REGISTERED'),
                 ('i-0', h - interval '1 minute', interval '1 second', 'DRAINED')
             ) AS t (i, l, b, r)"
        ))
        .await?;
    // A pass counts the hours that are over.
    session
        .rows(&format!("SELECT * FROM begin_pass('{REGION}', 1)"))
        .await?;
    let engine = Engine::start(&database).await?;
    let adapter = engine.recordings(FunctionRole::Passes)?;
    // Times within an hour mean the whole hour.
    let within = SignedDuration::from_mins(12);
    let region = REGION.into();
    let recording = adapter
        .recording(&region, from + within, from + HOUR + within, HOUR * 2)
        .await?;
    assert_eq!((recording.from, recording.to), (from, from + HOUR));
    assert_eq!(recording.settings["target_free"], json!(7));
    let mut boots = recording.boots.clone();
    boots.sort_by(f64::total_cmp);
    assert_eq!(boots, [50.0, 70.0]);
    let launched = (
        recording.registered,
        recording.never_registered,
        recording.slots,
    );
    assert_eq!(launched, (2, 1, 4));
    // Three for half an hour, one more of which all but a minute is in the hour, and the one that lives.
    assert_eq!(recording.machine_seconds, 4.0 * 1800.0 + 3600.0);

    let starts: HashSet<_> = recording.sessions.iter().map(|it| it.assigned_at).collect();
    let many = usize::try_from(SESSIONS)?;
    assert_eq!(recording.sessions.len(), many + 2);
    assert_eq!(starts.len(), many + 2);
    let waited = recording
        .sessions
        .iter()
        .find(|it| it.assigned_at == from - HOUR);
    let waited = waited.map(|it| it.assigned_at.duration_since(it.requested_at));
    assert_eq!(waited, Some(SignedDuration::from_secs(7)));
    let lasting = recording.sessions.iter().filter(|it| it.ended_at.is_none());
    let lasting: Vec<_> = lasting.map(|it| it.assigned_at).collect();
    assert_eq!(lasting, [from]);
    Ok(())
}

#[tokio::test]
async fn recording_has_who_left_and_may_be_shorter_than_an_hour() -> Result<()> {
    let (database, session) = Database::with_region(2).await?;
    let from = an_hour(&session).await? + SignedDuration::from_secs(67);
    session.host("i-1", 2).await?;
    session
        .run(&format!(
            "UPDATE instances SET launched_at = '{from}'::timestamptz + interval '20 seconds';
             -- The first did not leave in this time, and the last came after it.
             INSERT INTO internal.unserved_users (user_id, region, first_at, last_at, left_at)
             SELECT 'u' || n, r, f, f + interval '40 seconds', f + interval '55 seconds'
             FROM (SELECT '{from}'::timestamptz AS at) h, LATERAL (VALUES
                 (1, '{REGION}', at - interval '1 second'), (2, '{REGION}', at + interval '1.5 seconds'),
                 (3, 'elsewhere', at), (4, '{REGION}', at + interval '61 seconds')) AS v (n, r, f);
             -- One who left, but whose row in the line is there, and one who waits.
             INSERT INTO waiting_users (user_id, session_id, region, client_sha, first_at, last_at, regions)
             SELECT u, 's', '{REGION}', '3b1f', h.at, l, ARRAY['{REGION}']
             FROM (SELECT '{from}'::timestamptz AS at) h, LATERAL (VALUES
                 ('left', h.at + interval '5 seconds'), ('waits', now())) AS v (u, l)"
        ))
        .await?;
    let engine = Engine::start(&database).await?;
    let adapter = engine.recordings(FunctionRole::Passes)?;
    let minute = SignedDuration::from_mins(1);
    let recording = adapter
        .recording(&REGION.into(), from, from + minute, HOUR)
        .await?;
    assert_eq!((recording.from, recording.to), (from, from + minute));
    assert_eq!(recording.machine_seconds, 40.0);
    let visit = |millis: i64, seconds| RecordedVisit {
        requested_at: from + SignedDuration::from_millis(millis),
        stayed: SignedDuration::from_secs(seconds),
    };
    assert_eq!(recording.unserved, [visit(0, 5), visit(1_500, 40)]);
    Ok(())
}

#[tokio::test]
async fn recording_of_a_region_without_a_row_says_so() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    let from = an_hour(&session).await?;
    let engine = Engine::start(&database).await?;
    let adapter = engine.recordings(FunctionRole::Passes)?;
    let region = "us-west-9".into();
    let answer = adapter.recording(&region, from, from + HOUR, HOUR);
    let error = answer.await;
    ensure!(
        matches!(
            error,
            Err(RecordingError::Database(DbError::UnknownRegion(_)))
        ),
        "{error:?}"
    );
    Ok(())
}
