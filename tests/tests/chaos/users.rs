//! Users who come, are given a slot or refused, and come again.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use local_stack::random::Random;
use local_stack::seed::{APP_VERSION, CLIENT_SHA};
use reqwest::Method;
use scaling_tests::deployed::Deployed;
use serde_json::{Value, json};

use crate::regions::REGIONS;

/// Few, and often there: some of them meet their limit.
const USERS: usize = 60;

/// Half of all requests are for one of the first so many regions: those meet their maximum.
const HOT: usize = 6;

/// One whose function died asks again at once, for the same session.
const ATTEMPTS: usize = 4;

/// Longer than the function's own limit.
const PATIENCE: Duration = Duration::from_secs(20);

/// A slot that a user was told.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) user: String,
    pub(crate) session: String,
    pub(crate) slot: String,
}

pub(crate) struct Users<'a> {
    deployed: &'a Deployed,
    sessions: AtomicUsize,
    told: Mutex<Vec<Told>>,
    answers: Mutex<BTreeMap<String, usize>>,
}

impl<'a> Users<'a> {
    pub(crate) fn of(deployed: &'a Deployed) -> Self {
        Self {
            deployed,
            sessions: AtomicUsize::new(1),
            told: Mutex::default(),
            answers: Mutex::default(),
        }
    }

    /// One request after the other until it is time to stop.
    pub(crate) async fn request_slots(&self, mut dice: Random, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let user = format!("user-{}", dice.below(USERS));
            let session = self.sessions.fetch_add(1, Ordering::Relaxed).to_string();
            let regions: Vec<_> = (0..=dice.below(3))
                .map(|_| {
                    let sides = if dice.chance(50) { HOT } else { REGIONS.len() };
                    REGIONS[dice.below(sides)]
                })
                .collect();
            for _ in 0..ATTEMPTS {
                if self.ask(&user, &session, &regions).await != Answer::Died {
                    break;
                }
            }
            tokio::time::sleep(dice.millis(100, 900)).await;
        }
    }

    /// Whoever was refused for want of capacity asks again until nobody waits any more.
    pub(crate) async fn retry_waiting_users(&self) {
        let waiting = "SELECT user_id, session_id, region FROM waiting_users";
        let rows = self.deployed.sql.query(waiting, &[]).await.expect(waiting);
        for row in rows {
            let (user, session, region): (String, String, String) =
                (row.get(0), row.get(1), row.get(2));
            self.ask(&user, &session, &[&region]).await;
        }
    }

    pub(crate) fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    /// How often each answer was given.
    pub(crate) fn answers(&self) -> BTreeMap<String, usize> {
        self.answers.lock().unwrap().clone()
    }

    async fn ask(&self, user: &str, session: &str, regions: &[&str]) -> Answer {
        let body = json!({
            "regions": regions,
            "client_commit_hash": CLIENT_SHA,
            "version": APP_VERSION,
            "session_id": session,
        });
        let request = self
            .deployed
            .request(Method::POST, "mandelbox/assign")
            .bearer_auth(self.deployed.token(user))
            .timeout(PATIENCE)
            .json(&body);
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(_) => return self.count("no answer", Answer::Died),
        };
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.unwrap_or_default();
        match (status, body["error"].as_str()) {
            (200, _) => {
                let slot = body["mandelbox_id"]
                    .as_str()
                    .expect("a slot's id")
                    .to_owned();
                self.told.lock().unwrap().push(Told {
                    user: user.to_owned(),
                    session: session.to_owned(),
                    slot,
                });
                self.count("served", Answer::Given)
            }
            (503, Some(error)) => self.count(error, Answer::Given),
            _ => self.count(&format!("status {status}"), Answer::Died),
        }
    }

    fn count(&self, what: &str, answer: Answer) -> Answer {
        *self
            .answers
            .lock()
            .unwrap()
            .entry(what.to_owned())
            .or_default() += 1;
        answer
    }
}

/// Whether the function lived to give one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Given,
    Died,
}
