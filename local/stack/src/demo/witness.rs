//! What the witnesses of the day saw: the users themselves, EC2's ledger, and the demonstration's own
//! triggers (`sessions.sql`). None of them reads the service's history.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep};

use super::day::{Day, POLL};
use super::history::DayHistory;
use super::line::LINE;
use super::users::{Assignment, Users};

/// Between a time of the service and that of a witness: of a session, both in one transaction, and of a
/// launch, which EC2 tells in whole seconds.
const SESSION_SLACK: f64 = 0.1;
const LAUNCH_SLACK: f64 = 1.0;

/// A user who gave up is in line for this long; and a pass may be at work on an instance.
const AGREEMENT_TIMEOUT: Duration = LINE.saturating_add(Duration::from_secs(10));

/// The least and the most that a witness may have seen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Range {
    pub(super) least: f64,
    pub(super) most: f64,
}

/// What the witnesses saw in one region.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) users: Range,
    pub(super) waited: Range,
    pub(super) wait_seconds: Range,
    pub(super) unserved: Range,
    pub(super) machine_seconds: Range,
    pub(super) occupied_seconds: Range,
}

/// A time of a session or of an instance, in seconds since 1970; without an end while it lasts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stay {
    pub(super) from: f64,
    pub(super) to: Option<f64>,
}

/// The day's history, and a sentence for each number in which it and the witnesses differ.
///
/// # Errors
/// When the database or the EC2 emulator does not answer.
pub(super) async fn compare(day: &Day<'_>, users: &Users<'_>) -> Result<(DayHistory, Vec<String>)> {
    let deadline = Instant::now() + AGREEMENT_TIMEOUT;
    loop {
        let before = day.stack.sessions.now().await?;
        let history = day.stack.sessions.history().await?;
        let after = day.stack.sessions.now().await?;
        let seen = seen(day, users, (before, after)).await?;
        let differences = history.differences(&seen);
        if differences.is_empty() || Instant::now() > deadline {
            return Ok((history, differences));
        }
        sleep(POLL).await;
    }
}

/// What was seen in each region when the history was read, which is between these times.
async fn seen(day: &Day<'_>, users: &Users<'_>, now: (f64, f64)) -> Result<BTreeMap<String, Seen>> {
    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    for assignment in users.assignments.borrow().iter() {
        let region = seen.entry(assignment.region.to_owned()).or_default();
        region.add_assignment(assignment);
    }
    // Others gave up although the service had not refused them for lack of capacity.
    for (region, was_in_line) in users.gave_up.borrow().iter() {
        let in_line = f64::from(u8::from(*was_in_line));
        let region = seen.entry((*region).to_owned()).or_default();
        region.unserved.add(in_line, in_line, 0.0);
    }
    let stays = day.stack.sessions.stays().await?;
    let gone = day.stack.sessions.instances_gone().await?;
    // What ended later was there at that time.
    let until = |end: Option<f64>| end.filter(|end| *end <= now.0);
    for (instance, region, launched) in day.stack.launches().await? {
        let sessions = stays.get(&instance).into_iter().flatten();
        let sessions: Vec<_> = sessions
            .map(|&Stay { from, to }| Stay {
                from,
                to: until(to),
            })
            .collect();
        let of = Stay {
            from: launched,
            to: until(gone.get(&instance).copied()),
        };
        let region = seen.entry(region).or_default();
        region.add_instance(of, &sessions, now);
    }
    Ok(seen)
}

impl Seen {
    fn add_assignment(&mut self, of: &Assignment) {
        let (least, most) = match of.stored_wait {
            Some((least, most)) => (least.as_secs_f64(), most.as_secs_f64()),
            None => (0.0, f64::INFINITY),
        };
        let one_if = |is: bool| f64::from(u8::from(is));
        self.users.add(1.0, 1.0, 0.0);
        self.waited
            .add(one_if(least > 0.0), one_if(most > 0.0), 0.0);
        let slack = if most > 0.0 { SESSION_SLACK } else { 0.0 };
        self.wait_seconds.add(least, most, slack);
        // Perhaps this user had left the line, and came back.
        let may_have_left = of.wait.is_some() && least <= 0.0;
        self.unserved.add(0.0, one_if(may_have_left), 0.0);
    }

