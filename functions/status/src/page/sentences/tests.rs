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

fn sentences(plan: Value, results: Value) -> Vec<(Kind, String)> {
    of(&past(plan, results))
        .into_iter()
        .map(|sentence| (sentence.kind, sentence.text))
        .collect()
}

fn texts(plan: Value) -> Vec<String> {
    let all = sentences(plan, json!([])).into_iter();
    all.map(|(_, text)| text).collect()
}

fn launch(summary: &str) -> Value {
    json!({"steps": [{"do": "launch", "topic": "launch", "summary": summary,
        "because": {"reason": "below_target", "text": "long"}}]})
}

fn drain(id: &str, summary: &str) -> Value {
    json!({"do": "drain", "instance": id, "topic": "drain", "summary": summary,
        "because": {"reason": "surplus", "text": "long", "free": 9, "target": 4}})
}

#[test]
fn launch_is_shown_with_the_number_of_its_results() {
    let did = |text: &str| vec![(Kind::Did, text.to_owned())];
    let result =
        json!([{"step": "launch 2 x m", "ok": true, "result": "2 launched", "launched": 2}]);
    assert_eq!(
        sentences(launch("free 1 of 4"), result),
        did("launched 2: free 1 of 4")
    );
    let resumed = json!({"steps": [{"do": "resume_launch", "launch": "l", "topic": "launch",
        "summary": "recorded by an earlier pass",
        "because": {"reason": "intent_open", "text": "long"}}]});
    let result = json!([{"step": "resume", "ok": true, "result": "1", "launched": 1}]);
    assert_eq!(
        sentences(resumed, result),
        did("launched 1: recorded by an earlier pass")
    );
    let without_number = json!([{"step": "launch 2 x m", "ok": true, "result": "2 launched"}]);
    assert_eq!(
        sentences(
            launch("free 0 of 4, 2 starting, 1 user waiting"),
            without_number
        ),
        did("launched: free 0 of 4, 2 starting, 1 user waiting")
    );
}

#[test]
fn launch_without_instances_is_shown_as_failed_only() {
    let result = json!([
        {"step": "launch 2 x m in a", "ok": true, "result": "the next is asked: no room"},
        {"step": "launch from ami-1", "ok": false, "result": "EC2 has no capacity"}]);
    let problem = "did not launch: EC2 has no capacity";
    assert_eq!(
        sentences(launch("free 0 of 4"), result),
        [(Kind::Problem, problem.to_owned())]
    );
}

#[test]
fn steps_with_the_same_summary_are_one_sentence() {
    let plan = |n: usize| {
        let steps: Vec<_> = (1..=n)
            .map(|n| drain(&format!("i-{n}"), "drain (free 9 of 4)"))
            .collect();
        json!({ "steps": steps })
    };
    for (n, who) in [
        (1, "i-1"),
        (2, "i-1 and i-2"),
        (3, "i-1, i-2 and i-3"),
        (4, "i-1, i-2, i-3 and 1 other"),
        (9, "i-1, i-2, i-3 and 6 others"),
    ] {
        let text = format!("{who}: drain (free 9 of 4)");
        assert_eq!(sentences(plan(n), json!([])), [(Kind::Did, text)]);
    }
}

#[test]
fn sentences_are_grouped_by_topic() {
    let removal = json!({"do": "remove", "instance": "i-2", "topic": "removal",
        "summary": "remove the row", "because": {"reason": "terminated_at_ec2", "text": "long"}});
    let plan = json!({"steps": [drain("i-1", "drain (a)"), removal, drain("i-3", "drain (b)"),
        drain("i-4", "drain (a)")]});
    let expected = [
        "i-1 and i-4: drain (a)",
        "i-3: drain (b)",
        "i-2: remove the row",
    ];
    assert_eq!(texts(plan), expected);
}

#[test]
fn sentences_past_the_most_of_a_topic_are_counted() {
    let steps: Vec<_> = (1..=9)
        .map(|n| {
            json!({"do": "move_address", "address": "eipalloc-1", "ip": "203.0.113.1", "to": "i-2",
                "topic": "address", "summary": format!("give 203.0.113.{n} to i-{n} (it is free)"),
                "because": {"reason": "address_free", "text": "it is free"}})
        })
        .collect();
    let texts = texts(json!({ "steps": steps }));
    assert_eq!(texts.len(), MOST_PER_TOPIC + 1);
    assert_eq!(texts[0], "give 203.0.113.1 to i-1 (it is free)");
    assert_eq!(texts[MOST_PER_TOPIC], "5 more (address)");
}

