//! The writes of passes while host agents, assigns and operators hold rows. None of them waits: what
//! is held is BUSY, everything else is written, and the next pass writes the rest.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use scaling_tests::database::{
    Database, ENVIRONMENT, IMAGE, REGION, SHA, Session, claims_of, text,
};
use serde_json::{Value, json};

/// The instance of which somebody holds something.
const HELD: &str = "i-1";
/// The instance of which nobody does.
const FREE: &str = "i-2";
/// An instance without a row.
const NEW: &str = "i-3";

/// What a write changes, and so what has to be free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Changes {
    /// Nothing that exists.
    Nothing,
    /// Rows that refer to the instance.
    References,
    /// Columns of the instance, and nothing that refers to it is locked.
    Columns,
    Instance,
    /// The instance and its slots.
    All,
    Slots,
}

/// What a transaction holds of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Nothing,
    /// `FOR KEY SHARE`.
    Key,
    /// `FOR SHARE` and `FOR NO KEY UPDATE`.
    Columns,
    /// `FOR UPDATE`.
    Instance,
    Slot,
}

impl Changes {
    fn meets(self, held: Holds) -> bool {
        match held {
            Holds::Nothing => false,
            Holds::Key => matches!(self, Self::Instance | Self::All),
            Holds::Columns => matches!(self, Self::Columns | Self::Instance | Self::All),
            Holds::Instance => !matches!(self, Self::Nothing | Self::Slots),
            Holds::Slot => matches!(self, Self::Slots | Self::All),
        }
    }
}

/// A write of a pass to both instances.
struct Write {
    call: String,
    changes: Changes,
    /// What an instance has to be, so that the write changes it.
    before: &'static str,
}

impl Write {
    fn function(&self) -> &str {
        self.call.split('(').next().unwrap_or_default()
    }

    /// What it answers if one instance is held.
    fn expected(&self, held: Holds) -> Vec<String> {
        match (self.function(), self.changes) {
            ("move_image", _) => vec!["ami-2=DONE".to_owned()],
            ("note_forecast", _) => vec![format!("{REGION}=DONE")],
            (_, Changes::Nothing) => vec![format!("{HELD}=ALREADY"), format!("{NEW}=DONE")],
            (_, changes) if changes.meets(held) => {
                vec![format!("{HELD}=BUSY"), format!("{FREE}=DONE")]
            }
            _ => vec![format!("{HELD}=DONE"), format!("{FREE}=DONE")],
        }
    }
}

/// The writes of a pass that this schema has.
async fn writes(session: &Session) -> Result<Vec<Write>> {
    let known = functions(session, FENCED).await?;
    let mut writes = all_writes();
    writes.retain(|write| known.contains(write.function()));
    Ok(writes)
}

/// The functions that take a pass's version. One of them only begins it.
const FENCED: &str = "'version' = ANY (p.proargnames) AND p.proname <> 'begin_pass'";

