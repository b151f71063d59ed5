//! What a pass did and why, in plain sentences. A decision may be another version's: what is not
//! known here is told in the words that were recorded with it.

use serde_json::{Map, Value};
use shared::history::{StoredDecision, StoredNote, StoredReason, StoredStep};
use shared::report::StepResult;

use super::words::count;

/// Ids that are named; the others are counted.
const NAMED: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Something was done.
    Did,
    /// Something was left as it is, or nothing was to be done.
    Kept,
    /// An operator should look.
    Problem,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sentence {
    pub(super) kind: Kind,
    pub(super) text: String,
}

impl Sentence {
    fn new(kind: Kind, text: String) -> Self {
        Self { kind, text }
    }

    /// A sign beside the colour.
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

/// At least one.
pub(super) fn of(past: &StoredDecision) -> Vec<Sentence> {
    let mut all: Vec<_> = launches(past).into_iter().collect();
    let others = past.plan.steps.iter().filter(|step| !is_launch(step));
    for group in grouped(others, |step| (&step.action, &step.reason.reason)) {
        all.extend(done(&group));
    }
    let failed = past.results.iter().filter(|result| !result.ok);
    all.extend(failed.map(|result| {
        let StepResult { step, result, .. } = result;
        // All of a launch failed: what it was is told where the decision is told in full.
        let what = if step.starts_with("launch from ") {
            "launch"
        } else {
            step
        };
        Sentence::new(Kind::Problem, format!("did not {what}: {result}"))
    }));
    let notes = past.plan.notes.iter().filter(|note| !is_rest(note));
    for group in grouped(notes, |note| (&note.reason.reason, note.alert)) {
        all.push(noted(&group));
    }
    if all.is_empty() {
        all.push(Sentence::new(Kind::Kept, quiet(past)));
    }
    all
}

/// True when the pass found nothing to do and nothing to say.
pub(super) fn is_quiet(past: &StoredDecision) -> bool {
    past.plan.steps.is_empty() && past.results.is_empty() && past.plan.notes.iter().all(is_rest)
}

/// It says that all is as it should be, or how far an upgrade is, which is told of the region.
fn is_rest(note: &StoredNote) -> bool {
    const REST: [&str; 5] = [
        "buffer_full",
        "replicas_suffice",
        "still_warming",
        "awaits_app_version",
        "still_baking",
    ];
    !note.alert && REST.contains(&note.reason.reason.as_str())
}

fn quiet(past: &StoredDecision) -> String {
    match (
        past.figure("free"),
        past.figure("target"),
        past.figure("starting"),
    ) {
        (Some(free), Some(target), Some(starting @ 1..)) => {
            format!("nothing to do: free {free} of {target}, {starting} starting")
        }
        (Some(free), Some(target), _) => format!("nothing to do: free {free} of {target}"),
        _ => "nothing to do".to_owned(),
    }
}

fn is_launch(step: &StoredStep) -> bool {
    matches!(step.action.as_str(), "launch" | "resume_launch")
}

/// What came of launches is in the results; which of them it came of does not matter.
fn launches(past: &StoredDecision) -> Option<Sentence> {
    let step = past.plan.steps.iter().find(|step| is_launch(step))?;
    let launched: usize = past.results.iter().filter_map(|it| it.launched).sum();
    // Records of earlier versions have no numbers; what failed is told besides.
    let known = past.results.iter().any(|it| it.launched.is_some());
    let why = why(&step.reason);
    match launched {
        0 if known || past.results.iter().any(|it| !it.ok) => None,
        0 => Some(Sentence::new(Kind::Did, format!("launched: {why}"))),
        n => Some(Sentence::new(Kind::Did, format!("launched {n}: {why}"))),
    }
}

/// Neighbours or not, what is alike goes together, in the order of its first one.
fn grouped<'a, T, K: PartialEq>(
    items: impl Iterator<Item = &'a T>,
    key: impl Fn(&'a T) -> K,
) -> Vec<Vec<&'a T>> {
    let mut groups: Vec<(K, Vec<&T>)> = Vec::new();
    for item in items {
        let key = key(item);
        match groups.iter_mut().find(|(of, _)| *of == key) {
            Some((_, group)) => group.push(item),
            None => groups.push((key, vec![item])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

fn done(group: &[&StoredStep]) -> Option<Sentence> {
    let first = group.first()?;
    let who = || named(group.iter().map(|step| text(&step.details, "instance")));
    let why = why(&first.reason);
    let said = match first.action.as_str() {
        "drain" => format!("drains {}: {why}", who()),
        "terminate" => format!("ends {}: {why}", who()),
        "delete_replica" => format!("deletes {}: {why}", who()),
        "remove" => format!("removes the row of {}: {why}", who()),
        "note_missing" => format!("watches {}: {why}", who()),
        "note_present" => format!("watches {} no longer: {why}", who()),
        "terminate_orphan" => {
            let orphans = group.iter().map(|step| match step.details.get("orphan") {
                Some(Value::Object(orphan)) => text(orphan, "id"),
                _ => "",
            });
            format!("ends {}: {why}", named(orphans))
        }
        "move_address" => {
            let moves = group.iter().map(|step| {
                let [ip, to, from] = ["ip", "to", "from"].map(|key| text(&step.details, key));
                match from {
                    "" => format!("{ip} to {to}"),
                    from => format!("{ip} from {from} to {to}"),
                }
            });
            let moves: Vec<_> = moves.collect();
            format!("moves {}: {why}", named(moves.iter().map(String::as_str)))
        }
        "release_unclaimed" => {
            let slots = number(&first.details, "slots").unwrap_or_default();
            format!("frees {}: {why}", count(slots, "slot"))
        }
        "move_image" => {
            let [image, from, to] = ["image", "from", "to"].map(|key| text(&first.details, key));
            format!("moves {image} from {from} to {to}: {why}")
        }
        // It is said of each replica by itself.
        "remember_unknown" => return None,
        other => {
            let what = other.replace('_', " ");
            let instances: Vec<_> = group
                .iter()
                .map(|step| text(&step.details, "instance"))
                .filter(|id| !id.is_empty())
                .collect();
            let space = if instances.is_empty() { "" } else { " " };
            format!("{what}{space}{}: {why}", named(instances.into_iter()))
        }
    };
    Some(Sentence::new(Kind::Did, said))
}

/// The reason, shorter than the log has it where it is told most.
fn why(reason: &StoredReason) -> String {
    let figure = |name| number(&reason.details, name);
    match reason.reason.as_str() {
        "below_target" => {
            let [free, target, starting, waiting] =
                ["free", "target", "starting", "waiting"].map(figure);
            let (Some(free), Some(target)) = (free, target) else {
                return reason.text.clone();
            };
            let mut why = format!("free {free} of {target}");
            if let Some(starting @ 1..) = starting {
                why += &format!(", {starting} starting");
            }
            if let Some(waiting @ 1..) = waiting {
                why += &format!(", {} waiting", count(waiting, "user"));
            }
            why
        }
        "surplus" => match (figure("free"), figure("target")) {
            (Some(free), Some(target)) => format!("free {free} of {target}"),
            _ => reason.text.clone(),
        },
        _ => reason.text.clone(),
    }
}

fn noted(group: &[&StoredNote]) -> Sentence {
    let Some(first) = group.first() else {
        return Sentence::new(Kind::Kept, String::new());
    };
    let kind = if first.alert {
        Kind::Problem
    } else {
        Kind::Kept
    };
    let reason = &first.reason;
    let figure = |name| number(&reason.details, name);
    let ids = || group.iter().filter_map(|note| note.instance.as_ref());
    let who = || named(ids().map(|id| id.as_str()));
    let said = match reason.reason.as_str() {
        "at_maximum" | "replicas_at_maximum" => match figure("max") {
            Some(max) => format!("did not launch: maximum of {max} reached"),
            None => format!("did not launch: {}", reason.text),
        },
        "no_capacity" => format!("did not launch: {}", reason.text),
        "no_image" | "no_launch_choice" => format!("cannot launch: {}", reason.text),
        "step_bound" => format!("launches fewer: {}", reason.text),
        "draining_occupied" | "occupied_on_old_image" => {
            let users = group
                .iter()
                .filter_map(|note| number(&note.reason.details, "occupied"));
            format!("kept {}: {}", who(), count(users.sum::<u64>(), "user"))
        }
        _ if ids().next().is_some() => format!("{}: {}", who(), reason.text),
        _ => reason.text.clone(),
    };
    Sentence::new(kind, said)
}

/// `i-1`, `i-1 and i-2`, `i-1, i-2, i-3 and 4 others`.
fn named<'a>(ids: impl Iterator<Item = &'a str>) -> String {
    let ids: Vec<_> = ids.collect();
    match ids.as_slice() {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [all @ .., last] if ids.len() <= NAMED => format!("{} and {last}", all.join(", ")),
        _ => {
            let others = ids.len() - NAMED;
            let ending = if others == 1 { "" } else { "s" };
            format!("{} and {others} other{ending}", ids[..NAMED].join(", "))
        }
    }
}

fn text<'m>(details: &'m Map<String, Value>, key: &str) -> &'m str {
    details.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn number(details: &Map<String, Value>, key: &str) -> Option<u64> {
    details.get(key).and_then(Value::as_u64)
}

/// Why a pass ran.
pub(super) fn trigger(past: &StoredDecision) -> String {
    let details = &past.trigger.details;
    match past.trigger.kind.as_str() {
        "schedule" => "by the schedule".to_owned(),
        "by_hand" => "invoked by hand".to_owned(),
        "image_upgrade" => format!("image {} was asked for", text(details, "image")),
        "instance_event" => {
            let [instance, says] = ["instance", "says"].map(|key| text(details, key));
            format!("EC2 says of {instance}: {says}")
        }
        "hand_over" => "handed on by a pass that had no time left".to_owned(),
        "database_event" => match text(details, "name") {
            "region_wake" => "slots ran low".to_owned(),
            "instance_status_changed" => "an instance changed its status".to_owned(),
            "app_version_changed" => "the app version changed".to_owned(),
            name => format!("database event {name}"),
        },
        other => {
            let values = details.values().filter_map(Value::as_str);
            let said: Vec<_> = std::iter::once(other.replace('_', " "))
                .chain(values.map(str::to_owned))
                .collect();
            said.join(" ")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn past(plan: Value, results: Value) -> StoredDecision {
        let mut decision = json!({
            "region": "us-east-1", "version": 1, "at": "2026-01-01T12:00:00Z", "id": "x",
            "trigger": {"kind": "schedule"},
        });
        decision["plan"] = plan;
        decision["results"] = results;
        serde_json::from_value(decision).unwrap()
    }

    fn told(plan: Value, results: Value) -> Vec<(Kind, String)> {
        let sentences = of(&past(plan, results)).into_iter();
        sentences
            .map(|sentence| (sentence.kind, sentence.text))
            .collect()
    }

    fn below(free: u32, starting: u32, waiting: u32) -> Value {
        json!({"reason": "below_target", "text": "long", "free": free, "starting": starting,
            "waiting": waiting, "target": 4})
    }

    #[test]
    fn a_launch_is_told_with_what_came_of_it() {
        let plan = json!({"steps": [{"do": "launch", "because": below(1, 0, 0)}]});
        let result =
            json!([{"step": "launch 2 x m", "ok": true, "result": "2 launched", "launched": 2}]);
        let did = |text: &str| vec![(Kind::Did, text.to_owned())];
        assert_eq!(told(plan, result), did("launched 2: free 1 of 4"));
        let resumed = json!({"steps": [{"do": "resume_launch", "launch": "l",
            "because": {"reason": "intent_open", "text": "an earlier pass recorded it"}}]});
        let result = json!([{"step": "resume", "ok": true, "result": "1", "launched": 1}]);
        assert_eq!(
            told(resumed, result),
            did("launched 1: an earlier pass recorded it")
        );
        let plan = json!({"steps": [{"do": "launch", "because": below(0, 2, 1)}]});
        let result = json!([{"step": "launch 2 x m", "ok": true, "result": "2 launched"}]);
        assert_eq!(
            told(plan, result),
            did("launched: free 0 of 4, 2 starting, 1 user waiting")
        );
    }

    #[test]
    fn a_launch_that_brought_nothing_is_no_launch() {
        let plan = json!({"steps": [{"do": "launch", "because": below(0, 0, 0)}]});
        let result = json!([
            {"step": "launch 2 x m in a", "ok": true, "result": "the next is asked: no room"},
            {"step": "launch from ami-1", "ok": false, "result": "EC2 has no capacity"}]);
        let problem = "did not launch: EC2 has no capacity";
        assert_eq!(told(plan, result), [(Kind::Problem, problem.to_owned())]);
    }

    #[test]
    fn what_is_done_to_many_is_one_sentence() {
        let drain = |id: &str| {
            json!({"do": "drain", "instance": id,
                "because": {"reason": "surplus", "text": "long", "free": 9, "target": 4}})
        };
        let plan = |n: usize| {
            let steps: Vec<_> = (1..=n).map(|n| drain(&format!("i-{n}"))).collect();
            json!({ "steps": steps })
        };
        for (n, who) in [
            (1, "i-1"),
            (2, "i-1 and i-2"),
            (3, "i-1, i-2 and i-3"),
            (4, "i-1, i-2, i-3 and 1 other"),
            (9, "i-1, i-2, i-3 and 6 others"),
        ] {
            let text = format!("drains {who}: free 9 of 4");
            assert_eq!(told(plan(n), json!([])), [(Kind::Did, text)]);
        }
    }

    #[test]
    fn addresses_are_told_with_both_ends() {
        let step = |ip: &str, from: Option<&str>| {
            json!({"do": "move_address", "address": "eipalloc-1", "ip": ip, "to": "i-2",
                "from": from, "because": {"reason": "address_free", "text": "it is free"}})
        };
        let plan = json!({"steps": [step("203.0.113.1", None), step("203.0.113.2", Some("i-1"))]});
        let text = "moves 203.0.113.1 to i-2 and 203.0.113.2 from i-1 to i-2: it is free";
        assert_eq!(told(plan, json!([])), [(Kind::Did, text.to_owned())]);
    }

    #[test]
    fn what_is_not_done_is_told_with_its_reason() {
        let notes = json!({"notes": [
            {"reason": "at_maximum", "text": "long", "max": 10, "live": 10, "alert": true},
            {"reason": "draining_occupied", "instance": "i-1", "text": "long", "occupied": 1},
            {"reason": "draining_occupied", "instance": "i-2", "text": "long", "occupied": 2},
            {"reason": "silent", "instance": "i-3", "text": "no heartbeat for 99 s"},
            {"reason": "paused", "text": "the region is paused"},
        ]});
        let told = told(notes, json!([]));
        let texts: Vec<_> = told.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "did not launch: maximum of 10 reached",
                "kept i-1 and i-2: 3 users",
                "i-3: no heartbeat for 99 s",
                "the region is paused",
            ]
        );
        let kinds: Vec<_> = told.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [Kind::Problem, Kind::Kept, Kind::Kept, Kind::Kept]);
    }

    #[test]
    fn a_pass_that_had_nothing_to_do_says_so() {
        let counts = json!({"figures": {"free": 4, "target": 4}});
        assert!(is_quiet(&past(counts.clone(), json!([]))));
        let quiet = "nothing to do: free 4 of 4".to_owned();
        assert_eq!(told(counts, json!([])), [(Kind::Kept, quiet)]);
        let starting = json!({"figures": {"free": 0, "target": 4, "starting": 4},
            "notes": [{"reason": "buffer_full", "text": "meets the target"}]});
        assert!(is_quiet(&past(starting.clone(), json!([]))));
        let quiet = "nothing to do: free 0 of 4, 4 starting".to_owned();
        assert_eq!(told(starting, json!([])), [(Kind::Kept, quiet)]);
        let nothing = (Kind::Kept, "nothing to do".to_owned());
        assert_eq!(told(json!({}), json!([])), [nothing]);
    }

    #[test]
    fn what_a_later_version_did_is_told_in_its_own_words() {
        let plan = json!({"steps": [
            {"do": "send_home", "instance": "i-1", "because": {"reason": "late", "text": "it is late"}},
            {"do": "howl", "because": {"reason": "moon", "text": "the moon is full"}},
        ]});
        let texts: Vec<_> = told(plan, json!([]))
            .into_iter()
            .map(|(_, text)| text)
            .collect();
        assert_eq!(
            texts,
            ["send home i-1: it is late", "howl: the moon is full"]
        );
    }

    #[test]
    fn why_a_pass_ran_is_told() {
        for (kind, text) in [
            (json!({"kind": "schedule"}), "by the schedule"),
            (json!({"kind": "by_hand"}), "invoked by hand"),
            (
                json!({"kind": "database_event", "name": "region_wake"}),
                "slots ran low",
            ),
            (
                json!({"kind": "database_event", "name": "image"}),
                "database event image",
            ),
            (
                json!({"kind": "instance_event", "instance": "i-1", "says": "running"}),
                "EC2 says of i-1: running",
            ),
            (
                json!({"kind": "moon_phase", "phase": "full"}),
                "moon phase full",
            ),
        ] {
            let mut past = past(json!({}), json!([]));
            past.trigger = serde_json::from_value(kind).unwrap();
            assert_eq!(trigger(&past), text);
        }
    }
}
