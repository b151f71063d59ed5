//! The agent's lifecycle, against a fake Hasura in this process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic fails the test with its reason"
)]

#[path = "lifecycle/fake_hasura.rs"]
mod fake_hasura;

use std::path::PathBuf;
use std::time::Duration;

use fake_hasura::{Failure, FakeHasura};
use host_agent::agent::{self, ShutdownReason};
use host_agent::config::{Config, Timing, UserData};
use tokio::task::JoinHandle;

/// Far longer than any of these tests takes.
const DEADLINE: Duration = Duration::from_secs(20);

fn start_agent(url: &str) -> JoinHandle<ShutdownReason> {
    start_agent_with(url, "/nonexistent".into())
}

fn start_agent_with(url: &str, leave_file: PathBuf) -> JoinHandle<ShutdownReason> {
    start(url, leave_file, "/nonexistent".into())
}

fn start(url: &str, leave_file: PathBuf, token_file: PathBuf) -> JoinHandle<ShutdownReason> {
    spawn(config(url, leave_file, token_file))
}

/// With another timing.
fn start_with(url: &str, change: impl FnOnce(&mut Timing)) -> JoinHandle<ShutdownReason> {
    let mut config = config(url, "/nonexistent".into(), "/nonexistent".into());
    change(&mut config.timing);
    spawn(config)
}

fn spawn(config: Config) -> JoinHandle<ShutdownReason> {
    tokio::spawn(async move { agent::run(&config).await.unwrap() })
}

fn config(url: &str, leave_file: PathBuf, token_file: PathBuf) -> Config {
    let millis = Duration::from_millis;
    let user_data = UserData::parse(&format!(
        "SCALING_HASURA_URL={url}\nSCALING_AGENT_TOKEN=role.token\n"
    ));
    Config {
        instance_id: "i-1".into(),
        instance_ip: "127.64.0.1".into(),
        user_data: user_data.unwrap(),
        leave_file,
        token_file,
        timing: Timing {
            boot: millis(1),
            connect: millis(5),
            session: millis(20),
            session_max: millis(20),
            heartbeat: millis(10),
            poll: millis(2),
            active: Some(millis(0)),
            end_delay: millis(0),
        },
    }
}

async fn within_deadline<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .expect("not finished within the deadline")
}

#[tokio::test]
async fn agent_registers_once_its_row_exists_and_sends_heartbeats() {
    let (hasura, url) = FakeHasura::serve(None).await;
    let agent = start_agent(&url);
    within_deadline(hasura.until(|host| host.outcomes("RegisterHost").len() == 2)).await;
    hasura.host().status = Some("PRE_CONNECTION");
    within_deadline(hasura.until(|host| host.outcomes("Heartbeat").len() >= 3)).await;
    assert_eq!(
        hasura.host().outcomes("RegisterHost"),
        ["RETRY", "RETRY", "REGISTERED"]
    );
    assert_eq!(hasura.host().slots.len(), 2);
    assert!(
        hasura
            .host()
            .authorizations
            .iter()
            .all(|header| header == "Bearer role.token")
    );
    assert!(!agent.is_finished());
    agent.abort();
}

#[tokio::test]
async fn terminating_or_removed_instance_is_shut_down() {
    let (_hasura, url) = FakeHasura::serve(Some("TERMINATING")).await;
    assert_eq!(
        within_deadline(start_agent(&url)).await.unwrap(),
        ShutdownReason::Requested
    );

    let (hasura, url) = FakeHasura::serve(Some("PRE_CONNECTION")).await;
    let agent = start_agent(&url);
    within_deadline(hasura.until(|host| host.status == Some("ACTIVE"))).await;
    hasura.host().status = None;
    assert_eq!(
        within_deadline(agent).await.unwrap(),
        ShutdownReason::Requested
    );
}

#[tokio::test]
async fn session_runs_to_its_end_and_its_slot_is_replaced() {
    let (hasura, url) = FakeHasura::serve(Some("PRE_CONNECTION")).await;
    let agent = start_agent(&url);
    within_deadline(hasura.until(|host| host.slots.len() == 2)).await;
    {
        let mut host = hasura.host();
        host.slots[0].status = "ALLOCATED";
        host.slots[0].user = Some(("user", "session"));
    }
    within_deadline(hasura.until(|host| !host.outcomes("ReplaceSlot").is_empty())).await;
    {
        let host = hasura.host();
        let outcomes: Vec<_> = host
            .log
            .iter()
            .filter(|(operation, _)| operation.ends_with("Slot"))
            .map(|(_, outcome)| outcome.as_str())
            .collect();
        assert_eq!(outcomes, ["CLAIMED", "REPORTED", "REPORTED", "REPLACED"]);
        let slots: Vec<_> = host
            .slots
            .iter()
            .map(|slot| (&*slot.id, slot.status))
            .collect();
        assert_eq!(slots, [("slot-2", "WAITING"), ("slot-3", "WAITING")]);
    }
    agent.abort();
}