fn all_writes() -> Vec<Write> {
    let instance = |id: &str| {
        json!({
            "id": id, "launch_id": "l", "image_id": IMAGE, "client_sha": SHA,
            "instance_type": "t3.large", "capacity": 2, "launched_at": "2020-01-01T00:00:00Z",
        })
    };
    let rows = json!([instance(HELD), instance(NEW)]);
    let ids = json!([HELD, FREE]);
    let addresses = json!([
        {"id": HELD, "private_ip": "10.9.9.1", "public_ip": null},
        {"id": FREE, "private_ip": "10.9.9.2", "public_ip": null},
    ]);
    let token = |id: &str| {
        json!({
            "id": id, "token": "t", "token_id": "t", "key_id": "k",
            "valid_until": "2100-01-01T00:00:00Z",
        })
    };
    let tokens = json!([token(HELD), token(FREE)]);
    let write = |function: &str, arguments: &str, changes, before| Write {
        call: format!("{function}('{REGION}', 1{arguments})"),
        changes,
        before,
    };
    vec![
        write(
            "record_instances",
            &format!(", '{rows}'"),
            Changes::Nothing,
            "",
        ),
        write(
            "adopt_orphans",
            &format!(", '{rows}'"),
            Changes::Nothing,
            "",
        ),
        write(
            "drain_instances",
            &format!(", '{ids}', 'NOTICE'"),
            Changes::All,
            "notice = 'REBALANCE'",
        ),
        write(
            "reopen_instances",
            &format!(", '{ids}'"),
            Changes::All,
            "status = 'DRAINING', drain_cause = 'SURPLUS'",
        ),
        write(
            "terminate_instances",
            &format!(", '{ids}', 'GONE'"),
            Changes::All,
            "",
        ),
        write(
            "remove_instances",
            &format!(", '{ids}'"),
            Changes::All,
            "status = 'TERMINATING'",
        ),
        write(
            "note_missing",
            &format!(", '{ids}', '[]'"),
            Changes::Instance,
            "",
        ),
        write("release_unclaimed", "", Changes::Slots, ""),
        write(
            "mark_ends",
            "",
            Changes::Slots,
            "status = 'DRAINING', drain_cause = 'OPERATOR', draining_since = now() - interval '1 day'",
        ),
        write(
            "note_addresses",
            &format!(", '{addresses}'"),
            Changes::Columns,
            "",
        ),
        write(
            "note_forecast",
            ", now(), '[{\"client_sha\": \"s\", \"at\": [], \"slots\": []}]', now()",
            Changes::Nothing,
            "",
        ),
        write(
            "renew_tokens",
            &format!(", '{tokens}'"),
            Changes::References,
            "",
        ),
        write(
            "move_image",
            ", 'ami-2', 'WARMING', 'CURRENT', 'warm'",
            Changes::Nothing,
            "",
        ),
    ]
}

/// A region with both instances, which have one slot of each state. Nobody has claimed the slots of
/// `alice` on the one and of `bob` on the other.
async fn fleet() -> Result<(Database, Session)> {
    let (database, session) = Database::with_region(0).await?;
    session.set_watched_for_an_hour().await?;
    for (id, unclaimed) in [(HELD, "alice"), (FREE, "bob")] {
        session.host(id, 4).await?;
        session
            .run(&format!(
                "WITH s AS (
                    SELECT id, row_number() OVER (ORDER BY id) AS number
                    FROM slots WHERE instance_id = '{id}'
                 )
                 UPDATE slots t SET status = n.status, user_id = n.name, session_id = '1',
                     allocated_at = now() - interval '1 day'
                 FROM s JOIN (VALUES (1, 'ALLOCATED', '{unclaimed}'),
                     (2, 'CONNECTING', 'connecting-{id}'), (3, 'DYING', 'dying-{id}')
                 ) AS n (number, status, name) ON n.number = s.number
                 WHERE t.id = s.id"
            ))
            .await?;
    }
    session
        .run(&format!(
            "INSERT INTO images (region, image_id, client_sha, state, state_since)
             VALUES ('{REGION}', 'ami-2', 'new', 'WARMING', now() - interval '1 hour');
             UPDATE slots SET status = 'DYING', user_id = 'nobody', session_id = '1'
             WHERE instance_id = '{FREE}' AND status = 'WAITING';
             UPDATE regions SET drain_deadline_seconds = 60"
        ))
        .await?;
    Ok((database, session))
}

/// Makes instances what the write needs.
async fn prepare(session: &Session, write: &Write, ids: &[&str]) -> Result<()> {
    if write.before.is_empty() {
        return Ok(());
    }
    let ids = ids.join("', '");
    let update = format!(
        "UPDATE instances SET {} WHERE id IN ('{ids}')",
        write.before
    );
    session.run(&update).await
}

