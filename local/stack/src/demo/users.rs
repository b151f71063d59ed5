//! Users who come when they like, ask over HTTP with a token of their own, and come again when
//! they are refused, as real clients do.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::stream::{FuturesUnordered, StreamExt as _};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use super::clock::DayTime;
use super::day::{Arrival, share_of_new};
use super::places::PLACES;
use super::queue::Queue;
use super::show::Show;
use crate::dice::Dice;
use crate::seed::{APP_VERSION, CLIENT_SHA};
use crate::upgrade::{NEXT_CLIENT_SHA, NEXT_VERSION};

/// Requests that are under way at the same time at the most.
const AT_ONCE: usize = 24;

/// Longer than the function's own limit.
const ANSWER_TIME: Duration = Duration::from_secs(20);

/// Pauses of a client that was refused: the first, and the longest; each is twice the one before.
const PAUSES: (Duration, Duration) = (Duration::from_millis(400), Duration::from_millis(1_200));

/// A user who had no place by then goes away.
const PATIENCE: Duration = Duration::from_secs(30);

/// A place that a user was given.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) slot: String,
    pub(super) user: String,
    pub(super) client_sha: &'static str,
    /// From the first request to the place, for one who was refused for want of capacity.
    pub(super) waited: Option<Duration>,
}

pub(super) struct Users<'a> {
    show: &'a Show<'a>,
    http: reqwest::Client,
    permits: Semaphore,
    dice: RefCell<Dice>,
    queues: [Queue; PLACES.len()],
    /// Where and when each asked first, and each of those who had to wait.
    asked: RefCell<Vec<(usize, DayTime)>>,
    refused: RefCell<Vec<(usize, DayTime)>>,
    pub(super) told: RefCell<Vec<Told>>,
    /// Who went away without a place.
    pub(super) gave_up: Cell<usize>,
    /// Who had an old client, was refused for it, and brought it up to date.
    pub(super) updated: Cell<usize>,
    /// Answers that are no answer.
    pub(super) failures: RefCell<Vec<String>>,
}

enum Answer {
    Slot(String),
    NoCapacity,
    OtherClient,
    Failed(String),
}

impl<'a> Users<'a> {
    pub(super) fn of(show: &'a Show<'a>, seed: u64) -> Self {
        Self {
            show,
            http: reqwest::Client::new(),
            permits: Semaphore::new(AT_ONCE),
            dice: RefCell::new(Dice::of(seed, "pauses")),
            queues: PLACES.each_ref().map(|place| Queue::of(place.region)),
            asked: RefCell::default(),
            refused: RefCell::default(),
            told: RefCell::default(),
            gave_up: Cell::default(),
            updated: Cell::default(),
            failures: RefCell::default(),
        }
    }

    /// All come at their time, whatever becomes of the others.
    pub(super) async fn come(&self, arrivals: &[Arrival]) -> Result<()> {
        let mut visits = FuturesUnordered::new();
        let mut arrivals = arrivals.iter().peekable();
        loop {
            let next = arrivals.peek().map(|arrival| arrival.at);
            tokio::select! {
                () = self.show.clock.reach(next.unwrap_or(DayTime::END)), if next.is_some() => {
                    let arrival = arrivals.next();
                    visits.extend(arrival.map(|it| self.visit(it, 1)));
                }
                Some(visited) = visits.next() => visited?,
                else => return Ok(()),
            }
        }
    }

