//! A thousand users at once, for a region that has room for an eighth of them.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _};
use scaling_tests::deployed::{Answer, Deployed};
use scaling_tests::region::Region;
use serde_json::json;

use crate::agents::{leave_alone, up};
use crate::world::{BURST, filled};

const USERS: usize = 1_000;
const AT_ONCE: usize = 32;
const MAX: usize = 12;
const CAPACITY: usize = 10;

pub(crate) async fn costs_no_more_than_its_seconds(deployed: &Deployed) {
    let settings = json!({"target_free": 2 * CAPACITY, "max_instances": MAX});
    let region = filled(deployed, BURST, CAPACITY as u32, settings).await;
    let began = Cost::so_far(&region).await;
    let started = Instant::now();
    let answers = everybody_asks(&region).await;
    let lasted = started.elapsed();
    region.settled_by_events().await;
    let cost = Cost::so_far(&region).await.since(&began);
    println!("   {USERS} assigns in {lasted:.1?}: {cost:?}");

    cost.is_bounded(lasted);
    some_are_served_and_the_others_refused(&region, &answers).await;
    region.promises_kept().await;
    leave_alone(&region).await;
}

async fn everybody_asks(region: &Region<'_>) -> Vec<Answer> {
    let deployed = region.deployed;
    // Signed before the rush; and not among those that are looked for in every log.
    let users: Vec<_> = (0..USERS)
        .map(|number| {
            let user = region.user(&format!("user-{number}"));
            let token = deployed.stack.token(&user).expect("a token");
            (user, token)
        })
        .collect();
    let body = region.ask("1");
    stream::iter(&users)
        .map(|(user, token)| deployed.assign_with(token, user, &body))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

/// What a rush makes the service do.
#[derive(Debug)]
struct Cost {
    /// Rows of `region_wakeups`, each of which is an event.
    wakes: i64,
    /// Times that an event of them was brought to `hasura-event`.
    deliveries: i64,
    /// Of all triggers.
    invocations: i64,
    /// Times that the region's lock was taken.
    passes: i64,
    launches: i64,
    /// EC2's own events, where a function hears them.
    machine_events: i64,
}

impl Cost {
    async fn so_far(region: &Region<'_>) -> Self {
        let deployed = region.deployed;
        let triggers = ["instance_status_changed", "app_version_changed"];
        let deliveries = deployed.deliveries("region_wake", 0).await.len();
        let mut invocations = deliveries;
        for trigger in triggers {
            invocations += deployed.deliveries(trigger, 0).await.len();
        }
        let ledger = deployed.ledger().await;
        let machine_events = ledger.events.iter().flat_map(|event| &event.deliveries);
        let machine_events = machine_events.filter(|it| it.outcome == "delivered");
        Self {
            wakes: region
                .count("SELECT count(*) FROM region_wakeups WHERE region = $1")
                .await,
            deliveries: deliveries as i64,
            invocations: invocations as i64,
            passes: region.lock_version().await,
            launches: region.calls("RunInstances").await.len() as i64,
            machine_events: machine_events.count() as i64,
        }
    }

    fn since(&self, began: &Self) -> Self {
        Self {
            wakes: self.wakes - began.wakes,
            deliveries: self.deliveries - began.deliveries,
            invocations: self.invocations - began.invocations,
            passes: self.passes - began.passes,
            launches: self.launches - began.launches,
            machine_events: self.machine_events - began.machine_events,
        }
    }

    fn is_bounded(&self, lasted: Duration) {
        // One for each two seconds that it touched.
        let buckets = lasted.as_secs() as i64 / 2 + 2;
        assert!((1..=buckets).contains(&self.wakes), "{buckets} buckets");
        assert_eq!(self.deliveries, self.wakes, "each was brought once");
        // And for each instance that becomes ACTIVE.
        assert!(self.invocations <= self.wakes + MAX as i64);
        // An event looks twice, and sets two marks, each of which makes whoever holds the lock
        // look once more. One of EC2's looks once and sets one.
        assert!(self.passes <= 4 * self.wakes + 2 * self.machine_events);
        // Each launches one instance at least, and none of them ends.
        assert!((1..=MAX as i64).contains(&self.launches));
    }
}

async fn some_are_served_and_the_others_refused(region: &Region<'_>, answers: &[Answer]) {
    assert_eq!(answers.len(), USERS);
    let (served, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == 200);
    for answer in &refused {
        let told = (answer.status, answer.body["error"].as_str());
        assert_eq!(told, (503, Some("NO_INSTANCE_AVAILABLE")), "{answer:#?}");
    }
    let slots: HashSet<_> = served
        .iter()
        .map(|it| it.body["mandelbox_id"].as_str())
        .collect();
    assert_eq!(slots.len(), served.len(), "a slot for each");
    assert!(served.len() >= 2 * CAPACITY, "what was free was given away");
    assert!(served.len() <= MAX * CAPACITY);
    let taken = "SELECT count(*) FROM slots WHERE region = $1 AND status <> 'WAITING'";
    assert_eq!(region.count(taken).await, served.len() as i64);
    assert_eq!(up(&region.launched().await), MAX, "as many as there may be");
}
