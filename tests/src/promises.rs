//! What the service promises, seen from outside, once a region has come to rest: in EC2's
//! ledger, in Postgres, in DynamoDB, and in what users were told.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};

use crate::deployed::SOON;
use crate::ledger::{Call, Machine};
use crate::region::Region;
use crate::wait::eventually;

/// `SessionsPerUser`, as the template has it.
const SESSIONS: i64 = 3;

impl Region<'_> {
    /// Passes, until nothing is left to be done and nothing is on its way.
    pub async fn settle(&self) -> Value {
        let pass = async || {
            let report = self.reconcile().await;
            (self.on_their_way().await, report)
        };
        let at_rest = |(on_their_way, report): &(i64, Value)| {
            *on_their_way == 0 && report["outcome"] == "done" && is_idle(&report["plan"])
        };
        let (_, report) = eventually(self.name, SOON, pass, at_rest).await;
        report
    }

    /// Waits for the same without asking for a pass: the database's events are all there is.
    pub async fn settled_by_events(&self) {
        let look = async || {
            let events = self.deployed.control_events("GET", "", &Value::Null).await;
            let waiting = [
                &events["events"]["pending"],
                &events["sending"],
                &events["copies"],
            ];
            let quiet = waiting.iter().all(|number| **number == json!(0));
            (quiet, self.on_their_way().await, events)
        };
        let is_quiet = |(quiet, on_their_way, _): &(bool, i64, Value)| *quiet && *on_their_way == 0;
        eventually(self.name, SOON, look, is_quiet).await;
    }

    /// Instances that start, or that nothing keeps from leaving.
    async fn on_their_way(&self) -> i64 {
        self.count(
            "SELECT count(*) FROM instances i
             WHERE i.region = $1 AND (i.status IN ('PRE_CONNECTION', 'TERMINATING')
                 OR i.status = 'DRAINING' AND NOT EXISTS (SELECT FROM slots s
                     WHERE s.instance_id = i.id AND s.status <> 'WAITING'))",
        )
        .await
    }

    /// Asserts all that always holds, when the region is at rest.
    pub async fn promises_kept(&self) {
        let machines = self.launched().await;
        self.rows_are_what_runs(&machines).await;
        self.each_intent_was_launched_once(&machines).await;
        self.never_more_than_the_maximum(&machines).await;
        self.nobody_shares_a_slot().await;
        self.everything_is_closed().await;
        let plan = self.plan().await;
        assert_eq!(plan["steps"], json!([]), "{}: {plan:#}", self.name);
    }

    async fn rows_are_what_runs(&self, machines: &[Machine]) {
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

    /// Each intent was asked for under a token of its own and closed, and what EC2 launched under
    /// a token is no more than the intent asked for.
    pub async fn each_intent_was_launched_once(&self, machines: &[Machine]) {
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

    /// Counts at every moment since the region was set up.
    pub async fn never_more_than_the_maximum(&self, machines: &[Machine]) {
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
        // Of one moment the ends first.
        changes.sort_unstable();
        let mut live = 0;
        for (at_ms, change) in changes {
            live += change;
            assert!(live <= max, "{}: {live} live at {at_ms}", self.name);
        }
    }

    async fn nobody_shares_a_slot(&self) {
        let mut holders: HashMap<String, (String, String)> = HashMap::new();
        for given in self.deployed.given(self.name) {
            let holder = (given.user, given.session);
            let other = holders.insert(given.slot.clone(), holder.clone());
            assert!(
                other.as_ref().is_none_or(|other| *other == holder),
                "{}: {} was given to {other:?} and to {holder:?}",
                self.name,
                given.slot
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

    /// No open intent, no mark, and the lock is given back. Refusals are a memory, not a task.
    async fn everything_is_closed(&self) {
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

    /// The version of the region's lock: how many passes have held it.
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

/// Whether a plan does nothing and waits for nothing.
fn is_idle(plan: &Value) -> bool {
    plan["steps"] == json!([]) && plan["figures"]["starting"] == json!(0)
}
