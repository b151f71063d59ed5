//! EC2 interrupts a spot instance that has users.

use std::time::Duration;

use anyhow::Result;
use futures::future::try_join_all;

use super::arrivals::Arrival;
use super::clock::DayTime;
use super::day::Day;
use super::regions::{REGIONS, SPOT_REGION};
use super::sessions::Session;
use super::text::count;
use super::users::Users;

/// From when to when the demonstration looks for an instance with users, to interrupt it.
const WINDOW: (DayTime, DayTime) = (DayTime::at(9, 50), DayTime::at(12, 30));

/// From EC2's warning to the instance's end, in simulated time. EC2 itself gives two minutes, in
/// which the fast clock of the day would leave no time to react.
const WARNING: Duration = Duration::from_secs(15 * 60);

/// The shortest warning in real time, in which a busy machine reacts.
const SHORTEST_WARNING: Duration = Duration::from_secs(10);

/// How long after the instance's end its row may stay: longer than this takes on a busy machine.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(45);

/// What an interruption did.
#[derive(Clone, Debug)]
pub struct Interruption {
    pub instance: String,
    /// The number of users on the instance when the warning came.
    pub users: usize,
    /// Whether the instance was set to `DRAINING` before it ended.
    pub drained: bool,
    /// Whether the instance's row was removed after its end.
    pub gone: bool,
    /// The number of sessions that had not ended before the instance did.
    pub cut_off: usize,
}

/// Interrupts the busiest spot instance, and lets its users request new slots. Returns `None` when
/// no instance had users.
///
/// # Errors
/// When the database or the emulator does not answer.
pub(super) async fn run_interruption(
    day: &Day<'_>,
    users: &Users<'_>,
) -> Result<Option<Interruption>> {
    let region = REGIONS[SPOT_REGION].name;
    day.clock.sleep_until(WINDOW.0).await;
    let Some(instance) = find_busy_instance(day, region).await? else {
        return Ok(None);
    };
    let sessions = &day.stack.sessions;
    let warning = day.clock.pace.to_real(WARNING).max(SHORTEST_WARNING);
    day.stack.interrupt(&instance, warning).await?;
    let mut before = sessions.on_instance(&instance).await?;
    before.retain(|session| session.ended.is_none());
    let affected = count(before.len(), "user");
    let within = day.simulated(warning);
    day.print(&format!(
        "{region}: EC2 warns that it will terminate the spot instance {instance}, which has \
         {affected}, in {within}"
    ));
    let drained = wait_for_status(day, &instance, Some("DRAINING"), warning).await?;
    if drained {
        day.print(&format!(
            "{region}: {instance} is DRAINING: it gets no new users, and a replacement is launched"
        ));
    }
    let gone = wait_for_status(day, &instance, None, warning + REMOVAL_TIMEOUT).await?;
    let mut cut_off = sessions.on_instance(&instance).await?;
    cut_off.retain(Session::was_cut_off);
    let result = Interruption {
        users: before.len(),
        drained,
        gone,
        cut_off: cut_off.len(),
        instance,
    };
    let ended = result.users.saturating_sub(result.cut_off);
    day.print(&format!(
        "{region}: EC2 has terminated {}: of its {}, {ended} had ended before, {} cut off",
        result.instance,
        count(result.users, "session"),
        result.cut_off,
    ));
    let returning: Vec<_> = cut_off
        .into_iter()
        .map(|session| Arrival {
            at: day.clock.now(),
            region: SPOT_REGION,
            user: session.user,
            update_order: 1.0,
        })
        .collect();
    try_join_all(returning.iter().map(|arrival| users.visit(arrival, 2))).await?;
    if !returning.is_empty() {
        day.print(&format!(
            "{region}: every user who was cut off has a new slot"
        ));
    }
    Ok(Some(result))
}

/// Waits until an instance has a status, or with `None`, until its row is gone. Returns whether that
/// happened within the real time `within`.
async fn wait_for_status(
    day: &Day<'_>,
    instance: &str,
    status: Option<&str>,
    within: Duration,
) -> Result<bool> {
    let reached = day.poll_until(within, async || {
        let current = day.stack.sessions.instance_status(instance).await?;
        Ok((current.as_deref() == status).then_some(()))
    });
    Ok(reached.await?.is_some())
}

/// Waits for an instance with two users for half of the window, and then for one with one user.
async fn find_busy_instance(day: &Day<'_>, region: &str) -> Result<Option<String>> {
    let time = day.clock.pace.to_real(WINDOW.1.since(WINDOW.0));
    let find = async |least: i64| {
        let busiest = day.stack.sessions.busiest_instance(region).await?;
        Ok(busiest
            .filter(|(_, users)| *users >= least)
            .map(|(id, _)| id))
    };
    match day.poll_until(time / 2, async || find(2).await).await? {
        Some(instance) => Ok(Some(instance)),
        None => day.poll_until(time / 2, async || find(1).await).await,
    }
}
