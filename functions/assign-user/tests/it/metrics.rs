//! What requests for a slot are counted as.

use serde_json::json;
use shared::metrics::*;

use crate::support::{Reply, Request, SLOT, World};

#[tokio::test]
async fn assigned_slot_is_counted_in_its_region_with_the_time_that_it_took() {
    let world = World::new().await;
    let row = |waited: f64, outcome: &str| {
        json!({
            "outcome": outcome, "slot_id": SLOT, "ip_addr": "198.51.100.7", "region": "us-west-2",
            "instance_id": "i-1", "nearest": "us-east-1", "waited_seconds": waited,
        })
    };
    world.hasura.then(Reply::row(&row(0.0, "ASSIGNED")));
    world.hasura.then(Reply::row(&row(12.5, "ASSIGNED")));
    world.hasura.then(Reply::row(&row(0.0, "ALREADY_ASSIGNED")));
    for _ in 0..3 {
        let answer = world.send(&Request::good()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(
        world.metrics.values(ASSIGNS),
        [1.0, 1.0],
        "without the repeated one"
    );
    assert_eq!(world.metrics.values(TIME_TO_SLOT), [0.0, 12.5]);
    for batch in world.metrics.batches() {
        assert_eq!(batch.labels(), [(REGION, "us-west-2".to_owned())]);
    }
}

#[tokio::test]
async fn refusals_are_counted_by_their_reason_and_never_by_what_the_user_sent() {
    let world = World::new().await;
    world.hasura.then(Reply::refused("USER_ALREADY_ACTIVE"));
    world.hasura.then(Reply::in_line(3, None));
    for _ in 0..2 {
        world.hasura.then(Reply::Status(500, String::new()));
    }
    for _ in 0..3 {
        let answer = world.send(&Request::good()).await;
        assert_eq!(answer.status, 503, "{answer:?}");
    }
    let batches = world.metrics.batches();
    let counted: Vec<_> = batches
        .iter()
        .map(|batch| (batch.labels(), batch.values(UNSERVED_REQUESTS)))
        .collect();
    let reason = |name: &str| vec![(REASON, name.to_owned())];
    let expected = [
        (reason("USER_ALREADY_ACTIVE"), &[][..]),
        (reason("NO_INSTANCE_AVAILABLE"), &[1.0]),
        (reason("SERVICE_UNAVAILABLE"), &[1.0]),
    ];
    let expected: Vec<_> = expected
        .iter()
        .map(|(it, values)| (it.as_slice(), *values))
        .collect();
    assert_eq!(counted, expected);
    assert_eq!(world.metrics.values(REFUSALS), [1.0; 3]);
}

#[tokio::test]
async fn request_that_is_the_callers_fault_is_not_counted() {
    let world = World::new().await;
    world
        .send(&Request::good().without_header("authorization"))
        .await;
    assert_eq!(world.metrics.batches(), []);
}
