//! Deduplication of alerts.

use std::sync::Arc;

use jiff::SignedDuration;
use shared::alerts::{Alerts, DedupingAlerts, Problem};
use testing::{FakeClock, Sent};

fn problem(kind: &str, text: &str) -> Problem {
    Problem {
        kind: kind.to_owned(),
        text: text.to_owned(),
    }
}

#[tokio::test]
async fn lasting_problem_is_sent_once_and_then_every_half_hour() {
    let (sent, clock) = (Arc::new(Sent::default()), Arc::new(FakeClock::default()));
    let alerts = DedupingAlerts::new(sent.clone(), clock.clone());
    let region = "us-east-1".into();
    for minute in 0..31 {
        alerts
            .send(&region, &[problem("lost i-1", &format!("silent {minute}"))])
            .await;
        clock.advance(SignedDuration::from_mins(1));
    }
    assert_eq!(sent.all(), ["us-east-1: silent 0", "us-east-1: silent 30"]);
    alerts
        .send(
            &region,
            &[problem("lost i-1", "same"), problem("lost i-2", "new")],
        )
        .await;
    alerts
        .send(&"eu-west-1".into(), &[problem("lost i-1", "elsewhere")])
        .await;
    assert_eq!(sent.all()[2..], ["us-east-1: new", "eu-west-1: elsewhere"]);
}
