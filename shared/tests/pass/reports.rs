//! Size limits of reports and decisions.

use shared::model::ReplicaStatus;
use shared::report::{Decision, PassOutcome, PassReport, StepResult};
use shared::scaling::{Plan, ReplicaView};
use shared::trigger::Trigger;
use testing::NOW;

fn plan_of_replicas(count: usize) -> Plan {
    let view = |n| ReplicaView {
        instance: format!("i-{n:017x}").as_str().into(),
        status: ReplicaStatus::Unknown {
            why: "it cannot be connected to: Connection refused (os error 111)".to_owned(),
        },
        decided: "kept: neither deleted nor counted".to_owned(),
        address: None,
    };
    Plan {
        replicas: (0..count).map(view).collect(),
        ..Plan::default()
    }
}

#[test]
fn decision_about_thousands_of_replicas_stays_within_its_limit() {
    let decision = Decision {
        region: "us-east-1".into(),
        version: 1,
        at: NOW,
        id: "test".to_owned(),
        trigger: Trigger::Schedule,
        outcome: PassOutcome::Done,
        duration_ms: 1,
        plan: plan_of_replicas(5_000),
        results: vec![StepResult::ok("delete replica i-1", "asked")],
    };
    let json = decision.to_bounded_json();
    assert!(json.len() <= Decision::LIMIT_BYTES, "{}", json.len());
    let kept: serde_json::Value = serde_json::from_str(&json).unwrap();
    let shown = kept["plan"]["replicas"].as_array().unwrap().len();
    assert_eq!(kept["left_out"], 5_000 - shown);
    assert_eq!(kept["results"][0]["result"], "asked", "results are kept");
}

#[test]
fn shortened_report_counts_the_replicas_that_it_left_out() {
    let mut report = PassReport::of(&"us-east-1".into());
    report.plan = Some(plan_of_replicas(10));
    report.shorten(4);
    assert_eq!(report.plan.unwrap().replicas.len(), 4);
    assert_eq!(report.left_out, 6);
}
