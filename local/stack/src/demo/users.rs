//! Simulated users. Each arrives at its planned time, requests a slot over HTTP with a token of its
//! own, and repeats the request when it is refused, as real clients do: in line, when the service
//! says.

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
use super::line::{Line, Refusal, Sent};
use super::regions::REGIONS;
use crate::random::Random;
use crate::seed::{APP_VERSION, CLIENT_SHA};
use crate::upgrade::{NEXT_CLIENT_SHA, NEXT_VERSION};

/// The largest number of concurrent requests.
const MAX_REQUESTS: usize = 24;

/// Longer than the function's own timeout.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(40);

/// Pause before a request is repeated for which the service does not say when.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A user who has no slot after this time gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A slot that a user got.
#[derive(Clone, Debug)]
pub(super) struct Assignment {
    pub(super) slot: String,
    pub(super) user: String,
    pub(super) region: &'static str,
    pub(super) client_sha: &'static str,
    /// For a user who was refused for lack of capacity.
    pub(super) wait: Option<Wait>,
    /// The shortest and the longest time that the service may have stored as the user's wait; `None`
    /// if a response was lost that would tell.
    pub(super) stored_wait: Option<(Duration, Duration)>,
}

/// A user's time in line, in real time.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// From the first refusal to the slot.
    pub time: Duration,
    /// What the service estimated at the first refusal; `None` if it did not know.
    pub estimate: Option<Duration>,
}

impl Wait {
    /// The difference between the estimate and the wait.
    pub(super) fn error(&self) -> Option<Duration> {
        self.estimate.map(|estimate| estimate.abs_diff(self.time))
    }
}

/// All users of the day, and what happened to them.
pub(super) struct Users<'a> {
    day: &'a Day<'a>,
    http: reqwest::Client,
    permits: Semaphore,
    random: RefCell<Random>,
    lines: [Line; REGIONS.len()],
    /// The region and time of each user's first request.
    first_requests: RefCell<Vec<(usize, DayTime)>>,
    /// The same for each user who had to wait.
    waited: RefCell<Vec<(usize, DayTime)>>,
    pub(super) assignments: RefCell<Vec<Assignment>>,
    /// The region of each user who left without a slot, and whether they were in line.
    pub(super) gave_up: RefCell<Vec<(&'static str, bool)>>,
    /// The number of users who updated their client after a refusal.
    pub(super) updated: Cell<usize>,
    /// Responses that are neither a slot nor a refusal.
    pub(super) failures: RefCell<Vec<String>>,
}

enum Response {
    Slot(String),
    NoCapacity(Refusal),
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
            lines: REGIONS.each_ref().map(|region| Line::new(region.name)),
            first_requests: RefCell::default(),
            waited: RefCell::default(),
            assignments: RefCell::default(),
            gave_up: RefCell::default(),
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
        let line = &self.lines[arrival.region];
        let mut client_sha = self.client_of(arrival);
        let mut refused: Option<(Instant, Refusal)> = None;
        let mut lost_responses = false;
        let slot = loop {
            let (response, at) = self.request(arrival, session, &token, client_sha).await;
            let sent = Sent {
                user: &arrival.user,
                client_sha,
                at,
                answered: Instant::now(),
            };
            let pause = match response {
                Response::Slot(slot) => break Some((slot, line.served(sent))),
                Response::OtherClient if client_sha == CLIENT_SHA => {
                    client_sha = NEXT_CLIENT_SHA;
                    self.record_update();
                    continue;
                }
                // The new client was published, but the images are not swapped yet.
                Response::OtherClient => RETRY_PAUSE,
                Response::NoCapacity(refusal) => {
                    if refused.is_none() {
                        refused = Some((sent.answered, refusal));
                        self.waited.borrow_mut().push(first_request);
                    }
                    line.refused(self.day, sent, refusal);
                    refusal.retry_after
                }
                Response::Failed(error) => {
                    self.failures.borrow_mut().push(error);
                    lost_responses = true;
                    RETRY_PAUSE
                }
            };
            if arrived.elapsed() > PATIENCE {
                break None;
            }
            // Clients that were refused together do not return together.
            let jitter = self.random.borrow_mut().fraction();
            sleep(pause.mul_f64(0.9 + jitter / 5.0)).await;
        };
        let wait = refused.map(|(since, refusal)| Wait {
            time: since.elapsed(),
            estimate: refusal.estimate,
        });
        if let Some(wait) = wait {
            line.leave(&arrival.user, wait.time);
        }
        match slot {
            Some((slot, stored_wait)) => self.assignments.borrow_mut().push(Assignment {
                slot,
                user: arrival.user.clone(),
                region: REGIONS[arrival.region].name,
                client_sha,
                wait,
                stored_wait: (!lost_responses).then_some(stored_wait),
            }),
            None => {
                let region = REGIONS[arrival.region].name;
                self.gave_up.borrow_mut().push((region, wait.is_some()));
            }
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

    /// Sends a request, and returns when it was sent.
    async fn request(
        &self,
        arrival: &Arrival,
        session: u32,
        token: &str,
        sha: &str,
    ) -> (Response, Instant) {
        let permit = self.permits.acquire().await;
        let at = Instant::now();
        let response = self.send(arrival, session, token, sha).await;
        drop(permit);
        let failed = |error| Response::Failed(format!("{error:#}"));
        (response.unwrap_or_else(failed), at)
    }

    async fn send(
        &self,
        arrival: &Arrival,
        session: u32,
        token: &str,
        sha: &str,
    ) -> Result<Response> {
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
            (_, "NO_INSTANCE_AVAILABLE") => Response::NoCapacity(refusal(&body)?),
            (_, "COMMIT_HASH_MISMATCH") => Response::OtherClient,
            (status, error) => Response::Failed(format!("{status} {error}")),
        })
    }

    /// Prints what there is to say about users in line.
    pub(super) fn report_lines(&self) {
        for line in &self.lines {
            line.report(self.day);
        }
    }

    /// A sentence for each user who was overtaken.
    pub(super) fn overtaken(&self) -> Vec<String> {
        self.lines.iter().flat_map(Line::overtaken).collect()
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

/// The answer of a refusal for lack of capacity.
///
/// # Errors
/// When a field is missing.
fn refusal(body: &Value) -> Result<Refusal> {
    let field = |name: &str| {
        let number = body[name].as_u64();
        number.with_context(|| format!("a refusal without {name}: {body}"))
    };
    Ok(Refusal {
        place: field("place")?,
        estimate: body["estimate_seconds"].as_u64().map(Duration::from_secs),
        retry_after: Duration::from_secs(field("retry_after_seconds")?),
    })
}
