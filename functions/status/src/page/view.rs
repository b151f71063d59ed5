//! A region and a decision as pages show them. All texts and charts are made here; the templates only
//! place them.

use jiff::{SignedDuration, Timestamp};
use shared::history::Point;
use shared::model::ImageState;
use shared::overview::ImageOverview;
use shared::scaling::Counts;

use super::Visit;
use super::chart::{Chart, Frame, Keep, Line};
use super::sentences::{self, Sentence};
use super::verdict::{Buffer, Tone, Verdict, next_step};
use super::words::{clock, distance, full, short_sha, span};
use crate::model::{DecisionStatus, Past, RegionStatus};

const FREE: Line = Line {
    name: "free slots",
    class: "free",
    of: |counts| counts.free,
    keep: Keep::Least,
};
const TARGET: Line = Line {
    name: "target",
    class: "target",
    of: |counts| counts.target,
    keep: Keep::Last,
};
const SESSIONS: Line = Line {
    name: "sessions",
    class: "sessions",
    of: |counts| counts.occupied,
    keep: Keep::Most,
};
/// Decisions on the overview.
const MOST_DECISIONS: usize = 5;

/// A region as both pages show it.
pub(super) struct RegionView {
    pub(super) name: String,
    pub(super) algorithm: String,
    /// With the algorithm `default`: instances, slots and sessions are in the database.
    pub(super) has_rows: bool,
    pub(super) tone: Tone,
    pub(super) verdict: &'static str,
    pub(super) reasons: Vec<String>,
    pub(super) warnings: Vec<String>,
    pub(super) free: String,
    pub(super) target: u32,
    pub(super) starting: u32,
    pub(super) sessions: u32,
    /// Users in line, for how long the first of them has been, and when the last may expect a slot.
    pub(super) line: Option<String>,
    pub(super) live: u32,
    pub(super) max: u32,
    pub(super) machines: &'static str,
    pub(super) machines_title: &'static str,
    pub(super) chart: Option<Chart>,
    /// What passes observed, and the current state.
    pub(super) points: Vec<Point>,
    pub(super) upgrade: Vec<Paragraph>,
    pub(super) images: ImageTable,
    pub(super) decisions: Vec<DecisionView>,
}

pub(super) struct Paragraph {
    pub(super) head: String,
    pub(super) text: String,
}

/// Instances by image and state. A state without instances has no column.
pub(super) struct ImageTable {
    pub(super) columns: Vec<&'static str>,
    pub(super) rows: Vec<ImageRow>,
}

pub(super) struct ImageRow {
    pub(super) id: String,
    pub(super) state: String,
    pub(super) sha: String,
    /// One for each column.
    pub(super) counts: Vec<u32>,
    /// Since when the image has its state, and why.
    pub(super) history: String,
}

pub(super) struct DecisionView {
    pub(super) path: String,
    pub(super) at: String,
    pub(super) clock: String,
    pub(super) full: String,
    pub(super) trigger: String,
    pub(super) outcome: String,
    pub(super) took: String,
    pub(super) sentences: Vec<Sentence>,
    /// The number of earlier decisions that it stands for.
    pub(super) alike_before: usize,
}

impl RegionView {
    pub(super) fn of(visit: &Visit, region: &RegionStatus, past: &Past, frame: Frame) -> Self {
        let now = frame.now;
        let Verdict {
            tone,
            text,
            reasons,
            warnings,
        } = Verdict::of(region, now);
        let buffer = Buffer::of(region);
        let has_rows = region.instances.is_some();
        let figure = |name| {
            let last = region.last_decision.as_ref()?;
            last.past.figure(name)
        };
        let live = match region.instances {
            Some(counts) => counts.all(),
            None => figure("live").unwrap_or_default(),
        };
        let points = until_now(region, past, now);
        let lines: &[Line] = if has_rows {
            &[FREE, TARGET, SESSIONS]
        } else {
            &[FREE, TARGET]
        };
        Self {
            name: region.region.to_string(),
            algorithm: region.algorithm.clone(),
            has_rows,
            tone,
            verdict: text,
            reasons,
            warnings,
            free: buffer.free.map_or("?".to_owned(), |free| free.to_string()),
            target: buffer.target,
            starting: buffer.starting,
            sessions: region.occupied.unwrap_or_default(),
            line: line(region),
            live,
            max: region.settings.max_instances,
            machines: if has_rows { "instances" } else { "replicas" },
            machines_title: if has_rows { "Instances" } else { "Replicas" },
            chart: Chart::of(&points, frame, lines),
            points,
            upgrade: upgrade(region, now),
            images: images(region, now),
            decisions: collapsed(visit, &past.decisions),
        }
    }

