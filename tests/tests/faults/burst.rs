//! A thousand users at once in a region that has room for an eighth of them.

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

pub(crate) async fn costs_a_bounded_number_of_wakes(deployed: &Deployed) {
    let settings = json!({"target_free": 2 * CAPACITY, "max_instances": MAX});
    let region = filled(deployed, BURST, CAPACITY as u32, settings).await;
    let before = Cost::read(&region).await;
    let started = Instant::now();
    let answers = all_users_request_slots(&region).await;
    let lasted = started.elapsed();
    region.wait_until_settled_by_events().await;
    let cost = Cost::read(&region).await.since(&before);
    println!("   {USERS} assigns in {lasted:.1?}: {cost:?}");

    cost.is_bounded(lasted);
    assert_some_served_and_others_refused(&region, &answers).await;
    region.assert_invariants().await;
    leave_alone(&region).await;
}

async fn all_users_request_slots(region: &Region<'_>) -> Vec<Answer> {
    let deployed = region.deployed;
    // Tokens are signed before the rush, and are not searched for in every log.
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

/// The work that a rush causes.
#[derive(Debug)]
struct Cost {
    /// Rows of `region_wakeups`, each of which is an event.
    wakes: i64,
    /// Deliveries of those events to `hasura-event`.
    deliveries: i64,
    /// Deliveries of all triggers.
    invocations: i64,
    /// The number of times that the region's lock was taken.
    passes: i64,
    launches: i64,
    /// EC2's own events that were delivered to a function.
    machine_events: i64,
}

impl Cost {
    async fn read(region: &Region<'_>) -> Self {
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
        // One wake-up for each two seconds that the rush touched.
        let buckets = lasted.as_secs() as i64 / 2 + 2;
        assert!((1..=buckets).contains(&self.wakes), "{buckets} buckets");
        assert_eq!(self.deliveries, self.wakes, "each was brought once");
        // And one for each instance that becomes ACTIVE.
        assert!(self.invocations <= self.wakes + MAX as i64);
        // An event causes two passes and sets two marks, each of which makes the lock's holder run
        // another round. One of EC2's events causes one pass and sets one mark.
        assert!(self.passes <= 4 * self.wakes + 2 * self.machine_events);
        // Each launch starts one instance, and none of them ends.
        assert!((1..=MAX as i64).contains(&self.launches));
    }
}

async fn assert_some_served_and_others_refused(region: &Region<'_>, answers: &[Answer]) {
    assert_eq!(answers.len(), USERS);
    let (served, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == 200);
    for answer in &refused {
        let answered = (answer.status, answer.body["error"].as_str());
        assert_eq!(
            answered,
            (503, Some("NO_INSTANCE_AVAILABLE")),
            "{answer:#?}"
        );
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
