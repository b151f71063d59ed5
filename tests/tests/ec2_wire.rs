//! A second opinion on the emulator's wire format: for plain launches, tags and filters it has
//! to answer what `moto_server` answers, element by element.
//!
//! Both get the same raw requests in the same order. Moto's own subnet, group and image are made
//! the emulator's world, so that even ids and addresses agree; what is random by nature (ids of
//! what is launched, times, public addresses) is replaced by names in the order of appearance.
//! What the two may differ in is listed below, each with its reason.

#[path = "ec2_wire/moto.rs"]
mod moto;
#[path = "ec2_wire/side.rs"]
mod side;
#[path = "ec2_wire/xml.rs"]
mod xml;

use std::collections::BTreeMap;
use std::time::Duration;

use ec2_emulator::clock::{Clock, UnixMillis};
use ec2_emulator::emulator::Emulator;
use ec2_emulator::server;
use ec2_emulator::settings::Settings;
use ec2_emulator::world::{World, WorldFile};
use moto::Moto;
use serde_json::json;
use side::Side;
use tokio::net::TcpListener;

/// Elements that only moto writes.
const ONLY_MOTO: &[(&str, &str)] = &[
    ("blockDeviceMapping/", "no volumes are emulated"),
    ("networkInterfaceSet/item/", "interfaces are not emulated; the SDK finds the address above"),
    ("hibernationOptions", "not emulated"),
    ("metadataOptions/httpProtocolIpv6", "there is no metadata service here"),
    ("metadataOptions/instanceMetadataTags", "there is no metadata service here"),
    ("sriovNetSupport", "not emulated"),
    ("stateReason", "moto writes an empty one for a living instance, EC2 none"),
    ("subnetSet/item/ipv6Native", "not emulated"),
    ("subnetSet/item/privateDnsNameOptionsOnLaunch", "not emulated"),
    ("imagesSet/item/description", "not emulated"),
    ("imagesSet/item/productCodes", "not emulated"),
    ("imagesSet/item/bootMode", "not emulated"),
    ("imagesSet/item/imageOwnerAlias", "the image is the account's own here"),
    ("imagesSet/item/stateReason", "not emulated"),
];

/// Elements that only the emulator writes.
const ONLY_EMULATOR: &[(&str, &str)] = &[
    ("blockDeviceMapping", "empty, since no volumes are emulated"),
    ("enaSupport", "EC2 writes it; moto leaves it out"),
    ("placement/availabilityZoneId", "EC2 writes it; moto leaves it out"),
    ("return", "EC2 writes it; moto leaves it out"),
];

/// Elements that differ in value.
const DIFFERENT: &[(&str, &str)] = &[
    ("rootDeviceName", "moto's images are old"),
    ("networkInterfaceSet/item/attachment/deleteOnTermination", "moto says false, EC2 true"),
    ("imagesSet/item/imageOwnerId", "the image is the account's own here"),
    ("imagesSet/item/imageLocation", "the image is the account's own here"),
    ("imagesSet/item/isPublic", "the image is the account's own here"),
];

#[tokio::test]
async fn plain_launches_tags_and_filters_look_as_they_do_at_moto() {
    let moto = Moto::start().await;
    let mut comparison = Comparison::start(moto.url()).await;
    launches(&mut comparison).await;
    filters(&mut comparison).await;
    tags(&mut comparison).await;
    refusals(&mut comparison).await;
    terminations(&mut comparison).await;
    assert!(comparison.complaints.is_empty(), "{}", comparison.complaints.join("\n"));
}

