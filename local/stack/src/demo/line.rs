//! The users who wait in line for a slot in one region. Prints when waiting begins and ends, and
//! meanwhile what the service tells them. Notes every request, as a witness of the order.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::day::Day;
use super::text::count;
use crate::line_order::LineOrder;

/// Who does not ask for this long leaves the line. The demonstration's regions have this setting.
pub(super) const LINE: Duration = Duration::from_secs(15);

/// Waiting has ended when nobody has waited for this long. Shorter pauses are not worth a line.
const CALM: Duration = Duration::from_secs(2);

/// Pause between two reports about users in line: a person can read them all.
const REPORT_PAUSE: Duration = Duration::from_secs(4);

/// The answer to a user who was refused for lack of capacity.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    pub(super) place: u64,
    /// When the service expects that there is a slot, from now on; `None` if it does not know.
    pub(super) estimate: Option<Duration>,
    /// When the user should ask again.
    pub(super) retry_after: Duration,
}

/// A request, and when it was sent and answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent<'a> {
    pub(super) user: &'a str,
    /// Clients of each commit have a line of their own.
    pub(super) client_sha: &'static str,
    pub(super) at: Instant,
    pub(super) answered: Instant,
}

pub(super) struct Line {
    region: &'static str,
    /// What each user in line was told last.
    waiting: RefCell<BTreeMap<String, Refusal>>,
    /// The current period of waiting, whose beginning was printed.
    period: Cell<Option<WaitingPeriod>>,
    orders: RefCell<BTreeMap<&'static str, LineOrder>>,
}

#[derive(Clone, Copy)]
struct WaitingPeriod {
    users: usize,
    longest: Duration,
    /// When the last user stopped waiting.
    last: Instant,
    reported: Instant,
}

impl Line {
    pub(super) fn new(region: &'static str) -> Self {
        Self {
            region,
            waiting: RefCell::default(),
            period: Cell::default(),
            orders: RefCell::default(),
        }
    }

    /// Notes that a user was refused for lack of capacity.
    pub(super) fn refused(&self, day: &Day<'_>, sent: Sent<'_>, refusal: Refusal) {
        self.order(sent, |order| {
            order.refused(sent.user, sent.at, sent.answered);
        });
        let mut waiting = self.waiting.borrow_mut();
        if waiting.insert(sent.user.to_owned(), refusal).is_some() {
            return;
        }
        let mut period = self.period.get().unwrap_or_else(|| {
            day.print(&format!(
                "{}: all slots are taken; new users wait in line until VMs have started",
                self.region
            ));
            let now = Instant::now();
            WaitingPeriod {
                users: 0,
                longest: Duration::ZERO,
                last: now,
                reported: now,
            }
        });
        period.users += 1;
        self.period.set(Some(period));
    }

    /// Notes that a user got a slot. Returns the shortest and the longest time that the service may
    /// say that they waited.
    pub(super) fn served(&self, sent: Sent<'_>) -> (Duration, Duration) {
        self.order(sent, |order| {
            order.served(sent.user, sent.at, sent.answered)
        })
    }

    /// Removes a user who does not wait any more, after the real time `waited`.
    pub(super) fn leave(&self, user: &str, waited: Duration) {
        self.waiting.borrow_mut().remove(user);
        if let Some(mut period) = self.period.get() {
            period.longest = period.longest.max(waited);
            period.last = Instant::now();
            self.period.set(Some(period));
        }
    }

    fn order<T>(&self, sent: Sent<'_>, note: impl FnOnce(&mut LineOrder) -> T) -> T {
        let mut orders = self.orders.borrow_mut();
        let order = orders.entry(sent.client_sha);
        note(order.or_insert_with(|| LineOrder::new(LINE)))
    }

    /// Prints a line if users wait, now and then, and one if a period of waiting has ended.
    pub(super) fn report(&self, day: &Day<'_>) {
        let Some(mut period) = self.period.get() else {
            return;
        };
        let waiting = self.waiting.borrow();
        let by_place = |refusal: &&Refusal| refusal.place;
        let first = waiting.values().min_by_key(by_place);
        let last = waiting.values().max_by_key(by_place);
        if let (Some(first), Some(last)) = (first, last) {
            if period.reported.elapsed() > REPORT_PAUSE {
                period.reported = Instant::now();
                self.period.set(Some(period));
                let users = count(waiting.len(), "user");
                let told = told(day, *first, *last);
                day.print(&format!("{}: {users} in line; {told}", self.region));
            }
        } else if period.last.elapsed() > CALM {
            self.period.set(None);
            day.print(&format!(
                "{}: no user waits any more; {} had to wait, for at most {}",
                self.region,
                count(period.users, "user"),
                day.simulated(period.longest),
            ));
        }
    }

    /// A sentence for each user of the region who was overtaken.
    pub(super) fn overtaken(&self) -> Vec<String> {
        let orders = self.orders.borrow();
        let overtaken = orders.values().flat_map(LineOrder::overtaken);
        overtaken
            .map(|it| {
                format!(
                    "user {} was overtaken in the line of {} by user {}, who came later",
                    it.user, self.region, it.by
                )
            })
            .collect()
    }
}

/// What the service told the first and the last user in line.
fn told(day: &Day<'_>, first: Refusal, last: Refusal) -> String {
    let expects = |refusal: Refusal| {
        let estimate = refusal.estimate.map(|estimate| day.simulated(estimate));
        let within = estimate.unwrap_or_else(|| "an unknown time".to_owned());
        format!("place {} expects a slot in {within}", refusal.place)
    };
    match (first.estimate, last.estimate) {
        (None, None) => "how long it takes is not known yet".to_owned(),
        _ if first.place == last.place => expects(first),
        _ => format!("{}, {}", expects(first), expects(last)),
    }
}
