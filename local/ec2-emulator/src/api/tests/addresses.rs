//! Elastic IPs.

use std::time::Duration;

use serde_json::{Value, json};

use crate::testing::{IMAGE, Reply, SUBNET_A, TestEc2};
use crate::world::DEFAULT_WORLD;

const POOL: [(&str, &str); 3] = [
    ("TagSpecification.1.ResourceType", "elastic-ip"),
    ("TagSpecification.1.Tag.1.Key", "pool"),
    ("TagSpecification.1.Tag.1.Value", "public"),
];

/// Starts instances, and allocates an address for each. Listings lag by `lag` seconds.
async fn start_with(instances: usize, lag: u64) -> (TestEc2, Vec<String>, Vec<String>) {
    let ec2 = TestEc2::with_lag(Duration::from_secs(lag));
    let ids = ec2.launch(&instances.to_string(), &[]).await.ids();
    ec2.wait(10);
    let mut addresses = Vec::new();
    for _ in 0..instances {
        let reply = ec2.call("AllocateAddress", &POOL).await;
        addresses.push(reply.text("allocationId").to_owned());
    }
    (ec2, ids, addresses)
}

async fn associate(ec2: &TestEc2, address: &str, instance: &str, allow: &str) -> Reply {
    let params = [
        ("AllocationId", address),
        ("InstanceId", instance),
        ("AllowReassociation", allow),
    ];
    ec2.call("AssociateAddress", &params).await
}

/// The instance of each address, in the order of allocation; empty if it has none.
async fn associated_instances(ec2: &TestEc2, params: &[(&str, &str)]) -> Vec<String> {
    let reply = ec2.call("DescribeAddresses", params).await;
    let items = reply.body.split("<item><publicIp>").skip(1);
    let instance = |item: &str| {
        let (_, rest) = item.split_once("<instanceId>")?;
        Some(rest.split_once('<')?.0.to_owned())
    };
    items
        .map(|item| instance(item).unwrap_or_default())
        .collect()
}

/// The instance and the end of each association of the `nth` address.
async fn history(ec2: &TestEc2, nth: usize) -> Vec<Value> {
    let ledger = ec2.control("ledger").await;
    let associations = ledger["addresses"][nth]["associations"].as_array().unwrap();
    let short = |it: &Value| json!([it["instance_id"], it["ended_by"]]);
    associations.iter().map(short).collect()
}

#[tokio::test]
async fn address_is_found_by_tag_id_and_instance() {
    let (ec2, ids, addresses) = start_with(2, 0).await;
    ec2.call("AllocateAddress", &[]).await;
    assert_eq!(associated_instances(&ec2, &[]).await, ["", "", ""]);
    associate(&ec2, &addresses[1], &ids[0], "false").await;
    let by = |name: &'static str, value: &str| {
        [
            ("Filter.1.Name", name.to_owned()),
            ("Filter.1.Value.1", value.to_owned()),
        ]
    };
    for (name, value, expected) in [
        ("tag:pool", "public", vec!["", &*ids[0]]),
        ("tag:pool", "private", vec![]),
        ("allocation-id", &*addresses[0], vec![""]),
        ("instance-id", &*ids[0], vec![&*ids[0]]),
        ("instance-id", &*ids[1], vec![]),
    ] {
        let filter = by(name, value);
        let filter = filter
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        assert_eq!(
            associated_instances(&ec2, &filter).await,
            expected,
            "{name} {value}"
        );
    }
    let one = [("AllocationId.1", addresses[1].as_str())];
    assert_eq!(associated_instances(&ec2, &one).await, [ids[0].as_str()]);
    let reply = ec2.call("DescribeAddresses", &one).await;
    assert_eq!(
        reply.text("networkInterfaceId"),
        ids[0].replacen("i-", "eni-", 1)
    );
    assert_eq!(reply.text("value"), "public");
    let unknown = [("AllocationId.1", "eipalloc-00000000000000000")];
    let reply = ec2.call("DescribeAddresses", &unknown).await;
    assert_eq!(reply.error().0, "InvalidAllocationID.NotFound");
}

#[tokio::test]
async fn associated_address_is_moved_only_if_reassociation_is_allowed() {
    let (ec2, ids, addresses) = start_with(2, 0).await;
    let first = associate(&ec2, &addresses[0], &ids[0], "false").await;
    let again = associate(&ec2, &addresses[0], &ids[0], "false").await;
    assert_eq!(
        first.text("associationId"),
        again.text("associationId"),
        "idempotent"
    );
    let reply = associate(&ec2, &addresses[0], &ids[1], "false").await;
    let (code, message) = reply.error();
    assert_eq!(code, "Resource.AlreadyAssociated");
    assert!(message.contains(first.text("associationId")), "{message}");
    ec2.wait(1);
    let moved = associate(&ec2, &addresses[0], &ids[1], "true").await;
    assert_ne!(first.text("associationId"), moved.text("associationId"));
    assert_eq!(associated_instances(&ec2, &[]).await, [ids[1].as_str(), ""]);
    assert_eq!(
        history(&ec2, 0).await,
        [json!([ids[0], "reassociation"]), json!([ids[1], null])]
    );
    // The default allows it.
    let params = [("AllocationId", &*addresses[0]), ("InstanceId", &*ids[0])];
    ec2.call("AssociateAddress", &params).await;
    assert_eq!(associated_instances(&ec2, &[]).await, [ids[0].as_str(), ""]);
}

