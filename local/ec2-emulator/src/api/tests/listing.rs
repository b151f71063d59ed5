//! The `Describe*` actions: content, lag, filters and pages.

use std::time::Duration;

use crate::testing::{IMAGE, SUBNET_A, SUBNET_B, TestEc2};

fn filter<'a>(name: &'a str, value: &'a str) -> [(&'a str, &'a str); 2] {
    [("Filter.1.Name", name), ("Filter.1.Value.1", value)]
}

async fn tagged(ec2: &TestEc2, key: &str, value: &str) -> String {
    let tags = [
        ("TagSpecification.1.ResourceType", "instance"),
        ("TagSpecification.1.Tag.1.Key", key),
        ("TagSpecification.1.Tag.1.Value", value),
    ];
    ec2.launch("1", &tags).await.ids().remove(0)
}

#[tokio::test]
async fn listing_lags_behind_launches_and_terminations() {
    let ec2 = TestEc2::with_lag(Duration::from_secs(5));
    let id = ec2.launch("1", &[]).await.ids().remove(0);
    assert!(ec2.call("DescribeInstances", &[]).await.ids().is_empty());
    let by_id = ec2
        .call("DescribeInstances", &[("InstanceId.1", &id)])
        .await;
    assert_eq!(by_id.error().0, "InvalidInstanceID.NotFound");
    ec2.wait(5);
    assert_eq!(
        ec2.call("DescribeInstances", &[]).await.ids(),
        [id.as_str()]
    );

    ec2.wait(60);
    ec2.call("TerminateInstances", &[("InstanceId.1", &id)])
        .await;
    let lagging = ec2.call("DescribeInstances", &[]).await;
    assert_eq!(lagging.text("name"), "running");
    assert_eq!(lagging.text("reason"), "");
    ec2.wait(5);
    assert_eq!(
        ec2.call("DescribeInstances", &[]).await.text("name"),
        "shutting-down"
    );
}

#[tokio::test]
async fn instance_can_be_terminated_before_it_is_listed() {
    let ec2 = TestEc2::with_lag(Duration::from_secs(5));
    let id = ec2.launch("1", &[]).await.ids().remove(0);
    assert_eq!(
        ec2.call("TerminateInstances", &[("InstanceId.1", &id)])
            .await
            .ids(),
        [id]
    );
}

#[tokio::test]
async fn instances_are_found_by_every_filter() {
    let ec2 = TestEc2::new();
    let launched = ec2
        .launch(
            "1",
            &[
                ("ClientToken", "t-1"),
                ("SubnetId", SUBNET_B),
                ("InstanceType", "g5.xlarge"),
                ("IamInstanceProfile.Name", "host"),
                ("KeyName", "key"),
                ("TagSpecification.1.ResourceType", "instance"),
                ("TagSpecification.1.Tag.1.Key", "scaling:stack"),
                ("TagSpecification.1.Tag.1.Value", "dev"),
            ],
        )
        .await;
    let id = launched.ids().remove(0);
    ec2.wait(20);
    let other = ec2.launch("1", &[]).await.ids().remove(0);
    for (name, value) in [
        ("availability-zone", "us-east-1b"),
        ("client-token", "t-1"),
        ("iam-instance-profile.arn", "*/host"),
        ("instance-id", &id),
        ("instance-state-code", "16"),
        ("instance-state-name", "running"),
        ("instance-type", "g5.*"),
        ("ip-address", "127.64.0.1"),
        ("key-name", "key"),
        ("launch-time", launched.text("launchTime")),
        ("private-ip-address", launched.text("privateIpAddress")),
        ("reservation-id", launched.text("reservationId")),
        ("subnet-id", SUBNET_B),
        ("tag:scaling:stack", "dev"),
        ("tag-key", "scaling:*"),
    ] {
        let found = ec2
            .call("DescribeInstances", &filter(name, value))
            .await
            .ids();
        assert_eq!(found, [id.as_str()], "{name}={value}");
    }
    for (name, value) in [
        ("architecture", "x86_64"),
        ("image-id", IMAGE),
        ("owner-id", "000000000000"),
        ("vpc-id", "vpc-*"),
        ("instance.group-id", "*"),
    ] {
        let found = ec2
            .call("DescribeInstances", &filter(name, value))
            .await
            .ids();
        let expected = if name == "instance.group-id" {
            vec![]
        } else {
            vec![id.clone(), other.clone()]
        };
        assert_eq!(found, expected, "{name}={value}");
    }
    let unknown = ec2
        .call("DescribeInstances", &filter("colour", "red"))
        .await;
    assert_eq!(
        unknown.error(),
        ("InvalidParameterValue", "The filter 'colour' is invalid")
    );
}

#[tokio::test]
async fn pages_of_instances_join_to_the_whole_listing() {
    let ec2 = TestEc2::new();
    for _ in 0..3 {
        ec2.launch("4", &[]).await;
    }
    let all = ec2.call("DescribeInstances", &[]).await.ids();
    assert_eq!(all.len(), 12);
    let mut paged = Vec::new();
    let mut token = String::new();
    loop {
        let page = ec2
            .call(
                "DescribeInstances",
                &[("MaxResults", "5"), ("NextToken", &token)],
            )
            .await;
        assert!(page.ids().len() <= 5);
        paged.extend(page.ids());
        page.text("nextToken").clone_into(&mut token);
        if token.is_empty() {
            break;
        }
        // An instance launched between two pages comes last and does not shift the others.
        if paged.len() == 5 {
            ec2.launch("1", &[]).await;
        }
    }
    assert_eq!(paged[..12], all);
    assert_eq!(paged.len(), 13);
}

