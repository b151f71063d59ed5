//! Launches that EC2 throttles, fails, answers late or not at all, and passes that die during one.
//! Each intent is launched once, and the maximum holds.

use std::collections::BTreeSet;

use scaling_tests::deployed::{Deployed, SOON};
use scaling_tests::plans::alerts_to;
use scaling_tests::region::Region;
use scaling_tests::wait::eventually;
use serde_json::{Value, json};

use crate::agents::{leave_alone, up};
use crate::logged_errors::{failed_with, pass_logs};
use crate::world::{LAUNCHES, filled};
use scaling_tests::crashes::{expire_lease, kill_function};

const MAX: usize = 18;

/// In the report of a launch with an unknown result.
const OPEN: &str = "requested again under the same token";

pub(crate) async fn each_is_made_once(deployed: &Deployed) {
    let settings = json!({"target_free": 1, "max_instances": MAX});
    let region = filled(deployed, LAUNCHES, 1, settings).await;
    several_are_requested_at_the_same_time(&region).await;
    throttled_launch_is_reported_and_made_later(&region).await;
    nothing_is_launched_on_a_listing_that_was_throttled(&region).await;
    denied_launch_is_reported_and_not_requested_elsewhere(&region).await;
    within_the_pass(&region, json!({"error": "InternalError"})).await;
    by_a_later_pass(&region, json!({"error": "ServiceUnavailable"})).await;
    within_the_pass(&region, json!("lost")).await;
    by_a_later_pass(&region, json!("lost")).await;
    slow_launch_blocks_other_passes(&region).await;
    launch_without_an_answer_is_resumed(&region).await;
    launch_of_a_dead_pass_is_resumed(&region).await;
    launch_of_a_dead_event_pass_is_resumed(&region).await;
    lost_answers_keep_the_maximum(&region).await;
    region.assert_invariants().await;
    leave_alone(&region).await;
}

/// A fault of launches.
fn on_launches(effect: &Value, times: u32) -> Value {
    let on = json!({"region": LAUNCHES, "action": "RunInstances"});
    json!({"calls": [{"on": on, "effect": effect, "times": times}]})
}

/// An empty token bucket for this action.
fn no_request_tokens(action: &str) -> Value {
    let bucket = json!({"region": LAUNCHES, "name": action, "tokens": 0});
    json!({"throttling": {"refill": 0, "buckets": [bucket]}})
}

/// A region that needs one more instance.
struct OneMore<'a> {
    region: &'a Region<'a>,
    calls: usize,
    machines: usize,
}

impl<'a> OneMore<'a> {
    async fn by_target(region: &'a Region<'a>) -> Self {
        let machines = up(&region.launched().await);
        region.set(&json!({"target_free": machines + 1})).await;
        Self {
            region,
            calls: region.calls("RunInstances").await.len(),
            machines,
        }
    }

    /// A user takes a slot, and only the resulting event causes the launch.
    async fn by_assigning(region: &'a Region<'a>) -> Self {
        let one_more = Self {
            region,
            calls: region.calls("RunInstances").await.len(),
            machines: up(&region.launched().await),
        };
        region.assigned("ann").await;
        one_more
    }

    /// The outcomes of the calls since then. All of them must be for the same launch.
    async fn outcomes(&self) -> Vec<String> {
        let calls = self
            .region
            .calls("RunInstances")
            .await
            .split_off(self.calls);
        let tokens = calls.iter().map(|call| &call.params["ClientToken"]);
        let first = calls.first().map(|call| &call.params["ClientToken"]);
        assert!(
            tokens.clone().all(|token| Some(token) == first),
            "{calls:#?}"
        );
        calls.iter().map(|call| call.outcome.clone()).collect()
    }

    /// Without faults, exactly the one instance is there.
    async fn assert_launched(&self) {
        self.region.deployed.set_faults(&json!({})).await;
        self.region.settle().await;
        let outcomes = self.outcomes().await;
        assert_eq!(
            outcomes.last().map(String::as_str),
            Some("ok"),
            "{outcomes:?}"
        );
        let machines = up(&self.region.launched().await);
        assert_eq!(machines, self.machines + 1);
    }
}