#[tokio::test]
async fn session_that_is_to_end_is_ended_and_its_user_was_idle() {
    let (hasura, url) = FakeHasura::serve(Some("PRE_CONNECTION")).await;
    let agent = start_with(&url, |timing| {
        timing.session = DEADLINE * 10;
        timing.session_max = DEADLINE * 10;
    });
    within_deadline(hasura.until(|host| host.slots.len() == 2)).await;
    {
        let mut host = hasura.host();
        host.slots[0].status = "RUNNING";
        host.slots[0].user = Some(("user", "session"));
    }
    within_deadline(hasura.until(|host| host.idle_seconds["slot-1"].is_u64())).await;
    assert_eq!(hasura.host().outcomes("ReportSlot"), [""; 0]);
    hasura.host().slots[0].seconds_left = Some(0);
    within_deadline(hasura.until(|host| !host.outcomes("ReplaceSlot").is_empty())).await;
    assert_eq!(hasura.host().outcomes("ReportSlot"), ["REPORTED"]);
    agent.abort();
}

#[tokio::test]
async fn draining_instance_is_shut_down_after_its_last_session() {
    let (hasura, url) = FakeHasura::serve(Some("PRE_CONNECTION")).await;
    let agent = start_agent(&url);
    within_deadline(hasura.until(|host| host.slots.len() == 2)).await;
    {
        let mut host = hasura.host();
        host.status = Some("DRAINING");
        host.slots[0].status = "RUNNING";
        host.slots[0].user = Some(("user", "session"));
    }
    assert_eq!(
        within_deadline(agent).await.unwrap(),
        ShutdownReason::Drained
    );
    assert_eq!(hasura.host().outcomes("ReplaceSlot"), ["REMOVED"]);
    assert_eq!(hasura.host().slots.len(), 1);
}

#[tokio::test]
async fn broken_instance_leaves_once_it_may_and_after_its_last_session() {
    let (hasura, url) = FakeHasura::serve(Some("PRE_CONNECTION")).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    hasura.host().leaves_held = 2;
    let agent = start_agent_with(&url, file.path().to_owned());
    within_deadline(hasura.until(|host| host.slots.len() == 2)).await;
    {
        let mut host = hasura.host();
        host.slots[0].status = "RUNNING";
        host.slots[0].user = Some(("user", "session"));
    }
    std::fs::write(file.path(), "the GPU is gone\n").unwrap();
    assert_eq!(
        within_deadline(agent).await.unwrap(),
        ShutdownReason::Drained
    );
    let host = hasura.host();
    assert_eq!(host.outcomes("LeaveHost"), ["HELD", "HELD", "LEAVING"]);
    assert_eq!(host.left_because.as_deref(), Some("the GPU is gone"));
    assert!(host.slots.iter().all(|slot| slot.status == "WAITING"));
}

#[tokio::test]
async fn renewed_token_is_used_and_older_ones_while_hasura_refuses_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let (hasura, url) = FakeHasura::serve(Some("PRE_CONNECTION")).await;
    hasura.host().accepted = vec!["role.token".to_owned()];
    let agent = start(&url, "/nonexistent".into(), file.clone());
    within_deadline(hasura.until(|host| host.status == Some("ACTIVE"))).await;
    // Of a key that Hasura does not have yet.
    hasura.host().next_token = Some("next.token".to_owned());
    let tried = |host: &fake_hasura::Host, token: &str| {
        let of = host.authorizations.iter().filter(|it| it.ends_with(token));
        of.count()
    };
    within_deadline(hasura.until(|host| tried(host, "next.token") > 0)).await;
    let beats = hasura.host().outcomes("Heartbeat").len();
    within_deadline(hasura.until(|host| host.outcomes("Heartbeat").len() > beats + 9)).await;
    // The agent's loops may each have tried it once, and do not try it again and again.
    assert!(tried(&hasura.host(), "next.token") <= 3);
    // The key is replaced, and the agent restarts.
    hasura.host().accepted = vec!["next.token".to_owned()];
    let beats = hasura.host().outcomes("Heartbeat").len();
    within_deadline(hasura.until(|host| host.outcomes("Heartbeat").len() > beats + 3)).await;
    agent.abort();
    hasura.host().next_token = None;
    hasura.host().authorizations.clear();
    let agent = start(&url, "/nonexistent".into(), file);
    within_deadline(hasura.until(|host| host.authorizations.len() > 3)).await;
    assert_eq!(tried(&hasura.host(), "role.token"), 0);
    agent.abort();
}

#[tokio::test]
async fn agent_survives_every_failure_of_hasura() {
    let (hasura, url) = FakeHasura::serve(Some("PRE_CONNECTION")).await;
    hasura.host().failures = vec![
        Failure::GraphQlError,
        Failure::Garbled,
        Failure::Unavailable,
    ];
    let agent = start_agent(&url);
    within_deadline(hasura.until(|host| host.outcomes("Heartbeat").len() >= 2)).await;
    // The first request was executed although its answer was garbled. The second is a repetition.
    assert_eq!(
        hasura.host().outcomes("RegisterHost"),
        ["REGISTERED", "REGISTERED"]
    );
    assert_eq!(hasura.host().slots.len(), 2);

    hasura.host().failures = [Failure::Unavailable, Failure::GraphQlError].repeat(10);
    within_deadline(hasura.until(|host| host.failures.is_empty())).await;
    hasura.host().status = Some("DRAINING");
    assert_eq!(
        within_deadline(agent).await.unwrap(),
        ShutdownReason::Drained
    );
}
