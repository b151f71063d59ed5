//! Launches that EC2 throttles, fails, forgets to answer or answers late, and passes that die in
//! the middle of one: each intent is launched once, and no more than the maximum.

use scaling_tests::deployed::{Deployed, SOON};
use scaling_tests::plans::alerts_to;
use scaling_tests::region::Region;
use scaling_tests::wait::eventually;
use serde_json::{Value, json};

use crate::agents::{leave_alone, up};
use crate::reports::{failed_with, pass_tells};
use crate::world::{LAUNCHES, filled};
use scaling_tests::crashes::{kill_function, lease_is_over};

const MAX: usize = 14;

/// What is told of a launch of which nobody knows what became.
const OPEN: &str = "requested again under the same token";

pub(crate) async fn are_made_once(deployed: &Deployed) {
    let settings = json!({"target_free": 1, "max_instances": MAX});
    let region = filled(deployed, LAUNCHES, 1, settings).await;
    throttled_ones_are_told_and_made_later(&region).await;
    nothing_is_launched_on_a_listing_that_was_throttled(&region).await;
    denied_ones_are_told_and_asked_for_nowhere_else(&region).await;
    within_the_pass(&region, json!({"error": "InternalError"})).await;
    by_a_later_pass(&region, json!({"error": "ServiceUnavailable"})).await;
    within_the_pass(&region, json!("lost")).await;
    by_a_later_pass(&region, json!("lost")).await;
    slow_ones_keep_other_passes_away(&region).await;
    those_without_an_answer_are_resumed(&region).await;
    those_of_a_pass_that_died_are_resumed(&region).await;
    those_of_an_event_that_died_are_resumed(&region).await;
    lost_answers_do_not_break_the_maximum(&region).await;
    region.promises_kept().await;
    leave_alone(&region).await;
}

/// What launches are broken with.
fn on_launches(effect: &Value, times: u32) -> Value {
    let on = json!({"region": LAUNCHES, "action": "RunInstances"});
    json!({"calls": [{"on": on, "effect": effect, "times": times}]})
}

/// No more calls of this action.
fn no_tokens(action: &str) -> Value {
    let bucket = json!({"region": LAUNCHES, "name": action, "tokens": 0});
    json!({"throttling": {"refill": 0, "buckets": [bucket]}})
}

/// One instance more is wanted from now on.
struct OneMore<'a> {
    region: &'a Region<'a>,
    calls: usize,
    machines: usize,
}

impl<'a> OneMore<'a> {
    async fn wanted(region: &'a Region<'a>) -> Self {
        let machines = up(&region.launched().await);
        region.set(&json!({"target_free": machines + 1})).await;
        Self {
            region,
            calls: region.calls("RunInstances").await.len(),
            machines,
        }
    }

    /// A user takes a slot, and nobody but the event of it asks for another.
    async fn low(region: &'a Region<'a>) -> Self {
        let one_more = Self {
            region,
            calls: region.calls("RunInstances").await.len(),
            machines: up(&region.launched().await),
        };
        region.assigned("ann").await;
        one_more
    }

