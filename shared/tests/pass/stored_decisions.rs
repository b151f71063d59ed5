//! Reading stored decisions, also those of other versions.

use serde_json::{Value, json};
use shared::history::StoredDecision;
use shared::model::Instance;
use shared::report::{Decision, PassOutcome, StepResult};
use shared::scaling::{Action, LaunchOption, Note, Plan, Reason, Step, Topic};
use shared::settings::{LaunchChoice, Selector};
use shared::trigger::Trigger;
use testing::{NOW, instance};

fn decision(instances: &[Instance]) -> Decision {
    let launch = Action::Launch {
        image: "ami-1".into(),
        client_sha: "sha".into(),
        options: vec![LaunchOption {
            count: 2,
            choice: LaunchChoice {
                spot: true,
                instance_type: "m6i.large".to_owned(),
                capacity: 2,
                subnet: Selector::Id("subnet-a".to_owned()),
            },
        }],
    };
    let drains = instances.iter().map(|instance| Step {
        action: Action::Drain {
            instance: instance.id.clone(),
            cause: shared::model::DrainCause::Surplus,
        },
        reason: Reason::Surplus { target: 1, free: 9 },
    });
    let reason = Reason::BelowTarget {
        target: 4,
        waiting: 1,
        free: 0,
        starting: 0,
    };
    let launch = Step {
        action: launch,
        reason,
    };
    Decision {
        region: "us-east-1".into(),
        version: 12,
        at: NOW,
        id: "event".to_owned(),
        trigger: Trigger::DatabaseEvent {
            name: "region_wake".to_owned(),
        },
        plan: Plan {
            steps: std::iter::once(launch).chain(drains).collect(),
            notes: vec![Note {
                instance: Some("i-1".into()),
                reason: Reason::IntentTooOld { hours: 13 },
                alert: true,
            }],
            ..Plan::default()
        },
        results: vec![StepResult::failed("launch", "no room")],
        outcome: PassOutcome::Incomplete,
        duration_ms: 288,
    }
}

fn read(json: &Value) -> StoredDecision {
    serde_json::from_value(json.clone()).unwrap()
}

#[test]
fn recorded_decision_is_read_back_unchanged() {
    let recorded: Value =
        serde_json::from_str(&decision(&[instance("i-2")]).to_bounded_json()).unwrap();
    let stored = read(&recorded);
    assert_eq!(stored.outcome.as_deref(), Some("incomplete"));
    assert_eq!(stored.duration_ms, Some(288));
    assert_eq!(stored.trigger.kind, "database_event");
    assert_eq!(stored.plan.steps[0].action, "launch");
    let reason = &stored.plan.steps[0].reason;
    assert_eq!(
        reason.text,
        "free 0 and starting 0 are below target 4 + waiting 1"
    );
    let launch = &stored.plan.steps[0];
    assert!(launch.is_about(Topic::Launch));
    assert_eq!(launch.summary(), "free 0 of 4, 1 user waiting");
    let drain = &stored.plan.steps[1];
    assert!(drain.is_about(Topic::Drain));
    assert_eq!(drain.summary(), "drain (free 9 of 1)");
    let note = &stored.plan.notes[0];
    assert!(note.alert && note.is_about(Topic::Launch));
    let summary = "a launch that was recorded 13 h ago is not launched again";
    assert_eq!(note.summary(), summary);
    let mut written = serde_json::to_value(&stored).unwrap();
    assert_eq!(written["left_out"].take(), 0);
    let mut expected = recorded;
    expected["left_out"] = Value::Null;
    assert_eq!(written, expected);
}

#[test]
fn decision_of_another_version_keeps_unknown_fields_and_may_lack_an_outcome() {
    let stored = read(&json!({
        "region": "us-east-1", "version": 1, "at": "2026-01-01T12:00:00Z", "id": "x",
        "trigger": {"kind": "moon_phase", "phase": "full"},
        "plan": {"figures": {"target": 4, "moons": 1}, "images": [], "notes": [],
            "steps": [{"do": "howl", "at": "moon", "because": {"reason": "full", "text": "full"}}]},
        "results": [],
    }));
    assert_eq!(
        (stored.outcome.as_deref(), stored.duration_ms),
        (None, None)
    );
    assert_eq!(stored.trigger.details["phase"], "full");
    let written = serde_json::to_value(&stored).unwrap();
    assert_eq!(written["plan"]["steps"][0]["at"], "moon");
    assert_eq!(written["plan"]["figures"]["moons"], 1);
}

#[test]
fn decision_without_summaries_falls_back_to_the_texts() {
    let stored = read(&json!({
        "region": "us-east-1", "version": 1, "at": "2026-01-01T12:00:00Z", "id": "x",
        "trigger": {"kind": "schedule"},
        "plan": {
            "steps": [{"do": "note_missing", "instance": "i-1",
                "because": {"reason": "not_listed", "text": "not listed"}}],
            "notes": [{"reason": "silent", "instance": "i-1", "text": "no heartbeat for 99 s"}]},
    }));
    let step = &stored.plan.steps[0];
    assert_eq!(step.summary(), "note missing (not listed)");
    assert!(!step.is_about(Topic::Drift));
    assert_eq!(stored.plan.notes[0].summary(), "no heartbeat for 99 s");
    let stored = serde_json::to_value(&stored).unwrap();
    let step = &stored["plan"]["steps"][0];
    assert!(step.get("topic").is_none() && step.get("summary").is_none());
}

/// `max_instances` of a large region: its decision is stored in full.
#[test]
fn decision_that_drains_a_thousand_instances_is_stored_in_full() {
    let id = |n: usize| format!("i-0123456789abc{n:04}");
    let instances: Vec<_> = (0..1_000).map(|n| instance(&id(n))).collect();
    let mut decision = decision(&instances);
    decision.results = (0..1_000)
        .map(|n| StepResult::ok(format!("drain {}", id(n)), "done"))
        .collect();
    let json = decision.to_bounded_json();
    assert!(json.len() <= Decision::LIMIT_BYTES, "{}", json.len());
    let stored: StoredDecision = serde_json::from_str(&json).unwrap();
    assert_eq!((stored.left_out, stored.plan.steps.len()), (0, 1_001));
}

#[test]
fn decision_of_thousands_of_steps_is_cut_to_its_limit() {
    let instances: Vec<_> = (0..5_000)
        .map(|n| instance(&format!("i-{n:017}")))
        .collect();
    let json = decision(&instances).to_bounded_json();
    assert!(json.len() <= Decision::LIMIT_BYTES, "{}", json.len());
    let stored: StoredDecision = serde_json::from_str(&json).unwrap();
    let steps = stored.plan.steps.len();
    assert!(steps > 500, "{steps}");
    assert_eq!(stored.left_out, 5_001 - steps);
}

#[test]
fn shortened_decision_counts_what_it_left_out() {
    let instances: Vec<_> = (0..30).map(|n| instance(&format!("i-{n}"))).collect();
    let mut stored = read(&serde_json::to_value(decision(&instances)).unwrap());
    stored.shorten(20);
    assert_eq!((stored.plan.steps.len(), stored.left_out), (20, 11));
    stored.shorten(0);
    assert_eq!(stored.left_out, 33, "31 steps, a note and a result");
}