/// What the write answers. It is undone.
///
/// A write that waits ends with PostgreSQL's error, or answers BUSY for both instances after its
/// `lock_timeout`.
async fn answer(session: &Session, call: &str) -> Result<Vec<String>> {
    let hosts = session.rows("SELECT id, instance_id FROM slots").await?;
    session
        .run("BEGIN; SET LOCAL statement_timeout = '20s'")
        .await?;
    let outcomes = session
        .outcomes(call)
        .await
        .with_context(|| call.to_owned());
    session.run("ROLLBACK").await?;
    // The answer about a slot, as one about its instance.
    let named = |outcome: String| {
        let of_slot = |row: &&Value| outcome.starts_with(&text(row, "id"));
        match hosts.iter().find(of_slot) {
            Some(row) => outcome.replace(&text(row, "id"), &text(row, "instance_id")),
            None => outcome,
        }
    };
    let mut outcomes: Vec<_> = outcomes?.into_iter().map(named).collect();
    outcomes.sort();
    Ok(outcomes)
}

/// The names of the functions in `public` for which the condition holds.
async fn functions(session: &Session, condition: &str) -> Result<BTreeSet<String>> {
    let rows = session
        .rows(&format!(
            "SELECT p.proname AS name FROM pg_proc p
             WHERE p.pronamespace = 'public'::regnamespace AND {condition}"
        ))
        .await?;
    Ok(rows.iter().map(|row| text(row, "name")).collect())
}

fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn every_write_of_a_pass_has_a_lock_timeout_and_is_tested_here() -> Result<()> {
    let session = Database::empty().await?.connect().await?;
    let all = functions(&session, FENCED).await?;
    let tested = writes(&session).await?;
    assert_eq!(all, names(tested.iter().map(Write::function)));
    let bounded = format!("{FENCED} AND p.proconfig @> '{{lock_timeout=500ms}}'");
    assert_eq!(functions(&session, &bounded).await?, all);
    Ok(())
}

#[tokio::test]
async fn write_skips_what_is_held_and_comes_again_when_it_is_free() -> Result<()> {
    let of_instance = |lock: &str| format!("SELECT FROM instances WHERE id = '{HELD}' FOR {lock}");
    let of_slots =
        |lock: &str| format!("SELECT FROM slots WHERE instance_id = '{HELD}' FOR {lock}");
    let holders = [
        (of_instance("KEY SHARE"), Holds::Key),
        (of_instance("SHARE"), Holds::Columns),
        (of_instance("NO KEY UPDATE"), Holds::Columns),
        (of_instance("UPDATE"), Holds::Instance),
        (
            format!("UPDATE instances SET leave_reason = 'broken' WHERE id = '{HELD}'"),
            Holds::Columns,
        ),
        (
            format!("INSERT INTO slots (instance_id) VALUES ('{HELD}')"),
            Holds::Columns,
        ),
        (
            format!(
                "{}; UPDATE heartbeats SET beat_at = beat_at WHERE instance_id = '{HELD}'",
                of_instance("SHARE")
            ),
            Holds::Columns,
        ),
        (of_slots("NO KEY UPDATE"), Holds::Slot),
        (of_slots("UPDATE"), Holds::Slot),
        (
            format!("UPDATE slots SET status = status WHERE instance_id = '{HELD}'"),
            Holds::Slot,
        ),
        (
            format!("SELECT pg_advisory_xact_lock(hashtextextended('leave_host {REGION}', 0))"),
            Holds::Nothing,
        ),
    ];
    let schema = Database::empty().await?.connect().await?;
    for write in writes(&schema).await? {
        let (database, session) = fleet().await?;
        prepare(&session, &write, &[HELD, FREE]).await?;
        let holder = database.connect().await?;
        for (statements, holds) in &holders {
            let context = format!("{} while another session has run {statements}", write.call);
            holder.run(&format!("BEGIN; {statements}")).await?;
            let outcomes = answer(&session, &write.call).await?;
            assert_eq!(outcomes, write.expected(*holds), "{context}");
            // Not COMMIT: the next round begins with the same rows.
            holder.run("ROLLBACK").await?;
            let outcomes = answer(&session, &write.call).await?;
            assert_eq!(outcomes, write.expected(Holds::Nothing), "{context}");
        }
    }
    Ok(())
}

