//! A world with one region for each theme, so that themes do not affect each other.

use scaling_tests::deployed::Deployed;
use scaling_tests::region::Region;
use scaling_tests::world::Regions;
use serde_json::{Value, json};

pub(crate) const EVENTS: &str = "us-east-1";
pub(crate) const CAPACITY: &str = "us-east-2";
pub(crate) const LAUNCHES: &str = "us-west-1";
pub(crate) const LISTINGS: &str = "us-west-2";
pub(crate) const BOOTS: &str = "eu-west-1";
pub(crate) const AGENTS: &str = "eu-west-2";
pub(crate) const OUTAGES: &str = "eu-central-1";
pub(crate) const BURST: &str = "ap-south-1";
pub(crate) const REGIONS: Regions = Regions(&[
    EVENTS, CAPACITY, LAUNCHES, LISTINGS, BOOTS, AGENTS, OUTAGES, BURST,
]);

/// Two subnets for hosts in two zones, a security group, and an image.
pub(crate) fn content(region: &str) -> Value {
    let subnet = |zone: char, place: usize| {
        json!({
            "id": self::subnet(region, zone),
            "vpc_id": REGIONS.id("vpc", region, 'f'),
            "zone": format!("{region}{zone}"),
            "zone_id": format!("{region}-az{place}"),
            "cidr": format!("10.{}.{}.0/20", REGIONS.number(region), place * 16),
            "tags": {"scaling": "hosts"},
        })
    };
    json!({
        "subnets": [subnet('a', 0), subnet('b', 1)],
        "security_groups": [REGIONS.security_group(region, "hosts")],
        "images": [{"id": image(region), "name": "host-1"}],
    })
}

pub(crate) fn subnet(region: &str, zone: char) -> String {
    REGIONS.id("subnet", region, zone)
}

fn image(region: &str) -> String {
    REGIONS.id("ami", region, '1')
}

/// A launch choice of `instance_type` in one of the two subnets.
pub(crate) fn choice(region: &str, zone: char, instance_type: &str, capacity: u32) -> Value {
    json!({
        "instance_type": instance_type,
        "capacity": capacity,
        "subnet_id": subnet(region, zone),
    })
}

/// Sets a region up with the buffer of `settings`, and fills it by a pass. Passes may launch and
/// drain any number of instances at once.
pub(crate) async fn filled<'a>(
    deployed: &'a Deployed,
    name: &'a str,
    capacity: u32,
    mut settings: Value,
) -> Region<'a> {
    let region = Region { deployed, name };
    let defaults = [
        ("scale_up_step", json!(0)),
        ("scale_down_step", json!(0)),
        (
            "security_groups",
            json!([{"key": "scaling", "value": "hosts"}]),
        ),
        (
            "launch_choices",
            json!([
                choice(name, 'a', "m6i.large", capacity),
                choice(name, 'b', "m6i.large", capacity),
            ]),
        ),
    ];
    for (column, value) in defaults {
        if settings[column].is_null() {
            settings[column] = value;
        }
    }
    region.insert(settings).await;
    region.set_image(&image(name), "CURRENT").await;
    region.settle().await;
    region.assert_invariants().await;
    region
}
