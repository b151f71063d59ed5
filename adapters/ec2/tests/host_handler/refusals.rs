//! Launches that EC2 refuses: the kinds of its errors.

use serde_json::json;
use shared::host::HostErrorKind;
use shared::ids::ClientToken;
use shared::model::LaunchRequest;
use tokio::net::TcpListener;

use crate::{Ec2, STACK, SUBNET_A, SUBNET_B, request};

#[tokio::test]
async fn lack_of_capacity_and_invalid_settings_are_different_kinds() {
    let ec2 = Ec2::start().await;
    ec2.faults(&json!({"capacity": [{"subnet_id": SUBNET_A, "available": 0}]}))
        .await;
    let full = ec2
        .host
        .launch(&ClientToken::random(), &request(1))
        .await
        .unwrap_err();
    assert_eq!(full.kind, HostErrorKind::Capacity, "{full}");
    assert_eq!(
        ec2.calls("RunInstances").await.len(),
        1,
        "the SDK does not retry"
    );
    let elsewhere = LaunchRequest {
        subnet_id: SUBNET_B.to_owned(),
        ..request(1)
    };
    assert_eq!(ec2.launch(&elsewhere).await.len(), 1);

    for image in ["ami-0ffffffffffffffff", "ami-010000000000000de", "nonsense"] {
        let wrong = LaunchRequest {
            image_id: image.into(),
            ..elsewhere.clone()
        };
        let error = ec2
            .host
            .launch(&ClientToken::random(), &wrong)
            .await
            .unwrap_err();
        assert_eq!(error.kind, HostErrorKind::Invalid, "{image}: {error}");
        assert!(error.code.starts_with("InvalidAMIID"), "{error}");
    }
}

#[tokio::test]
async fn every_lack_of_something_is_capacity_and_is_requested_once() {
    let ec2 = Ec2::start().await;
    for code in [
        "InsufficientVolumeCapacity",
        "InsufficientAddressCapacity",
        "InsufficientFreeAddressesInSubnet",
        "InsufficientSomethingNew",
        "BandwidthLimitExceeded",
    ] {
        let before = ec2.calls("RunInstances").await.len();
        let fault = json!({"on": {"action": "RunInstances"}, "effect": {"error": code}});
        ec2.faults(&json!({"calls": [fault]})).await;
        let error = ec2.refused(&request(1)).await;
        let expected = (HostErrorKind::Capacity, code);
        assert_eq!((error.kind, error.code.as_str()), expected);
        let requested = ec2.calls("RunInstances").await.len() - before;
        assert_eq!(requested, 1, "{code}: the SDK does not retry");
    }
}

#[tokio::test]
async fn type_that_a_zone_does_not_offer_is_launched_in_another_zone() {
    let ec2 = Ec2::start().await;
    let not_offered = json!({"instance_type": "m6i.large", "zone": "us-east-1a"});
    ec2.faults(&json!({"not_offered": [not_offered]})).await;
    let error = ec2.refused(&request(1)).await;
    assert_eq!(error.kind, HostErrorKind::NotOffered, "{error}");
    assert_eq!(error.code, "Unsupported");
    let elsewhere = LaunchRequest {
        subnet_id: SUBNET_B.to_owned(),
        ..request(1)
    };
    assert_eq!(ec2.launch(&elsewhere).await.len(), 1);
}

#[tokio::test]
async fn lack_of_spot_capacity_does_not_affect_on_demand() {
    let ec2 = Ec2::start().await;
    let spot = LaunchRequest {
        spot: true,
        ..request(1)
    };
    ec2.faults(&json!({"capacity": [{"market": "spot", "available": 0}]}))
        .await;
    let launch = || async { ec2.host.launch(&ClientToken::random(), &spot).await };
    let short = launch().await.unwrap_err();
    assert_eq!(short.kind, HostErrorKind::Capacity, "{short}");
    assert_eq!(ec2.launch(&request(1)).await.len(), 1);

    for (code, kind) in [
        ("UnfulfillableCapacity", HostErrorKind::Capacity),
        ("MaxSpotInstanceCountExceeded", HostErrorKind::Capacity),
        ("SpotMaxPriceTooLow", HostErrorKind::Capacity),
        (
            "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
            HostErrorKind::Invalid,
        ),
    ] {
        let before = ec2.calls("RunInstances").await.len();
        let fault = json!({"on": {"action": "RunInstances"}, "effect": {"error": code}});
        ec2.faults(&json!({"calls": [fault]})).await;
        let error = launch().await.unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (kind, code));
        let requested = ec2.calls("RunInstances").await.len() - before;
        assert_eq!(requested, 1, "{code}: the SDK does not retry");
    }
}

#[tokio::test]
async fn launch_without_an_answer_is_unclear() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let host = Ec2::of_stack(&endpoint, STACK);
    let error = host
        .launch(&ClientToken::random(), &request(1))
        .await
        .unwrap_err();
    assert_eq!(error.kind, HostErrorKind::Unclear, "{error}");
}