/// The locks that agents and assigns really take.
#[tokio::test]
async fn open_call_of_an_agent_or_an_assign_makes_its_own_instance_busy_only() -> Result<()> {
    let (database, session) = fleet().await?;
    let slot = async |status: &str| {
        let slots =
            format!("SELECT id FROM slots WHERE instance_id = '{HELD}' AND status = '{status}'");
        anyhow::Ok(text(&session.row(&slots).await?, "id"))
    };
    let (allocated, connecting, dying) = (
        slot("ALLOCATED").await?,
        slot("CONNECTING").await?,
        slot("DYING").await?,
    );
    let claims = claims_of(HELD);
    let assign = |user: &str| {
        let regions = json!([REGION]);
        format!("assign_slot('{user}', '1', '{regions}', '{SHA}', 3, '{ENVIRONMENT}', false)")
    };
    let all = "'hasura_session' = ANY (p.proargnames)
        OR p.proname IN ('assign_slot', 'end_own_session')";
    let all = functions(&session, &format!("({all})")).await?;
    // Some are not in every release.
    let mut calls = vec![
        format!("heartbeat('{HELD}', '{claims}')"),
        format!("register_host('{HELD}', '10.0.0.1', '{claims}')"),
        format!("claim_slot('{allocated}', 'alice', '1', '{claims}')"),
        format!("report_slot('{connecting}', 'RUNNING', '{claims}')"),
        format!("replace_slot('{dying}', '{claims}')"),
        format!("leave_host('{HELD}', 'broken', '{claims}')"),
        assign("erin"),
        assign("alice"),
        format!("end_own_session('connecting-{HELD}', '1')"),
        format!("own_instance('{HELD}', '{claims}')"),
    ];
    let name = |call: &String| call.split('(').next().unwrap_or_default().to_owned();
    calls.retain(|call| all.contains(&name(call)));
    let called: BTreeSet<_> = calls.iter().map(name).collect();
    assert_eq!(all, called, "each has its call here");

    let holder = database.connect().await?;
    for write in writes(&session).await? {
        prepare(&session, &write, &[FREE]).await?;
        for call in &calls {
            let context = format!("{} during {call}", write.call);
            holder.run(&format!("BEGIN; SELECT * FROM {call}")).await?;
            let outcomes = answer(&session, &write.call).await?;
            holder.run("ROLLBACK").await?;
            let other = write.expected(Holds::Nothing).pop().unwrap_or_default();
            assert!(outcomes.contains(&other), "{context}: {outcomes:?}");
            let holds = !call.starts_with("own_instance");
            if holds && write.changes == Changes::All && write.before.is_empty() {
                assert_eq!(outcomes, write.expected(Holds::Instance), "{context}");
            }
        }
        session
            .run(&format!("DELETE FROM instances WHERE id = '{FREE}'"))
            .await?;
        add_free_instance(&session).await?;
    }
    Ok(())
}

/// The instance of which nobody holds anything, anew, with a slot that nobody has claimed and a session.
async fn add_free_instance(session: &Session) -> Result<()> {
    session.host(FREE, 2).await?;
    session
        .run(&format!(
            "UPDATE slots SET status = 'ALLOCATED', user_id = 'bob', session_id = id::text,
                 allocated_at = now() - interval '1 day'
             WHERE instance_id = '{FREE}';
             UPDATE slots SET status = 'CONNECTING'
             WHERE id = (SELECT min(id::text)::uuid FROM slots WHERE instance_id = '{FREE}')"
        ))
        .await
}

/// Whether it answers BUSY instead of PostgreSQL's error when it would wait.
fn answers_busy(function: &str) -> bool {
    !["note_addresses", "renew_tokens"].contains(&function)
}

