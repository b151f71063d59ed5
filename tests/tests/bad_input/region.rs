//! A region that an operator sets up, breaks and repairs.

use scaling_tests::deployed::{Deployed, SOON};
use scaling_tests::wait::eventually;
use serde_json::{Value, json};

pub(crate) struct Region<'a> {
    pub(crate) deployed: &'a Deployed,
    pub(crate) name: &'a str,
}

impl Region<'_> {
    /// Its row, over GraphQL.
    pub(crate) async fn insert(&self, mut settings: Value) {
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

    pub(crate) async fn set(&self, settings: &Value) {
        let document = "mutation($name: String!, $set: regions_set_input!) {
            update_regions(where: {name: {_eq: $name}}, _set: $set) { affected_rows }
        }";
        let variables = json!({"name": self.name, "set": settings});
        self.mutate(document, variables).await;
    }

    /// Boots from this image from now on.
    pub(crate) async fn set_image(&self, image_id: &str, state: &str) {
        let sql = "DELETE FROM images WHERE region = $1";
        self.deployed
            .sql
            .execute(sql, &[&self.name])
            .await
            .expect(sql);
        let sql = "INSERT INTO images (region, image_id, client_sha, state)
                   VALUES ($1, $2, 'sha-of-' || $1, $3)";
        let row: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&self.name, &image_id, &state];
        self.deployed.sql.execute(sql, &row).await.expect(sql);
    }

    async fn mutate(&self, document: &str, variables: Value) {
        let operator = self.deployed.operator();
        operator.query(document, variables).await.expect(document);
    }

    /// This region's part of a report.
    pub(crate) fn part_of<'r>(&self, report: &'r Value) -> &'r Value {
        let parts = report["regions"].as_array().map_or(&[][..], Vec::as_slice);
        let part = parts.iter().find(|part| part["region"] == self.name);
        part.unwrap_or_else(|| panic!("{} is not in {report:#}", self.name))
    }

    pub(crate) async fn reconcile(&self) -> Value {
        let report = self.deployed.invoke(&json!({"regions": [self.name]})).await;
        self.part_of(&report).clone()
    }

    /// Ids of its instances that EC2 has not given up, in order.
    pub(crate) async fn machines(&self) -> Vec<String> {
        let ledger = self.deployed.ledger().await;
        let living = ["pending", "running"];
        let mut ids: Vec<_> = ledger
            .instances
            .into_iter()
            .filter(|machine| machine.region == self.name)
            .filter(|machine| {
                living
                    .iter()
                    .any(|state| machine.state.as_deref() == Some(state))
            })
            .map(|machine| machine.id)
            .collect();
        ids.sort();
        ids
    }

    /// Ids of its rows, in order.
    pub(crate) async fn rows(&self) -> Vec<String> {
        let sql = "SELECT id FROM instances WHERE region = $1 ORDER BY id";
        let rows = self
            .deployed
            .sql
            .query(sql, &[&self.name])
            .await
            .expect(sql);
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Launches that were recorded and not finished.
    pub(crate) async fn open_intents(&self) -> Vec<String> {
        let mut memory = self.deployed.memory(self.name).await;
        memory.retain(|key| key.starts_with("INTENT#"));
        memory
    }

    /// Waits until so many slots are free.
    pub(crate) async fn filled_to(&self, slots: i64) {
        let sql = "SELECT count(*) FROM slots s JOIN instances i ON i.id = s.instance_id
                   WHERE s.status = 'WAITING' AND i.status = 'ACTIVE' AND i.region = $1";
        let free = async || -> i64 {
            let row = self.deployed.sql.query_one(sql, &[&self.name]).await;
            row.expect(sql).get(0)
        };
        eventually("free slots", SOON, free, |free| *free == slots).await;
    }
}
