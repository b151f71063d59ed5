//! Compares the emulator with moto, except for listed differences.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ec2_emulator::clock::{Clock, UnixMillis};
use ec2_emulator::emulator::Emulator;
use ec2_emulator::settings::Settings;
use ec2_emulator::world::{World, WorldFile};
use serde_json::json;
use tokio::net::TcpListener;

use super::params;
use super::side::Side;

/// Elements that only moto writes.
const ONLY_MOTO: &[(&str, &str)] = &[
    ("blockDeviceMapping/", "no volumes are emulated"),
    (
        "networkInterfaceSet/item/",
        "interfaces are not emulated; the SDK finds the address above",
    ),
    (
        "instancesSet/item/ipAddress",
        "moto assigns it before it answers a launch, EC2 afterwards",
    ),
    ("hibernationOptions", "not emulated"),
    ("sriovNetSupport", "not emulated"),
    (
        "stateReason/",
        "moto writes an empty one for a running instance, EC2 none",
    ),
    ("subnetSet/item/ipv6Native", "not emulated"),
    (
        "subnetSet/item/privateDnsNameOptionsOnLaunch/",
        "not emulated",
    ),
    ("imagesSet/item/description", "not emulated"),
    ("imagesSet/item/productCodes", "not emulated"),
    ("imagesSet/item/bootMode", "not emulated"),
    (
        "imagesSet/item/imageOwnerAlias",
        "the image is the account's own here",
    ),
];

/// Elements that only the emulator writes.
const ONLY_EMULATOR: &[(&str, &str)] = &[
    ("blockDeviceMapping", "empty, since no volumes are emulated"),
    ("enaSupport", "EC2 writes it; moto leaves it out"),
    (
        "spotInstanceRequestId",
        "EC2 writes it for a spot instance; moto leaves it out",
    ),
    (
        "placement/availabilityZoneId",
        "EC2 writes it; moto leaves it out",
    ),
    ("return", "EC2 writes it; moto leaves it out"),
];

/// Elements that differ in value.
const DIFFERENT: &[(&str, &str)] = &[
    (
        "stateReason/code",
        "moto leaves it empty for a pending instance, EC2 says pending",
    ),
    (
        "stateReason/message",
        "moto leaves it empty for a pending instance, EC2 says pending",
    ),
    (
        "networkInterfaceSet/item/attachment/deleteOnTermination",
        "moto says false, EC2 true",
    ),
    (
        "imagesSet/item/imageOwnerId",
        "the image is the account's own here",
    ),
    (
        "imagesSet/item/imageLocation",
        "the image is the account's own here",
    ),
    (
        "imagesSet/item/isPublic",
        "the image is the account's own here",
    ),
];

/// What exists before anything is launched.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) subnet: String,
    pub(crate) group: String,
    pub(crate) image: String,
}

pub(crate) struct Comparison {
    emulator: Side,
    moto: Side,
    pub(crate) known: Known,
    clock: Clock,
    unexpected_differences: Vec<String>,
    /// The exceptions that were used.
    used: BTreeSet<&'static str>,
}

impl Comparison {
    pub(crate) async fn start(moto_url: &str) -> Self {
        let mut moto = Side::new(moto_url.to_owned());
        let (world, known) = world_of(&mut moto).await;
        // Moto's instances run as soon as they are listed, so the emulator's clock only advances in
        // jumps.
        let clock = Clock::manual(UnixMillis(1_795_284_000_000));
        let settings = Settings {
            listing_lag_ms: 0,
            ..Settings::default()
        };
        let emulator = Emulator::new(World::new(world, settings, 1), clock.clone());
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("bind a port of loopback");
        let url = format!("http://{}", listener.local_addr().expect("a bound address"));
        tokio::spawn(ec2_emulator::serve(listener, emulator, None));
        Self {
            emulator: Side::new(url),
            moto,
            known,
            clock,
            unexpected_differences: Vec::new(),
            used: BTreeSet::new(),
        }
    }

    /// Sends the request to both and records where the answers differ. `{instance-1}` in a
    /// parameter is the id of the first instance that the side launched.
    pub(crate) async fn step(&mut self, what: &str, action: &str, params: &[(String, String)]) {
        let emulator = self.emulator.ask(action, params).await;
        let moto = self.moto.ask(action, params).await;
        let paths: BTreeSet<_> = emulator.keys().chain(moto.keys()).collect();
        for path in paths {
            let (ours, theirs) = (emulator.get(path), moto.get(path));
            let exceptions = match (ours, theirs) {
                (Some(ours), Some(theirs)) if ours == theirs => continue,
                (Some(_), Some(_)) => DIFFERENT,
                (Some(_), None) => ONLY_EMULATOR,
                (None, _) => ONLY_MOTO,
            };
            match exceptions
                .iter()
                .find(|(element, _)| stands_for(element, path))
            {
                Some((element, _)) => {
                    self.used.insert(element);
                }
                None => self.unexpected_differences.push(format!(
                    "{what}: {path}: emulator {ours:?}, moto {theirs:?}"
                )),
            }
        }
    }

    /// All differences that are not exceptions, and all exceptions that were not needed: those
    /// would hide the next mistake.
    pub(crate) fn unexpected_differences(mut self) -> Vec<String> {
        for (element, _) in [ONLY_MOTO, ONLY_EMULATOR, DIFFERENT].concat() {
            if !self.used.contains(element) {
                self.unexpected_differences
                    .push(format!("{element} does not differ: take it off its list"));
            }
        }
        self.unexpected_differences
    }

    /// Advances the emulator's clock beyond its delays.
    pub(crate) fn wait(&self) {
        self.clock.advance(Duration::from_secs(60));
    }
}

/// Whether an exception applies to the element at `path`, which has positions in lists (`item[0]`).
/// An exception is the end of a path or, with a slash at its end, a folder of elements.
fn stands_for(exception: &str, path: &str) -> bool {
    let plain: String = path
        .split('/')
        .flat_map(|part| ["/", part.split('[').next().unwrap_or_default()])
        .collect();
    if exception.ends_with('/') {
        plain.contains(&format!("/{exception}"))
    } else {
        plain.ends_with(&format!("/{exception}"))
    }
}

/// A world for the emulator with the subnet and the image of moto.
async fn world_of(moto: &mut Side) -> (WorldFile, Known) {
    let subnets = moto.ask("DescribeSubnets", &[]).await;
    let groups = moto.ask("DescribeSecurityGroups", &[]).await;
    let images = moto
        .ask(
            "DescribeImages",
            &params(&[("Filter.1.Name", "name"), ("Filter.1.Value.1", "amzn*")]),
        )
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
    let known = Known {
        subnet: subnet("subnetId"),
        group: group("groupId"),
        image: image("imageId"),
    };
    (world.to_string().parse().expect("a world file"), known)
}

fn text(answer: &BTreeMap<String, String>, path: &str) -> String {
    answer
        .get(path)
        .unwrap_or_else(|| panic!("moto has no {path}: {answer:#?}"))
        .clone()
}
