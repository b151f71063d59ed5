//! Simulated users. Each arrives at its planned time, requests a slot over HTTP with a token of its
//! own, and repeats the request when it is refused, as real clients do.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::stream::{FuturesUnordered, StreamExt as _};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use super::arrivals::{Arrival, share_of_new};
use super::clock::DayTime;
use super::day::Day;
use super::queue::Queue;
use super::regions::REGIONS;
use crate::random::Random;
use crate::seed::{APP_VERSION, CLIENT_SHA};
use crate::upgrade::{NEXT_CLIENT_SHA, NEXT_VERSION};

/// The largest number of concurrent requests.
const MAX_REQUESTS: usize = 24;

/// Longer than the function's own timeout.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// The first and the longest pause before a request is repeated. Each pause is twice the one
/// before.
const RETRY_PAUSES: (Duration, Duration) =
    (Duration::from_millis(400), Duration::from_millis(1_200));

/// A user who has no slot after this time gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A slot that a user got.
#[derive(Clone, Debug)]
pub(super) struct Assignment {
    pub(super) slot: String,
    pub(super) user: String,
    pub(super) client_sha: &'static str,
    /// The real time from the first request to the slot, for a user who was refused for lack of
    /// capacity.
    pub(super) waited: Option<Duration>,
}

/// All users of the day, and what happened to them.
pub(super) struct Users<'a> {
    day: &'a Day<'a>,
    http: reqwest::Client,
    permits: Semaphore,
    random: RefCell<Random>,
    queues: [Queue; REGIONS.len()],
    /// The region and time of each user's first request.
    first_requests: RefCell<Vec<(usize, DayTime)>>,
    /// The same for each user who had to wait.
    waited: RefCell<Vec<(usize, DayTime)>>,
    pub(super) assignments: RefCell<Vec<Assignment>>,
    /// The number of users who left without a slot.
    pub(super) gave_up: Cell<usize>,
    /// The number of users who updated their client after a refusal.
    pub(super) updated: Cell<usize>,
    /// Responses that are neither a slot nor a refusal.
    pub(super) failures: RefCell<Vec<String>>,
}

enum Response {
    Slot(String),
    NoCapacity,
    OtherClient,
    Failed(String),
}

impl<'a> Users<'a> {
    pub(super) fn new(day: &'a Day<'a>, seed: u64) -> Self {
        Self {
            day,
            http: reqwest::Client::new(),
            permits: Semaphore::new(MAX_REQUESTS),
            random: RefCell::new(Random::new(seed, "pauses")),
            queues: REGIONS.each_ref().map(|region| Queue::new(region.name)),
            first_requests: RefCell::default(),
            waited: RefCell::default(),
            assignments: RefCell::default(),
            gave_up: Cell::default(),
            updated: Cell::default(),
            failures: RefCell::default(),
        }
    }

    /// Lets every user arrive at its time, and waits until all have a slot or have given up.
    ///
    /// # Errors
    /// Those of [`Users::visit`].
    pub(super) async fn run(&self, arrivals: &[Arrival]) -> Result<()> {
        let mut visits = FuturesUnordered::new();
        let mut arrivals = arrivals.iter().peekable();
        loop {
            let next = arrivals.peek().map(|arrival| arrival.at);
            tokio::select! {
                () = self.day.clock.sleep_until(next.unwrap_or(DayTime::END)), if next.is_some() => {
                    let arrival = arrivals.next();
                    visits.extend(arrival.map(|it| self.visit(it, 1)));
                }
                Some(visited) = visits.next() => visited?,
                else => return Ok(()),
            }
        }
    }

