//! `RunInstances`, except client tokens.

use axum::http::StatusCode;
use serde_json::json;

use crate::testing::{GROUP, SUBNET_A, SUBNET_B, TestEc2};

#[tokio::test]
async fn launch_response_has_all_requested_attributes() {
    let ec2 = TestEc2::new();
    let reply = ec2
        .launch(
            "2",
            &[
                ("SecurityGroupId.1", GROUP),
                ("IamInstanceProfile.Name", "host"),
                ("InstanceInitiatedShutdownBehavior", "terminate"),
                ("EbsOptimized", "true"),
                ("UserData", "aGVsbG8="),
                ("TagSpecification.1.ResourceType", "instance"),
                ("TagSpecification.1.Tag.1.Key", "Name"),
                ("TagSpecification.1.Tag.1.Value", "a & b"),
                ("TagSpecification.2.ResourceType", "volume"),
                ("TagSpecification.2.Tag.1.Key", "Name"),
                ("TagSpecification.2.Tag.1.Value", "disk"),
            ],
        )
        .await;
    assert_eq!(reply.ids().len(), 2);
    assert_eq!(reply.texts("name"), ["pending", "pending"]);
    assert_eq!(reply.texts("amiLaunchIndex"), ["0", "1"]);
    assert_eq!(reply.text("launchTime"), "2026-11-21T18:00:00.000Z");
    assert_eq!(reply.text("availabilityZone"), "us-east-1a");
    assert_eq!(
        reply.text("arn"),
        "arn:aws:iam::000000000000:instance-profile/host"
    );
    assert_eq!(reply.text("groupId"), GROUP);
    assert_eq!(reply.text("ebsOptimized"), "true");
    assert_eq!(reply.text("value"), "a &amp; b");
    assert_eq!(
        reply.texts("ipAddress"),
        [""; 0],
        "EC2 assigns them after its answer"
    );
    ec2.wait(1);
    let listed = ec2.call("DescribeInstances", &[]).await;
    assert_eq!(listed.texts("ipAddress"), ["127.64.0.1", "127.64.0.2"]);

    let ledger = ec2.control("ledger").await;
    let instance = &ledger["instances"][0];
    assert_eq!(instance["user_data"], "hello");
    assert_eq!(instance["shutdown_behavior"], "terminate");
    assert_eq!(instance["tags"], json!({"Name": "a & b"}));
    assert_eq!(instance["ip"], "127.64.0.1");
}

#[tokio::test]
async fn launched_instance_runs_after_pending_delay() {
    let ec2 = TestEc2::new();
    ec2.launch("1", &[]).await;
    ec2.wait(9);
    assert_eq!(
        ec2.call("DescribeInstances", &[]).await.text("name"),
        "pending"
    );
    ec2.wait(1);
    assert_eq!(
        ec2.call("DescribeInstances", &[]).await.text("name"),
        "running"
    );
}

