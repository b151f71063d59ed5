//! Users of one client version that request slots all the time, never more at once than the target
//! has to serve.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;

use crate::fleet::{Fleet, TARGET};

/// Between two checks of a buffer that is not full, or two requests that are refused.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) struct Clients<'a> {
    fleet: &'a Fleet<'a>,
    client_sha: &'static str,
    image: String,
    requests: Cell<u32>,
    /// The answers in order: empty for a slot, or the error.
    pub(crate) answers: RefCell<Vec<String>>,
}

impl<'a> Clients<'a> {
    pub(crate) fn of(fleet: &'a Fleet<'a>, client_sha: &'static str, image: u32) -> Self {
        Self {
            fleet,
            client_sha,
            image: fleet.image(image),
            requests: Cell::new(0),
            answers: RefCell::default(),
        }
    }

    /// Requests slots until `stop`: the whole target at once whenever it is free.
    pub(crate) async fn request_slots(&self, stop: &Cell<bool>) {
        while !stop.get() {
            let seen = self.fleet.images().await.remove(&self.image);
            let served = seen.filter(|seen| matches!(seen.state.as_str(), "CURRENT" | "BAKING"));
            match served {
                // Slots in use must be freed first, or the region would grow without end.
                Some(seen) if seen.free < TARGET || seen.occupied > TARGET => {}
                Some(_) => {
                    join_all((0..TARGET).map(|_| self.ask())).await;
                }
                None => self.ask().await,
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Requests a slot for a new user.
    async fn ask(&self) {
        let number = self.requests.replace(self.requests.get() + 1);
        let user = format!("user {number} with {}", self.client_sha);
        let region = self.fleet.region;
        let request = json!({
            "regions": [region.name],
            "client_commit_hash": self.client_sha,
            "session_id": "1",
        });
        let answer = region.deployed.assign(&user, &request).await;
        let error = answer.body["error"].as_str().unwrap_or("no answer");
        self.answers.borrow_mut().push(error.to_owned());
        if let (200, Some(slot)) = (answer.status, answer.body["mandelbox_id"].as_str()) {
            self.is_served_by_its_own(slot).await;
        }
    }

    /// The slot of a session that is already over does not exist any more.
    async fn is_served_by_its_own(&self, slot: &str) {
        let sql = "SELECT i.client_sha FROM slots s JOIN instances i ON i.id = s.instance_id
                   WHERE s.id::text = $1";
        let connection = &self.fleet.region.deployed.sql;
        let row = connection.query_opt(sql, &[&slot]).await.expect(sql);
        if let Some(row) = row {
            assert_eq!(row.get::<_, &str>(0), self.client_sha, "{slot}");
        }
    }

    /// How many slots they got.
    pub(crate) fn served(&self) -> usize {
        self.answers
            .borrow()
            .iter()
            .filter(|answer| answer.is_empty())
            .count()
    }

    /// The number of each answer.
    pub(crate) fn tally(&self) -> BTreeMap<String, usize> {
        let mut tally = BTreeMap::new();
        for answer in self.answers.borrow().iter() {
            let what = if answer.is_empty() { "a slot" } else { answer };
            *tally.entry(what.to_owned()).or_default() += 1;
        }
        tally
    }
}