    pub(super) fn is(&self, tone: Tone) -> bool {
        self.tone == tone
    }

    /// An operator should look at the region.
    pub(super) fn is_troubled(&self) -> bool {
        matches!(self.tone, Tone::Low | Tone::Out) || !self.warnings.is_empty()
    }

    /// Why, in one line.
    pub(super) fn trouble(&self) -> String {
        let verdict = matches!(self.tone, Tone::Low | Tone::Out).then(|| self.verdict.to_owned());
        let all = verdict.into_iter().chain(self.warnings.iter().cloned());
        let reasons = self.reasons.iter().take(2).cloned();
        all.chain(reasons).collect::<Vec<_>>().join("; ")
    }
}

/// All lines of the region as one.
fn line(region: &RegionStatus) -> Option<String> {
    let lines = &region.lines;
    let users: u32 = lines.iter().map(|line| line.users).sum();
    let seconds = lines.iter().map(|line| line.longest_wait_seconds).max()?;
    let longest = span(SignedDuration::from_secs(seconds));
    let estimates: Option<Vec<_>> = lines
        .iter()
        .map(|line| line.last_estimate_seconds)
        .collect();
    let last = estimates
        .and_then(|estimates| estimates.into_iter().max())
        .map_or("unknown".to_owned(), |seconds| {
            format!("in {}", span(SignedDuration::from_secs(seconds.into())))
        });
    Some(format!("{users}, longest {longest}, last {last}"))
}

/// What passes observed, and the current state: the last pass may be a minute old.
fn until_now(region: &RegionStatus, past: &Past, now: Timestamp) -> Vec<Point> {
    let mut points = past.points.clone();
    if let Some(counts) = region.instances
        && let Some(last) = points.last()
    {
        let buffer = Buffer::of(region);
        let counts = Counts {
            target: buffer.target,
            free: buffer.free.unwrap_or_default(),
            starting: buffer.starting,
            waiting: region.waiting,
            occupied: region.occupied.unwrap_or_default(),
            live: counts.all(),
            max: last.counts.max,
        };
        points.push(Point { at: now, counts });
    }
    points
}

/// Consecutive decisions with the same sentences, or with nothing to do, are shown as one: the
/// newest, with the number of those before it.
fn collapsed(visit: &Visit, decisions: &[DecisionStatus]) -> Vec<DecisionView> {
    let mut views: Vec<DecisionView> = Vec::new();
    let mut in_quiet = false;
    for decision in decisions {
        let view = DecisionView::of(visit, decision);
        let is_quiet = sentences::is_quiet(&decision.past);
        let is_full = views.len() == MOST_DECISIONS;
        let alike = views
            .last_mut()
            .filter(|last| (is_quiet && in_quiet) || last.sentences == view.sentences);
        match alike {
            Some(last) => last.alike_before += 1,
            None if is_full => break,
            None => views.push(view),
        }
        in_quiet = is_quiet;
    }
    views
}

