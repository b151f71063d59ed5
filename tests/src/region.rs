//! A region of a deployed stack: an operator sets it up, breaks and repairs it, and its users
//! request slots.

use serde_json::{Value, json};

use crate::deployed::{Answer, Deployed, SOON};
use crate::ledger::{Call, Machine};
use crate::wait::eventually;

#[derive(Clone, Copy)]
pub struct Region<'a> {
    pub deployed: &'a Deployed,
    pub name: &'a str,
}

impl Region<'_> {
    /// Inserts its row over GraphQL.
    pub async fn insert(&self, mut settings: Value) {
        settings["name"] = json!(self.name);
        for (column, value) in [("target_free", 4), ("max_instances", 10)] {
            if settings[column].is_null() {
                settings[column] = json!(value);
            }
        }
        let document = "mutation($row: regions_insert_input!) {
            insert_regions(objects: [$row]) { affected_rows }
        }";
        self.mutate(document, json!({"row": settings})).await;
    }

    pub async fn set(&self, settings: &Value) {
        let set = self.try_set(settings).await;
        set.unwrap_or_else(|error| panic!("{settings}: {error:#}"));
    }

    /// # Errors
    /// When the database rejects the settings.
    pub async fn try_set(&self, settings: &Value) -> anyhow::Result<()> {
        let document = "mutation($name: String!, $set: regions_set_input!) {
            update_regions(where: {name: {_eq: $name}}, _set: $set) { affected_rows }
        }";
        let variables = json!({"name": self.name, "set": settings});
        let operator = self.deployed.operator();
        operator.query(document, variables).await.map(|_| ())
    }

    /// Makes this the region's only image. Its clients send [`Self::client_sha`].
    pub async fn set_image(&self, image_id: &str, state: &str) {
        let sql = "DELETE FROM images WHERE region = $1";
        self.deployed
            .sql
            .execute(sql, &[&self.name])
            .await
            .expect(sql);
        let sql = "INSERT INTO images (region, image_id, client_sha, state)
                   VALUES ($1, $2, $3, $4)";
        let row: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
            [&self.name, &image_id, &self.client_sha(), &state];
        self.deployed.sql.execute(sql, &row).await.expect(sql);
    }

    pub fn client_sha(&self) -> String {
        format!("sha-of-{}", self.name)
    }

    async fn mutate(&self, document: &str, variables: Value) {
        let operator = self.deployed.operator();
        operator.query(document, variables).await.expect(document);
    }

    /// The request of a client that lists only this region.
    pub fn ask(&self, session: &str) -> Value {
        json!({
            "regions": [self.name],
            "client_commit_hash": self.client_sha(),
            "session_id": session,
        })
    }

    /// A user of only this region: a user who has a slot elsewhere is given that one again.
    pub fn user(&self, name: &str) -> String {
        format!("{name} of {}", self.name)
    }

    pub async fn assign(&self, user: &str, session: &str) -> Answer {
        let user = self.user(user);
        self.deployed.assign(&user, &self.ask(session)).await
    }

    /// Requests a slot for one session of the user, and expects it to be assigned.
    pub async fn assigned(&self, user: &str) -> Answer {
        let answer = self.assign(user, "1").await;
        assert_eq!(answer.status, 200, "{user}: {answer:#?}");
        assert_eq!(answer.body["region"], self.name, "{user}: {answer:#?}");
        answer
    }

    /// Requests a slot and expects it to be refused with this error.
    pub async fn refused(&self, user: &str, error: &str) {
        let answer = self.assign(user, "1").await;
        let refusal = (answer.status, answer.body["error"].as_str());
        assert_eq!(refusal, (503, Some(error)), "{user}: {answer:#?}");
    }

    /// The instance on which a user has a slot.
    pub async fn host_of(&self, user: &str) -> String {
        let sql = "SELECT instance_id FROM slots WHERE region = $1 AND user_id = $2
                   AND status IN ('ALLOCATED', 'CONNECTING', 'RUNNING')";
        let user = self.user(user);
        let row = self.deployed.sql.query_one(sql, &[&self.name, &user]).await;
        row.expect(&user).get(0)
    }

    /// This region's part of a report.
    pub fn part_of<'r>(&self, report: &'r Value) -> &'r Value {
        let parts = report["regions"].as_array().map_or(&[][..], Vec::as_slice);
        let part = parts.iter().find(|part| part["region"] == self.name);
        part.unwrap_or_else(|| panic!("{} is not in {report:#}", self.name))
    }

    pub async fn reconcile(&self) -> Value {
        let report = self.deployed.invoke(&json!({"regions": [self.name]})).await;
        self.part_of(&report).clone()
    }

    /// Runs a pass by the schedule's event, which is for all regions.
    pub async fn scheduled(&self) -> Value {
        let report = self.deployed.scheduled().await;
        self.part_of(&report).clone()
    }

    /// The plan of a dry run.
    pub async fn plan(&self) -> Value {
        let dry_run = json!({"regions": [self.name], "dry_run": true});
        let report = self.deployed.invoke(&dry_run).await;
        let part = self.part_of(&report);
        assert_eq!(part["outcome"], "dry_run", "{part:#}");
        part["plan"].clone()
    }

    /// Every machine that EC2 ever launched here.
    pub async fn launched(&self) -> Vec<Machine> {
        let mut machines = self.deployed.ledger().await.instances;
        machines.retain(|machine| machine.region == self.name);
        machines
    }

    /// The ids of the machines that EC2 is starting or running, sorted.
    pub async fn machines(&self) -> Vec<String> {
        let machines = self.launched().await.into_iter();
        let mut ids: Vec<_> = machines
            .filter(Machine::is_up)
            .map(|machine| machine.id)
            .collect();
        ids.sort();
        ids
    }

    /// The calls of an action so far.
    pub async fn calls(&self, action: &str) -> Vec<Call> {
        let mut calls = self.deployed.ledger().await.calls;
        calls.retain(|call| call.region == self.name && call.action == action);
        calls
    }

    /// The ids of its rows, sorted.
    pub async fn rows(&self) -> Vec<String> {
        let sql = "SELECT id FROM instances WHERE region = $1 ORDER BY id";
        let rows = self
            .deployed
            .sql
            .query(sql, &[&self.name])
            .await
            .expect(sql);
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// The single number that a query returns. Its `$1` is the region.
    pub async fn count(&self, query: &str) -> i64 {
        let row = self.deployed.sql.query_one(query, &[&self.name]).await;
        row.expect(query).get(0)
    }

    /// The launches that were recorded and are not closed.
    pub async fn open_intents(&self) -> Vec<String> {
        let mut keys = self.deployed.region_state(self.name).await;
        keys.retain(|key| key.starts_with("INTENT#"));
        keys
    }

    /// The free slots by the database: `WAITING` on an `ACTIVE` instance.
    pub async fn free(&self) -> i64 {
        self.count(
            "SELECT count(*) FROM slots s JOIN instances i ON i.id = s.instance_id
             WHERE s.status = 'WAITING' AND i.status = 'ACTIVE' AND i.region = $1",
        )
        .await
    }

    /// Waits until exactly `slots` slots are free.
    pub async fn filled_to(&self, slots: i64) {
        let free = async || self.free().await;
        eventually("free slots", SOON, free, |free| *free == slots).await;
    }
}
