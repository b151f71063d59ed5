//! EC2's events, recorded notices and passes, with fakes of all that a pass uses.
#![allow(
    clippy::needless_pass_by_value,
    clippy::unwrap_used,
    reason = "helpers of tests fail like tests"
)]

use jiff::SignedDuration;
use serde_json::{Value, json};
use shared::clock::Clock;
use shared::db::DbError;
use shared::ids::InstanceId;
use shared::lock::{LockAttempt, LockError, RegionLock};
use shared::model::{InstanceStatus, MachineState, SlotCounts, SpotNotice};
use testing::{AgentOutcome, World, instance};

const INTERRUPTION: &str = "EC2 Spot Instance Interruption Warning";
const REBALANCE: &str = "EC2 Instance Rebalance Recommendation";
const STATE_CHANGE: &str = "EC2 Instance State-change Notification";

fn event(n: u32, detail_type: &str, detail: Value) -> Value {
    json!({
        "id": format!("event-{n}"),
        "source": "aws.ec2",
        "detail-type": detail_type,
        "region": World::region(),
        "detail": detail,
    })
}

fn state(n: u32, id: &str, state: &str) -> Value {
    event(n, STATE_CHANGE, json!({"instance-id": id, "state": state}))
}

async fn send(world: &World, event: Value) -> Result<Value, String> {
    instance_state_change::handle(&world.reconciler(), event, "test")
        .await
        .map_err(|error| error.error_message)
}

/// A full buffer on three instances; a user is on the first.
fn world() -> World {
    let occupied = shared::model::Instance {
        slots: SlotCounts {
            waiting: 1,
            occupied: 1,
            unclaimed: 0,
        },
        ..instance("i-1")
    };
    World::with([occupied, instance("i-2"), instance("i-3")])
}

fn status(world: &World, id: &str) -> InstanceStatus {
    world.database.rows().tables.instances[&InstanceId::from(id)].status
}

fn target(world: &World, slots: u32) {
    let mut rows = world.database.rows();
    let settings = rows.tables.settings_mut(&World::region());
    settings.unwrap().target_free = slots;
}

/// Registers the host agent of a booted instance.
fn registered(world: &World, id: &InstanceId) {
    let mut rows = world.database.rows();
    let launch = rows.tables.instances[id].launch_id.clone();
    let answer = rows
        .tables
        .register_host(id, "10.0.0.9", &launch, world.clock.now());
    assert_eq!(answer.outcome, AgentOutcome::Registered);
}

fn launches(world: &World) -> usize {
    world.host.state().launches.len()
}

#[tokio::test]
async fn foreign_instance_costs_one_lookup() {
    let world = world();
    for event in [
        state(1, "i-else", "terminated"),
        event(2, INTERRUPTION, json!({"instance-id": "i-else"})),
    ] {
        let answer = send(&world, event).await.unwrap();
        assert_eq!(answer["ignored"], "not an instance of ours");
    }
    assert_eq!(
        world.database.rows().calls,
        ["find_instance", "give_notice"]
    );
    let calls = &world.store.items().calls;
    assert_eq!(calls, &["is_held", "is_held"], "no wake, no pass");
}

#[tokio::test]
async fn instance_that_may_be_launched_right_now_is_looked_for_again() {
    let world = world();
    let (region, owner) = (World::region(), "another pass".into());
    let lease = std::time::Duration::from_secs(50);
    let now = world.clock.now();
    let attempt = world.store.acquire(&region, &owner, now, lease).await;
    assert!(matches!(attempt, Ok(LockAttempt::Acquired(_))));
    let answer = send(&world, state(1, "i-new", "terminated")).await.unwrap();
    assert_eq!(answer["result"]["outcome"], "busy");
    let mark = world.store.items().of(&World::region()).wake_mark.clone();
    assert_eq!(mark.unwrap().by, "event-1", "the other pass looks again");

    let notice = event(2, INTERRUPTION, json!({"instance-id": "i-new"}));
    let error = send(&world, notice).await.unwrap_err();
    assert!(error.contains("i-new has no row yet"), "{error}");
}

#[tokio::test]
async fn interrupted_instance_is_drained_at_once_and_replaced() {
    let world = world();
    target(&world, 5);
    let warning = event(1, INTERRUPTION, json!({"instance-id": "i-1"}));
    let answer = send(&world, warning.clone()).await.unwrap();
    assert_eq!(answer["result"]["outcome"], "done", "{answer:#}");
    assert_eq!(status(&world, "i-1"), InstanceStatus::Draining);
    assert_eq!(launches(&world), 1);
    assert!(world.host.state().terminated.is_empty(), "a user is there");

    let again = send(&world, warning).await.unwrap();
    assert_eq!(again["ignored"], "seen before");
    assert_eq!(launches(&world), 1);
}

#[tokio::test]
async fn instance_with_rebalance_advice_is_replaced_and_then_drained() {
    let world = world();
    let advice = |n, id| event(n, REBALANCE, json!({"instance-id": id}));
    target(&world, 5);
    send(&world, advice(1, "i-3")).await.unwrap();
    assert_eq!(launches(&world), 1, "first its replacement");
    assert_eq!(status(&world, "i-3"), InstanceStatus::Active);

    let new = InstanceId::from("i-us-east-1-0001");
    registered(&world, &new);
    world.host.set_state(&new, MachineState::Running);
    world.pass().await;
    assert_eq!(status(&world, "i-3"), InstanceStatus::Draining);
    assert_eq!(launches(&world), 1);
}

