//! When everything works again: passes for each region, as the schedule brings them, until nothing
//! is left to do.
//!
//! Not all regions in one invocation: with limits of seconds, and on a machine that is busy, it may
//! have used up its time when it has looked at thirty, and then does nothing in any.

use std::fmt;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::iter;
use scaling_tests::deployed::Deployed;
use serde_json::{Value, json};
use shared::clock::Clock as _;
use startup::SystemClock;

use crate::checks::stores::Memory;
use crate::regions::REGIONS;
use crate::users::Users;

/// The minute of this schedule.
const MINUTE: Duration = Duration::from_secs(4);

/// So many regions at a time.
const AT_ONCE: usize = 3;

/// So many of them settle everything, once it is forgotten that EC2 had no room. What takes longest
/// is an agent that died just before: it is given up when it has been silent for `lost_seconds`, its
/// row goes when EC2 has ended it, and meanwhile the lock of a killed holder runs out.
const MOST_PASSES: usize = 15;

/// Instances that start or leave, slots that are in use, users who wait.
const UNREST: &str = "SELECT
    (SELECT count(*) FROM instances WHERE status <> 'ACTIVE') AS instances,
    (SELECT count(*) FROM slots WHERE status <> 'WAITING') AS slots,
    (SELECT count(*) FROM waiting_users) AS users";

pub(crate) struct Settled {
    passes: usize,
    time: Duration,
}

impl fmt::Display for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passes, time } = self;
        write!(
            f,
            "{passes} passes for each region, in {:.0} s",
            time.as_secs_f32()
        )
    }
}

pub(crate) async fn settle(deployed: &Deployed, users: &Users<'_>) -> Settled {
    let began = Instant::now();
    let (mut passes, mut left) = (0, MOST_PASSES);
    let mut forgotten = None;
    loop {
        let minute = Instant::now() + MINUTE;
        passes += 1;
        users.retry_waiting_users().await;
        let mut unrest: Vec<_> = iter(REGIONS)
            .map(|region| pass(deployed, region))
            .buffer_unordered(AT_ONCE)
            .filter_map(async |unrest| unrest)
            .collect()
            .await;
        unrest.extend(in_progress(deployed).await);
        if unrest.is_empty() {
            let time = began.elapsed();
            return Settled { passes, time };
        }
        // The passes that were under way when EC2 had room again have ended with the first ones:
        // there are no new refusals.
        let forgotten = match forgotten {
            Some(forgotten) => forgotten,
            None => *forgotten.insert(Memory::read(deployed).await.refused_until),
        };
        if SystemClock.now().as_second() > forgotten {
            left -= 1;
        }
        assert!(left > 0, "not settled after {passes} passes: {unrest:#?}");
        tokio::time::sleep_until(minute.into()).await;
    }
}

/// One pass, and what is left to be done in the region after it.
async fn pass(deployed: &Deployed, region: &str) -> Option<String> {
    let report = deployed.invoke(&json!({"regions": [region]})).await;
    let report = &report["regions"][0];
    let plan = &report["plan"];
    let is_idle = report["outcome"] == "done"
        && plan["steps"] == json!([])
        && plan["figures"]["starting"] == json!(0)
        && !has_note_about_an_instance(plan);
    (!is_idle).then(|| report.to_string())
}

/// An agent that is late with its heartbeat has its slots not counted: there is a surplus as soon
/// as it is heard of again.
pub(crate) fn has_note_about_an_instance(plan: &Value) -> bool {
    let notes = plan["notes"].as_array().into_iter().flatten();
    notes.into_iter().any(|note| note.get("instance").is_some())
}

async fn in_progress(deployed: &Deployed) -> Option<String> {
    let row = deployed.sql.query_one(UNREST, &[]).await.expect(UNREST);
    let rows: [i64; 3] = ["instances", "slots", "users"].map(|column| row.get(column));
    let events = deployed.control_events("GET", "", &Value::Null).await;
    let waiting = [
        &events["events"]["pending"],
        &events["sending"],
        &events["copies"],
    ];
    let is_quiet = rows == [0; 3] && waiting.iter().all(|number| **number == json!(0));
    (!is_quiet).then(|| format!("instances, slots, users: {rows:?}; events: {events}"))
}