async fn several_are_requested_at_the_same_time(region: &Region<'_>) {
    const COUNT: usize = 4;
    const DELAY_MS: i64 = 1_500;
    let slow = on_launches(&json!({"delay_ms": DELAY_MS}), COUNT as u32);
    region.deployed.set_faults(&slow).await;
    let before = region.calls("RunInstances").await.len();
    region.set(&json!({"target_free": 1 + COUNT})).await;
    let report = region.reconcile().await;
    assert_eq!(report["outcome"], "done", "{report:#}");
    region.deployed.set_faults(&json!({})).await;
    let calls = region.calls("RunInstances").await.split_off(before);
    // EC2 notes a call when it comes, and delays it then.
    let came = calls.iter().map(|call| call.at_ms);
    let took = came.clone().max().unwrap() - came.min().unwrap();
    assert!(
        took < 3 * DELAY_MS,
        "{COUNT} launches began within {took} ms"
    );
    let tokens: BTreeSet<_> = calls.iter().map(|it| &it.params["ClientToken"]).collect();
    assert_eq!((calls.len(), tokens.len()), (COUNT, COUNT));
    region.settle().await;
}

async fn throttled_launch_is_reported_and_made_later(region: &Region<'_>) {
    let throttled = "RequestLimitExceeded";
    region
        .deployed
        .set_faults(&no_request_tokens("RunInstances"))
        .await;
    let one_more = OneMore::by_target(region).await;
    for _ in 0..2 {
        let report = pass_logs(region, throttled).await;
        assert_eq!(report["outcome"], "incomplete", "{report:#}");
        assert!(failed_with(&report, OPEN), "{report:#}");
        assert_eq!(region.open_intents().await.len(), 1);
    }
    let outcomes = one_more.outcomes().await;
    assert!(
        outcomes.iter().all(|outcome| outcome == throttled),
        "{outcomes:?}"
    );
    one_more.assert_launched().await;
}

async fn nothing_is_launched_on_a_listing_that_was_throttled(region: &Region<'_>) {
    let fault = no_request_tokens("DescribeInstances");
    region.deployed.set_faults(&fault).await;
    let one_more = OneMore::by_target(region).await;
    let report = pass_logs(region, "RequestLimitExceeded").await;
    assert_eq!(report["outcome"], "failed", "{report:#}");
    assert!(one_more.outcomes().await.is_empty());
    one_more.assert_launched().await;
}

async fn denied_launch_is_reported_and_not_requested_elsewhere(region: &Region<'_>) {
    let denied = "UnauthorizedOperation";
    let fault = on_launches(&json!({"error": denied}), 1);
    region.deployed.set_faults(&fault).await;
    let one_more = OneMore::by_target(region).await;
    let report = pass_logs(region, denied).await;
    assert_eq!(report["outcome"], "incomplete", "{report:#}");
    assert_eq!(
        one_more.outcomes().await,
        [denied],
        "no other subnet was requested"
    );
    assert!(
        region.open_intents().await.is_empty(),
        "that intent is over"
    );
    let again = OneMore::by_target(region).await;
    again.assert_launched().await;
}

/// The client retries by itself under the same token.
async fn within_the_pass(region: &Region<'_>, effect: Value) {
    region.deployed.set_faults(&on_launches(&effect, 1)).await;
    let one_more = OneMore::by_target(region).await;
    let report = region.reconcile().await;
    assert_eq!(report["outcome"], "done", "{effect}: {report:#}");
    assert_eq!(one_more.outcomes().await.len(), 2, "{effect}");
    one_more.assert_launched().await;
}

/// The client gives up, and the intent stays open.
async fn by_a_later_pass(region: &Region<'_>, effect: Value) {
    region.deployed.set_faults(&on_launches(&effect, 3)).await;
    let one_more = OneMore::by_target(region).await;
    let report = pass_logs(region, OPEN).await;
    assert_eq!(report["outcome"], "incomplete", "{effect}: {report:#}");
    assert_eq!(one_more.outcomes().await.len(), 3, "{effect}");
    assert_eq!(region.open_intents().await.len(), 1, "{effect}");
    one_more.assert_launched().await;
}