#[tokio::test]
async fn terminated_machine_is_replaced_without_waiting_for_the_schedule() {
    let world = world();
    world
        .host
        .set_state(&"i-2".into(), MachineState::Terminated);
    let answer = send(&world, state(1, "i-2", "terminated")).await.unwrap();
    assert_eq!(answer["result"]["outcome"], "done", "{answer:#}");
    assert!(
        !world
            .database
            .rows()
            .tables
            .instances
            .contains_key(&"i-2".into())
    );
    assert_eq!(launches(&world), 1);
}

#[tokio::test]
async fn late_event_changes_nothing() {
    let world = world();
    send(&world, state(1, "i-2", "shutting-down"))
        .await
        .unwrap();
    assert_eq!(
        status(&world, "i-2"),
        InstanceStatus::Active,
        "what the pass sees counts, not what the event says"
    );
    let expected = send(&world, state(2, "i-2", "running")).await.unwrap();
    assert_eq!(expected["ignored"], "as the database expects");
    world
        .database
        .rows()
        .tables
        .instances
        .get_mut(&"i-2".into())
        .unwrap()
        .status = InstanceStatus::Terminating;
    let late = event(3, INTERRUPTION, json!({"instance-id": "i-2"}));
    let late = send(&world, late).await.unwrap();
    assert_eq!(late["ignored"], "it is on its way out");
}

#[tokio::test]
async fn start_of_an_instance_is_noted_in_the_request_that_looks_it_up() {
    let world = world();
    let since = world.clock.now() - SignedDuration::from_secs(3);
    let running_at = || world.database.rows().tables.instances[&"i-2".into()].running_at;
    let mut event = state(1, "i-2", "running");
    event["time"] = json!(since);
    let answer = send(&world, event.clone()).await.unwrap();
    assert_eq!(answer["ignored"], "as the database expects");
    assert_eq!(running_at(), Some(since));

    event["time"] = json!("soon");
    send(&world, event.clone()).await.unwrap();
    assert_eq!(
        running_at(),
        Some(since),
        "an event is not rejected for its time"
    );
    event["time"] = json!(since);
    event["detail"]["instance-id"] = json!("i-else");
    let answer = send(&world, event).await.unwrap();
    assert_eq!(answer["ignored"], "not an instance of ours");
    let expected = ["note_running", "find_instance", "note_running"];
    assert_eq!(world.database.rows().calls, expected);
}

/// EC2 sends it once: the event fails, so that Lambda sends it again.
#[tokio::test]
async fn notice_of_an_instance_that_somebody_holds_is_sent_again() {
    let world = world();
    let held = InstanceId::from("i-1");
    world.database.rows().tables.held.insert(held.clone());
    let warning = event(1, INTERRUPTION, json!({"instance-id": held}));
    let error = send(&world, warning.clone()).await.unwrap_err();
    assert!(error.contains("i-1"), "{error}");
    world.database.rows().tables.held.clear();
    let answer = send(&world, warning).await.unwrap();
    assert_eq!(answer["result"]["outcome"], "done", "{answer:#}");
    assert_eq!(status(&world, "i-1"), InstanceStatus::Draining);
}

#[tokio::test]
async fn recommendation_does_not_replace_an_interruption() {
    let world = world();
    for (n, kind) in [(1, INTERRUPTION), (2, REBALANCE)] {
        let event = event(n, kind, json!({"instance-id": "i-1"}));
        send(&world, event).await.unwrap();
    }
    let rows = world.database.rows();
    assert_eq!(
        rows.tables.instances[&InstanceId::from("i-1")].notice,
        Some(SpotNotice::Interruption)
    );
}

#[tokio::test]
async fn event_fails_if_its_notice_or_wake_mark_is_not_stored() {
    let world = world();
    let warning = event(1, INTERRUPTION, json!({"instance-id": "i-1"}));
    world.database.rows().next_error = Some(DbError::Unavailable {
        operation: "note",
        reason: "it is down".to_owned(),
    });
    let error = send(&world, warning.clone()).await.unwrap_err();
    assert!(error.contains("it is down"), "{error}");
    world.store.items().next_error = Some((
        "set_wake_mark",
        LockError::Unavailable {
            operation: "mark",
            reason: "it is down too".to_owned(),
        },
    ));
    let error = send(&world, warning.clone()).await.unwrap_err();
    assert!(error.contains("wake mark"), "{error}");
    assert!(world.store.items().seen.is_empty(), "not seen too early");
    send(&world, warning).await.unwrap();
    assert_eq!(status(&world, "i-1"), InstanceStatus::Draining);
}

#[tokio::test]
async fn malformed_event_is_rejected_with_a_reason() {
    let error = send(&world(), state(1, "", "terminated"))
        .await
        .unwrap_err();
    assert!(error.contains("detail.instance-id"), "{error}");
}
