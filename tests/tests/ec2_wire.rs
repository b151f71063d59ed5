//! A comparison of the emulator's wire format with `moto_server`: for plain launches, tags and
//! filters, both must give the same answers, element by element.
//!
//! Both get the same raw requests in the same order. Moto's own subnet, group and image become the
//! emulator's world, so that even ids and addresses agree. Random values (ids of launched
//! resources, times, public addresses) are replaced by names in the order of their appearance.
//! `comparison.rs` lists the allowed differences, each with its reason.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what went wrong by failing"
)]

#[path = "ec2_wire/comparison.rs"]
mod comparison;
#[path = "ec2_wire/moto.rs"]
mod moto;
#[path = "ec2_wire/side.rs"]
mod side;
#[path = "ec2_wire/xml.rs"]
mod xml;

use comparison::{Comparison, Known};
use moto::Moto;

#[tokio::test]
async fn emulator_answers_launches_tags_and_filters_like_moto() {
    let moto = Moto::start().await;
    let mut comparison = Comparison::start(moto.url()).await;
    launches(&mut comparison).await;
    filters(&mut comparison).await;
    tags(&mut comparison).await;
    refusals(&mut comparison).await;
    terminations(&mut comparison).await;
    let unexpected_differences = comparison.unexpected_differences();
    assert!(
        unexpected_differences.is_empty(),
        "{}",
        unexpected_differences.join("\n")
    );
}

async fn launches(comparison: &mut Comparison) {
    let Known {
        subnet,
        group,
        image,
    } = comparison.known.clone();
    let launch = |count: &str, name: &str, token: &str| {
        params(&[
            ("ImageId", &image),
            ("InstanceType", "t3.micro"),
            ("SubnetId", &subnet),
            ("SecurityGroupId.1", &group),
            ("MinCount", count),
            ("MaxCount", count),
            ("ClientToken", token),
            ("EbsOptimized", "true"),
            ("TagSpecification.1.ResourceType", "instance"),
            ("TagSpecification.1.Tag.1.Key", "Name"),
            ("TagSpecification.1.Tag.1.Value", name),
            ("TagSpecification.1.Tag.2.Key", "scaling:stack"),
            ("TagSpecification.1.Tag.2.Value", "<dev> & \"co\""),
        ])
    };
    comparison
        .step(
            "launch two",
            "RunInstances",
            &launch("2", "web-1", "token-1"),
        )
        .await;
    comparison
        .step(
            "launch one",
            "RunInstances",
            &launch("1", "db-1", "token-2"),
        )
        .await;
    let mut spot = launch("1", "spot-1", "token-3");
    spot.extend(params(&[
        ("InstanceMarketOptions.MarketType", "spot"),
        (
            "InstanceMarketOptions.SpotOptions.SpotInstanceType",
            "one-time",
        ),
        (
            "InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior",
            "terminate",
        ),
    ]));
    comparison.step("launch spot", "RunInstances", &spot).await;
    let mut imds = launch("1", "imds-1", "token-4");
    imds.extend(params(&[
        ("MetadataOptions.HttpEndpoint", "enabled"),
        ("MetadataOptions.HttpTokens", "required"),
        ("MetadataOptions.HttpPutResponseHopLimit", "2"),
    ]));
    comparison
        .step("launch with IMDSv2", "RunInstances", &imds)
        .await;
    comparison.wait();
    comparison.step("list all", "DescribeInstances", &[]).await;

    let by_id = |name: &str, id: &str| params(&[(name, id)]);
    comparison
        .step("a subnet", "DescribeSubnets", &by_id("SubnetId.1", &subnet))
        .await;
    comparison
        .step(
            "a group",
            "DescribeSecurityGroups",
            &by_id("GroupId.1", &group),
        )
        .await;
    comparison
        .step("an image", "DescribeImages", &by_id("ImageId.1", &image))
        .await;
}

async fn filters(comparison: &mut Comparison) {
    let subnet = comparison.known.subnet.clone();
    for (name, value) in [
        ("tag:Name", "web-1"),
        ("tag:Name", "w*"),
        ("tag:Name", "?b-1"),
        ("tag:Name", "cache"),
        ("tag-key", "scaling:stack"),
        ("instance-id", "{instance-2}"),
        ("instance-state-name", "running"),
        ("instance-state-name", "pending"),
        ("instance-type", "t3.micro"),
        ("availability-zone", "us-east-1a"),
        ("subnet-id", &subnet),
    ] {
        let filter = params(&[("Filter.1.Name", name), ("Filter.1.Value.1", value)]);
        comparison
            .step(
                &format!("filter {name}={value}"),
                "DescribeInstances",
                &filter,
            )
            .await;
    }
    let both = params(&[
        ("Filter.1.Name", "tag:Name"),
        ("Filter.1.Value.1", "db-1"),
        ("Filter.1.Value.2", "web-1"),
        ("Filter.2.Name", "tag:Name"),
        ("Filter.2.Value.1", "web*"),
    ]);
    comparison
        .step("two filters", "DescribeInstances", &both)
        .await;
    let ids = params(&[
        ("InstanceId.1", "{instance-3}"),
        ("InstanceId.2", "{instance-1}"),
    ]);
    comparison.step("two ids", "DescribeInstances", &ids).await;
}

async fn tags(comparison: &mut Comparison) {
    let change = params(&[
        ("ResourceId.1", "{instance-1}"),
        ("Tag.1.Key", "Name"),
        ("Tag.1.Value", "web-2"),
        ("Tag.2.Key", "Owner"),
        ("Tag.2.Value", "me"),
    ]);
    comparison.step("change tags", "CreateTags", &change).await;
    for (name, value) in [
        ("resource-id", "{instance-1}"),
        ("key", "Owner"),
        ("value", "web-*"),
    ] {
        let filter = params(&[("Filter.1.Name", name), ("Filter.1.Value.1", value)]);
        comparison
            .step(&format!("tags by {name}"), "DescribeTags", &filter)
            .await;
    }
}

async fn refusals(comparison: &mut Comparison) {
    for (action, name, ids) in [
        (
            "DescribeInstances",
            "InstanceId",
            &["i-00000000000000001"][..],
        ),
        (
            "TerminateInstances",
            "InstanceId",
            &["i-00000000000000001", "i-00000000000000002"],
        ),
        (
            "TerminateInstances",
            "InstanceId",
            &["{instance-1}", "i-00000000000000002"],
        ),
        ("DescribeSubnets", "SubnetId", &["subnet-00000000000000001"]),
        ("DescribeImages", "ImageId", &["ami-00000000000000001"]),
    ] {
        let params: Vec<_> = (1..)
            .zip(ids)
            .map(|(number, id)| (format!("{name}.{number}"), (*id).to_owned()))
            .collect();
        comparison
            .step(&format!("unknown {ids:?}"), action, &params)
            .await;
    }
    let ids_and_page = params(&[("InstanceId.1", "{instance-1}"), ("MaxResults", "5")]);
    comparison
        .step("ids and a page size", "DescribeInstances", &ids_and_page)
        .await;
}

async fn terminations(comparison: &mut Comparison) {
    let one = params(&[("InstanceId.1", "{instance-2}")]);
    comparison
        .step("terminate", "TerminateInstances", &one)
        .await;
    comparison.wait();
    let living = params(&[
        ("Filter.1.Name", "instance-state-name"),
        ("Filter.1.Value.1", "running"),
    ]);
    comparison
        .step("the living", "DescribeInstances", &living)
        .await;
}

fn params(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}
