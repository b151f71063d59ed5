//! The result of a day, and how it is printed.

use std::fmt;
use std::time::Duration;

use super::bill::Bill;
use super::clock::{DayTime, Pace};
use super::history::DayHistory;
use super::interruption::Interruption;
use super::rollout::Rollout;
use super::text::{count, duration, hanging};
use super::users::Wait;
use crate::upgrade::NEXT_VERSION;

/// A day in numbers.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Users who arrived.
    pub arrived: usize,
    /// Slots that users got. A user who was cut off gets a second one.
    pub served: usize,
    /// The waits of users who were first refused for lack of capacity, the longest last.
    pub waits: Vec<Wait>,
    /// Users who left without a slot.
    pub gave_up: usize,
    /// Error responses of the service, after which users repeated their request.
    pub failures: Vec<String>,
    /// Slots that users of the new client got.
    pub served_new: usize,
    /// Users who updated their client because the service refused the old one.
    pub updated: usize,
    pub sessions_over: usize,
    pub sessions_running: usize,
    pub sessions_cut_off: usize,
    /// Instances that EC2 launched.
    pub launched: usize,
    /// Instances that EC2 terminated.
    pub ended: usize,
    pub interruption: Option<Interruption>,
    pub rollout: Rollout,
    /// The same day from the service's history alone.
    pub history: DayHistory,
    /// The day until its new image came, replayed with other settings.
    pub bill: Bill,
    /// The failed checks, as sentences; empty after a good day.
    pub problems: Vec<String>,
    pub(super) pace: Pace,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Summary of the day")?;
        let mut row = |name: &str, text: &str| {
            let head = format!("  {name:<14}");
            writeln!(f, "{}", hanging(&head, text))
        };
        let arrived = count(self.arrived, "user");
        let slots = count(self.served, "slot");
        let users = format!(
            "{arrived} arrived and got {slots}; {} left without a slot",
            self.gave_up
        );
        row("users", &users)?;
        row("waiting", &self.waiting())?;
        if !self.waits.is_empty() {
            row("estimates", &self.estimates())?;
        }
        if let Some(first) = self.failures.first() {
            let errors = count(self.failures.len(), "response");
            let text = format!(
                "{errors} had an error, and users repeated the request; the first: {first}"
            );
            row("errors", &text)?;
        }
        let sessions = format!(
            "{} ended, {} still running, {} cut off by the spot interruption",
            self.sessions_over, self.sessions_running, self.sessions_cut_off
        );
        row("sessions", &sessions)?;
        let running = self.launched.saturating_sub(self.ended);
        let vms = format!(
            "{} launched, {} terminated, {running} running",
            self.launched, self.ended
        );
        row("VMs", &vms)?;
        if let Some(it) = &self.interruption {
            let ended = it.users.saturating_sub(it.cut_off);
            let users = count(it.users, "user");
            let text = format!(
                "EC2 terminated {} with {users}: {ended} had finished before, {} cut off",
                it.instance, it.cut_off
            );
            row("interruption", &text)?;
        }
        row("new image", &self.upgrade())?;
        let clients = format!(
            "{} got a slot with client version {NEXT_VERSION}; {} of them updated after a refusal",
            count(self.served_new, "user"),
            self.updated
        );
        row("clients", &clients)?;
        write!(
            f,
            "\nThe day from the service's history alone\n{}",
            self.history.table(self.pace)
        )?;
        write!(
            f,
            "\nThe bill until the new image came, in machine-hours (and users who waited): replayed with \
             the day's\nsettings, with adaptive, and with the least fixed buffer with which as few users \
             wait\n{}",
            self.bill.table(self.pace)
        )?;
        if let Some(buffers) = self.bill.target_free() {
            writeln!(
                f,
                "The same day with these fixed buffers: --target-free {buffers}"
            )?;
        }
        if self.problems.is_empty() {
            return writeln!(
                f,
                "\nNo session was lost except by the interruption, and no slot was given to two users. \
                 The\nhistory is what users, EC2 and the demonstration's own triggers counted."
            );
        }
        writeln!(f, "\nProblems:")?;
        self.problems
            .iter()
            .try_for_each(|problem| writeln!(f, "  - {problem}"))
    }
}

impl Summary {
    fn waiting(&self) -> String {
        let (Some(longest), Some(median)) =
            (self.waits.last(), self.waits.get(self.waits.len() / 2))
        else {
            return "no user had to wait for a VM".to_owned();
        };
        format!(
            "{} waited in line for a slot: median {}, longest {} of the simulated day ({:.1} s and \
             {:.1} s in real time)",
            count(self.waits.len(), "user"),
            self.simulated(median.time),
            self.simulated(longest.time),
            median.time.as_secs_f64(),
            longest.time.as_secs_f64(),
        )
    }

    fn estimates(&self) -> String {
        let mut errors: Vec<_> = self.waits.iter().filter_map(Wait::error).collect();
        errors.sort_unstable();
        let Some(median) = errors.get(errors.len() / 2) else {
            return "no user was told how long it takes when they were first refused".to_owned();
        };
        format!(
            "{} of them were told how long it takes when they were first refused: median error {} \
             ({:.1} s in real time)",
            errors.len(),
            self.simulated(*median),
            median.as_secs_f64(),
        )
    }

    fn simulated(&self, real: Duration) -> String {
        duration(self.pace.to_simulated(real))
    }

    fn upgrade(&self) -> String {
        let Rollout {
            requested,
            warm,
            published,
            swapped,
            gone,
            ..
        } = &self.rollout;
        let step = |name: &str, from: &Option<DayTime>, to: &Option<DayTime>, event: &str| match (
            from, to,
        ) {
            (Some(from), Some(to)) => {
                format!("{name}: {} after {event}", duration(to.since(*from)))
            }
            _ => format!("{name}: never"),
        };
        format!(
            "{}; {}; {}",
            step("ready", requested, warm, "the request"),
            step("swapped in", published, swapped, "its client was published"),
            step("old VMs gone", swapped, gone, "the swap"),
        )
    }
}