#[tokio::test]
async fn instance_given_another_address_loses_its_first_one() {
    let (ec2, ids, addresses) = start_with(2, 0).await;
    associate(&ec2, &addresses[0], &ids[0], "false").await;
    associate(&ec2, &addresses[1], &ids[0], "false").await;
    assert_eq!(associated_instances(&ec2, &[]).await, ["", ids[0].as_str()]);
    assert_eq!(history(&ec2, 0).await, [json!([ids[0], "replacement"])]);
    let reply = ec2.call("DescribeInstances", &[]).await;
    assert_eq!(reply.texts("ipAddress")[0], "198.18.0.2");
    assert_eq!(reply.texts("ipOwnerId").len(), 1);
}

#[tokio::test]
async fn association_with_missing_or_pending_instance_is_rejected() {
    let (ec2, ids, addresses) = start_with(1, 0).await;
    let unknown_instance = "i-00000000000000000";
    let unknown_address = "eipalloc-00000000000000000";
    let pending = ec2.launch("1", &[]).await.ids();
    for (address, instance, code) in [
        (unknown_address, &*ids[0], "InvalidAllocationID.NotFound"),
        (
            &*addresses[0],
            unknown_instance,
            "InvalidInstanceID.NotFound",
        ),
        (&*addresses[0], &*pending[0], "InvalidInstanceID"),
        ("eipalloc-x", &*ids[0], "InvalidAllocationID.Malformed"),
        (&*addresses[0], "x", "InvalidInstanceID.Malformed"),
    ] {
        let reply = associate(&ec2, address, instance, "false").await;
        assert_eq!(reply.error().0, code, "{}", reply.body);
    }
    let reply = associate(&ec2, &addresses[0], &ids[0], "perhaps").await;
    assert_eq!(reply.error().0, "InvalidParameterValue");
    ec2.call("TerminateInstances", &[("InstanceId.1", &*ids[0])])
        .await;
    let reply = associate(&ec2, &addresses[0], &ids[0], "false").await;
    let message = format!(
        "The shutting-down instance '{}' is not in a valid state for this operation.",
        ids[0]
    );
    assert_eq!(reply.error(), ("InvalidInstanceID", message.as_str()));
}

#[tokio::test]
async fn terminated_instance_releases_its_address() {
    let (ec2, ids, addresses) = start_with(1, 0).await;
    associate(&ec2, &addresses[0], &ids[0], "false").await;
    ec2.call("TerminateInstances", &[("InstanceId.1", &*ids[0])])
        .await;
    ec2.wait(19);
    assert_eq!(
        associated_instances(&ec2, &[]).await,
        [ids[0].as_str()],
        "shutting down"
    );
    ec2.wait(1);
    assert_eq!(associated_instances(&ec2, &[]).await, [""]);
    assert_eq!(history(&ec2, 0).await, [json!([ids[0], "termination"])]);
}

#[tokio::test]
async fn address_listing_lags_like_instance_listing() {
    let (ec2, ids, addresses) = start_with(1, 5).await;
    assert!(
        associated_instances(&ec2, &[]).await.is_empty(),
        "not listed yet"
    );
    ec2.wait(5);
    associate(&ec2, &addresses[0], &ids[0], "false").await;
    assert_eq!(associated_instances(&ec2, &[]).await, [""]);
    ec2.wait(5);
    assert_eq!(associated_instances(&ec2, &[]).await, [ids[0].as_str()]);
    let lag = json!({"on": {"action": "DescribeAddresses"}, "effect": {"listing_lag_ms": 6_000}, "times": 1});
    ec2.faults(&json!({"calls": [lag]})).await;
    assert_eq!(associated_instances(&ec2, &[]).await, [""]);
    assert_eq!(associated_instances(&ec2, &[]).await, [ids[0].as_str()]);
}