    /// Requests a slot for a user until there is one, or the user gives up. `session` is the
    /// session's number.
    ///
    /// # Errors
    /// When the user's token cannot be signed.
    pub(super) async fn visit(&self, arrival: &Arrival, session: u32) -> Result<()> {
        let token = self.day.stack.stack.token(&arrival.user)?;
        let arrived = Instant::now();
        let first_request = (arrival.region, self.day.clock.now());
        self.first_requests.borrow_mut().push(first_request);
        let queue = &self.queues[arrival.region];
        let mut client_sha = self.client_of(arrival);
        let mut pause = RETRY_PAUSES.0;
        let mut waits = false;
        let slot = loop {
            match self.request(arrival, session, &token, client_sha).await {
                Response::Slot(slot) => break Some(slot),
                Response::OtherClient if client_sha == CLIENT_SHA => {
                    client_sha = NEXT_CLIENT_SHA;
                    self.record_update();
                    continue;
                }
                // The new client was published, but the images are not swapped yet.
                Response::OtherClient => {}
                Response::NoCapacity if waits => {}
                Response::NoCapacity => {
                    waits = true;
                    self.waited.borrow_mut().push(first_request);
                    queue.join(self.day);
                }
                Response::Failed(error) => self.failures.borrow_mut().push(error),
            }
            if arrived.elapsed() > PATIENCE {
                break None;
            }
            let jitter = self.random.borrow_mut().fraction();
            sleep(pause.mul_f64(0.75 + jitter / 2.0)).await;
            pause = (pause * 2).min(RETRY_PAUSES.1);
        };
        let waited = waits.then(|| arrived.elapsed());
        if let Some(waited) = waited {
            queue.leave(waited);
        }
        match slot {
            Some(slot) => self.assignments.borrow_mut().push(Assignment {
                slot,
                user: arrival.user.clone(),
                client_sha,
                waited,
            }),
            None => self.gave_up.update(|gave_up| gave_up + 1),
        }
        Ok(())
    }

    /// Counts a user who updated the client, and explains the first of them.
    fn record_update(&self) {
        if self.updated.get() == 0 {
            self.day.print(&format!(
                "client version {APP_VERSION} is no longer served: clients that still run it are \
                 refused, update themselves, and repeat their request"
            ));
        }
        self.updated.update(|updated| updated + 1);
    }

    /// The commit of the user's client at this time.
    fn client_of(&self, arrival: &Arrival) -> &'static str {
        let published = self.day.client_published.get();
        let since = published.map(|at| self.day.clock.now().since(at).as_secs());
        let share = since.map(|seconds| share_of_new(u32::try_from(seconds).unwrap_or(u32::MAX)));
        match share {
            Some(share) if arrival.update_order < share => NEXT_CLIENT_SHA,
            _ => CLIENT_SHA,
        }
    }

    async fn request(&self, arrival: &Arrival, session: u32, token: &str, sha: &str) -> Response {
        let response = self.send(arrival, session, token, sha).await;
        response.unwrap_or_else(|error| Response::Failed(format!("{error:#}")))
    }

    async fn send(
        &self,
        arrival: &Arrival,
        session: u32,
        token: &str,
        sha: &str,
    ) -> Result<Response> {
        let _permit = self.permits.acquire().await?;
        let is_new = sha == NEXT_CLIENT_SHA;
        let body = json!({
            "regions": [REGIONS[arrival.region].name],
            "client_commit_hash": sha,
            "version": if is_new { NEXT_VERSION } else { APP_VERSION },
            "user_email": format!("{}@example.com", arrival.user),
            "session_id": session,
        });
        let env = self.day.stack.stack.env();
        let url = format!("{}mandelbox/assign", env.assign_user_url);
        let request = self.http.post(url).bearer_auth(token).json(&body);
        let response = request.timeout(REQUEST_TIMEOUT).send().await;
        let response = response.context("request a slot")?;
        let status = response.status();
        let body: Value = response.json().await.context("parse the response")?;
        let slot = body["mandelbox_id"].as_str().unwrap_or_default();
        Ok(match (status, body["error"].as_str().unwrap_or_default()) {
            (StatusCode::OK, _) => Response::Slot(slot.to_owned()),
            (_, "NO_INSTANCE_AVAILABLE") => Response::NoCapacity,
            (_, "COMMIT_HASH_MISMATCH") => Response::OtherClient,
            (status, error) => Response::Failed(format!("{status} {error}")),
        })
    }

    /// Prints a line for each region in which waiting has ended.
    pub(super) fn report_ended_waits(&self) {
        for queue in &self.queues {
            queue.report_end(self.day);
        }
    }

    /// The number of users who arrived in a region between two times, and how many of them had to
    /// wait.
    pub(super) fn count_between(
        &self,
        region: usize,
        from: DayTime,
        to: DayTime,
    ) -> (usize, usize) {
        let count = |requests: &RefCell<Vec<(usize, DayTime)>>| {
            let requests = requests.borrow();
            let requests = requests
                .iter()
                .filter(|(its_region, time)| *its_region == region && (from..to).contains(time));
            requests.count()
        };
        (count(&self.first_requests), count(&self.waited))
    }
}
