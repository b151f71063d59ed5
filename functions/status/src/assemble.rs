//! Builds a region's status from the database's row and DynamoDB's records.

use jiff::{SignedDuration, Timestamp};
use shared::history::{LockItem, Point, RegionRecords, StoredDecision};
use shared::model::ImageState;
use shared::overview::{ImageOverview, InstanceCounts, RegionOverview, RegionRow};
use shared::settings::{ADAPTIVE, REPLICA};

use crate::model::{
    BakingImage, DecisionStatus, LockStatus, Looked, Past, RegionStatus, UpgradeStatus,
    WarmingImage,
};
use crate::schedule::week_ahead;

/// Entries of each list of a decision that is shown among others.
const MOST_ENTRIES: usize = 20;

/// What DynamoDB has of a region.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records {
    pub(crate) standing: RegionRecords,
    /// Newest first.
    pub(crate) decisions: Vec<StoredDecision>,
    /// Empty for answers without charts.
    pub(crate) points: Vec<Point>,
}

/// Whether the region should have passes.
pub(crate) fn is_watched(row: &RegionRow) -> bool {
    row.enabled && !row.paused
}

/// Whether a region that should have passes has no recent decision. Before its first decision, the
/// age of its row counts.
pub(crate) fn is_stale(
    row: &RegionRow,
    decided_at: Option<Timestamp>,
    stale_after: SignedDuration,
) -> bool {
    let since = decided_at.unwrap_or(row.created_at);
    is_watched(row) && row.now.duration_since(since) > stale_after
}

/// `records` is none where DynamoDB could not be read.
pub(crate) fn region_status(
    row: RegionOverview,
    records: Option<&Records>,
    stale_after: SignedDuration,
) -> RegionStatus {
    let unreadable = records.is_none();
    let last = records.and_then(|records| records.decisions.first().cloned());
    let decided_at = last.as_ref().map(|last| last.at);
    let stale = records.map(|_| is_stale(&row.row(), decided_at, stale_after));
    let standing = records
        .map(|records| records.standing.clone())
        .unwrap_or_default();
    let now = row.now;
    let undecided = last
        .as_ref()
        .zip(standing.lock.as_ref())
        .map(|(last, lock)| undecided(last, lock, now));
    let has_rows = row.algorithm != REPLICA;
    // Without rows, only the last decision has numbers.
    let figure = |name| last.as_ref().and_then(|last| last.figure(name));
    let of_replicas = [figure("free"), figure("starting")];
    let counted = |count: u32| has_rows.then_some(count);
    let total = |of: fn(&ImageOverview) -> u32| row.images.iter().map(of).sum();
    let served = row.images.iter().filter(|image| image.is_served());
    let instances = row.images.iter().map(|image| image.instances);
    RegionStatus {
        stale,
        target: match &last {
            _ if !row.enabled => 0,
            // With an algorithm without rows, the last decision has the target.
            Some(last) if !has_rows => last.figure("target").unwrap_or(0),
            // It sizes its target at each pass.
            Some(last) if row.algorithm == ADAPTIVE => last.figure("target").unwrap_or(row.target),
            _ => row.target,
        },
        free: counted(served.map(|image| image.free).sum()).or(of_replicas[0]),
        starting: counted(total(|image| image.starting)).or(of_replicas[1]),
        occupied: counted(total(|image| image.occupied)),
        instances: has_rows
            .then(|| instances.fold(InstanceCounts::default(), InstanceCounts::with)),
        waiting: row.waiting,
        no_capacity_until: row.no_capacity_until,
        upgrade: upgrade(&row),
        looked: row
            .last_observed
            .map(|(version, at)| Looked { at, version }),
        unreadable,
        lock: standing.lock.map(|lock| lock_status(lock, now)),
        wanted_by: standing.marked_by,
        open_intents: standing.open_intents,
        refusals: standing
            .refusals
            .into_iter()
            .filter(|refusal| refusal.until > now)
            .collect(),
        more: standing.is_truncated,
        last_decision: last.map(short),
        undecided,
        region: row.region,
        algorithm: row.algorithm,
        enabled: row.enabled,
        paused: row.paused,
        lines: row.lines,
        images: row.images,
        schedule: week_ahead(&row.schedules, now),
        settings: row.settings,
        setting_problems: row.problems,
    }
}

/// A decision with shortened lists, to be shown among others.
pub(crate) fn short(mut past: StoredDecision) -> DecisionStatus {
    past.shorten(MOST_ENTRIES);
    past.into()
}

/// The part of the records that charts and lists show.
pub(crate) fn past(records: Option<Records>) -> Past {
    let Records {
        decisions, points, ..
    } = records.unwrap_or_default();
    Past {
        points,
        decisions: decisions.into_iter().map(short).collect(),
    }
}

/// How many holders of the lock made no decision. Each holder has its own version. The current
/// holder is not counted, because it may still decide.
fn undecided(last: &StoredDecision, lock: &LockItem, now: Timestamp) -> i64 {
    let since = lock.version - last.version;
    if lock.expires_at > now {
        since - 1
    } else {
        since
    }
    .max(0)
}

fn lock_status(lock: LockItem, now: Timestamp) -> LockStatus {
    let released = lock.expires_at == Timestamp::UNIX_EPOCH;
    let since = lock.since.filter(|_| !released);
    LockStatus {
        held: lock.expires_at > now,
        holder: (!released).then_some(lock.owner),
        version: lock.version,
        since,
        age_seconds: since.map(|since| now.duration_since(since).as_secs()),
        until: (!released).then_some(lock.expires_at),
    }
}

fn upgrade(row: &RegionOverview) -> UpgradeStatus {
    let of = |state| {
        let images = row.images.iter();
        images.filter(move |image| image.state == Some(state))
    };
    let later = |since: Option<Timestamp>, by: SignedDuration| since?.checked_add(by).ok();
    let settings = &row.settings;
    UpgradeStatus {
        app_client_sha: row.app_client_sha.clone(),
        warming: of(ImageState::Warming).next().map(|image| WarmingImage {
            image: image.image.clone(),
            client_sha: image.client_sha.clone(),
            since: image.since,
            deadline: later(image.since, settings.upgrade_deadline()),
            named: row.app_client_sha.as_ref() == Some(&image.client_sha),
            target: settings.target_free,
            free: image.free,
            starting: image.starting,
        }),
        baking: of(ImageState::Baking)
            .map(|image| BakingImage {
                image: image.image.clone(),
                client_sha: image.client_sha.clone(),
                since: image.since,
                until: later(image.since, settings.bake()),
            })
            .collect(),
    }
}