    /// Adds an instance and its sessions, which were seen to be as they are from one time until another.
    pub(super) fn add_instance(&mut self, of: Stay, sessions: &[Stay], now: (f64, f64)) {
        let length = |stay: Stay, now: f64| (stay.to.unwrap_or(now) - stay.from).max(0.0);
        self.machine_seconds
            .add(length(of, now.0), length(of, now.1), LAUNCH_SLACK);
        // Each beginning and each end may be a little off.
        let slack = SESSION_SLACK * sessions.len() as f64;
        self.occupied_seconds
            .add(covered(sessions, now.0), covered(sessions, now.1), slack);
    }
}

impl Range {
    fn add(&mut self, least: f64, most: f64, slack: f64) {
        self.least += (least - slack).max(0.0);
        self.most += most + slack;
    }
}

/// The seconds in which there was at least one.
fn covered(stays: &[Stay], now: f64) -> f64 {
    let mut times: Vec<_> = stays
        .iter()
        .map(|stay| (stay.from, stay.to.unwrap_or(now)))
        .collect();
    times.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut sum, mut until) = (0.0, f64::MIN);
    for (from, to) in times {
        sum += (to - from.max(until)).max(0.0);
        until = until.max(to);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::users::Wait;
    use crate::seed::CLIENT_SHA;

    fn stay(from: f64, to: f64) -> Stay {
        let to = Some(to);
        Stay { from, to }
    }

    fn near(range: Range, least: f64, most: f64) -> bool {
        (range.least - least).abs() < 1e-6 && (range.most - most).abs() < 1e-6
    }

    #[test]
    fn time_of_overlapping_sessions_counts_once_and_current_ones_until_now() {
        let sessions = [
            stay(10.0, 20.0),
            Stay {
                from: 15.0,
                to: None,
            },
            stay(12.0, 13.0),
            stay(2.0, 3.0),
        ];
        assert!((covered(&sessions, 30.0) - 21.0).abs() < 1e-9);
        assert!(covered(&[], 30.0).abs() < 1e-9);
    }

    #[test]
    fn machine_that_runs_counts_until_either_look_at_it() {
        let mut seen = Seen::default();
        let of = Stay {
            from: 100.0,
            to: None,
        };
        seen.add_instance(of, &[stay(110.0, 120.0)], (150.0, 151.0));
        seen.add_instance(stay(100.0, 130.0), &[], (150.0, 151.0));
        assert!(near(seen.machine_seconds, 78.0, 83.0), "{seen:?}");
        assert!(near(seen.occupied_seconds, 9.9, 10.1), "{seen:?}");
    }

    #[test]
    fn wait_that_the_user_cannot_tell_is_a_range() {
        let assignment = |stored: Option<(u64, u64)>, was_refused: bool| Assignment {
            slot: String::new(),
            user: String::new(),
            region: "us-east-1",
            client_sha: CLIENT_SHA,
            wait: was_refused.then_some(Wait {
                time: Duration::from_secs(5),
                estimate: None,
            }),
            stored_wait: stored
                .map(|(least, most)| (Duration::from_secs(least), Duration::from_secs(most))),
        };
        let seen = |of: Assignment| {
            let mut seen = Seen::default();
            seen.add_assignment(&of);
            assert!(near(seen.users, 1.0, 1.0));
            (seen.waited, seen.wait_seconds, seen.unserved)
        };
        let (waited, seconds, unserved) = seen(assignment(Some((0, 0)), false));
        assert!(near(waited, 0.0, 0.0) && near(seconds, 0.0, 0.0) && near(unserved, 0.0, 0.0));
        let (waited, seconds, unserved) = seen(assignment(Some((4, 6)), true));
        assert!(near(waited, 1.0, 1.0) && near(seconds, 3.9, 6.1) && near(unserved, 0.0, 0.0));
        // Perhaps they had left the line before they asked again.
        let (waited, seconds, unserved) = seen(assignment(Some((0, 6)), true));
        assert!(near(waited, 0.0, 1.0) && near(seconds, 0.0, 6.1) && near(unserved, 0.0, 1.0));
        let (waited, seconds, _) = seen(assignment(None, false));
        assert!(near(waited, 0.0, 1.0) && seconds.most.is_infinite());
    }
}
