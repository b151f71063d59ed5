//! Load of passes: the schedule, and operators that change targets. Passes are for all regions or
//! for some, with and without waiting for the answer, several at once.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_lambda::Client;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use local_stack::operator::Operator;
use local_stack::random::Random;
use scaling_tests::deployed::{Deployed, schedule};
use serde_json::{Value, json};

use crate::aws_log::LOCK_LOST;
use crate::regions::REGIONS;

/// Passes that continued after another had taken the lock.
const LOCKS_LOST: &str = "lock lost";

pub(crate) struct PassLoad {
    lambda: Client,
    function: String,
    operator: Operator,
    tally: Mutex<BTreeMap<String, usize>>,
}

impl PassLoad {
    pub(crate) fn of(deployed: &Deployed) -> Self {
        Self {
            lambda: Client::new(&deployed.stack.sdk_config()),
            function: deployed.stack.env().reconcile_function.clone(),
            operator: deployed.operator(),
            tally: Mutex::default(),
        }
    }

    /// Runs passes for one region or a few, one invocation after the other.
    pub(crate) async fn for_some(&self, mut random: Random, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let count = if random.chance(90) {
                1
            } else {
                2 + random.below(4)
            };
            let regions: Vec<_> = (0..count).map(|_| *random.pick(&REGIONS)).collect();
            // Most passes should have something to do: a launch, or a drain.
            if random.chance(60) {
                self.want(regions[0], *random.pick(&[0, 0, 1, 3, 6])).await;
            }
            let payload = json!({"regions": regions});
            if random.chance(25) {
                self.leave(&payload).await;
            } else {
                self.ask(&payload).await;
            }
            tokio::time::sleep(random.millis(100, 800)).await;
        }
    }

    /// Runs passes for all regions, as the schedule does each minute.
    pub(crate) async fn for_all(&self, mut random: Random, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            if random.chance(30) {
                self.leave(&schedule()).await;
            } else {
                self.ask(&schedule()).await;
            }
            tokio::time::sleep(random.millis(8_000, 16_000)).await;
        }
    }

    /// The number of each outcome, by region and for whole invocations.
    pub(crate) fn tally(&self) -> BTreeMap<String, usize> {
        self.tally.lock().unwrap().clone()
    }

    pub(crate) fn locks_lost(&self) -> usize {
        self.tally().get(LOCKS_LOST).copied().unwrap_or_default()
    }

    /// Sets a region's target.
    async fn want(&self, region: &str, free: usize) {
        let document = "mutation($name: String!, $free: Int!) {
            update_regions(where: {name: {_eq: $name}}, _set: {target_free: $free}) {
                affected_rows
            }
        }";
        let change = json!({"name": region, "free": free});
        self.operator.query(document, change).await.expect(document);
    }

    async fn ask(&self, payload: &Value) {
        self.count("invocations");
        let asked = self.lambda.invoke().function_name(&self.function);
        let answer = asked.payload(Blob::new(payload.to_string())).send().await;
        let Ok(answer) = answer else {
            return self.count("invocations without an answer");
        };
        let body = answer.payload().map(AsRef::as_ref).unwrap_or_default();
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        if answer.function_error().is_some() {
            let kind = body["errorType"].as_str().unwrap_or("an unknown error");
            return self.count(&format!("invocations with {kind}"));
        }
        for report in body["regions"].as_array().into_iter().flatten() {
            self.count(report["outcome"].as_str().unwrap_or("no outcome"));
            if report.to_string().contains(LOCK_LOST) {
                self.count(LOCKS_LOST);
            }
        }
    }

    /// Invokes without waiting for the answer.
    async fn leave(&self, payload: &Value) {
        self.count("invocations without waiting");
        let asked = self.lambda.invoke().function_name(&self.function);
        let asked = asked.invocation_type(InvocationType::Event);
        let answer = asked.payload(Blob::new(payload.to_string())).send().await;
        if answer.is_err() {
            self.count("invocations without an answer");
        }
    }

    fn count(&self, what: &str) {
        *self
            .tally
            .lock()
            .unwrap()
            .entry(what.to_owned())
            .or_default() += 1;
    }
}
