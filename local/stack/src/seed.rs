//! Sets up a region as an operator does for a new deployment: its settings, its first image, and
//! the app version.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::operator::Operator;
use crate::world::{World, WorldRegion, WorldSubnet};

/// The commit of the client app that the first image serves.
pub const CLIENT_SHA: &str = "9d4ad9c1f3b0e0b2f6d1f0a7c3f2b8e5a1c6d7e8";

/// The environment that the local functions are deployed for.
pub(crate) const ENVIRONMENT: &str = "dev";

/// The first version of the client app.
pub const APP_VERSION: &str = "1.0.0";

/// A region to set up.
#[derive(Args, Clone, Debug)]
pub struct RegionSeed {
    /// The region to set up
    #[arg(long, default_value = "us-east-1")]
    pub region: String,
    /// The number of free slots that the region should always have
    #[arg(long, default_value_t = 4)]
    pub target_free: u32,
    /// The largest number of instances in the region
    #[arg(long, default_value_t = 10)]
    pub max_instances: u32,
    /// The number of slots on each instance
    #[arg(long, default_value_t = 2)]
    pub capacity: u32,
}

impl RegionSeed {
    /// Inserts the region, its image and the app version. `world` is the EC2 emulator's world file,
    /// if not the default one.
    ///
    /// # Errors
    /// When the world has no such region, or GraphQL rejects the rows.
    pub async fn insert(&self, operator: &Operator, world: Option<&Path>) -> Result<()> {
        let world = World::read(world)?;
        let (region, image) = self.rows(&world)?;
        insert_rows(operator, &[region], &[image]).await
    }

    /// The rows of the region and of its image.
    ///
    /// # Errors
    /// When the world has no such region, or the region has no image or subnet.
    pub(crate) fn rows(&self, world: &World) -> Result<(Value, Value)> {
        let region = world.region(&self.region)?;
        let image = region
            .images
            .first()
            .with_context(|| format!("the EC2 world has no image in {}", self.region))?;
        let row = json!({
            "name": self.region,
            "target_free": self.target_free,
            "max_instances": self.max_instances,
            // No limit: the first pass launches the whole buffer.
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

    /// One choice for each of the first two subnets. The first is named by its tag and the second
    /// by its id, so that both ways are used.
    fn launch_choices(&self, region: &WorldRegion) -> Result<Vec<Value>> {
        let mut subnets: Vec<_> = region
            .subnets
            .iter()
            .filter(|subnet| !subnet.default_for_zone)
            .collect();
        subnets.truncate(2);
        ensure!(
            !subnets.is_empty(),
            "the EC2 world has no subnet for hosts in {}",
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

/// Inserts regions, their images, and the first app version.
///
/// # Errors
/// When GraphQL does not answer, or rejects a row.
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
        insert_app_versions(
            objects: $versions,
            on_conflict: { constraint: app_versions_pkey, update_columns: [version, client_sha] }
        ) { affected_rows }
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