async fn slow_launch_blocks_other_passes(region: &Region<'_>) {
    // Long enough for another process of the function to start.
    let slow = on_launches(&json!({"delay_ms": 7_000}), 1);
    region.deployed.set_faults(&slow).await;
    let one_more = OneMore::by_target(region).await;
    let meanwhile = async {
        wait_for_the_launch(&one_more).await;
        region.reconcile().await
    };
    let (first, second) = tokio::join!(region.reconcile(), meanwhile);
    assert_eq!(second["outcome"], "busy", "{second:#}");
    assert_eq!(first["outcome"], "done", "{first:#}");
    assert_eq!(first["rounds"], 2, "it ran another round: {first:#}");
    one_more.assert_launched().await;
}

async fn wait_for_the_launch(one_more: &OneMore<'_>) {
    let outcomes = async || one_more.outcomes().await.len();
    eventually("RunInstances", SOON, outcomes, |calls| *calls == 1).await;
}

async fn launch_without_an_answer_is_resumed(region: &Region<'_>) {
    let silent = on_launches(&json!({"delay_ms": 60_000}), 1);
    region.deployed.set_faults(&silent).await;
    let one_more = OneMore::by_target(region).await;
    let report = pass_logs(region, OPEN).await;
    assert_eq!(report["outcome"], "incomplete", "{report:#}");
    assert_eq!(
        one_more.outcomes().await,
        ["ok"],
        "launched, but the answer was lost"
    );
    assert_eq!(region.open_intents().await.len(), 1);
    one_more.assert_launched().await;
}

async fn launch_of_a_dead_pass_is_resumed(region: &Region<'_>) {
    let deployed = region.deployed;
    let slow = on_launches(&json!({"delay_ms": 20_000}), 1);
    deployed.set_faults(&slow).await;
    let one_more = OneMore::by_target(region).await;
    let death = async {
        wait_for_the_launch(&one_more).await;
        kill_function(deployed, &deployed.stack.env().reconcile_function);
    };
    let only = json!({"regions": [region.name]});
    let (died, ()) = tokio::join!(deployed.refused(&only), death);
    assert!(died.contains("Runtime.ExitError"), "{died}");
    assert_eq!(region.open_intents().await.len(), 1);
    let report = region.reconcile().await;
    assert_eq!(
        report["outcome"], "busy",
        "the lock is still held: {report:#}"
    );
    expire_lease(region).await;
    one_more.assert_launched().await;
}

/// The event was recorded as seen: its second delivery starts no pass. The wake mark that it left
/// does.
async fn launch_of_a_dead_event_pass_is_resumed(region: &Region<'_>) {
    let deployed = region.deployed;
    let slow = on_launches(&json!({"delay_ms": 20_000}), 1);
    deployed.set_faults(&slow).await;
    let last = deployed.last_delivery().await;
    let one_more = OneMore::by_assigning(region).await;
    wait_for_the_launch(&one_more).await;
    kill_function(deployed, &deployed.hasura_event_function());
    let statuses = async || -> Vec<Value> {
        let deliveries = deployed.deliveries("region_wake", last).await;
        deliveries.iter().map(|it| it["status"].clone()).collect()
    };
    eventually("a delivery", SOON, statuses, |seen| seen.len() == 1).await;
    deployed
        .control_events("POST", "retry-now", &Value::Null)
        .await;
    region.wait_until_settled_by_events().await;
    let seen = statuses().await;
    assert_eq!(seen.len(), 2, "delivered twice: {seen:?}");
    assert_ne!(seen[0], 200);
    assert_eq!(seen[1], 200);
    assert_eq!(one_more.outcomes().await.len(), 1, "already handled");
    expire_lease(region).await;
    let report = region.scheduled().await;
    assert_eq!(report["outcome"], "done", "{report:#}");
    one_more.assert_launched().await;
}

async fn lost_answers_keep_the_maximum(region: &Region<'_>) {
    let left = MAX - up(&region.launched().await);
    assert!((1..=5).contains(&left), "one batch: {left}");
    // All three attempts of each.
    let lost = on_launches(&json!("lost"), 3 * left as u32);
    region.deployed.set_faults(&lost).await;
    region.set(&json!({"target_free": 10 * MAX})).await;
    let report = pass_logs(region, OPEN).await;
    assert!(alerts_to(&report["plan"], "at_maximum"), "{report:#}");
    assert_eq!(
        up(&region.launched().await),
        MAX,
        "launched, but the answer was lost"
    );
    let report = pass_logs(region, "max_instances").await;
    assert_eq!(report["outcome"], "done", "{report:#}");
    region.settle().await;
    assert_eq!(region.rows().await.len(), MAX);
}
