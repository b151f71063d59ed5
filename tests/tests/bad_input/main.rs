//! Wrong input from users, operators and EC2: each is answered with what is wrong, loses nothing,
//! causes no panic, and puts no secret into a log.
//!
//! Everything runs on one deployed stack, from outside, with log levels that ask for everything.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

mod capacity;
mod contention;
mod cross_origin;
mod logs;
mod reconcile_payloads;
mod refusals;
mod requests;
mod settings;
mod tokens;

use scaling_tests::deployed::{Answer, Deployed, client_request};
use serde_json::{Value, json};

/// The region without faults.
const SOUND: &str = "us-east-1";

#[tokio::test]
async fn bad_input_is_answered_and_loses_nothing() {
    let deployed = Deployed::start("bad-input", |options| {
        // The targets that write whole events and requests.
        let loud = "trace,lambda_runtime::layers=trace,hyper::proto=trace,aws_smithy_runtime::client=trace";
        options.parameters.push(("LogLevel".to_owned(), loud.to_owned()));
        options.ec2.pending_ms = Some(300);
        options.ec2.agent_boot_ms = Some(100);
        options.ec2.agent_connect_ms = Some(200);
        // A user with a slot keeps it.
        options.ec2.agent_session_ms = Some(3_600_000);
    })
    .await;
    deployed.set_up(SOUND, 10).await;
    deployed.reconcile().await;
    deployed.filled_to(4).await;

    requests::wrong_requests_are_answered_with_the_reason(&deployed).await;
    cross_origin::browsers_may_call_and_read_every_answer(&deployed).await;
    tokens::only_genuine_tokens_are_let_in(&deployed).await;
    assert_eq!(deployed.free().await, 3, "one user was let in, once");
    refusals::refusals_come_in_their_precedence(&deployed).await;
    refusals::log_distinguishes_refusals(&deployed).await;
    reconcile_payloads::wrong_payloads_are_answered_with_the_field(&deployed).await;
    settings::broken_rows_are_named_and_affect_nothing_else(&deployed).await;
    settings::database_refuses_settings_that_are_never_valid(&deployed).await;
    capacity::next_choice_is_used_without_capacity(&deployed).await;
    contention::of_two_passes_one_works(&deployed).await;
    logs::hidden_characters_are_visible(&deployed).await;
    logs::assert_no_secret_and_no_panic(&deployed).await;
    deployed.stack.stop();
}

/// The request of a client of the served build.
fn ask(session: impl Into<Value>) -> Value {
    client_request(SOUND, session)
}

/// The same request with another value in one field.
fn ask_with(field: &str, value: impl Into<Value>) -> Value {
    let mut body = ask(1);
    body[field] = value.into();
    body
}

/// Asserts the status and the error's name in the shape that clients rely on, and that the message
/// contains `says` unless it is empty.
#[track_caller]
fn assert_refused(what: &str, answer: &Answer, status: u16, error: &str, says: &str) {
    assert_eq!(answer.status, status, "{what}: {answer:#?}");
    let mut body = answer.body.clone();
    let message = body.as_object_mut().and_then(|body| body.remove("message"));
    let message = message.as_ref().and_then(Value::as_str).unwrap_or_default();
    assert!(message.contains(says), "{what}: {answer:#?}");
    assert_eq!(message.is_empty(), says.is_empty(), "{what}: {answer:#?}");
    let mut expected = json!({"ip": "", "mandelbox_id": "", "region": "", "error": error});
    if error == "NO_INSTANCE_AVAILABLE" {
        for field in ["place", "estimate_seconds", "retry_after_seconds"] {
            expected[field] = body.get(field).expect(field).clone();
        }
    }
    if error == "USER_ALREADY_ACTIVE" {
        let held = |session| json!({"session_id": session, "region": SOUND});
        expected["sessions"] = json!(["1", "2", "3"].map(held));
    }
    assert_eq!(body, expected, "{what}: {answer:#?}");
}
