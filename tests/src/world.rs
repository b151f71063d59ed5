//! Worlds for the EC2 emulator.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

/// Writes the world's file, which the emulator reads, into `folder`.
pub fn write(folder: &Path, regions: &Map<String, Value>) -> PathBuf {
    let path = folder.join("world.json");
    let world = json!({"account_id": "000000000000", "regions": regions});
    fs::write(&path, world.to_string()).expect("the world is written");
    path
}

/// The regions of a world, each with ids of its own.
pub struct Regions(pub &'static [&'static str]);

impl Regions {
    /// Writes the world's file with the `content` of each region.
    pub fn write(&self, folder: &Path, content: impl Fn(&str) -> Value) -> PathBuf {
        let regions = self.0.iter();
        let regions = regions.map(|region| ((*region).to_owned(), content(region)));
        write(folder, &regions.collect())
    }

    /// The position of a region, from 1.
    pub fn number(&self, region: &str) -> usize {
        let place = self.0.iter().position(|name| *name == region);
        1 + place.expect("a region of the world")
    }

    /// An id as long as EC2's, which ends with `last`.
    pub fn id(&self, kind: &str, region: &str, last: char) -> String {
        format!("{kind}-{:02}{last:0>15}", self.number(region))
    }

    /// The region's security group, found by the tag `scaling` with the value `name`.
    pub fn security_group(&self, region: &str, name: &str) -> Value {
        json!({
            "id": self.id("sg", region, 'a'),
            "vpc_id": self.id("vpc", region, 'f'),
            "name": name,
            "description": name,
            "tags": {"scaling": name},
        })
    }
}