#[tokio::test]
async fn page_size_with_ids_is_rejected() {
    let ec2 = TestEc2::new();
    let id = ec2.launch("1", &[]).await.ids().remove(0);
    let reply = ec2
        .call(
            "DescribeInstances",
            &[("InstanceId.1", &id), ("MaxResults", "5")],
        )
        .await;
    assert_eq!(
        reply.error(),
        (
            "InvalidParameterCombination",
            "The parameter instancesSet cannot be used with the parameter maxResults"
        )
    );
}

#[tokio::test]
async fn unknown_and_malformed_ids_are_all_named() {
    let ec2 = TestEc2::new();
    let id = ec2.launch("1", &[]).await.ids().remove(0);
    let unknown = [
        ("InstanceId.1", id.as_str()),
        ("InstanceId.2", "i-00000001"),
        ("InstanceId.3", "i-00000002"),
    ];
    let reply = ec2.call("DescribeInstances", &unknown).await;
    assert_eq!(
        reply.error().1,
        "The instance IDs 'i-00000001, i-00000002' do not exist"
    );
    let one = ec2.call("DescribeInstances", &unknown[1..2]).await;
    assert_eq!(one.error().1, "The instance ID 'i-00000001' does not exist");
    let malformed = ec2
        .call(
            "DescribeInstances",
            &[("InstanceId.1", "i-1"), ("InstanceId.2", "host")],
        )
        .await;
    assert_eq!(
        malformed.error(),
        (
            "InvalidInstanceID.Malformed",
            "Invalid ids: \"i-1\", \"host\" (expecting \"i-...\")"
        )
    );
}

#[tokio::test]
async fn subnets_and_groups_are_found_by_id_tag_and_network() {
    let ec2 = TestEc2::new();
    let by_tag = ec2
        .call("DescribeSubnets", &filter("tag:scaling", "hosts"))
        .await;
    assert_eq!(by_tag.texts("subnetId"), [SUBNET_A, SUBNET_B]);
    assert_eq!(by_tag.text("availableIpAddressCount"), "4091");
    let by_id = ec2
        .call("DescribeSubnets", &[("SubnetId.1", SUBNET_B)])
        .await;
    assert_eq!(by_id.text("availabilityZone"), "us-east-1b");
    let unknown = ec2
        .call("DescribeSubnets", &[("SubnetId.1", "subnet-00000099")])
        .await;
    assert_eq!(unknown.error().0, "InvalidSubnetID.NotFound");

    let vpc = by_tag.text("vpcId");
    let groups = ec2
        .call("DescribeSecurityGroups", &filter("vpc-id", vpc))
        .await;
    assert_eq!(groups.texts("groupName"), ["hosts", "metrics"]);
    let unknown = ec2
        .call("DescribeSecurityGroups", &[("GroupId.1", "sg-00000099")])
        .await;
    assert_eq!(unknown.error().0, "InvalidGroup.NotFound");
}

#[tokio::test]
async fn images_are_listed_unless_deregistered() {
    let ec2 = TestEc2::new();
    let one = ec2.call("DescribeImages", &[("ImageId.1", IMAGE)]).await;
    assert_eq!(
        (one.text("imageId"), one.text("imageState")),
        (IMAGE, "available")
    );
    let own = ec2.call("DescribeImages", &[("Owner.1", "self")]).await;
    assert_eq!(
        own.texts("imageId").len(),
        4,
        "all but the deregistered one"
    );
    let foreign = ec2.call("DescribeImages", &[("Owner.1", "amazon")]).await;
    assert!(foreign.texts("imageId").is_empty());
    for (id, code) in [
        ("ami-00000099", "InvalidAMIID.NotFound"),
        ("ami-010000000000000de", "InvalidAMIID.Unavailable"),
        ("host-1", "InvalidAMIID.Malformed"),
    ] {
        assert_eq!(
            ec2.call("DescribeImages", &[("ImageId.1", id)])
                .await
                .error()
                .0,
            code
        );
    }
}

#[tokio::test]
async fn tags_are_added_replaced_and_described() {
    let ec2 = TestEc2::new();
    let id = tagged(&ec2, "Name", "old").await;
    let reply = ec2
        .call(
            "CreateTags",
            &[
                ("ResourceId.1", &id),
                ("Tag.1.Key", "Name"),
                ("Tag.1.Value", "new"),
                ("Tag.2.Key", "Empty"),
            ],
        )
        .await;
    assert_eq!(reply.text("return"), "true");
    let tags = ec2.call("DescribeTags", &filter("resource-id", &id)).await;
    assert_eq!(tags.texts("key"), ["Empty", "Name"]);
    assert_eq!(tags.texts("value"), ["", "new"]);
    let one = ec2.call("DescribeTags", &filter("key", "Na?e")).await;
    assert_eq!(one.texts("key"), ["Name"]);
    let unknown = ec2
        .call(
            "CreateTags",
            &[("ResourceId.1", "i-00000099"), ("Tag.1.Key", "a")],
        )
        .await;
    assert_eq!(unknown.error().0, "InvalidInstanceID.NotFound");
}