/// The last line: locks that no agent can have.
#[tokio::test]
async fn write_that_would_wait_changes_nothing_and_is_busy() -> Result<()> {
    let fence = format!("SELECT FROM region_fences WHERE region = '{REGION}' FOR UPDATE");
    let state = "SELECT (SELECT jsonb_agg(i ORDER BY i.id) FROM instances i) AS instances,
                        (SELECT jsonb_agg(s ORDER BY s.id) FROM slots s) AS slots,
                        (SELECT jsonb_agg(m ORDER BY m.image_id) FROM images m) AS images";
    let (database, session) = fleet().await?;
    let holder = database.connect().await?;
    let held = async |statement: &str, call: &str| {
        holder.run(&format!("BEGIN; {statement}")).await?;
        let before = session.row(state).await?;
        session.run("SET statement_timeout = '20s'").await?;
        let mut outcomes = session.outcomes(call).await?;
        outcomes.sort();
        holder.run("ROLLBACK").await?;
        ensure!(
            session.row(state).await? == before,
            "{call} changes something"
        );
        anyhow::Ok(outcomes)
    };
    for write in writes(&session).await? {
        if !answers_busy(write.function()) {
            continue;
        }
        let ids = match (write.function(), write.changes) {
            ("move_image", _) => vec!["ami-2"],
            ("release_unclaimed" | "mark_ends" | "note_forecast", _) => vec![REGION],
            (_, Changes::Nothing) => vec![HELD, NEW],
            _ => vec![HELD, FREE],
        };
        let busy: Vec<_> = ids.iter().map(|id| format!("{id}=BUSY")).collect();
        assert_eq!(held(&fence, &write.call).await?, busy, "{}", write.call);
    }

    let call = |function: &str| {
        let mut all = all_writes().into_iter();
        let found = all.find(|write| write.function() == function);
        found.map(|write| write.call).context("a write of a pass")
    };
    let region = format!("SELECT FROM regions WHERE name = '{REGION}' FOR UPDATE");
    let image = "SELECT FROM images WHERE image_id = 'ami-2' FOR UPDATE";
    let busy = [format!("{HELD}=BUSY"), format!("{NEW}=BUSY")];
    assert_eq!(held(&region, &call("record_instances")?).await?, busy);
    assert_eq!(held(image, &call("move_image")?).await?, ["ami-2=BUSY"]);
    session
        .run("UPDATE instances SET status = 'TERMINATING'")
        .await?;
    let heartbeat = format!("SELECT FROM heartbeats WHERE instance_id = '{FREE}' FOR UPDATE");
    let busy = [format!("{HELD}=BUSY"), format!("{FREE}=BUSY")];
    assert_eq!(held(&heartbeat, &call("remove_instances")?).await?, busy);
    Ok(())
}

/// EC2's events come once, so this waits for a moment.
#[tokio::test]
async fn notice_of_a_held_instance_waits_for_a_moment_and_is_busy() -> Result<()> {
    let (database, session) = fleet().await?;
    let holder = database.connect().await?;
    let call = format!("give_notice('{HELD}', 'REBALANCE')");
    let beat = format!(
        "BEGIN; SELECT * FROM heartbeat('{HELD}', '{}')",
        claims_of(HELD)
    );
    holder.run(&beat).await?;
    session.run("SET statement_timeout = '20s'").await?;
    assert_eq!(session.outcomes(&call).await?, [format!("{HELD}=BUSY")]);
    let observer = database.connect().await?;
    observer.wait_for_locks().await?;
    let release = async {
        observer.wait_for_a_blocked_session().await?;
        holder.run("COMMIT").await
    };
    let (outcomes, ()) = futures::future::try_join(session.outcomes(&call), release).await?;
    assert_eq!(outcomes, [format!("{HELD}=DONE")]);
    Ok(())
}

/// Only the history needs it, and somebody else says it, too.
#[tokio::test]
async fn start_of_a_held_instance_is_not_waited_for() -> Result<()> {
    let (database, session) = fleet().await?;
    let holder = database.connect().await?;
    let beat = format!(
        "BEGIN; SELECT * FROM heartbeat('{HELD}', '{}')",
        claims_of(HELD)
    );
    holder.run(&beat).await?;
    session.run("SET statement_timeout = '20s'").await?;
    let at = "2026-01-01T00:00:00Z";
    let both = json!([{"id": HELD, "at": at}, {"id": FREE, "at": at}]);
    let outcomes = session.outcomes(&format!("note_running('{both}')")).await?;
    assert_eq!(outcomes, [format!("{HELD}=BUSY"), format!("{FREE}=DONE")]);
    Ok(())
}
