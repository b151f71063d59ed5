//! What always holds in a region that has come to rest, checked from outside: in EC2's ledger,
//! PostgreSQL, DynamoDB, and the slots that users were assigned.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use testing::invariants::slots::Holding;
use testing::invariants::{launches, live, rest, slots};
use tokio_postgres::types::ToSql;

use crate::deployed::SOON;
use crate::ledger::{Call, Machine};
use crate::region::Region;
use crate::store_view::number;
use crate::wait::eventually;

/// `SessionsPerUser` in the template.
const SESSIONS: usize = 3;

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
        self.wait_until_store_is_at_rest().await;
        let plan = self.plan().await;
        assert_eq!(plan["steps"], json!([]), "{}: {plan:#}", self.name);
    }

    async fn assert_rows_match_machines(&self, machines: &[Machine]) {
        let running: BTreeSet<_> = machines
            .iter()
            .filter(|machine| machine.state.as_deref() == Some("running"))
            .map(|machine| machine.id.clone())
            .collect();
        let rows = self.rows().await.into_iter().collect();
        assert_eq!(rest::rows_differ(&rows, &running), None, "{}", self.name);
        let up: Vec<_> = machines.iter().filter(|machine| machine.is_up()).collect();
        assert_eq!(up.len(), running.len(), "{}: pending", self.name);
    }

    /// Each intent was requested under one token of its own and is closed. EC2 launched no more
    /// machines under a token than the intent requested.
    pub async fn assert_each_intent_launched_once(&self, machines: &[Machine]) {
        let calls = self.calls("RunInstances").await;
        let requests: Vec<_> = calls.iter().filter_map(Call::launch_request).collect();
        let items = self.deployed.items(&format!("CLOSED#{}", self.name)).await;
        let closed: BTreeSet<_> = items
            .iter()
            .filter_map(|item| item["sk"].as_s().ok()?.strip_prefix("INTENT#"))
            .map(ToOwned::to_owned)
            .collect();
        let machines: Vec<_> = machines.iter().map(Machine::history).collect();
        let mut found = launches::violations(&requests, &machines);
        found.extend(launches::unclosed(&requests, &closed));
        found.extend(launches::unrequested(&requests, &closed));
        self.assert_none(&found);
    }

    /// Counts the live machines at every moment since the region was set up.
    pub async fn assert_maximum_held(&self, machines: &[Machine]) {
        let max = self
            .count("SELECT max_instances::bigint FROM regions WHERE name = $1")
            .await;
        let machines: Vec<_> = machines.iter().map(Machine::history).collect();
        let max = usize::try_from(max).expect("a maximum");
        self.assert_none(&live::violations(&machines, max));
    }

    async fn assert_slots_are_not_shared(&self) {
        let answers: BTreeSet<_> = self.deployed.assignments(self.name).into_iter().collect();
        let answers: Vec<_> = answers.into_iter().collect();
        self.assert_none(&slots::shared_answers(&answers));
        let of_region = "SELECT id::text, user_id, session_id FROM slots
                         WHERE user_id IS NOT NULL AND region = $1";
        let taken = self.holdings(of_region, &[&self.name]).await;
        let unknown: Vec<_> = taken.iter().filter(|it| !answers.contains(it)).collect();
        assert!(
            unknown.is_empty(),
            "{}: held, but not answered to the user: {unknown:?}",
            self.name
        );
        // A user may hold slots in several regions.
        let counted = "SELECT id::text, user_id, session_id FROM slots
                       WHERE status IN ('ALLOCATED', 'CONNECTING', 'RUNNING')";
        let held = self.holdings(counted, &[]).await;
        self.assert_none(&slots::holding_violations(&held, SESSIONS));
        let crowded = self
            .count(
                "SELECT count(*) FROM instances i WHERE i.region = $1 AND i.capacity <
                     (SELECT count(*) FROM slots s WHERE s.instance_id = i.id)",
            )
            .await;
        assert_eq!(crowded, 0, "{}: more slots than capacity", self.name);
    }

    async fn holdings(&self, query: &str, parameters: &[&(dyn ToSql + Sync)]) -> Vec<Holding> {
        let rows = self.deployed.sql.query(query, parameters).await;
        let rows = rows.expect(query);
        rows.iter()
            .map(|row| Holding {
                slot: row.get(0),
                user: row.get(1),
                session: row.get(2),
            })
            .collect()
    }

    /// Waits until the store has no work left, without running passes: EC2's last events may still
    /// cause them, and each marks the region before its pass.
    pub async fn wait_until_store_is_at_rest(&self) {
        let left = async || self.work_left().await;
        eventually(self.name, SOON, left, Vec::is_empty).await;
    }

    /// The work that is left in the store: open intents, and passes that are marked or under way.
    pub async fn work_left(&self) -> Vec<String> {
        self.deployed.store_view(self.name).await.work_left()
    }

    fn assert_none(&self, violations: &[String]) {
        assert!(violations.is_empty(), "{}: {violations:#?}", self.name);
    }

    /// The version of the region's lock: the number of passes that have held it.
    pub async fn lock_version(&self) -> i64 {
        let items = self.deployed.items(&format!("REGION#{}", self.name)).await;
        let lock = items
            .iter()
            .find(|item| item["sk"].as_s().is_ok_and(|sk| sk == "LOCK"));
        lock.map_or(0, |item| number(item, "version"))
    }
}

/// Whether the plan has no step and waits for nothing.
fn is_idle(plan: &Value) -> bool {
    plan["steps"] == json!([]) && plan["figures"]["starting"] == json!(0)
}
