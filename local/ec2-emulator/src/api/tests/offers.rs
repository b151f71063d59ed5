//! Instance types that a zone or EBS optimization does not support, error codes of launches, and dry
//! runs of such launches.

use axum::http::StatusCode;
use serde_json::json;

use crate::settings::Settings;
use crate::testing::{SUBNET_A, SUBNET_B, TestEc2};
use crate::world::{DEFAULT_WORLD, WorldFile};

const IN_US_EAST_1A: &str = "Your requested instance type (g5.xlarge) is not supported in your \
     requested Availability Zone (us-east-1a). Please retry your request by not specifying an \
     Availability Zone or choosing us-east-1b.";
const NOWHERE: &str = "The requested configuration is currently not supported. Please check the \
     documentation for supported configurations.";
const G5: (&str, &str) = ("InstanceType", "g5.xlarge");

#[tokio::test]
async fn type_not_offered_by_world_is_unsupported_in_that_zone_only() {
    let mut world: WorldFile = DEFAULT_WORLD.parse().unwrap();
    let region = world.regions.get_mut("us-east-1").unwrap();
    let types = vec!["g5.xlarge".to_owned()];
    region.types_not_offered.insert("us-east-1a".into(), types);
    let ec2 = TestEc2::with_world(world, Settings::default());
    let refused = ec2.launch("1", &[G5]).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(refused.error(), ("Unsupported", IN_US_EAST_1A));
    let dry_run = ec2.launch("1", &[G5, ("DryRun", "true")]).await;
    assert_eq!(dry_run.error(), ("Unsupported", IN_US_EAST_1A));
    ec2.launch("1", &[G5, ("SubnetId", SUBNET_B)]).await.ids();
    ec2.launch("1", &[]).await.ids();
}

#[tokio::test]
async fn type_not_offered_by_fault_is_unsupported_until_cleared() {
    let ec2 = TestEc2::new();
    let in_zone =
        json!({"region": "us-east-1", "instance_type": "g5.xlarge", "zone": "us-east-1a"});
    let left = ec2.faults(&json!({"not_offered": [in_zone]})).await;
    assert_eq!(left["not_offered"], json!([in_zone]));
    assert_eq!(
        ec2.launch("1", &[G5]).await.error(),
        ("Unsupported", IN_US_EAST_1A)
    );
    ec2.launch("1", &[G5, ("SubnetId", SUBNET_B)]).await.ids();

    ec2.faults(&json!({"not_offered": [{"instance_type": "g5.xlarge"}]}))
        .await;
    for subnet in [SUBNET_A, SUBNET_B] {
        let refused = ec2.launch("1", &[G5, ("SubnetId", subnet)]).await;
        assert_eq!(refused.error(), ("Unsupported", NOWHERE));
    }
    ec2.faults(&json!({})).await;
    ec2.launch("1", &[G5]).await.ids();
}

#[tokio::test]
async fn launch_without_subnet_goes_to_zone_that_offers_type() {
    let mut world: WorldFile = DEFAULT_WORLD.parse().unwrap();
    let region = world.regions.get_mut("us-east-1").unwrap();
    let mut other = region.subnets[2].clone();
    other.id = "subnet-01e0000000000000e".into();
    other.zone = "us-east-1b".into();
    region.subnets.push(other);
    let types = vec!["g5.xlarge".to_owned()];
    region.types_not_offered.insert("us-east-1a".into(), types);
    let ec2 = TestEc2::with_world(world, Settings::default());
    let launched = ec2.launch("1", &[G5, ("SubnetId", "")]).await;
    assert_eq!(launched.text("availabilityZone"), "us-east-1b");
}

#[tokio::test]
async fn ebs_optimization_is_unsupported_for_old_types_only() {
    let ec2 = TestEc2::new();
    let optimized = ("EbsOptimized", "true");
    let refused = ec2
        .launch("1", &[("InstanceType", "t2.micro"), optimized])
        .await;
    assert_eq!(refused.error(), ("Unsupported", NOWHERE));
    ec2.launch("1", &[("InstanceType", "t2.micro")]).await.ids();
    ec2.launch("1", &[("InstanceType", "t3.micro"), optimized])
        .await
        .ids();
}

#[tokio::test]
async fn injected_server_error_has_its_status_and_launches_nothing() {
    let ec2 = TestEc2::new();
    for code in [
        "InsufficientVolumeCapacity",
        "InsufficientAddressCapacity",
        "InsufficientInstanceCapacity",
        "BandwidthLimitExceeded",
        "InsufficientSomething",
    ] {
        let fault =
            json!({"on": {"action": "RunInstances"}, "effect": {"error": code}, "times": 2});
        let left = ec2.faults(&json!({"calls": [fault]})).await;
        assert_eq!(left["calls"][0]["effect"], json!({"error": code}));
        for params in [&[][..], &[("DryRun", "true")]] {
            let failed = ec2.launch("1", params).await;
            assert_eq!(failed.status, StatusCode::INTERNAL_SERVER_ERROR, "{code}");
            assert_eq!(failed.error().0, code);
        }
    }
    assert!(ec2.call("DescribeInstances", &[]).await.ids().is_empty());
    let unknown = json!({"calls": [{"effect": {"error": "OutOfMoonlight"}}]});
    let reply = ec2.send_control("PUT", "faults", &unknown).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert!(reply.body.contains("OutOfMoonlight"), "{}", reply.body);
}
