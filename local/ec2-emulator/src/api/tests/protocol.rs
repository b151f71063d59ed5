//! What all actions share: signatures, versions, errors, regions; and the control API.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::json;

use crate::testing::TestEc2;

#[tokio::test]
async fn unknown_action_gets_error_in_ec2s_format() {
    let reply = TestEc2::new().call("LaunchRockets", &[]).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    let request_id = reply.text("RequestID");
    assert_eq!(
        reply.body,
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error>\
             <Code>InvalidAction</Code><Message>The action LaunchRockets is not valid for this \
             web service.</Message></Error></Errors><RequestID>{request_id}</RequestID></Response>"
        )
    );
}

#[tokio::test]
async fn regions_do_not_share_instances() {
    let ec2 = TestEc2::new();
    let id = ec2.launch("1", &[]).await.ids().remove(0);
    assert!(
        ec2.call_in("eu-west-1", "DescribeInstances", &[])
            .await
            .ids()
            .is_empty()
    );
    let by_id = ec2
        .call_in("eu-west-1", "TerminateInstances", &[("InstanceId.1", &id)])
        .await;
    assert_eq!(by_id.error().0, "InvalidInstanceID.NotFound");
    let nowhere = ec2.call_in("mars-north-1", "DescribeInstances", &[]).await;
    assert_eq!(nowhere.status, StatusCode::UNAUTHORIZED);
    assert_eq!(nowhere.error().0, "AuthFailure");
}

#[tokio::test]
async fn request_not_signed_for_ec2_is_rejected() {
    let ec2 = TestEc2::new();
    for authorization in [
        None,
        Some("Basic eDp5"),
        Some("AWS4-HMAC-SHA256 Credential=AKID/20261121/us-east-1/dynamodb/aws4_request"),
    ] {
        let mut request =
            Request::post("/").header("content-type", "application/x-www-form-urlencoded");
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        let reply = ec2
            .send(
                request
                    .body(Body::from("Action=DescribeInstances"))
                    .unwrap(),
            )
            .await;
        assert_eq!(reply.error().0, "AuthFailure", "{authorization:?}");
    }
}

#[tokio::test]
async fn malformed_request_is_rejected() {
    let ec2 = TestEc2::new();
    let json = Request::post("/").header("content-type", "application/json");
    let reply = ec2.send(json.body(Body::from("{}")).unwrap()).await;
    assert_eq!(reply.error().0, "MalformedQueryString");
    assert_eq!(ec2.call("", &[]).await.error().0, "MissingAction");
    let leftover = ec2
        .call("DescribeInstances", &[("InstanceIds.1", "i-00000001")])
        .await;
    assert_eq!(leftover.error().0, "UnknownParameter");
}

#[tokio::test]
async fn unsupported_api_version_is_rejected() {
    let ec2 = TestEc2::new();
    let request = Request::post("/")
        .header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=A/20261121/us-east-1/ec2/aws4_request",
        )
        .header("content-type", "application/x-www-form-urlencoded");
    let reply = ec2.send(
        request
            .body(Body::from("Action=DescribeInstances&Version=2010-01-01"))
            .unwrap(),
    );
    assert_eq!(reply.await.error().0, "NoSuchVersion");
}

#[tokio::test]
async fn ledger_has_every_call_with_its_outcome() {
    let ec2 = TestEc2::new();
    ec2.launch("1", &[("ClientToken", "t")]).await;
    ec2.call("TerminateInstances", &[("InstanceId.1", "i-00000099")])
        .await;
    let ledger = ec2.control("ledger").await;
    let calls = ledger["calls"].as_array().unwrap();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0]["action"], "RunInstances");
    assert_eq!(calls[0]["params"]["ClientToken"], "t");
    assert_eq!(
        (&calls[0]["outcome"], &calls[0]["status"]),
        (&json!("ok"), &json!(200))
    );
    assert_eq!(calls[1]["outcome"], "InvalidInstanceID.NotFound");
    assert_eq!(ledger["instances"][0]["client_token"], "t");
    let newer = ec2.control("ledger?since=1").await;
    assert_eq!(newer["calls"].as_array().unwrap().len(), 1);
    assert_eq!(newer["totals"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn patched_settings_apply_at_once_and_invalid_ones_are_rejected() {
    let ec2 = TestEc2::new();
    let reply = ec2
        .send_control("PATCH", "settings", &json!({"pending_ms": 1000}))
        .await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    ec2.launch("1", &[]).await;
    ec2.wait(1);
    assert_eq!(
        ec2.call("DescribeInstances", &[]).await.text("name"),
        "running"
    );
    for (method, path, body) in [
        ("PATCH", "settings", json!({"pending": 1})),
        (
            "PUT",
            "faults",
            json!({"capacity": [{"available": "none"}]}),
        ),
    ] {
        let reply = ec2.send_control(method, path, &body).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
        assert!(reply.body.contains("error"), "{}", reply.body);
    }
}

#[tokio::test]
async fn health_request_is_answered() {
    assert_eq!(
        TestEc2::new().control("health").await,
        json!({"status": "ok"})
    );
}
