//! Load of users, who request slots, are assigned one or refused, and retry.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use local_stack::random::Random;
use local_stack::seed::{APP_VERSION, CLIENT_SHA};
use reqwest::Method;
use scaling_tests::deployed::Deployed;
use serde_json::{Value, json};
use testing::invariants::slots::Holding;

use crate::regions::REGIONS;

/// Few, with many requests each, so that some reach their limit.
const USERS: usize = 60;

/// Half of all requests are for one of the first regions, up to this number: those reach their
/// maximum.
const HOT: usize = 6;

/// A user whose function died retries at once for the same session.
const ATTEMPTS: usize = 4;

/// Longer than the function's own timeout.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Users<'a> {
    deployed: &'a Deployed,
    sessions: AtomicUsize,
    answered: Mutex<Vec<Holding>>,
    answers: Mutex<BTreeMap<String, usize>>,
}

impl<'a> Users<'a> {
    pub(crate) fn of(deployed: &'a Deployed) -> Self {
        Self {
            deployed,
            sessions: AtomicUsize::new(1),
            answered: Mutex::default(),
            answers: Mutex::default(),
        }
    }

    /// Sends one request after the other until `stop`.
    pub(crate) async fn request_slots(&self, mut random: Random, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let user = format!("user-{}", random.below(USERS));
            let session = self.sessions.fetch_add(1, Ordering::Relaxed).to_string();
            let regions: Vec<_> = (0..=random.below(3))
                .map(|_| {
                    let sides = if random.chance(50) {
                        HOT
                    } else {
                        REGIONS.len()
                    };
                    REGIONS[random.below(sides)]
                })
                .collect();
            for _ in 0..ATTEMPTS {
                if self.ask(&user, &session, &regions).await != Answer::Died {
                    break;
                }
            }
            tokio::time::sleep(random.millis(100, 900)).await;
        }
    }

    /// Retries for every refused user until none waits.
    pub(crate) async fn retry_waiting_users(&self) {
        let waiting = "SELECT DISTINCT user_id, session_id, regions FROM waiting_users";
        let rows = self.deployed.sql.query(waiting, &[]).await.expect(waiting);
        for row in rows {
            let (user, session, regions): (String, String, Vec<String>) =
                (row.get(0), row.get(1), row.get(2));
            let regions: Vec<_> = regions.iter().map(String::as_str).collect();
            self.ask(&user, &session, &regions).await;
        }
    }

    pub(crate) fn answered(&self) -> Vec<Holding> {
        self.answered.lock().unwrap().clone()
    }

    /// The number of each answer.
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
                self.answered.lock().unwrap().push(Holding {
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

/// Whether the function lived to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Given,
    Died,
}