    /// A user asks until there is a place, or patience is at its end.
    pub(super) async fn visit(&self, arrival: &Arrival, session: u32) -> Result<()> {
        let token = self.show.stage.stack.token(&arrival.user)?;
        let (came, asked) = (Instant::now(), (arrival.place, self.show.clock.now()));
        self.asked.borrow_mut().push(asked);
        let queue = &self.queues[arrival.place];
        let mut client_sha = self.client_of(arrival);
        let mut pause = PAUSES.0;
        let mut waits = false;
        let slot = loop {
            match self.ask(arrival, session, &token, client_sha).await {
                Answer::Slot(slot) => break Some(slot),
                Answer::OtherClient if client_sha == CLIENT_SHA => {
                    client_sha = NEXT_CLIENT_SHA;
                    if self.updated.get() == 0 {
                        self.show.say(&format!(
                            "{APP_VERSION} is not served any more: a client that asks with it is \
                             told so, updates itself, and asks again"
                        ));
                    }
                    self.updated.update(|updated| updated + 1);
                    continue;
                }
                // The new client was published a moment ago.
                Answer::OtherClient => {}
                Answer::NoCapacity if waits => {}
                Answer::NoCapacity => {
                    waits = true;
                    self.refused.borrow_mut().push(asked);
                    queue.join(self.show);
                }
                Answer::Failed(what) => self.failures.borrow_mut().push(what),
            }
            if came.elapsed() > PATIENCE {
                break None;
            }
            let jitter = self.dice.borrow_mut().part();
            sleep(pause.mul_f64(0.75 + jitter / 2.0)).await;
            pause = (pause * 2).min(PAUSES.1);
        };
        let waited = waits.then(|| came.elapsed());
        if let Some(waited) = waited {
            queue.leave(waited);
        }
        match slot {
            Some(slot) => self.told.borrow_mut().push(Told {
                slot,
                user: arrival.user.clone(),
                client_sha,
                waited,
            }),
            None => self.gave_up.update(|gave_up| gave_up + 1),
        }
        Ok(())
    }

    /// What the user's client is built from, at this time.
    fn client_of(&self, arrival: &Arrival) -> &'static str {
        let published = self.show.published.get();
        let since = published.map(|at| self.show.clock.now().since(at).as_secs());
        let share = since.map(|seconds| share_of_new(u32::try_from(seconds).unwrap_or(u32::MAX)));
        match share {
            Some(share) if arrival.laggard < share => NEXT_CLIENT_SHA,
            _ => CLIENT_SHA,
        }
    }

    async fn ask(&self, arrival: &Arrival, session: u32, token: &str, sha: &str) -> Answer {
        let answer = self.answer(arrival, session, token, sha).await;
        answer.unwrap_or_else(|error| Answer::Failed(format!("{error:#}")))
    }

    async fn answer(
        &self,
        arrival: &Arrival,
        session: u32,
        token: &str,
        sha: &str,
    ) -> Result<Answer> {
        let _permit = self.permits.acquire().await?;
        let is_new = sha == NEXT_CLIENT_SHA;
        let body = json!({
            "regions": [PLACES[arrival.place].region],
            "client_commit_hash": sha,
            "version": if is_new { NEXT_VERSION } else { APP_VERSION },
            "user_email": format!("{}@example.com", arrival.user),
            "session_id": session,
        });
        let url = format!(
            "{}mandelbox/assign",
            self.show.stage.stack.env().assign_user_url
        );
        let request = self.http.post(url).bearer_auth(token).json(&body);
        let answer = request.timeout(ANSWER_TIME).send().await;
        let answer = answer.context("ask for a place")?;
        let status = answer.status();
        let body: Value = answer.json().await.context("read the answer")?;
        let slot = body["mandelbox_id"].as_str().unwrap_or_default();
        Ok(match (status, body["error"].as_str().unwrap_or_default()) {
            (StatusCode::OK, _) => Answer::Slot(slot.to_owned()),
            (_, "NO_INSTANCE_AVAILABLE") => Answer::NoCapacity,
            (_, "COMMIT_HASH_MISMATCH") => Answer::OtherClient,
            (status, error) => Answer::Failed(format!("{status} {error}")),
        })
    }

    /// Says where nobody waits any more.
    pub(super) fn look_at_queues(&self) {
        for queue in &self.queues {
            queue.look(self.show);
        }
    }

    /// How many asked at a place from one time to another, and how many of them had to wait.
    pub(super) fn between(&self, place: usize, from: DayTime, to: DayTime) -> (usize, usize) {
        let number = |those: &RefCell<Vec<(usize, DayTime)>>| {
            let those = those.borrow();
            let those = those
                .iter()
                .filter(|(there, asked)| *there == place && (from..to).contains(asked));
            those.count()
        };
        (number(&self.asked), number(&self.refused))
    }
}
