//! EC2 events reach the functions that the deployed rules name, and no others.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod fixture;
mod forwarding;

use reqwest::StatusCode;
use serde_json::{Value, json};

use fixture::{Fixture, HOME_BUS, HOME_REGION, OTHER_REGION, STATE_CHANGE, event};

/// A pattern for instances that enter `state`.
fn state_pattern(state: &str) -> Value {
    json!({
        "source": ["aws.ec2"],
        "detail-type": [STATE_CHANGE],
        "detail": {"state": [state]},
    })
}

fn state_event(region: &str, id: &str, state: &str) -> Value {
    event(region, id, STATE_CHANGE, json!({"state": state}))
}

#[tokio::test]
async fn event_reaches_the_functions_that_deployed_rules_name() {
    let fixture = Fixture::start().await;
    let function = fixture.create_function();
    let running = state_pattern("running");
    fixture
        .put_rule(HOME_REGION, "running", &running, &function)
        .await;

    let (status, _) = fixture
        .post(&state_event(HOME_REGION, "a", "stopped"))
        .await;
    assert_eq!(status, StatusCode::NO_CONTENT, "no pattern matches");

    let delivered = state_event(HOME_REGION, "b", "running");
    let (status, response) = fixture.post(&delivered).await;
    assert_eq!(status, StatusCode::OK, "{response}");
    let invoked = &response["invoked"][0];
    assert!(invoked["function"].as_str().unwrap().ends_with(":writer"));
    assert!(invoked["rule"].as_str().unwrap().ends_with("/running"));
    assert_eq!(fixture.received(1).await, [delivered]);

    let (status, _) = fixture
        .post(&state_event(OTHER_REGION, "c", "running"))
        .await;
    assert_eq!(
        status,
        StatusCode::NO_CONTENT,
        "rules get the events of their own region only"
    );

    fixture
        .put_rule(OTHER_REGION, "forward", &running, HOME_BUS)
        .await;
    let forwarded = state_event(OTHER_REGION, "d", "running");
    let (status, response) = fixture.post(&forwarded).await;
    assert_eq!(status, StatusCode::OK, "{response}");
    assert_eq!(fixture.received(2).await[1], forwarded);

    let disable = fixture
        .eventbridge(HOME_REGION)
        .disable_rule()
        .name("running");
    disable.send().await.unwrap();
    let (status, _) = fixture
        .post(&state_event(HOME_REGION, "e", "running"))
        .await;
    assert_eq!(status, StatusCode::NO_CONTENT, "the rule is disabled");
}

#[tokio::test]
async fn undeliverable_event_is_an_error_with_its_reason() {
    let fixture = Fixture::start().await;
    let queue = "arn:aws:sqs:us-east-1:000000000000:queue";
    fixture
        .put_rule(HOME_REGION, "queue", &state_pattern("pending"), queue)
        .await;
    let (status, response) = fixture
        .post(&state_event(HOME_REGION, "a", "pending"))
        .await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(
        response["error"].as_str().unwrap().contains(queue),
        "{response}"
    );

    let stopped = state_pattern("stopped");
    fixture
        .put_rule(HOME_REGION, "loop", &stopped, HOME_BUS)
        .await;
    let (status, response) = fixture
        .post(&state_event(HOME_REGION, "b", "stopped"))
        .await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(
        response["error"]
            .as_str()
            .unwrap()
            .contains("part of a loop"),
        "{response}"
    );
}