#[tokio::test]
async fn association_with_lost_response_is_executed_and_failed_one_is_not() {
    let (ec2, ids, addresses) = start_with(1, 0).await;
    let on = |effect: Value| json!({"calls": [{"on": {"action": "AssociateAddress"}, "effect": effect, "times": 1}]});
    ec2.faults(&on(json!({"error": "RequestLimitExceeded"})))
        .await;
    let reply = associate(&ec2, &addresses[0], &ids[0], "false").await;
    assert_eq!(reply.error().0, "RequestLimitExceeded");
    assert_eq!(associated_instances(&ec2, &[]).await, [""]);
    ec2.faults(&on(json!("lost"))).await;
    assert!(
        associate(&ec2, &addresses[0], &ids[0], "false")
            .await
            .is_lost
    );
    assert_eq!(associated_instances(&ec2, &[]).await, [ids[0].as_str()]);
}

#[tokio::test]
async fn associated_address_cannot_be_released() {
    let (ec2, ids, addresses) = start_with(1, 0).await;
    let reply = associate(&ec2, &addresses[0], &ids[0], "false").await;
    let association = reply.text("associationId").to_owned();
    let release = [("AllocationId", &*addresses[0])];
    let reply = ec2.call("ReleaseAddress", &release).await;
    assert_eq!(reply.error().0, "InvalidIPAddress.InUse");
    let end = [("AssociationId", &*association)];
    assert_eq!(
        ec2.call("DisassociateAddress", &end).await.text("return"),
        "true"
    );
    let reply = ec2.call("DisassociateAddress", &end).await;
    assert_eq!(reply.error().0, "InvalidAssociationID.NotFound");
    assert_eq!(
        ec2.call("ReleaseAddress", &release).await.text("return"),
        "true"
    );
    assert!(associated_instances(&ec2, &[]).await.is_empty());
    let reply = associate(&ec2, &addresses[0], &ids[0], "false").await;
    assert_eq!(reply.error().0, "InvalidAllocationID.NotFound");
}

#[tokio::test]
async fn address_of_world_file_is_listed_and_may_belong_to_a_gateway() {
    let mut world: Value = DEFAULT_WORLD.parse().unwrap();
    world["regions"]["us-east-1"]["addresses"] = json!([
        {"allocation_id": "eipalloc-00000000000000001", "public_ip": "203.0.113.1",
         "tags": {"pool": "public"}},
        {"allocation_id": "eipalloc-00000000000000002", "public_ip": "203.0.113.2",
         "network_interface_id": "eni-00000000000000002"},
    ]);
    let world = serde_json::from_value(world).unwrap();
    let ec2 = TestEc2::with_world(world, crate::settings::Settings::default());
    let reply = ec2.call("DescribeAddresses", &[]).await;
    assert_eq!(reply.texts("publicIp"), ["203.0.113.1", "203.0.113.2"]);
    assert_eq!(reply.texts("networkInterfaceId"), ["eni-00000000000000002"]);
    assert_eq!(reply.texts("instanceId"), [""; 0]);
    let launch = [
        ("ImageId", IMAGE),
        ("SubnetId", SUBNET_A),
        ("InstanceType", "m6i.large"),
        ("MinCount", "1"),
        ("MaxCount", "1"),
    ];
    let ids = ec2.call("RunInstances", &launch).await.ids();
    ec2.wait(60);
    let reply = associate(&ec2, "eipalloc-00000000000000002", &ids[0], "false").await;
    assert_eq!(reply.error().0, "Resource.AlreadyAssociated");
}

#[tokio::test]
async fn instance_of_a_private_subnet_has_no_public_address_but_an_elastic_one() {
    let mut world: Value = DEFAULT_WORLD.parse().unwrap();
    world["regions"]["us-east-1"]["subnets"][0]["map_public_ip_on_launch"] = json!(false);
    world["regions"]["us-east-1"]["addresses"] = json!([
        {"allocation_id": "eipalloc-00000000000000001", "public_ip": "203.0.113.1"},
    ]);
    let world = serde_json::from_value(world).unwrap();
    let ec2 = TestEc2::with_world(world, crate::settings::Settings::default());
    let subnets = ec2.call("DescribeSubnets", &[]).await;
    let mapped = subnets.texts("mapPublicIpOnLaunch");
    assert_eq!(mapped, ["false", "true", "true"]);
    let launch = [
        ("ImageId", IMAGE),
        ("SubnetId", SUBNET_A),
        ("InstanceType", "m6i.large"),
        ("MinCount", "1"),
        ("MaxCount", "1"),
    ];
    let ids = ec2.call("RunInstances", &launch).await.ids();
    ec2.wait(60);
    let listed = ec2.call("DescribeInstances", &[]).await;
    assert_eq!(listed.texts("ipAddress"), [""; 0]);
    assert_eq!(listed.text("dnsName"), "");
    assert_eq!(
        listed.texts("privateIpAddress").len(),
        2,
        "also its interface's"
    );
    associate(&ec2, "eipalloc-00000000000000001", &ids[0], "false").await;
    ec2.wait(60);
    let listed = ec2.call("DescribeInstances", &[]).await;
    assert_eq!(listed.texts("ipAddress"), ["203.0.113.1"]);
}
