//! The regions of the simulated day, and their users.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use shared::settings::ADAPTIVE;

use super::clock::Pace;
use super::line::LINE;
use super::options::{Algorithm, DemoOptions};
use super::stack::PASS_INTERVAL;
use crate::operator::Operator;
use crate::seed::{RegionSeed, insert_rows};
use crate::world::World;

/// A region and the users near it.
#[derive(Debug)]
pub(super) struct DemoRegion {
    pub(super) name: &'static str,
    /// The local time minus UTC, in hours.
    pub(super) hours_ahead: i32,
    /// The share of all users, in per cent.
    pub(super) share: u32,
    target_free: u32,
    max_instances: u32,
    /// Whether its VMs are spot instances.
    spot: bool,
}

/// From east to west, which is the order of their rush hours.
pub(super) const REGIONS: [DemoRegion; 3] = [
    DemoRegion {
        name: "eu-west-1",
        hours_ahead: 0,
        share: 30,
        target_free: 6,
        max_instances: 12,
        spot: true,
    },
    DemoRegion {
        name: "us-east-1",
        hours_ahead: -5,
        share: 50,
        target_free: 8,
        max_instances: 20,
        spot: false,
    },
    DemoRegion {
        name: "us-west-2",
        hours_ahead: -8,
        share: 20,
        target_free: 4,
        max_instances: 10,
        spot: false,
    },
];

/// The index in [`REGIONS`] where EC2 interrupts a spot instance.
pub(super) const SPOT_REGION: usize = 0;

/// The index in [`REGIONS`] where EC2 runs out of capacity.
pub(super) const SHORTAGE_REGION: usize = 1;

/// Slots of a VM. They are few, so that VMs are launched and terminated all day.
pub(super) const CAPACITY: u32 = 4;

/// How long the old image is kept for a rollback, in simulated time.
const BAKE: Duration = Duration::from_secs(2 * 3_600);

/// The floor of `adaptive`, in slots.
pub(super) const FLOOR: u32 = 2;

/// One user in this many may wait: a day of some hundred users has no room for the default of 1000.
pub(super) const STOCK_OUT_GOAL: u32 = 50;

impl DemoRegion {
    pub(super) fn seed(&self, options: &DemoOptions) -> RegionSeed {
        let own = match options.algorithm {
            Algorithm::Default => self.target_free,
            Algorithm::Adaptive => FLOOR,
        };
        RegionSeed {
            region: self.name.to_owned(),
            target_free: options.target_free(self).unwrap_or(own),
            max_instances: self.max_instances,
            capacity: CAPACITY,
        }
    }
}

/// Inserts all regions, as an operator does.
///
/// # Errors
/// When GraphQL rejects the rows.
pub(super) async fn insert_regions(
    operator: &Operator,
    world: &World,
    pace: Pace,
    options: &DemoOptions,
) -> Result<()> {
    let mut regions = Vec::new();
    let mut images = Vec::new();
    for region in &REGIONS {
        let (mut row, image) = region.seed(options).rows(world)?;
        if options.algorithm == Algorithm::Adaptive {
            row["algorithm"] = json!(ADAPTIVE);
            row["stock_out_goal"] = json!(STOCK_OUT_GOAL);
        }
        row["bake_seconds"] = json!(pace.to_real(BAKE).as_secs().max(1));
        row["upgrade_surge"] = json!(6);
        row["line_seconds"] = json!(LINE.as_secs());
        row["pass_seconds"] = json!(PASS_INTERVAL.as_secs());
        if region.spot {
            row["launch_choices"][0]["spot"] = json!(true);
        }
        regions.push(row);
        images.push(image);
    }
    insert_rows(operator, &regions, &images).await
}

/// The id of the second image of each region, as a deploy pipeline sends them.
///
/// # Errors
/// When a region of the world has no second image.
pub(super) fn next_images(world: &World) -> Result<Value> {
    let image = |region: &DemoRegion| {
        let image = world.region(region.name)?.images.get(1);
        let image = image
            .with_context(|| format!("the EC2 world has no second image in {}", region.name))?;
        Ok((region.name.to_owned(), json!(image.id)))
    };
    REGIONS.iter().map(image).collect()
}
