//! Thirty regions: the world of the EC2 emulator, and their set-up by an operator.

use std::path::{Path, PathBuf};

use ec2_emulator::world::DEFAULT_WORLD;
use local_stack::ministack::REGION as HOME;
use local_stack::seed::{APP_VERSION, CLIENT_SHA};
use scaling_tests::deployed::Deployed;
use serde_json::{Map, Value, json};
use shared::settings::ADAPTIVE;

pub(crate) const REGIONS: [&str; 30] = [
    HOME,
    "us-east-2",
    "us-west-1",
    "us-west-2",
    "ca-central-1",
    "ca-west-1",
    "mx-central-1",
    "sa-east-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "af-south-1",
    "ap-east-1",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
];

/// The maximum of each region. Small, to limit the number of host agents' processes.
pub(crate) const MAX_INSTANCES: usize = 3;
const CAPACITY: u32 = 2;
const TARGET_FREE: u32 = 2;
/// One in so many regions sizes its own buffer.
const ADAPTIVE_EACH: usize = 3;

/// The silence after which an agent is lost. All timeouts are seconds here.
pub(crate) const LOST_SECONDS: u32 = 24;

/// The home region of the default world, thirty times, each with ids and addresses of its own.
pub(crate) struct World(Map<String, Value>);

impl World {
    pub(crate) fn new() -> Self {
        let world: Value = serde_json::from_str(DEFAULT_WORLD).unwrap();
        let pattern = world["regions"][HOME].to_string();
        let region = |(name, number): (&str, u32)| {
            // The two digits after the kind are the region's: subnet-01a….
            let text = pattern
                .replace("-01", &format!("-{number:02x}"))
                .replace("10.1.", &format!("10.{number}."))
                .replace(HOME, name);
            (name.to_owned(), serde_json::from_str(&text).unwrap())
        };
        Self(REGIONS.into_iter().zip(1..).map(region).collect())
    }

    /// Writes the file that the emulator reads.
    pub(crate) fn write(&self, folder: &Path) -> PathBuf {
        scaling_tests::world::write(folder, &self.0)
    }

    /// Inserts all regions in one request, each with its first image, and the app version.
    pub(crate) async fn set_up(&self, deployed: &Deployed) {
        let document = "mutation SetUp(
            $regions: [regions_insert_input!]!
            $images: [images_insert_input!]!
            $versions: [app_versions_insert_input!]!
        ) {
            insert_regions(objects: $regions) { affected_rows }
            insert_images(objects: $images) { affected_rows }
            insert_app_versions(objects: $versions) { affected_rows }
        }";
        let regions: Vec<_> = self.0.iter().map(|(name, it)| settings(name, it)).collect();
        let images: Vec<_> = self.0.iter().map(|(name, it)| image(name, it)).collect();
        let version = json!({
            "environment": "dev",
            "version": APP_VERSION,
            "client_sha": CLIENT_SHA,
        });
        let rows = json!({"regions": regions, "images": images, "versions": [version]});
        let answer = deployed.operator().query(document, rows).await;
        answer.expect("the regions are set up");
    }
}

/// One subnet by its tag and one by its id: the first takes one more call to EC2, which may fail.
fn settings(name: &str, region: &Value) -> Value {
    let subnet_tag = json!({"key": "Name", "value": region["subnets"][0]["tags"]["Name"]});
    let choice = |place: &str, subnet: &Value| json!({"instance_type": "m6i.large", "capacity": CAPACITY, place: subnet});
    let is_adaptive = REGIONS.iter().position(|it| *it == name).unwrap() % ADAPTIVE_EACH == 0;
    json!({
        "name": name,
        "algorithm": if is_adaptive { ADAPTIVE } else { "default" },
        // Its quarter of an hour is 30 seconds, so that the target settles, too.
        "pass_seconds": 2,
        "target_free": TARGET_FREE,
        "max_instances": MAX_INSTANCES,
        "scale_up_step": 0,
        "scale_down_step": 0,
        "launch_choices": [
            choice("subnet_tag", &subnet_tag),
            choice("subnet_id", &region["subnets"][1]["id"]),
        ],
        "security_groups": [{"key": "scaling", "value": "hosts"}],
        "heartbeat_seconds": LOST_SECONDS / 2,
        "lost_seconds": LOST_SECONDS,
        "claim_seconds": 15,
        "boot_seconds": 12,
        "drain_seconds": 8,
        "missing_seconds": 20,
        "orphan_seconds": 10,
    })
}

fn image(name: &str, region: &Value) -> Value {
    json!({
        "region": name,
        "image_id": region["images"][0]["id"],
        "client_sha": CLIENT_SHA,
        "state": "CURRENT",
    })
}
