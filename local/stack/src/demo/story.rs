//! What happens on the day besides users: a machine that EC2 takes back, and a zone that is full.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::future::try_join_all;
use serde_json::json;

use super::clock::DayTime;
use super::day::{Arrival, RUSH, time_here};
use super::places::{PLACES, SHORT, SPOT};
use super::show::{Show, minutes};
use super::tell::count;
use super::users::Users;

/// What is told at its time, whatever happens.
const TIMES: [(DayTime, &str); 6] = [
    (
        DayTime::at(0, 0),
        "midnight in Ireland, evening in America: the buffer of every region is full",
    ),
    (
        DayTime::at(5, 30),
        "the lull: hardly anybody is there. Each region keeps its free places, and no more",
    ),
    (DayTime::at(7, 0), "Ireland gets up"),
    (
        DayTime::at(11, 45),
        "the rush hour's users leave; machines that nobody needs are drained, one with each pass",
    ),
    (
        DayTime::at(20, 0),
        "evening in Ireland, afternoon in America",
    ),
    (DayTime::END, "the day is over: nobody comes any more"),
];

/// When EC2 takes a machine back, and by when there has to be one with users on it.
const INTERRUPTION: (DayTime, DayTime) = (DayTime::at(9, 50), DayTime::at(12, 30));

/// From EC2's warning to the machine's end: two minutes in life, more on a clock that is so fast.
const WARNING: Duration = Duration::from_secs(15 * 60);
const SHORTEST_WARNING: Duration = Duration::from_secs(3);

/// While there is no capacity in a region's first zone: its rush hour.
const SHORTAGE: (DayTime, DayTime) = (DayTime::at(13, 0), DayTime::at(16, 0));

/// Longer than anything should take, on a busy machine.
const SOON: Duration = Duration::from_secs(45);

/// A machine that EC2 took back.
#[derive(Clone, Debug)]
pub struct Interruption {
    pub instance: String,
    /// On it when the warning came.
    pub users: usize,
    /// Nobody was put there any more.
    pub drained: bool,
    /// It was gone after the warning.
    pub gone: bool,
    /// Of those users, the ones whose sessions were not over by then.
    pub cut_off: usize,
}

pub(super) async fn passes_by(show: &Show<'_>) -> Result<()> {
    for (time, text) in TIMES {
        show.clock.reach(time).await;
        show.say(text);
    }
    Ok(())
}

/// The rush hour of one region: who came, and who had to wait.
pub(super) async fn rush_hour(show: &Show<'_>, users: &Users<'_>, number: usize) -> Result<()> {
    let region = PLACES[number].region;
    let (from, to) = RUSH;
    let (from, to) = (
        time_here(&PLACES[number], from),
        time_here(&PLACES[number], to),
    );
    show.clock.reach(from).await;
    show.say(&format!("rush hour in {region}: it is 08:30 there"));
    show.clock.reach(to).await;
    let (came, waited) = users.between(number, from, to);
    let waited = match waited {
        0 => "nobody".to_owned(),
        waited => waited.to_string(),
    };
    let came = count(came, "user");
    show.say(&format!(
        "the rush hour in {region} is over: {came} since {from}, {waited} had to wait"
    ));
    Ok(())
}

/// EC2 takes a machine back that users are on.
pub(super) async fn interruption(
    show: &Show<'_>,
    users: &Users<'_>,
) -> Result<Option<Interruption>> {
    let region = PLACES[SPOT].region;
    show.clock.reach(INTERRUPTION.0).await;
    let Some(instance) = busy_machine(show, region).await? else {
        return Ok(None);
    };
    let witness = &show.stage.witness;
    let warning = show.clock.pace.real(WARNING).max(SHORTEST_WARNING);
    show.stage.interrupt(&instance, warning).await?;
    let mut before = witness.sessions_on(&instance).await?;
    before.retain(|session| session.ended.is_none());
    let on_it = count(before.len(), "user");
    let within = show.took(warning);
    show.say(&format!(
        "EC2 warns: {instance} in {region}, a spot instance with {on_it}, is taken back in {within}"
    ));
    let drained = show
        .until(warning, async || {
            let status = witness.instance_status(&instance).await?;
            Ok((status.as_deref() == Some("DRAINING")).then_some(()))
        })
        .await?
        .is_some();
    if drained {
        show.say(&format!(
            "{instance} is DRAINING: nobody new is put there, and another machine is launched"
        ));
    }
    let gone = show
        .until(warning + SOON, async || {
            let status = witness.instance_status(&instance).await?;
            Ok(status.is_none().then_some(()))
        })
        .await?
        .is_some();
    let mut cut_off = witness.sessions_on(&instance).await?;
    cut_off.retain(super::witness::Session::was_cut_off);
    let found = Interruption {
        users: before.len(),
        drained,
        gone,
        cut_off: cut_off.len(),
        instance,
    };
    tell_end(show, &found);
    let again: Vec<_> = cut_off
        .into_iter()
        .map(|session| Arrival {
            at: show.clock.now(),
            place: SPOT,
            user: session.user,
            laggard: 1.0,
        })
        .collect();
    try_join_all(again.iter().map(|arrival| users.visit(arrival, 2))).await?;
    if !again.is_empty() {
        show.say(&format!("{}: who was cut off has another place", region));
    }
    Ok(Some(found))
}

fn tell_end(show: &Show<'_>, found: &Interruption) {
    let Interruption {
        instance,
        users,
        cut_off,
        ..
    } = found;
    let over = users.saturating_sub(*cut_off);
    show.say(&format!(
        "EC2 has taken {instance}: {over} of its {} were over, {cut_off} cut off",
        count(*users, "session"),
    ));
}

/// With two users at least if there is such a one in the first hour.
async fn busy_machine(show: &Show<'_>, region: &str) -> Result<Option<String>> {
    let time = show.clock.pace.real(INTERRUPTION.1.since(INTERRUPTION.0));
    let look = async |least: i64| {
        let busiest = show.stage.witness.busiest(region).await?;
        Ok(busiest
            .filter(|(_, users)| *users >= least)
            .map(|(id, _)| id))
    };
    let machine = show.until(time / 2, async || look(2).await).await?;
    match machine {
        Some(machine) => Ok(Some(machine)),
        None => show.until(time / 2, async || look(1).await).await,
    }
}

/// A region's first zone has no capacity when it is needed most.
pub(super) async fn shortage(show: &Show<'_>) -> Result<()> {
    let region = PLACES[SHORT].region;
    let subnets = &show.stage.world.region(region)?.subnets;
    let subnet = subnets.first().context("a region has a subnet")?;
    show.clock.reach(SHORTAGE.0).await;
    let none = json!({"region": region, "subnet_id": subnet.id, "available": 0});
    show.stage.set_short(vec![none]).await?;
    show.say(&format!(
        "EC2 has no machine left in the first zone of {region}"
    ));
    let time = show.clock.pace.real(SHORTAGE.1.since(SHORTAGE.0));
    let refused = show.until(time, async || {
        let page = show.page();
        let region = page.as_ref().and_then(|page| page.region(region));
        Ok(region
            .is_some_and(|region| !region.refusals.is_empty())
            .then_some(()))
    });
    if refused.await?.is_some() {
        show.say(&format!(
            "{region}: EC2 refused a launch there; the next choice, another zone, gives the machine"
        ));
    }
    show.clock.reach(SHORTAGE.1).await;
    show.stage.set_short(Vec::new()).await?;
    let lasted = minutes(SHORTAGE.1.since(SHORTAGE.0));
    show.say(&format!(
        "the first zone of {region} has machines again, after {lasted}"
    ));
    Ok(())
}
