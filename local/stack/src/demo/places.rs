//! Where the day's users are, and how the regions there are set.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::clock::Pace;
use crate::operator::Operator;
use crate::seed::{RegionSeed, insert_rows};
use crate::world::World;

/// A region, and the people near it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) region: &'static str,
    /// Of its clocks, from that of the day, which is UTC.
    pub(super) hours_ahead: i32,
    /// Of all users, in per cent.
    pub(super) share: u32,
    target_free: u32,
    max_instances: u32,
    /// Whether its machines are spot instances.
    spot: bool,
}

/// From east to west, as the sun goes.
pub(super) const PLACES: [Place; 3] = [
    Place {
        region: "eu-west-1",
        hours_ahead: 0,
        share: 30,
        target_free: 6,
        max_instances: 12,
        spot: true,
    },
    Place {
        region: "us-east-1",
        hours_ahead: -5,
        share: 50,
        target_free: 8,
        max_instances: 20,
        spot: false,
    },
    Place {
        region: "us-west-2",
        hours_ahead: -8,
        share: 20,
        target_free: 4,
        max_instances: 10,
        spot: false,
    },
];

/// Where a machine is taken back, and where they are short.
pub(super) const SPOT: usize = 0;
pub(super) const SHORT: usize = 1;

/// Slots of a machine: few, so that machines come and go all day.
const CAPACITY: u32 = 4;

/// Of the day: how long the image before is kept ready for a way back.
pub(super) const BAKE: Duration = Duration::from_secs(2 * 3_600);

impl Place {
    pub(super) fn seed(&self) -> RegionSeed {
        RegionSeed {
            region: self.region.to_owned(),
            target_free: self.target_free,
            max_instances: self.max_instances,
            capacity: CAPACITY,
        }
    }
}

/// Adds all of them, as an operator does.
pub(super) async fn insert(operator: &Operator, world: &World, pace: Pace) -> Result<()> {
    let mut regions = Vec::new();
    let mut images = Vec::new();
    for place in &PLACES {
        let (mut region, image) = place.seed().rows(world)?;
        region["bake_seconds"] = json!(pace.real(BAKE).as_secs().max(1));
        region["upgrade_surge"] = json!(6);
        if place.spot {
            region["launch_choices"][0]["spot"] = json!(true);
        }
        regions.push(region);
        images.push(image);
    }
    insert_rows(operator, &regions, &images).await
}

/// The second image of each region, as a pipeline names them.
pub(super) fn next_images(world: &World) -> Result<Value> {
    let image = |place: &Place| {
        let image = world.region(place.region)?.images.get(1);
        let image = image.with_context(|| format!("the world has one image in {}", place.region));
        Ok((place.region.to_owned(), json!(image?.id)))
    };
    PLACES.iter().map(image).collect()
}
