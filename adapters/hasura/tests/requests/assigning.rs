//! Answers of `assign_slot`.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};
use shared::assign::{AssignOutcome, AssignRefusal, Assigner, InLine};
use shared::db::DbError;

use crate::server::{Server, ok, request};

async fn outcome_of(row: Value) -> Result<AssignOutcome, DbError> {
    let answer = json!({"data": {"assign_slot": [row]}}).to_string();
    let server = Server::start([ok(&answer)]).await;
    server
        .assigner(Duration::from_secs(5))
        .assign(&request())
        .await
}

fn refused(outcome: &str) -> Value {
    json!({"outcome": outcome})
}

fn in_line() -> Value {
    json!({
        "outcome": "NO_INSTANCE_AVAILABLE", "place": 7, "estimate_seconds": 40, "line_seconds": 15,
    })
}

fn assigned() -> Value {
    json!({
        "outcome": "ASSIGNED", "slot_id": "6f1c2b9e-3d0a-4f0e-9a70-2f5d3a1b7c11",
        "ip_addr": "198.51.100.7", "region": "us-east-1", "instance_id": "i-1",
        "waited_seconds": 0,
    })
}

fn with(mut row: Value, column: &str, value: impl Into<Value>) -> Value {
    row[column] = value.into();
    row
}

#[tokio::test]
async fn refusal_has_the_reason_that_the_database_names() {
    for reason in [
        AssignRefusal::UserAlreadyActive,
        AssignRefusal::RegionNotEnabled,
        AssignRefusal::NoImageServed,
        AssignRefusal::CommitHashMismatch,
    ] {
        let outcome = outcome_of(refused(reason.name())).await.unwrap();
        assert_eq!(
            outcome,
            AssignOutcome::Refused {
                reason,
                app: None,
                held: vec![]
            }
        );
    }
    for estimate_seconds in [None, Some(40)] {
        let reason = AssignRefusal::NoInstanceAvailable(InLine {
            place: 7,
            estimate_seconds,
            line_seconds: 15,
        });
        let row = with(in_line(), "estimate_seconds", estimate_seconds);
        assert_eq!(row["outcome"], reason.name());
        let outcome = outcome_of(row).await.unwrap();
        assert_eq!(
            outcome,
            AssignOutcome::Refused {
                reason,
                app: None,
                held: vec![]
            }
        );
    }
}

#[tokio::test]
async fn assignment_has_the_wait_to_the_microsecond() {
    for (seconds, waited) in [
        (0.0, SignedDuration::ZERO),
        (12.345_678, SignedDuration::from_micros(12_345_678)),
        // As the sum of floating-point numbers may be.
        (0.300_000_000_000_04, SignedDuration::from_millis(300)),
    ] {
        let row = with(assigned(), "waited_seconds", seconds);
        match outcome_of(row).await.unwrap() {
            AssignOutcome::Assigned(assignment) => assert_eq!(assignment.waited, waited),
            refused @ AssignOutcome::Refused { .. } => panic!("{refused:?}"),
        }
    }
}

#[tokio::test]
async fn row_that_cannot_be_names_its_column() {
    for (row, column, value) in [
        (in_line(), "outcome", json!("SOMETHING_NEW")),
        (in_line(), "place", Value::Null),
        (in_line(), "place", json!(0)),
        (in_line(), "estimate_seconds", json!(-3)),
        (in_line(), "line_seconds", Value::Null),
        (assigned(), "waited_seconds", Value::Null),
        (assigned(), "waited_seconds", json!(-1)),
        (assigned(), "waited_seconds", json!(1e300)),
    ] {
        let row = with(row, column, value);
        let text = row.to_string();
        let error = outcome_of(row).await.unwrap_err();
        let named = matches!(&error, DbError::BadRow { column: of, .. } if *of == column);
        assert!(named, "{text}: {error}");
    }
}
