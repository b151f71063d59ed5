//! A region's lock, and whether passes run.

use jiff::{SignedDuration, Timestamp};

use super::unread;
use crate::doctor::ports::ProbeError;
use crate::doctor::report::Check;
use crate::history::RegionRecords;
use crate::lock::CLOCK_MARGIN;

/// Three scheduled passes, as the status page counts.
const SILENCE: SignedDuration = SignedDuration::from_mins(3);

/// Reads the lock without touching it. `lease` is how long a pass holds it at most.
pub fn lock(
    records: &Result<RegionRecords, ProbeError>,
    lease: SignedDuration,
    now: Timestamp,
) -> Check {
    const NAME: &str = "lock";
    let records = match records {
        Ok(records) => records,
        Err(error) => return unread(NAME, error, "dynamodb:Query"),
    };
    let Some(lock) = &records.lock else {
        return Check::ok(NAME, "free: no pass has run yet");
    };
    let left = lock.expires_at.duration_since(now);
    if left > lease + CLOCK_MARGIN {
        return Check::wrong(
            NAME,
            format!(
                "held until {}, longer than any pass may hold it ({} s)",
                lock.expires_at,
                lease.as_secs()
            ),
            "No pass runs in this region until then. A holder's clock was wrong, or LeaseSeconds \
             was longer.",
            format!(
                "Stop what holds it ({}), then set `expires_at` of the item REGION#…/LOCK to 0. \
                 Never delete the item: its version must not start anew.",
                lock.owner
            ),
        );
    }
    if left.is_positive() {
        return Check::ok(NAME, format!("held by a pass, version {}", lock.version));
    }
    Check::ok(NAME, format!("free, version {}", lock.version))
}

/// `decided`: when the region's newest decision was made.
pub fn passes(decided: &Result<Option<Timestamp>, ProbeError>, now: Timestamp) -> Check {
    const NAME: &str = "passes";
    const REMEDY: &str = "Deploy with ScheduleEnabled=true; look into the log of `reconcile` and \
                          into the queue InvocationFailures; or run a pass by hand and read its \
                          answer.";
    let at = match decided {
        Ok(at) => at,
        Err(error) => return unread(NAME, error, "dynamodb:Query"),
    };
    match at {
        None => Check::warning(
            NAME,
            "no pass has decided anything yet",
            "Nothing is launched and nothing removed.",
            REMEDY,
        ),
        Some(at) if now.duration_since(*at) > SILENCE => Check::wrong(
            NAME,
            format!("the newest decision is of {at}"),
            "Nothing is launched and nothing removed since then.",
            REMEDY,
        ),
        Some(at) => Check::ok(NAME, format!("the newest decision is of {at}")),
    }
}