#[test]
fn orphan_is_named() {
    let plan = json!({"steps": [{"do": "terminate_orphan", "orphan": {"id": "i-7"},
        "topic": "terminate", "summary": "terminate (no row and no open launch)",
        "because": {"reason": "orphan_of", "text": "long"}}]});
    assert_eq!(texts(plan), ["i-7: terminate (no row and no open launch)"]);
}

#[test]
fn notes_are_shown_with_their_users_and_kind() {
    let notes = json!({"notes": [
        {"reason": "at_maximum", "text": "long", "topic": "capacity", "max": 10, "live": 10,
            "summary": "did not launch: maximum of 10 reached", "alert": true},
        {"reason": "draining_occupied", "instance": "i-1", "text": "long", "occupied": 1,
            "topic": "drain", "summary": "kept while draining"},
        {"reason": "draining_occupied", "instance": "i-2", "text": "long", "occupied": 2,
            "topic": "drain", "summary": "kept while draining"},
        {"reason": "silent", "instance": "i-3", "text": "no heartbeat for 99 s", "occupied": 0},
        {"reason": "paused", "text": "the region is paused", "topic": "region",
            "summary": "the region is paused"},
    ]});
    let all = of(&past(notes, json!([])));
    let shown: Vec<_> = all
        .iter()
        .map(|it| (it.kind, it.text.as_str(), it.limits_launches))
        .collect();
    assert_eq!(
        shown,
        [
            (Kind::Problem, "did not launch: maximum of 10 reached", true),
            (
                Kind::Kept,
                "i-1 and i-2: kept while draining, 3 users",
                false
            ),
            (Kind::Kept, "i-3: no heartbeat for 99 s", false),
            (Kind::Kept, "the region is paused", false),
        ]
    );
}

#[test]
fn pass_without_steps_has_nothing_to_do() {
    let counts = json!({"figures": {"free": 4, "target": 4}});
    assert!(is_quiet(&past(counts.clone(), json!([]))));
    let quiet = "nothing to do: free 4 of 4".to_owned();
    assert_eq!(sentences(counts, json!([])), [(Kind::Kept, quiet)]);
    let starting = json!({"figures": {"free": 0, "target": 4, "starting": 4},
        "notes": [{"reason": "buffer_full", "topic": "buffer", "text": "meets the target"},
            {"reason": "still_warming", "topic": "upgrade", "text": "free 2 of 4"}]});
    assert!(is_quiet(&past(starting.clone(), json!([]))));
    let quiet = "nothing to do: free 0 of 4, 4 starting".to_owned();
    assert_eq!(sentences(starting, json!([])), [(Kind::Kept, quiet)]);
    let nothing = (Kind::Kept, "nothing to do".to_owned());
    assert_eq!(sentences(json!({}), json!([])), [nothing]);
    let remembered = json!({"steps": [{"do": "remember_unknown", "topic": "record",
        "summary": "x", "because": {"reason": "unknown_replicas", "text": "x"}}]});
    assert_eq!(texts(remembered), ["nothing to do"]);
}

#[test]
fn decision_of_an_earlier_version_is_shown_with_its_texts() {
    let plan = json!({
        "steps": [
            {"do": "launch", "because": {"reason": "below_target", "text": "too few"}},
            {"do": "send_home", "instance": "i-1",
                "because": {"reason": "late", "text": "it is late"}},
            {"do": "howl", "because": {"reason": "moon", "text": "the moon is full"}},
        ],
        "notes": [{"reason": "buffer_full", "text": "free 4 meets the target"}],
    });
    assert_eq!(
        texts(plan),
        [
            "launch (too few)",
            "i-1: send home (it is late)",
            "howl (the moon is full)",
            "free 4 meets the target",
        ]
    );
}

#[test]
fn trigger_is_shown_as_a_phrase() {
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
            json!({"kind": "image_upgrade", "image": "ami-2"}),
            "an upgrade to ami-2 was requested",
        ),
        (
            json!({"kind": "instance_event", "instance": "i-1", "says": "running"}),
            "EC2 event of i-1: running",
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
