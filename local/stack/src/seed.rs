//! Sets up a region as an operator does who starts with the service: its
//! settings, its first image, and the app's version.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::operator::Operator;
use crate::world::{World, WorldRegion, WorldSubnet};

/// The build of the client app that the first image serves.
pub const CLIENT_SHA: &str = "9d4ad9c1f3b0e0b2f6d1f0a7c3f2b8e5a1c6d7e8";

/// The environment that the functions are deployed for locally.
pub(crate) const ENVIRONMENT: &str = "dev";

/// The first version of the app.
pub const APP_VERSION: &str = "1.0.0";

/// The region to set up.
#[derive(Args, Clone, Debug)]
pub struct RegionSeed {
    /// The region that is set up
    #[arg(long, default_value = "us-east-1")]
    pub region: String,
    /// The free slots that it should have at all times
    #[arg(long, default_value_t = 4)]
    pub target_free: u32,
    /// The instances that it may have at most
    #[arg(long, default_value_t = 10)]
    pub max_instances: u32,
    /// The slots of each instance
    #[arg(long, default_value_t = 2)]
    pub capacity: u32,
}

impl RegionSeed {
    /// Adds the rows; `world` is the emulator's, or its default.
    pub async fn insert(&self, operator: &Operator, world: Option<&Path>) -> Result<()> {
        let world = World::read(world)?;
        let (region, image) = self.rows(&world)?;
        insert_rows(operator, &[region], &[image]).await
    }

    /// The region and its image.
    pub(crate) fn rows(&self, world: &World) -> Result<(Value, Value)> {
        let region = world.region(&self.region)?;
        let image = region
            .images
            .first()
            .context("the world has no image in the region")?;
        let row = json!({
            "name": self.region,
            "target_free": self.target_free,
            "max_instances": self.max_instances,
            // The whole buffer in the first pass.
            "scale_up_step": 0,
            "launch_choices": self.launch_choices(region)?,
            "security_groups": [{"key": "scaling", "value": "hosts"}],
        });
        let image = json!({
            "region": self.region,
            "image_id": image.id,
            "client_sha": CLIENT_SHA,
            "state": "CURRENT",
        });
        Ok((row, image))
    }

    /// The first subnet by its tag, the others by their ids: both are ways to name one.
    fn launch_choices(&self, region: &WorldRegion) -> Result<Vec<Value>> {
        let mut subnets: Vec<_> = region
            .subnets
            .iter()
            .filter(|subnet| !subnet.default_for_zone)
            .collect();
        subnets.truncate(2);
        ensure!(
            !subnets.is_empty(),
            "the world has no subnet for hosts in {}",
            self.region
        );
        let choice = |subnet: &&WorldSubnet| {
            let mut choice = json!({"instance_type": "m6i.large", "capacity": self.capacity});
            match subnet.tags.get("Name") {
                Some(name) if subnet.id == subnets[0].id => {
                    choice["subnet_tag"] = json!({"key": "Name", "value": name});
                }
                _ => choice["subnet_id"] = json!(subnet.id),
            }
            choice
        };
        Ok(subnets.iter().map(choice).collect())
    }
}

/// Adds regions and their images, and the app's first version.
pub(crate) async fn insert_rows(
    operator: &Operator,
    regions: &[Value],
    images: &[Value],
) -> Result<()> {
    let document = "mutation SetUp(
        $regions: [regions_insert_input!]!
        $images: [images_insert_input!]!
        $versions: [app_versions_insert_input!]!
    ) {
        insert_regions(objects: $regions) { affected_rows }
        insert_images(objects: $images) { affected_rows }
        insert_app_versions(objects: $versions) { affected_rows }
    }";
    let version = json!({
        "environment": ENVIRONMENT,
        "version": APP_VERSION,
        "client_sha": CLIENT_SHA,
    });
    let variables = json!({"regions": regions, "images": images, "versions": [version]});
    operator.query(document, variables).await?;
    Ok(())
}
