//! After the faults: passes for each region, as the schedule runs them, until nothing is left to
//! do.
//!
//! Each invocation has only one region: with timeouts of seconds and on a busy machine, it might
//! use up its budget while it observes thirty regions, and then do nothing in any of them.

use std::fmt;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::iter;
use scaling_tests::deployed::Deployed;
use serde_json::{Value, json};

use crate::regions::REGIONS;
use crate::users::Users;

/// The minute of this schedule.
const MINUTE: Duration = Duration::from_secs(4);

/// The number of regions at the same time.
const AT_ONCE: usize = 3;

/// The passes that settle everything. An agent that died just before
/// takes longest: its instance is terminated once it has been silent for `lost_seconds`, its row is
/// deleted once EC2 has terminated it, and meanwhile the lock of a killed holder expires.
const MOST_PASSES: usize = 40;

/// Instances that start or leave, slots in use or released since [`END_COOL_DOWNS`], and waiting users.
/// A pass takes an instance whose slots cool down for one that is needed.
const UNREST: &str = "SELECT
    (SELECT count(*) FROM instances WHERE status <> 'ACTIVE') AS instances,
    (SELECT count(*) FROM slots WHERE status <> 'WAITING' OR free_from IS NOT NULL) AS slots,
    (SELECT count(*) FROM waiting_users) AS users";

/// Slots cool down for up to ten minutes, and are surplus only then. Nobody waits for that here.
const END_COOL_DOWNS: &str = "UPDATE slots SET free_from = NULL WHERE free_from IS NOT NULL";

/// A target that sizes itself falls for as long as nobody comes: such a region is at rest only for a
/// moment.
const FIX_TARGETS: &str = "UPDATE regions SET algorithm = 'default'";

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
    let fixed = deployed.sql.execute(FIX_TARGETS, &[]).await;
    fixed.expect(FIX_TARGETS);
    let (mut passes, mut left) = (0, MOST_PASSES);
    loop {
        let minute = Instant::now() + MINUTE;
        passes += 1;
        deployed.forget_refusals().await;
        let ended = deployed.sql.execute(END_COOL_DOWNS, &[]).await;
        ended.expect(END_COOL_DOWNS);
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
        left -= 1;
        assert!(left > 0, "not settled after {passes} passes: {unrest:#?}");
        tokio::time::sleep_until(minute.into()).await;
    }
}

/// Runs one pass. Returns its report if something is left to do in the region.
async fn pass(deployed: &Deployed, region: &str) -> Option<String> {
    let report = report(deployed, &json!({"regions": [region]})).await;
    let plan = &report["plan"];
    let is_idle = report["outcome"] == "done"
        && plan["steps"] == json!([])
        && plan["figures"]["starting"] == json!(0)
        && !has_note_about_an_instance(plan);
    (!is_idle).then(|| report.to_string())
}

/// The report of the one region in `payload`, or why there is none.
pub(crate) async fn report(deployed: &Deployed, payload: &Value) -> Value {
    match deployed.stack.reconcile(payload).await {
        Ok(mut report) => report["regions"][0].take(),
        Err(error) => json!(format!("{error:#}")),
    }
}

/// The slots of an agent whose heartbeat is late are not counted: they may be surplus as soon as it
/// sends one.
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