async fn launches(comparison: &mut Comparison) {
    let Known { subnet, group, image } = comparison.known.clone();
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
    comparison.step("launch two", "RunInstances", &launch("2", "web-1", "token-1")).await;
    comparison.step("launch one", "RunInstances", &launch("1", "db-1", "token-2")).await;
    comparison.wait();
    comparison.step("list all", "DescribeInstances", &[]).await;

    let by_id = |name: &str, id: &str| params(&[(name, id)]);
    comparison.step("a subnet", "DescribeSubnets", &by_id("SubnetId.1", &subnet)).await;
    comparison.step("a group", "DescribeSecurityGroups", &by_id("GroupId.1", &group)).await;
    comparison.step("an image", "DescribeImages", &by_id("ImageId.1", &image)).await;
}

async fn filters(comparison: &mut Comparison) {
    let subnet = comparison.known.subnet.clone();
    for (name, value) in [
        ("tag:Name", "web-1"),
        ("tag:Name", "w*"),
        ("tag:Name", "?b-1"),
        ("tag:Name", "cache"),
        ("tag-key", "scaling:stack"),
        ("client-token", "token-2"),
        ("instance-state-name", "running"),
        ("instance-state-name", "pending"),
        ("instance-type", "t3.micro"),
        ("subnet-id", &subnet),
    ] {
        let filter = params(&[("Filter.1.Name", name), ("Filter.1.Value.1", value)]);
        comparison.step(&format!("filter {name}={value}"), "DescribeInstances", &filter).await;
    }
    let both = params(&[
        ("Filter.1.Name", "tag:Name"),
        ("Filter.1.Value.1", "db-1"),
        ("Filter.1.Value.2", "web-1"),
        ("Filter.2.Name", "client-token"),
        ("Filter.2.Value.1", "token-1"),
    ]);
    comparison.step("two filters", "DescribeInstances", &both).await;
    let ids = params(&[("InstanceId.1", "{instance-3}"), ("InstanceId.2", "{instance-1}")]);
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
    for (name, value) in [("resource-id", "{instance-1}"), ("key", "Owner"), ("value", "web-*")] {
        let filter = params(&[("Filter.1.Name", name), ("Filter.1.Value.1", value)]);
        comparison.step(&format!("tags by {name}"), "DescribeTags", &filter).await;
    }
}

async fn refusals(comparison: &mut Comparison) {
    for (action, name, ids) in [
        ("DescribeInstances", "InstanceId", &["i-00000000000000001"][..]),
        ("DescribeInstances", "InstanceId", &["i-00000000000000001", "i-00000000000000002"]),
        ("TerminateInstances", "InstanceId", &["{instance-1}", "i-00000000000000002"]),
        ("DescribeSubnets", "SubnetId", &["subnet-00000000000000001"]),
        ("DescribeImages", "ImageId", &["ami-00000000000000001"]),
    ] {
        let params: Vec<_> = (1..)
            .zip(ids)
            .map(|(number, id)| (format!("{name}.{number}"), (*id).to_owned()))
            .collect();
        comparison.step(&format!("unknown {ids:?}"), action, &params).await;
    }
    let ids_and_page = params(&[("InstanceId.1", "{instance-1}"), ("MaxResults", "5")]);
    comparison.step("ids and a page size", "DescribeInstances", &ids_and_page).await;
}

async fn terminations(comparison: &mut Comparison) {
    let one = params(&[("InstanceId.1", "{instance-2}")]);
    comparison.step("terminate", "TerminateInstances", &one).await;
    comparison.wait();
    let living = params(&[("Filter.1.Name", "instance-state-name"), ("Filter.1.Value.1", "running")]);
    comparison.step("the living", "DescribeInstances", &living).await;
}

/// What is there before anything is launched.
#[derive(Clone)]
struct Known {
    subnet: String,
    group: String,
    image: String,
}

struct Comparison {
    emulator: Side,
    moto: Side,
    known: Known,
    clock: Clock,
    complaints: Vec<String>,
}

