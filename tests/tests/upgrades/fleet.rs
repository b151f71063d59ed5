//! A region and its images.

use std::collections::BTreeMap;

use scaling_tests::deployed::{Deployed, SOON};
use scaling_tests::region::Region;
use scaling_tests::wait::eventually;
use serde_json::{Value, json};

pub(crate) const OLD: &str = "sha-of-the-old-client";
pub(crate) const NEW: &str = "sha-of-the-new-client";
pub(crate) const TARGET: i64 = 4;

pub(crate) struct Fleet<'a> {
    pub(crate) region: Region<'a>,
    number: &'static str,
}

/// One image at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) state: String,
    pub(crate) reason: Option<String>,
    pub(crate) instances: i64,
    pub(crate) free: i64,
    pub(crate) occupied: i64,
}

impl<'a> Fleet<'a> {
    /// A region of the world, without a row yet.
    pub(crate) fn of(deployed: &'a Deployed, name: &'static str) -> Self {
        let number = match name {
            "us-east-1" => "01",
            "us-west-1" => "02",
            "us-west-2" => "03",
            "eu-west-1" => "04",
            other => panic!("{other} is none of the world's regions"),
        };
        let region = Region { deployed, name };
        Self { region, number }
    }

    /// The id of the region's first, second or third image.
    pub(crate) fn image(&self, number: u32) -> String {
        format!("ami-{}00000000000000{number}", self.number)
    }

    /// Inserts the region without an image.
    pub(crate) async fn insert(&self, mut settings: Value) {
        let subnet = format!("subnet-{}a0000000000000a", self.number);
        let choice = json!({"instance_type": "m6i.large", "capacity": 2, "subnet_id": subnet});
        let defaults = [
            ("target_free", json!(TARGET)),
            ("max_instances", json!(20)),
            ("scale_up_step", json!(0)),
            ("scale_down_step", json!(0)),
            // Sessions last a second here, and that is the norm.
            ("quick_end_seconds", json!(0)),
            ("replacements_per_minute", json!(0)),
            ("launch_choices", json!([choice])),
            (
                "security_groups",
                json!([{"key": "scaling", "value": "hosts"}]),
            ),
        ];
        for (column, value) in defaults {
            if settings[column].is_null() {
                settings[column] = value;
            }
        }
        self.region.insert(settings).await;
    }

    /// The same with the first image and its full buffer.
    pub(crate) async fn filled(&self, settings: Value) {
        self.insert(settings).await;
        let sql = "INSERT INTO images (region, image_id, client_sha, state)
                   VALUES ($1, $2, $3, 'CURRENT')";
        let (sql_of, image) = (&self.region.deployed.sql, self.image(1));
        sql_of
            .execute(sql, &[&self.region.name, &image, &OLD])
            .await
            .expect(sql);
        self.region.settle().await;
    }

    /// Requests an image as a deploy pipeline does, and returns this region's part of the answer.
    pub(crate) async fn ask(&self, image: &str, client_sha: &str) -> Value {
        let name = self.region.name;
        let order = json!({"client_sha": client_sha, "images": {name: image}});
        let order = json!({"image_upgrade": order});
        let report = self.region.deployed.invoke(&order).await;
        self.region.part_of(&report).clone()
    }

    /// Sets the `client_sha` that the environment's app version names.
    pub(crate) async fn publish(&self, client_sha: &str) {
        publish(self.region.deployed, client_sha).await;
    }

    pub(crate) async fn images(&self) -> BTreeMap<String, Seen> {
        let sql = "SELECT m.image_id, m.state, m.reason, count(DISTINCT i.id),
                count(s.id) FILTER (WHERE s.status = 'WAITING' AND i.status = 'ACTIVE'),
                count(s.id) FILTER (WHERE s.status <> 'WAITING')
            FROM images m
            LEFT JOIN instances i ON i.region = m.region AND i.image_id = m.image_id
            LEFT JOIN slots s ON s.instance_id = i.id
            WHERE m.region = $1 GROUP BY m.image_id, m.state, m.reason";
        let connection = &self.region.deployed.sql;
        let rows = connection.query(sql, &[&self.region.name]).await;
        let rows = rows.expect(sql).into_iter();
        rows.map(|row| {
            let seen = Seen {
                state: row.get(1),
                reason: row.get(2),
                instances: row.get(3),
                free: row.get(4),
                occupied: row.get(5),
            };
            (row.get(0), seen)
        })
        .collect()
    }

    pub(crate) async fn state(&self, number: u32) -> Option<Seen> {
        self.images().await.remove(&self.image(number))
    }

    /// Runs passes until an image is in this state.
    pub(crate) async fn until(&self, number: u32, state: &str) -> Seen {
        let pass = async || {
            let report = self.region.scheduled().await;
            (self.state(number).await, report)
        };
        let is_so = |(seen, _): &(Option<Seen>, Value)| {
            seen.as_ref().is_some_and(|seen| seen.state == state)
        };
        let what = format!("image {number} is {state}");
        eventually(&what, SOON, pass, is_so).await.0.unwrap()
    }
}

pub(crate) async fn publish(deployed: &Deployed, client_sha: &str) {
    let sql = "INSERT INTO app_versions (environment, version, client_sha) VALUES ('dev', $1, $2)
               ON CONFLICT (environment) DO UPDATE SET version = $1, client_sha = $2";
    let version = format!("with {client_sha}");
    deployed
        .sql
        .execute(sql, &[&version, &client_sha])
        .await
        .expect(sql);
}
