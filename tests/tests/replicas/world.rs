//! A world with one region for each theme. The subnets are in the loopback network, so that their
//! replicas can be reached.

use scaling_tests::world::Regions;
use serde_json::{Value, json};

pub(crate) const FILLING: &str = "us-east-1";
pub(crate) const REPORTS: &str = "us-east-2";
pub(crate) const ERRORS: &str = "us-west-1";
pub(crate) const SILENCE: &str = "us-west-2";
pub(crate) const TRIMMING: &str = "eu-west-1";
pub(crate) const LIMITS: &str = "eu-west-2";
pub(crate) const RIVALS: &str = "eu-central-1";
pub(crate) const CRASHES: &str = "ap-south-1";
pub(crate) const ADDRESSES: &str = "eu-north-1";
pub(crate) const REGIONS: Regions = Regions(&[
    FILLING, REPORTS, ERRORS, SILENCE, TRIMMING, LIMITS, RIVALS, CRASHES, ADDRESSES,
]);

/// The tag of the Elastic IPs that replicas carry.
pub(crate) const POOL: &str = "pool=public";

pub(crate) struct Pace {
    pub(crate) pending_ms: u64,
    pub(crate) shutting_down_ms: u64,
    pub(crate) listing_lag_ms: u64,
}

/// Listings lag far longer than a pass takes: after a launch, several passes do not see it.
pub(crate) const PACE: Pace = Pace {
    pending_ms: 200,
    shutting_down_ms: 200,
    listing_lag_ms: 1_500,
};

pub(crate) fn content(region: &str) -> Value {
    json!({
        "subnets": [{
            "id": subnet(region),
            "vpc_id": REGIONS.id("vpc", region, 'f'),
            "zone": format!("{region}a"),
            "zone_id": format!("{region}-az1"),
            "cidr": format!("127.{}.0.0/20", 200 + REGIONS.number(region)),
        }],
        "security_groups": [REGIONS.security_group(region, "replicas")],
        "images": [{"id": image(region), "name": "replica-1"}],
        "addresses": addresses(region),
    })
}

/// Three addresses in the pool, a gateway's with the pool's tag, and one without the tag.
fn addresses(region: &str) -> Value {
    if region != ADDRESSES {
        return json!([]);
    }
    let address = |n: u8, more: Value| {
        let mut address = more;
        address["allocation_id"] = json!(format!("eipalloc-{n:017}"));
        address["public_ip"] = json!(format!("203.0.113.{n}"));
        address
    };
    let pool = json!({"tags": {"pool": "public"}});
    let mut gateways = pool.clone();
    gateways["network_interface_id"] = json!("eni-00000000000000004");
    json!([
        address(1, pool.clone()),
        address(2, pool.clone()),
        address(3, pool),
        address(4, gateways),
        address(5, json!({"tags": {"pool": "private"}})),
    ])
}

pub(crate) fn subnet(region: &str) -> String {
    REGIONS.id("subnet", region, 'a')
}

pub(crate) fn image(region: &str) -> String {
    REGIONS.id("ami", region, 'a')
}