impl Comparison {
    async fn start(moto_url: &str) -> Self {
        let mut moto = Side::new(moto_url.to_owned());
        let (world, known) = world_of(&mut moto).await;
        // Moto's instances run as soon as they are looked at: time stands still, and jumps.
        let clock = Clock::manual(UnixMillis(1_795_284_000_000));
        let settings = Settings { listing_lag_ms: 0, ..Settings::default() };
        let emulator = Emulator::new(World::new(world, settings, 1), clock.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind a port of loopback");
        let url = format!("http://{}", listener.local_addr().expect("a bound address"));
        let router = server::router(emulator);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { emulator: Side::new(url), moto, known, clock, complaints: Vec::new() }
    }

    /// Sends the request to both and notes where the answers differ. `{instance-1}` in a parameter
    /// is the id of the first instance that the side has launched.
    async fn step(&mut self, what: &str, action: &str, params: &[(String, String)]) {
        let emulator = self.emulator.ask(action, params).await;
        let moto = self.moto.ask(action, params).await;
        let mut complain = |path: &str, emulator: Option<&str>, moto: Option<&str>| {
            let complaint = format!("{what}: {path}: emulator {emulator:?}, moto {moto:?}");
            self.complaints.push(complaint);
        };
        for (path, value) in &emulator {
            match moto.get(path) {
                None if !listed(ONLY_EMULATOR, path) => complain(path, Some(value), None),
                Some(other) if other != value && !listed(DIFFERENT, path) => {
                    complain(path, Some(value), Some(other));
                }
                _ => {}
            }
        }
        for (path, value) in &moto {
            if !emulator.contains_key(path) && !listed(ONLY_MOTO, path) {
                complain(path, None, Some(value));
            }
        }
    }

    /// Lets the emulator's delays pass.
    fn wait(&self) {
        self.clock.advance(Duration::from_secs(60));
    }
}

/// Whether the element at `path` (with places in lists: `item[0]`) is in one of the lists above.
fn listed(list: &[(&str, &str)], path: &str) -> bool {
    let mut plain = String::new();
    for part in path.split('/') {
        plain.push('/');
        plain.push_str(part.split('[').next().unwrap_or_default());
    }
    list.iter().any(|(element, _)| {
        let whole = element.trim_end_matches('/');
        plain.ends_with(&format!("/{whole}")) && !element.ends_with('/')
            || plain.contains(&format!("/{whole}/"))
    })
}

/// A world for the emulator out of what moto has in it, reduced to one subnet and one image.
async fn world_of(moto: &mut Side) -> (WorldFile, Known) {
    let subnets = moto.ask("DescribeSubnets", &[]).await;
    let groups = moto.ask("DescribeSecurityGroups", &[]).await;
    let images = moto
        .ask("DescribeImages", &params(&[("Filter.1.Name", "name"), ("Filter.1.Value.1", "amzn*")]))
        .await;
    let subnet = |field: &str| text(&subnets, &format!("subnetSet/item[0]/{field}"));
    let group = |field: &str| text(&groups, &format!("securityGroupInfo/item[0]/{field}"));
    let image = |field: &str| text(&images, &format!("imagesSet/item[0]/{field}"));
    let world = json!({
        "account_id": subnet("ownerId"),
        "regions": {"us-east-1": {
            "subnets": [{
                "id": subnet("subnetId"), "vpc_id": subnet("vpcId"), "cidr": subnet("cidrBlock"),
                "zone": subnet("availabilityZone"), "zone_id": subnet("availabilityZoneId"),
                "default_for_zone": true,
            }],
            "security_groups": [{
                "id": group("groupId"), "vpc_id": group("vpcId"), "name": group("groupName"),
                "description": group("groupDescription"),
            }],
            "images": [{"id": image("imageId"), "name": image("name")}],
        }},
    });
    let known = Known { subnet: subnet("subnetId"), group: group("groupId"), image: image("imageId") };
    (world.to_string().parse().expect("a world file"), known)
}

fn text(answer: &BTreeMap<String, String>, path: &str) -> String {
    answer.get(path).unwrap_or_else(|| panic!("moto has no {path}: {answer:#?}")).clone()
}

fn params(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
