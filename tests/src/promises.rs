//! What always holds in a region that has come to rest, checked from outside: in EC2's ledger,
//! PostgreSQL, DynamoDB, and the slots that users were assigned.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};

use crate::deployed::SOON;
use crate::ledger::{Call, Machine};
use crate::region::Region;
use crate::wait::eventually;

/// `SessionsPerUser` in the template.
const SESSIONS: i64 = 3;

impl Region<'_> {
    /// Runs passes until nothing is left to do and nothing is in progress.
    pub async fn settle(&self) -> Value {
        let pass = async || {
            let report = self.reconcile().await;
            (self.in_progress().await, report)
        };
        let at_rest = |(in_progress, report): &(i64, Value)| {
            *in_progress == 0 && report["outcome"] == "done" && is_idle(&report["plan"])
        };
        let (_, report) = eventually(self.name, SOON, pass, at_rest).await;
        report
    }

    /// Waits until nothing is left to do, without running passes: only database events cause them.
    pub async fn wait_until_settled_by_events(&self) {
        let observe = async || {
            let events = self.deployed.control_events("GET", "", &Value::Null).await;
            let waiting = [
                &events["events"]["pending"],
                &events["sending"],
                &events["copies"],
            ];
            let quiet = waiting.iter().all(|number| **number == json!(0));
            (quiet, self.in_progress().await, events)
        };
        let is_quiet = |(quiet, in_progress, _): &(bool, i64, Value)| *quiet && *in_progress == 0;
        eventually(self.name, SOON, observe, is_quiet).await;
    }

    /// The instances that start, or that leave and are empty.
    async fn in_progress(&self) -> i64 {
        self.count(
            "SELECT count(*) FROM instances i
             WHERE i.region = $1 AND (i.status IN ('PRE_CONNECTION', 'TERMINATING')
                 OR i.status = 'DRAINING' AND NOT EXISTS (SELECT FROM slots s
                     WHERE s.instance_id = i.id AND s.status <> 'WAITING'))",
        )
        .await
    }

    /// Asserts every invariant. The region must be at rest.
    pub async fn assert_invariants(&self) {
        let machines = self.launched().await;
        self.assert_rows_match_machines(&machines).await;
        self.assert_each_intent_launched_once(&machines).await;
        self.assert_maximum_held(&machines).await;
        self.assert_slots_are_not_shared().await;
        self.assert_stores_are_at_rest().await;
        let plan = self.plan().await;
        assert_eq!(plan["steps"], json!([]), "{}: {plan:#}", self.name);
    }

    async fn assert_rows_match_machines(&self, machines: &[Machine]) {
        let mut running: Vec<_> = machines
            .iter()
            .filter(|machine| machine.state.as_deref() == Some("running"))
            .map(|machine| machine.id.clone())
            .collect();
        running.sort();
        assert_eq!(self.rows().await, running, "{}: rows", self.name);
        let living: Vec<_> = machines.iter().filter(|machine| machine.is_up()).collect();
        assert_eq!(living.len(), running.len(), "{}: pending", self.name);
    }

    /// Each intent was requested under one token of its own and is closed. EC2 launched no more
    /// machines under a token than the intent requested.
    pub async fn assert_each_intent_launched_once(&self, machines: &[Machine]) {
        let calls = self.calls("RunInstances").await;
        let mut intents: BTreeMap<&str, (&str, usize)> = BTreeMap::new();
        for call in &calls {
            let launch = call.tag("scaling:launch").expect("a launch has its tag");
            let count = call.params["MaxCount"].parse().expect("a number");
            let known = intents.insert(token(call), (launch, count));
            assert!(
                known.is_none_or(|known| known == (launch, count)),
                "{}: another launch under the same token: {call:#?}",
                self.name
            );
        }
        let launches: BTreeSet<_> = intents.values().map(|(launch, _)| *launch).collect();
        assert_eq!(launches.len(), intents.len(), "{}: two tokens", self.name);
        let closed = self
            .deployed
            .items(&format!("CLOSED#{}", self.name))
            .await
            .iter()
            .filter_map(|item| item["sk"].as_s().ok()?.strip_prefix("INTENT#"))
            .map(ToOwned::to_owned)
            .collect::<BTreeSet<_>>();
        let launches: BTreeSet<_> = launches.into_iter().map(ToOwned::to_owned).collect();
        assert_eq!(launches, closed, "{}: asked for, and closed", self.name);

        let mut under: HashMap<&str, usize> = HashMap::new();
        for machine in machines {
            let token = machine.client_token.as_deref().expect("a token");
            *under.entry(token).or_default() += 1;
        }
        for (token, count) in under {
            let (launch, most) = intents[token];
            assert!(count <= most, "{}: {count} of {launch}", self.name);
        }
    }

    /// Counts the live machines at every moment since the region was set up.
    pub async fn assert_maximum_held(&self, machines: &[Machine]) {
        let max = self
            .count("SELECT max_instances::bigint FROM regions WHERE name = $1")
            .await;
        let mut changes: Vec<(i64, i64)> = Vec::new();
        for machine in machines {
            for transition in &machine.transitions {
                match transition.state.as_str() {
                    "pending" => changes.push((transition.at_ms, 1)),
                    "terminated" => changes.push((transition.at_ms, -1)),
                    _ => {}
                }
            }
        }
        // At the same moment, ends come first.
        changes.sort_unstable();
        let mut live = 0;
        for (at_ms, change) in changes {
            live += change;
            assert!(live <= max, "{}: {live} live at {at_ms}", self.name);
        }
    }

    async fn assert_slots_are_not_shared(&self) {
        let mut holders: HashMap<String, (String, String)> = HashMap::new();
        for assignment in self.deployed.assignments(self.name) {
            let holder = (assignment.user, assignment.session);
            let other = holders.insert(assignment.slot.clone(), holder.clone());
            assert!(
                other.as_ref().is_none_or(|other| *other == holder),
                "{}: {} was given to {other:?} and to {holder:?}",
                self.name,
                assignment.slot
            );
        }
        let rows = self
            .deployed
            .sql
            .query(
                "SELECT id::text, user_id, session_id FROM slots
                 WHERE region = $1 AND user_id IS NOT NULL",
                &[&self.name],
            )
            .await
            .expect("the slots");
        for row in rows {
            let (slot, user, session): (String, String, String) =
                (row.get(0), row.get(1), row.get(2));
            assert_eq!(
                holders.get(&slot),
                Some(&(user, session)),
                "{}: {slot} is held by somebody who was not told so",
                self.name
            );
        }
        let greedy = self
            .count(&format!(
                "SELECT count(*) FROM (
                     SELECT user_id FROM slots
                     WHERE status IN ('ALLOCATED', 'CONNECTING', 'RUNNING')
                     GROUP BY user_id HAVING count(*) > {SESSIONS} AND bool_or(region = $1)
                 ) q"
            ))
            .await;
        assert_eq!(greedy, 0, "{}: users over their limit", self.name);
        let crowded = self
            .count(
                "SELECT count(*) FROM instances i WHERE i.region = $1 AND i.capacity <
                     (SELECT count(*) FROM slots s WHERE s.instance_id = i.id)",
            )
            .await;
        assert_eq!(crowded, 0, "{}: more slots than capacity", self.name);
    }

    /// No open intent, no wake mark, and the lock is released. Refusals may stay.
    async fn assert_stores_are_at_rest(&self) {
        let items = self.deployed.items(&format!("REGION#{}", self.name)).await;
        for item in items {
            let sk = item["sk"].as_s().expect("a sort key");
            if sk == "LOCK" {
                let free = AttributeValue::N("0".to_owned());
                assert_eq!(item["expires_at"], free, "{}: the lock", self.name);
            } else {
                assert!(sk.starts_with("REFUSAL#"), "{}: {sk} is left", self.name);
            }
        }
    }

    /// The version of the region's lock: the number of passes that have held it.
    pub async fn lock_version(&self) -> i64 {
        let items = self.deployed.items(&format!("REGION#{}", self.name)).await;
        let lock = items
            .iter()
            .find(|item| item["sk"].as_s().is_ok_and(|sk| sk == "LOCK"));
        let version = lock.and_then(|item| item["version"].as_n().ok());
        version.map_or(0, |version| version.parse().expect("a number"))
    }
}

fn token(call: &Call) -> &str {
    &call.params["ClientToken"]
}

/// Whether the plan has no step and waits for nothing.
fn is_idle(plan: &Value) -> bool {
    plan["steps"] == json!([]) && plan["figures"]["starting"] == json!(0)
}