#[tokio::test]
async fn launch_gets_available_capacity_down_to_its_minimum() {
    let ec2 = TestEc2::new();
    let faults = json!({"capacity": [
        {"region": "us-east-1", "instance_type": "g4dn.xlarge", "subnet_id": SUBNET_A, "available": 2},
    ]});
    ec2.send_control("PUT", "faults", &faults).await;

    let none = ec2.launch("3", &[]).await;
    assert_eq!(none.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(none.error().0, "InsufficientInstanceCapacity");
    assert!(none.error().1.contains("g4dn.xlarge") && none.error().1.contains("us-east-1a"));

    assert_eq!(ec2.launch("1-3", &[]).await.ids().len(), 2);
    assert_eq!(ec2.control("faults").await["capacity"][0]["available"], 0);
    assert_eq!(
        ec2.launch("1-3", &[]).await.error().0,
        "InsufficientInstanceCapacity"
    );

    // The limit does not apply to another zone or another type.
    assert_eq!(
        ec2.launch("3", &[("SubnetId", SUBNET_B)]).await.ids().len(),
        3
    );
    assert_eq!(
        ec2.launch("3", &[("InstanceType", "g5.xlarge")])
            .await
            .ids()
            .len(),
        3
    );

    ec2.send_control("PUT", "faults", &json!({})).await;
    assert_eq!(ec2.launch("3", &[]).await.ids().len(), 3);
}

#[tokio::test]
async fn full_subnet_rejects_launch_until_instance_terminates() {
    let mut world: crate::world::WorldFile = crate::world::DEFAULT_WORLD.parse().unwrap();
    world.regions.get_mut("us-east-1").unwrap().subnets[0].cidr = "10.1.0.0/28".parse().unwrap();
    let ec2 = TestEc2::with_world(world, crate::settings::Settings::default());
    let ids = ec2.launch("1-20", &[]).await.ids();
    assert_eq!(ids.len(), 11);
    assert_eq!(
        ec2.launch("1", &[]).await.error().0,
        "InsufficientFreeAddressesInSubnet"
    );
    ec2.call("TerminateInstances", &[("InstanceId.1", &ids[0])])
        .await;
    ec2.wait(3600);
    assert_eq!(ec2.launch("1", &[]).await.ids().len(), 1);
}

#[tokio::test]
async fn launch_with_invalid_parameter_is_rejected_with_ec2s_code() {
    let ec2 = TestEc2::new();
    for (name, value, code) in [
        ("ImageId", "ami-00000000000000099", "InvalidAMIID.NotFound"),
        ("ImageId", "ami-02000000000000001", "InvalidAMIID.NotFound"), // in another region
        (
            "ImageId",
            "ami-010000000000000de",
            "InvalidAMIID.Unavailable",
        ), // deregistered
        (
            "ImageId",
            "ami-010000000000000fe",
            "InvalidAMIID.Unavailable",
        ), // pending
        ("ImageId", "image", "InvalidAMIID.Malformed"),
        (
            "SubnetId",
            "subnet-00000000000000099",
            "InvalidSubnetID.NotFound",
        ),
        (
            "SecurityGroupId.1",
            "sg-00000000000000099",
            "InvalidGroup.NotFound",
        ),
        (
            "SecurityGroupId.1",
            "sg-01dd000000000000d",
            "InvalidParameter",
        ), // in another network
        ("InstanceType", "huge", "InvalidParameterValue"),
        ("MinCount", "0", "InvalidParameterValue"),
        ("MinCount", "2", "InvalidParameterValue"),
        ("MaxCount", "-1", "InvalidParameterValue"),
        ("UserData", "not base64!", "InvalidUserData.Malformed"),
        (
            "InstanceInitiatedShutdownBehavior",
            "explode",
            "InvalidParameterValue",
        ),
        ("EbsOptimized", "yes", "InvalidParameterValue"),
        (
            "MetadataOptions.HttpEndpoint",
            "on",
            "InvalidParameterValue",
        ),
        (
            "MetadataOptions.HttpTokens",
            "enabled",
            "InvalidParameterValue",
        ),
        (
            "MetadataOptions.HttpPutResponseHopLimit",
            "0",
            "InvalidParameterValue",
        ),
        (
            "MetadataOptions.HttpPutResponseHopLimit",
            "65",
            "InvalidParameterValue",
        ),
        (
            "MetadataOptions.HttpPutResponseHopLimits",
            "1",
            "UnknownParameter",
        ),
        (
            "IamInstanceProfile.Arn",
            "arn:aws:iam::1:role/x",
            "InvalidParameterValue",
        ),
        (
            "TagSpecification.1.ResourceType",
            "instance",
            "InvalidParameterValue",
        ),
        ("Hibernation.Configured", "true", "UnknownParameter"),
    ] {
        let reply = ec2.launch("1", &[(name, value)]).await;
        assert_eq!(reply.error().0, code, "{name}={value}: {}", reply.body);
    }
    assert!(
        ec2.control("ledger").await["instances"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn metadata_options_are_stored_as_requested() {
    let ec2 = TestEc2::new();
    let reply = ec2
        .launch(
            "1",
            &[
                ("MetadataOptions.HttpEndpoint", "enabled"),
                ("MetadataOptions.HttpTokens", "required"),
                ("MetadataOptions.HttpPutResponseHopLimit", "2"),
                ("MetadataOptions.InstanceMetadataTags", "enabled"),
            ],
        )
        .await;
    assert_eq!(reply.text("httpTokens"), "required");
    assert_eq!(reply.text("httpPutResponseHopLimit"), "2");
    assert_eq!(reply.text("instanceMetadataTags"), "enabled");
    let plain = ec2.launch("1", &[]).await;
    assert_eq!(plain.text("httpTokens"), "optional");
    assert_eq!(plain.text("httpPutResponseHopLimit"), "1");
    let ledger = ec2.control("ledger").await;
    assert_eq!(
        ledger["instances"][0]["metadata_options"],
        json!({
            "http_endpoint": "enabled", "http_tokens": "required",
            "http_put_response_hop_limit": 2, "http_protocol_ipv6": "disabled",
            "instance_metadata_tags": "enabled",
        })
    );
}

#[tokio::test]
async fn tags_against_ec2s_rules_are_rejected() {
    let ec2 = TestEc2::new();
    let long = "x".repeat(257);
    for (key, value) in [("aws:x", "y"), (&*long, "y"), ("x", &*long)] {
        let reply = ec2
            .launch(
                "1",
                &[
                    ("TagSpecification.1.ResourceType", "instance"),
                    ("TagSpecification.1.Tag.1.Key", key),
                    ("TagSpecification.1.Tag.1.Value", value),
                ],
            )
            .await;
        assert_eq!(reply.error().0, "InvalidParameterValue");
    }
    let specification = |n: usize| format!("TagSpecification.1.Tag.{n}.Key");
    let names: Vec<String> = (1..=51).map(specification).collect();
    let keys: Vec<String> = (1..=51).map(|n| format!("key-{n}")).collect();
    let mut params = vec![("TagSpecification.1.ResourceType", "instance")];
    params.extend(
        names
            .iter()
            .map(String::as_str)
            .zip(keys.iter().map(String::as_str)),
    );
    assert_eq!(ec2.launch("1", &params).await.error().0, "TagLimitExceeded");
}

#[tokio::test]
async fn unknown_profile_is_rejected_when_world_names_profiles() {
    let mut world: crate::world::WorldFile = crate::world::DEFAULT_WORLD.parse().unwrap();
    world.instance_profiles = Some(vec!["host".into()]);
    let ec2 = TestEc2::with_world(world, crate::settings::Settings::default());
    ec2.launch("1", &[("IamInstanceProfile.Name", "host")])
        .await
        .ids();
    let reply = ec2
        .launch("1", &[("IamInstanceProfile.Name", "guest")])
        .await;
    assert!(reply.error().1.contains("guest"), "{}", reply.body);
    let arn = "arn:aws:iam::000000000000:instance-profile/team/host";
    ec2.launch("1", &[("IamInstanceProfile.Arn", arn)])
        .await
        .ids();
}

#[tokio::test]
async fn launch_dry_run_checks_request_and_launches_nothing() {
    let ec2 = TestEc2::new();
    let good = ec2
        .launch("1", &[("DryRun", "true"), ("ClientToken", "t")])
        .await;
    assert_eq!(good.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(good.error().0, "DryRunOperation");
    let bad = ec2
        .launch("1", &[("DryRun", "true"), ("ImageId", "ami-00000099")])
        .await;
    assert_eq!(bad.error().0, "InvalidAMIID.NotFound");
    let none_left = json!({"capacity": [{"available": 0}]});
    ec2.faults(&none_left).await;
    let without_capacity = ec2.launch("1", &[("DryRun", "true")]).await;
    assert_eq!(without_capacity.error().0, "DryRunOperation");
    ec2.faults(&json!({})).await;
    // The dry run did not bind the token.
    ec2.launch("2", &[("ClientToken", "t")]).await.ids();
}

#[tokio::test]
async fn launch_without_subnet_uses_default_one() {
    let ec2 = TestEc2::new();
    let reply = ec2
        .call(
            "RunInstances",
            &[
                ("ImageId", crate::testing::IMAGE),
                ("InstanceType", "t3.micro"),
                ("MinCount", "1"),
                ("MaxCount", "1"),
            ],
        )
        .await;
    assert_eq!(reply.text("subnetId"), "subnet-01d0000000000000d");
    assert_eq!(reply.text("groupName"), "");
    assert_eq!(reply.texts("groupId")[0], "sg-01dd000000000000d");
}
