//! What a pass did and why, in sentences: the summaries that the decision was stored with, and
//! which instances they are about. They are not written here, so that a step has one text wherever
//! it is shown, also when another version of the service stored it.

use serde_json::{Map, Value};
use shared::history::{StoredDecision, StoredNote, StoredStep};
use shared::report::StepResult;
use shared::scaling::Topic;

use super::words::{count, names};

/// Sentences with one topic; the others are counted.
const MOST_PER_TOPIC: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Something was done.
    Did,
    /// Something was left as it is, or there was nothing to do.
    Kept,
    /// An operator has to act.
    Problem,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sentence {
    pub(super) kind: Kind,
    pub(super) text: String,
    /// It says why fewer instances were launched than are needed.
    pub(super) limits_launches: bool,
}

impl Sentence {
    fn new(kind: Kind, text: String) -> Self {
        Self {
            kind,
            text,
            limits_launches: false,
        }
    }

    /// A sign that shows the kind without colours.
    pub(super) fn sign(&self) -> &'static str {
        match self.kind {
            Kind::Did => "●",
            Kind::Kept => "○",
            Kind::Problem => "▲",
        }
    }

    pub(super) fn class(&self) -> &'static str {
        match self.kind {
            Kind::Did => "did",
            Kind::Kept => "kept",
            Kind::Problem => "problem",
        }
    }
}

/// At least one sentence: launches, other steps, failed steps, notes.
pub(super) fn of(past: &StoredDecision) -> Vec<Sentence> {
    let mut all: Vec<_> = launches(past).into_iter().collect();
    let steps = past.plan.steps.iter();
    all.extend(summarized(steps.filter_map(Item::of_step).collect()));
    let failed = past.results.iter().filter(|result| !result.ok);
    all.extend(failed.map(failure));
    let notes = past.plan.notes.iter().filter(|note| !is_routine(note));
    all.extend(summarized(notes.map(Item::of_note).collect()));
    if all.is_empty() {
        all.push(Sentence::new(Kind::Kept, nothing_to_do(past)));
    }
    all
}

/// True when the pass did nothing, and nothing is to be noted.
pub(super) fn is_quiet(past: &StoredDecision) -> bool {
    let plan = &past.plan;
    plan.steps.is_empty() && past.results.is_empty() && plan.notes.iter().all(is_routine)
}

/// The buffer is full, or an upgrade continues: the page shows both with the region.
fn is_routine(note: &StoredNote) -> bool {
    !note.alert && (note.is_about(Topic::Buffer) || note.is_about(Topic::Upgrade))
}

fn nothing_to_do(past: &StoredDecision) -> String {
    match ["free", "target", "starting"].map(|name| past.figure(name)) {
        [Some(free), Some(target), Some(starting @ 1..)] => {
            format!("nothing to do: free {free} of {target}, {starting} starting")
        }
        [Some(free), Some(target), _] => format!("nothing to do: free {free} of {target}"),
        _ => "nothing to do".to_owned(),
    }
}

/// One sentence for all launches: their results have the number of instances. None where a launch
/// failed or EC2 launched nothing; the failure has a sentence of its own.
fn launches(past: &StoredDecision) -> Option<Sentence> {
    let mut steps = past.plan.steps.iter();
    let why = steps.find(|step| step.is_about(Topic::Launch))?.summary();
    // Decisions of earlier versions have no numbers.
    let has_numbers = past.results.iter().any(|result| result.launched.is_some());
    let launched: usize = past.results.iter().filter_map(|it| it.launched).sum();
    let has_failed = past.results.iter().any(|result| !result.ok);
    let text = match launched {
        0 if has_numbers || has_failed => return None,
        0 => format!("launched: {why}"),
        n => format!("launched {n}: {why}"),
    };
    Some(Sentence::new(Kind::Did, text))
}

fn failure(result: &StepResult) -> Sentence {
    let StepResult { step, result, .. } = result;
    // The options of a launch are too long for a sentence. The decision's page has them.
    let what = if step.starts_with("launch from ") {
        "launch"
    } else {
        step
    };
    Sentence::new(Kind::Problem, format!("did not {what}: {result}"))
}

/// A step or a note, as far as a sentence shows it.
struct Item<'d> {
    kind: Kind,
    topic: &'d str,
    summary: String,
    instance: Option<&'d str>,
    users: u64,
}

