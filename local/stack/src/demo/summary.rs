//! What the day came to, and whether it went as it should.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use anyhow::Result;

use super::clock::{DayTime, Pace};
use super::rollout::Rollout;
use super::show::{Show, minutes};
use super::story::Interruption;
use super::tell::count;
use super::users::{Told, Users};
use super::witness::Session;
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
    pace: Pace,
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
        let mut wrong = broken_promises(&told, &sessions, interruption.as_ref());
        wrong.extend(
            users
                .failures
                .borrow()
                .iter()
                .map(|what| format!("assign-user: {what}")),
        );
        let mut summary = Self {
            came,
            served: told.len(),
            waits,
            gave_up: users.gave_up.get(),
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
        summary.wrong.extend(summary.missing());
        Ok(summary)
    }

    /// Parts of the story that did not happen.
    fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if self.gave_up > 0 {
            missing.push(format!(
                "{} went away without a place",
                count(self.gave_up, "user")
            ));
        }
        match &self.interruption {
            None => missing.push("no machine with users on it was interrupted".to_owned()),
            Some(it) if !it.drained || !it.gone => {
                missing.push(format!(
                    "{} was not drained before EC2 took it",
                    it.instance
                ));
            }
            Some(_) => {}
        }
        if let Some(step) = self.rollout.missing() {
            missing.push(format!("the new image was never {step}"));
        } else if self.served_new == 0 {
            missing.push("nobody came with the new client".to_owned());
        }
        missing
    }
}

/// What the service promises, and did not keep on this day.
fn broken_promises(
    told: &[Told],
    sessions: &[Session],
    interruption: Option<&Interruption>,
) -> Vec<String> {
    let mut broken = Vec::new();
    let known: BTreeMap<_, _> = sessions
        .iter()
        .map(|session| ((session.slot.as_str(), session.user.as_str()), session))
        .collect();
    let mut slots = BTreeSet::new();
    for Told {
        slot,
        user,
        client_sha,
        ..
    } in told
    {
        if !slots.insert(slot) {
            broken.push(format!("the place {slot} was given to two users"));
        }
        match known.get(&(slot.as_str(), user.as_str())) {
            None => broken.push(format!(
                "{user} was told of a place that is not held: {slot}"
            )),
            Some(session) if session.client_sha != *client_sha => {
                broken.push(format!("{user} is on a machine for another client"));
            }
            Some(_) => {}
        }
    }
    for session in sessions {
        let taken = interruption.is_some_and(|it| it.instance == session.instance);
        if session.was_cut_off() && !taken {
            broken.push(format!(
                "{} lost a session on {}",
                session.user, session.instance
            ));
        }
        if session.ended.as_deref() == Some("released") {
            broken.push(format!(
                "{} lost a place before the session began",
                session.user
            ));
        }
    }
    broken
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, text: &str| writeln!(f, "  {name:<14}{text}");
        row(
            "users",
            &format!(
                "{} came, {} places were given, {} gave up",
                self.came, self.served, self.gave_up
            ),
        )?;
        row("waiting", &self.waiting())?;
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
            "{} for a machine, {} in the middle and {} at the most ({:.1} s, {:.1} s for you)",
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
            "warm after {}, swapped {} after its client, old one gone {} later",
            took(ordered, warm),
            took(published, swapped),
            took(swapped, gone),
        )
    }
}
