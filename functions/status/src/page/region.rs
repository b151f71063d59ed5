//! The page of one region: its instances and all its decisions.

use askama::Template;
use jiff::{SignedDuration, Timestamp};
use shared::model::Instance;

use super::chart::{Chart, Frame, Keep, Line};
use super::costs::Costs;
use super::decision::{ReplicaRow, replicas};
use super::schedules::{self, ScheduleRow};
use super::verdict::refused;
use super::view::{DecisionView, RegionView};
use super::words::{count, distance, span};
use super::{Figure, Layout, Visit};
use crate::gather::REGION_WINDOW;
use crate::model::{LockStatus, RegionPage, RegionStatus};

const LIVE: Line = Line {
    name: "live",
    class: "live",
    of: |counts| counts.live,
    keep: Keep::Most,
};
const MAXIMUM: Line = Line {
    name: "maximum",
    class: "max",
    of: |counts| counts.max,
    keep: Keep::Last,
};
const STARTING: Line = Line {
    name: "slots starting",
    class: "starting",
    of: |counts| counts.starting,
    keep: Keep::Most,
};

#[derive(Template)]
#[template(path = "region.html")]
struct RegionHtml {
    layout: Layout,
    region: RegionView,
    machines_chart: Option<Chart>,
    instances: Vec<InstanceRow>,
    more_instances: Option<String>,
    replicas: Vec<ReplicaRow>,
    open: Vec<String>,
    schedules: Vec<ScheduleRow>,
    costs: Costs,
    decisions: Vec<DecisionView>,
    older: Option<String>,
    lock: String,
    settings: Vec<Figure>,
}

struct InstanceRow {
    id: String,
    status: String,
    image: String,
    free: u32,
    sessions: u32,
    capacity: u32,
    launched: String,
    heard: String,
    notes: String,
}

/// `paged` says that a later part of a list is requested.
pub(crate) fn region(
    visit: &Visit,
    page: &RegionPage,
    stale_after: SignedDuration,
    paged: bool,
) -> Result<String, askama::Error> {
    let RegionPage { now, region, .. } = page;
    let frame = Frame {
        now: *now,
        window: REGION_WINDOW,
        gap: stale_after,
    };
    let view = RegionView::of(visit, region, &page.past, frame);
    let title = format!("{} {} · Scaling service", view.tone.sign(), view.name);
    let last = page.newest.as_ref();
    let mut layout = Layout::of(visit, title, Some(*now));
    if paged {
        // A later part of a list has no new entries.
        layout = layout.static_page();
        layout.paged = true;
    }
    let html = RegionHtml {
        machines_chart: Chart::of(&view.points, frame, &[LIVE, MAXIMUM, STARTING]),
        instances: instances(page),
        more_instances: page.more_instances.clone().map(local),
        replicas: last.map(|last| replicas(&last.past)).unwrap_or_default(),
        open: open(region, *now),
        schedules: schedules::rows(region, *now),
        costs: Costs::of(&page.costs, region.settings.monthly_budget, *now),
        decisions: page
            .decisions
            .iter()
            .map(|decision| DecisionView::of(visit, decision))
            .collect(),
        older: page.older.clone().map(local),
        lock: lock(region.lock.as_ref(), *now),
        settings: settings(region),
        layout,
        region: view,
    };
    html.render()
}

/// The query of a path on the same page.
fn local(path: String) -> String {
    match path.split_once('?') {
        Some((_, query)) => format!("?{query}"),
        None => path,
    }
}

fn instances(page: &RegionPage) -> Vec<InstanceRow> {
    let now = page.now;
    let row = |instance: &Instance| {
        let since = |at: Option<Timestamp>, what: &str| {
            at.map(|at| format!("{what} {}", distance(now, at)))
        };
        let says = instance.leave_reason.as_ref();
        let notes = [
            instance.notice.map(|notice| format!("EC2: {notice}")),
            says.map(|says| format!("its agent wants to leave: {says}")),
            since(instance.draining_since, "draining since"),
            since(instance.missing_since, "not listed by EC2 since"),
        ];
        InstanceRow {
            id: instance.id.to_string(),
            status: instance.status.to_string(),
            image: instance.image_id.to_string(),
            free: instance.slots.waiting,
            sessions: instance.slots.occupied,
            capacity: instance.capacity,
            launched: distance(now, instance.launched_at),
            heard: instance
                .beat_at
                .map_or("never".to_owned(), |at| distance(now, at)),
            notes: notes.into_iter().flatten().collect::<Vec<_>>().join(", "),
        }
    };
    page.instances.iter().map(row).collect()
}

fn open(region: &RegionStatus, now: Timestamp) -> Vec<String> {
    let intents = region.open_intents.iter().map(|intent| {
        format!(
            "Launch {}: {} x {} from {} in {}, requested {}, without an answer from EC2 yet",
            intent.launch,
            intent.count,
            intent.instance_type,
            intent.image,
            intent.subnet_id,
            distance(now, intent.since)
        )
    });
    let refusals = region.refusals.iter().map(refused);
    intents.chain(refusals).collect()
}

fn lock(lock: Option<&LockStatus>, now: Timestamp) -> String {
    let Some(lock) = lock else {
        return "No pass has taken the lock yet.".to_owned();
    };
    let version = count(lock.version.unsigned_abs(), "time");
    let holder = match (&lock.holder, lock.held, lock.since) {
        (Some(holder), true, Some(since)) => {
            let age = span(now.duration_since(since));
            format!("a pass ({holder}) has held it for {age}")
        }
        (Some(holder), false, _) => {
            format!("its last holder ({holder}) crashed or lost it without releasing it")
        }
        _ => "no pass holds it now".to_owned(),
    };
    format!("The lock was taken {version}; {holder}.")
}

fn settings(region: &RegionStatus) -> Vec<Figure> {
    let all = serde_json::to_value(&region.settings).unwrap_or_default();
    let all = all.as_object().cloned().unwrap_or_default();
    all.into_iter()
        .map(|(name, value)| Figure {
            name,
            value: value.to_string(),
        })
        .collect()
}