impl<'d> Item<'d> {
    /// None for launches, and for what only the next pass needs.
    fn of_step(step: &'d StoredStep) -> Option<Self> {
        if step.is_about(Topic::Launch) || step.is_about(Topic::Record) {
            return None;
        }
        let orphan = step.details.get("orphan").and_then(Value::as_object);
        let instance = text(&step.details, "instance");
        Some(Self {
            kind: Kind::Did,
            topic: step.topic.as_deref().unwrap_or(&step.action),
            summary: step.summary(),
            instance: instance.or_else(|| text(orphan?, "id")),
            users: users(&step.reason.details),
        })
    }

    fn of_note(note: &'d StoredNote) -> Self {
        Self {
            kind: if note.alert {
                Kind::Problem
            } else {
                Kind::Kept
            },
            topic: note.topic.as_deref().unwrap_or(&note.reason.reason),
            summary: note.summary().to_owned(),
            instance: note.instance.as_ref().map(|id| id.as_str()),
            users: users(&note.reason.details),
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        (self.kind, self.topic, &self.summary) == (other.kind, other.topic, &other.summary)
    }
}

/// Groups by topic, in the order of each topic's first item. Items with the same summary are one
/// sentence.
fn summarized(items: Vec<Item<'_>>) -> Vec<Sentence> {
    let by_topic = grouped(items, |a, b| (a.kind, a.topic) == (b.kind, b.topic));
    let mut sentences = Vec::new();
    for items in by_topic {
        let Some((kind, topic)) = items.first().map(|first| (first.kind, first.topic)) else {
            continue;
        };
        let alike = grouped(items, Item::is_like);
        let others: usize = alike.iter().skip(MOST_PER_TOPIC).map(Vec::len).sum();
        sentences.extend(alike.iter().take(MOST_PER_TOPIC).map(|items| Sentence {
            limits_launches: topic == Topic::Capacity.name(),
            ..Sentence::new(kind, sentence(items))
        }));
        if others > 0 {
            sentences.push(Sentence::new(kind, format!("{others} more ({topic})")));
        }
    }
    sentences
}

fn grouped<T>(items: Vec<T>, is_like: impl Fn(&T, &T) -> bool) -> Vec<Vec<T>> {
    let mut groups: Vec<Vec<T>> = Vec::new();
    for item in items {
        let mut known = groups.iter_mut();
        match known.find(|group| group.first().is_some_and(|first| is_like(first, &item))) {
            Some(group) => group.push(item),
            None => groups.push(vec![item]),
        }
    }
    groups
}

/// `i-1 and i-2: kept while draining, 3 users`.
fn sentence(items: &[Item<'_>]) -> String {
    let instances: Vec<_> = items.iter().filter_map(|item| item.instance).collect();
    let summary = items.first().map_or("", |first| first.summary.as_str());
    let mut text = match instances.as_slice() {
        [] => summary.to_owned(),
        instances => format!("{}: {summary}", names(instances)),
    };
    let users: u64 = items.iter().map(|item| item.users).sum();
    if users > 0 {
        text += &format!(", {}", count(users, "user"));
    }
    text
}

/// The users on an instance, where they matter for the reason.
fn users(details: &Map<String, Value>) -> u64 {
    let users = details.get("occupied").and_then(Value::as_u64);
    users.unwrap_or_default()
}

fn text<'m>(details: &'m Map<String, Value>, key: &str) -> Option<&'m str> {
    details.get(key).and_then(Value::as_str)
}

/// Why a pass ran.
pub(super) fn trigger(past: &StoredDecision) -> String {
    let details = &past.trigger.details;
    let detail = |key| text(details, key).unwrap_or_default();
    match past.trigger.kind.as_str() {
        "schedule" => "by the schedule".to_owned(),
        "by_hand" => "invoked by hand".to_owned(),
        "image_upgrade" => format!("an upgrade to {} was requested", detail("image")),
        "instance_event" => format!("EC2 event of {}: {}", detail("instance"), detail("says")),
        "hand_over" => "handed over by a pass that had no time left".to_owned(),
        "database_event" => match detail("name") {
            "region_wake" => "slots ran low".to_owned(),
            "instance_status_changed" => "an instance changed its status".to_owned(),
            "app_version_changed" => "the app version changed".to_owned(),
            name => format!("database event {name}"),
        },
        other => {
            let values = details.values().filter_map(Value::as_str);
            let words: Vec<_> = std::iter::once(other.replace('_', " "))
                .chain(values.map(str::to_owned))
                .collect();
            words.join(" ")
        }
    }
}

#[cfg(test)]
mod tests;
