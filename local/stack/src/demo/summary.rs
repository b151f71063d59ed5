//! What the day came to, and whether it went as it should.

use std::fmt;
use std::time::Duration;

use anyhow::Result;

use super::clock::{DayTime, Pace};
use super::rollout::Rollout;
use super::show::{Show, minutes};
use super::story::Interruption;
use super::tell::{count, hanging};
use super::users::Users;
use super::verdict::{broken_promises, missing};
use crate::upgrade::{NEXT_CLIENT_SHA, NEXT_VERSION};

/// A day in numbers.
#[derive(Clone, Debug)]
pub struct Summary {
    pub came: usize,
    /// Those who were given a place.
    pub served: usize,
    /// Those who were refused first for want of capacity, and how long they waited, sorted.
    pub waits: Vec<Duration>,
    pub gave_up: usize,
    /// Errors of the service, after which users asked again.
    pub failures: Vec<String>,
    /// Those of the new client.
    pub served_new: usize,
    /// Those who learnt by a refusal that their client was old.
    pub updated: usize,
    pub sessions_over: usize,
    pub sessions_on: usize,
    pub sessions_cut_off: usize,
    pub launched: usize,
    pub ended: usize,
    pub interruption: Option<Interruption>,
    pub rollout: Rollout,
    /// What should not have happened, or should have and did not; empty after a good day.
    pub wrong: Vec<String>,
    pub(super) pace: Pace,
}

impl Summary {
    pub(super) async fn of(
        show: &Show<'_>,
        users: &Users<'_>,
        came: usize,
        interruption: Option<Interruption>,
        rollout: Rollout,
    ) -> Result<Self> {
        let sessions = show.stage.witness.sessions().await?;
        let (launched, ended) = show.stage.machines().await?;
        let told = users.told.borrow().clone();
        let how = |how: Option<&str>| {
            let those = sessions.iter().filter(|it| it.ended.as_deref() == how);
            those.count()
        };
        let mut waits: Vec<_> = told.iter().filter_map(|told| told.waited).collect();
        waits.sort_unstable();
        let wrong = broken_promises(&told, &sessions, interruption.as_ref());
        let mut summary = Self {
            came,
            served: told.len(),
            waits,
            gave_up: users.gave_up.get(),
            failures: users.failures.borrow().clone(),
            served_new: told
                .iter()
                .filter(|told| told.client_sha == NEXT_CLIENT_SHA)
                .count(),
            updated: users.updated.get(),
            sessions_over: how(Some("over")),
            sessions_on: how(None),
            sessions_cut_off: how(Some("cut off")),
            launched,
            ended,
            interruption,
            rollout,
            wrong,
            pace: show.clock.pace,
        };
        let missing = missing(&summary);
        summary.wrong.extend(missing);
        Ok(summary)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, text: &str| {
            let head = format!("  {name:<14}");
            writeln!(f, "{}", hanging(&head, text))
        };
        row(
            "users",
            &format!(
                "{} came, {} places were given, {} gave up",
                self.came, self.served, self.gave_up
            ),
        )?;
        row("waiting", &self.waiting())?;
        if let Some(first) = self.failures.first() {
            let errors = count(self.failures.len(), "answer");
            row(
                "errors",
                &format!("{errors}, after which users asked again: {first}"),
            )?;
        }
        row(
            "sessions",
            &format!(
                "{} over, {} still on, {} cut off by the interruption",
                self.sessions_over, self.sessions_on, self.sessions_cut_off
            ),
        )?;
        let still = self.launched.saturating_sub(self.ended);
        row(
            "machines",
            &format!(
                "{} launched, {} gone again, {still} up",
                self.launched, self.ended
            ),
        )?;
        if let Some(it) = &self.interruption {
            let over = it.users.saturating_sub(it.cut_off);
            let users = count(it.users, "user");
            row(
                "interruption",
                &format!(
                    "{} with {users}: {over} finished, {} cut off",
                    it.instance, it.cut_off
                ),
            )?;
        }
        row("new image", &self.upgrade())?;
        row(
            "clients",
            &format!(
                "{} came with {NEXT_VERSION}, {} of them after a refusal told them to update",
                self.served_new, self.updated
            ),
        )?;
        if self.wrong.is_empty() {
            return writeln!(
                f,
                "\nNobody lost a session but by the interruption; no place was given twice."
            );
        }
        writeln!(f, "\nThis should not be so:")?;
        self.wrong
            .iter()
            .try_for_each(|what| writeln!(f, "  - {what}"))
    }
}

impl Summary {
    fn waiting(&self) -> String {
        let (Some(longest), Some(middle)) =
            (self.waits.last(), self.waits.get(self.waits.len() / 2))
        else {
            return "nobody had to wait for a machine".to_owned();
        };
        let of_day = |real: &Duration| minutes(self.pace.of_day(*real));
        format!(
            "{} waited for a machine: {} in the middle and {} at the most ({:.1} s and {:.1} s for you)",
            count(self.waits.len(), "user"),
            of_day(middle),
            of_day(longest),
            middle.as_secs_f64(),
            longest.as_secs_f64(),
        )
    }

    fn upgrade(&self) -> String {
        let Rollout {
            ordered,
            warm,
            published,
            swapped,
            gone,
            ..
        } = &self.rollout;
        let took = |from: &Option<DayTime>, to: &Option<DayTime>| match (from, to) {
            (Some(from), Some(to)) => minutes(to.since(*from)),
            _ => "never".to_owned(),
        };
        format!(
            "warm {} after the order, swapped {} after its client was published, the old one gone {} \
             later",
            took(ordered, warm),
            took(published, swapped),
            took(swapped, gone),
        )
    }
}