impl DecisionView {
    pub(super) fn of(visit: &Visit, decision: &DecisionStatus) -> Self {
        let past = &decision.past;
        Self {
            path: format!("{}decisions/{}", visit.base, decision.decision),
            at: past.at.to_string(),
            clock: clock(past.at),
            full: full(past.at),
            trigger: sentences::trigger(past),
            outcome: past.outcome.clone().unwrap_or_else(|| "?".to_owned()),
            took: past
                .duration_ms
                .map_or(String::new(), |ms| format!("{ms} ms")),
            sentences: sentences::of(past),
            alike_before: 0,
        }
    }
}

fn upgrade(region: &RegionStatus, now: Timestamp) -> Vec<Paragraph> {
    let upgrade = &region.upgrade;
    let warming = upgrade.warming.iter().map(|warming| Paragraph {
        head: format!(
            "Upgrade to {} ({}).",
            warming.image,
            short_sha(warming.client_sha.as_str())
        ),
        text: next_step(region, warming, now),
    });
    let baking = upgrade.baking.iter().map(|baking| Paragraph {
        head: format!("{} is kept for a rollback.", baking.image),
        text: match baking.until {
            Some(until) => format!(
                "Until {} ({}), users of {} are served from it; then it drains",
                clock(until),
                distance(now, until),
                short_sha(baking.client_sha.as_str())
            ),
            None => String::new(),
        },
    });
    let images = region.images.iter();
    let failed = images
        .filter(|image| image.state == Some(ImageState::Failed))
        .filter(|image| is_recent(image, now))
        .map(|image| Paragraph {
            head: format!("The upgrade to {} failed.", image.image),
            text: image.reason.clone().unwrap_or_default(),
        });
    warming.chain(baking).chain(failed).collect()
}

/// A failed upgrade is shown for a day.
fn is_recent(image: &ImageOverview, now: Timestamp) -> bool {
    let since = image.since.map(|since| now.duration_since(since));
    since.is_some_and(|since| since < SignedDuration::from_hours(24))
}

/// What can be counted of an image.
type Count = (&'static str, fn(&ImageOverview) -> u32);

const STATES: [Count; 4] = [
    ("starting", |image| image.instances.pre_connection),
    ("active", |image| image.instances.active),
    ("draining", |image| image.instances.draining),
    ("ending", |image| image.instances.terminating),
];

const SLOTS: [Count; 2] = [
    ("free", |image| image.free),
    ("sessions", |image| image.occupied),
];

/// Images without instances that are not in use are in the JSON only.
fn images(region: &RegionStatus, now: Timestamp) -> ImageTable {
    let shown: Vec<_> = region
        .images
        .iter()
        .filter(|_| region.instances.is_some())
        .filter(|image| {
            let is_run_on = STATES.iter().any(|(_, count)| count(image) > 0);
            is_run_on || image.state.is_some_and(ImageState::has_buffer) || is_recent(image, now)
        })
        .collect();
    let says =
        |(name, count): &&Count| *name == "active" || shown.iter().any(|image| count(image) > 0);
    // With one image, its slots are those of the region.
    let slots = SLOTS.iter().filter(|_| shown.len() > 1);
    let columns: Vec<_> = STATES.iter().chain(slots).filter(says).collect();
    let row = |image: &&ImageOverview| ImageRow {
        id: image.image.to_string(),
        state: image
            .state
            .map_or("without a row".to_owned(), |state| state.to_string()),
        sha: short_sha(image.client_sha.as_str()).to_owned(),
        counts: columns.iter().map(|(_, count)| count(image)).collect(),
        history: image_history(image, now),
    };
    ImageTable {
        rows: shown.iter().map(row).collect(),
        columns: columns.iter().map(|(name, _)| *name).collect(),
    }
}

fn image_history(image: &ImageOverview, now: Timestamp) -> String {
    let state = image.state.map(|state| state.to_string());
    let mut text = match (state, image.since) {
        (Some(state), Some(since)) => {
            format!("{state} since {} ({})", full(since), distance(now, since))
        }
        _ => String::new(),
    };
    if let Some(reason) = &image.reason {
        text += &format!(": {reason}");
    }
    text
}
