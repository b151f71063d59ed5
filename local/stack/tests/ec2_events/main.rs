//! EC2's events reach the functions that the rules of the local AWS name, and no others.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod forwarding;
mod world;

use reqwest::StatusCode;
use serde_json::{Value, json};

use world::{AWAY, HOME, HOME_BUS, STATE_CHANGE, World, event};

fn becomes(state: &str) -> Value {
    json!({
        "source": ["aws.ec2"],
        "detail-type": [STATE_CHANGE],
        "detail": {"state": [state]},
    })
}

fn became(region: &str, id: &str, state: &str) -> Value {
    event(region, id, STATE_CHANGE, json!({"state": state}))
}

#[tokio::test]
async fn the_deployed_rules_decide_who_gets_an_event() {
    let world = World::start().await;
    let function = world.create_function();
    let running = becomes("running");
    world.rule(HOME, "running", &running, &function).await;

    let (status, _) = world.post(&became(HOME, "a", "stopped")).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "no pattern matches");

    let heard = became(HOME, "b", "running");
    let (status, answer) = world.post(&heard).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let invoked = &answer["invoked"][0];
    assert!(invoked["function"].as_str().unwrap().ends_with(":writer"));
    assert!(invoked["rule"].as_str().unwrap().ends_with("/running"));
    assert_eq!(world.written(1).await, [heard]);

    let (status, _) = world.post(&became(AWAY, "c", "running")).await;
    assert_eq!(
        status,
        StatusCode::NO_CONTENT,
        "rules hear their own region only"
    );

    world.rule(AWAY, "forward", &running, HOME_BUS).await;
    let forwarded = became(AWAY, "d", "running");
    let (status, answer) = world.post(&forwarded).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(world.written(2).await[1], forwarded);

    let disable = world.eventbridge(HOME).disable_rule().name("running");
    disable.send().await.unwrap();
    let (status, _) = world.post(&became(HOME, "e", "running")).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "the rule is disabled");
}

#[tokio::test]
async fn what_cannot_be_delivered_is_an_error_and_says_why() {
    let world = World::start().await;
    let queue = "arn:aws:sqs:us-east-1:000000000000:queue";
    world.rule(HOME, "queue", &becomes("pending"), queue).await;
    let (status, answer) = world.post(&became(HOME, "a", "pending")).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(
        answer["error"].as_str().unwrap().contains(queue),
        "{answer}"
    );

    let stopped = becomes("stopped");
    world.rule(HOME, "circle", &stopped, HOME_BUS).await;
    let (status, answer) = world.post(&became(HOME, "b", "stopped")).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(
        answer["error"].as_str().unwrap().contains("circles"),
        "{answer}"
    );
}