    /// The outcomes of the calls since then, which were all for one and the same launch.
    async fn asked(&self) -> Vec<String> {
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

    /// Everything is well again: it is there, and no other.
    async fn is_there(&self) {
        self.region.deployed.set_faults(&json!({})).await;
        self.region.settle().await;
        let asked = self.asked().await;
        assert_eq!(asked.last().map(String::as_str), Some("ok"), "{asked:?}");
        let machines = up(&self.region.launched().await);
        assert_eq!(machines, self.machines + 1);
    }
}

async fn throttled_ones_are_told_and_made_later(region: &Region<'_>) {
    let throttled = "RequestLimitExceeded";
    region.deployed.set_faults(&no_tokens("RunInstances")).await;
    let one_more = OneMore::wanted(region).await;
    for _ in 0..2 {
        let report = pass_tells(region, throttled).await;
        assert_eq!(report["outcome"], "incomplete", "{report:#}");
        assert!(failed_with(&report, OPEN), "{report:#}");
        assert_eq!(region.open_intents().await.len(), 1);
    }
    let asked = one_more.asked().await;
    assert!(
        asked.iter().all(|outcome| outcome == throttled),
        "{asked:?}"
    );
    one_more.is_there().await;
}

async fn nothing_is_launched_on_a_listing_that_was_throttled(region: &Region<'_>) {
    let fault = no_tokens("DescribeInstances");
    region.deployed.set_faults(&fault).await;
    let one_more = OneMore::wanted(region).await;
    let report = pass_tells(region, "RequestLimitExceeded").await;
    assert_eq!(report["outcome"], "failed", "{report:#}");
    assert!(one_more.asked().await.is_empty());
    one_more.is_there().await;
}

async fn denied_ones_are_told_and_asked_for_nowhere_else(region: &Region<'_>) {
    let denied = "UnauthorizedOperation";
    let fault = on_launches(&json!({"error": denied}), 1);
    region.deployed.set_faults(&fault).await;
    let one_more = OneMore::wanted(region).await;
    let report = pass_tells(region, denied).await;
    assert_eq!(report["outcome"], "incomplete", "{report:#}");
    assert_eq!(one_more.asked().await, [denied], "no other subnet is asked");
    assert!(
        region.open_intents().await.is_empty(),
        "that intent is over"
    );
    let again = OneMore::wanted(region).await;
    again.is_there().await;
}

/// The client asks again by itself, under the same token.
async fn within_the_pass(region: &Region<'_>, effect: Value) {
    region.deployed.set_faults(&on_launches(&effect, 1)).await;
    let one_more = OneMore::wanted(region).await;
    let report = region.reconcile().await;
    assert_eq!(report["outcome"], "done", "{effect}: {report:#}");
    assert_eq!(one_more.asked().await.len(), 2, "{effect}");
    one_more.is_there().await;
}

/// The client gives up, and the intent stays open.
async fn by_a_later_pass(region: &Region<'_>, effect: Value) {
    region.deployed.set_faults(&on_launches(&effect, 3)).await;
    let one_more = OneMore::wanted(region).await;
    let report = pass_tells(region, OPEN).await;
    assert_eq!(report["outcome"], "incomplete", "{effect}: {report:#}");
    assert_eq!(one_more.asked().await.len(), 3, "{effect}");
    assert_eq!(region.open_intents().await.len(), 1, "{effect}");
    one_more.is_there().await;
}

async fn slow_ones_keep_other_passes_away(region: &Region<'_>) {
    // Long enough for another process of the function to start.
    let slow = on_launches(&json!({"delay_ms": 4_000}), 1);
    region.deployed.set_faults(&slow).await;
    let one_more = OneMore::wanted(region).await;
    let meanwhile = async {
        launch_is_under_way(&one_more).await;
        region.reconcile().await
    };
    let (first, second) = tokio::join!(region.reconcile(), meanwhile);
    assert_eq!(second["outcome"], "busy", "{second:#}");
    assert_eq!(first["outcome"], "done", "{first:#}");
    assert_eq!(first["rounds"], 2, "it looks once more: {first:#}");
    one_more.is_there().await;
}

async fn launch_is_under_way(one_more: &OneMore<'_>) {
    let asked = async || one_more.asked().await.len();
    eventually("RunInstances", SOON, asked, |asked| *asked == 1).await;
}

async fn those_without_an_answer_are_resumed(region: &Region<'_>) {
    let silent = on_launches(&json!({"delay_ms": 60_000}), 1);
    region.deployed.set_faults(&silent).await;
    let one_more = OneMore::wanted(region).await;
    let report = pass_tells(region, OPEN).await;
    assert_eq!(report["outcome"], "incomplete", "{report:#}");
    assert_eq!(one_more.asked().await, ["ok"], "launched, but nobody knows");
    assert_eq!(region.open_intents().await.len(), 1);
    one_more.is_there().await;
}

async fn those_of_a_pass_that_died_are_resumed(region: &Region<'_>) {
    let deployed = region.deployed;
    let slow = on_launches(&json!({"delay_ms": 20_000}), 1);
    deployed.set_faults(&slow).await;
    let one_more = OneMore::wanted(region).await;
    let death = async {
        launch_is_under_way(&one_more).await;
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
    lease_is_over(region).await;
    one_more.is_there().await;
}

/// It was seen: brought again, it starts no pass. The mark that it has left does.
async fn those_of_an_event_that_died_are_resumed(region: &Region<'_>) {
    let deployed = region.deployed;
    let slow = on_launches(&json!({"delay_ms": 20_000}), 1);
    deployed.set_faults(&slow).await;
    let last = deployed.last_delivery().await;
    let one_more = OneMore::low(region).await;
    launch_is_under_way(&one_more).await;
    kill_function(deployed, &deployed.hasura_event_function());
    let statuses = async || -> Vec<Value> {
        let deliveries = deployed.deliveries("region_wake", last).await;
        deliveries.iter().map(|it| it["status"].clone()).collect()
    };
    eventually("a delivery", SOON, statuses, |told| told.len() == 1).await;
    deployed
        .control_events("POST", "retry-now", &Value::Null)
        .await;
    region.settled_by_events().await;
    let told = statuses().await;
    assert_eq!(told.len(), 2, "brought twice: {told:?}");
    assert_ne!(told[0], 200);
    assert_eq!(told[1], 200);
    assert_eq!(one_more.asked().await.len(), 1, "seen before");
    lease_is_over(region).await;
    let report = region.scheduled().await;
    assert_eq!(report["outcome"], "done", "{report:#}");
    one_more.is_there().await;
}

async fn lost_answers_do_not_break_the_maximum(region: &Region<'_>) {
    let lost = on_launches(&json!("lost"), 3);
    region.deployed.set_faults(&lost).await;
    region.set(&json!({"target_free": 10 * MAX})).await;
    let report = pass_tells(region, OPEN).await;
    assert!(alerts_to(&report["plan"], "at_maximum"), "{report:#}");
    assert_eq!(
        up(&region.launched().await),
        MAX,
        "launched, but nobody knows"
    );
    let report = pass_tells(region, "max_instances").await;
    assert_eq!(report["outcome"], "done", "{report:#}");
    region.settle().await;
    assert_eq!(region.rows().await.len(), MAX);
}
