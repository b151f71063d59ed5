//! The parts of the EC2 emulator's world file that the local stack reads: which regions, subnets
//! and images exist.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::project;

#[derive(Deserialize)]
pub(crate) struct World {
    regions: BTreeMap<String, WorldRegion>,
    #[serde(skip)]
    path: PathBuf,
}

#[derive(Deserialize)]
pub(crate) struct WorldRegion {
    pub(crate) subnets: Vec<WorldSubnet>,
    pub(crate) images: Vec<WorldImage>,
}

#[derive(Deserialize)]
pub(crate) struct WorldSubnet {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) default_for_zone: bool,
    #[serde(default)]
    pub(crate) tags: BTreeMap<String, String>,
}

#[derive(Deserialize)]
pub(crate) struct WorldImage {
    pub(crate) id: String,
}

impl World {
    /// Reads the world file at `path`, or the emulator's default one.
    ///
    /// # Errors
    /// When the file cannot be read or parsed.
    pub(crate) fn read(path: Option<&Path>) -> Result<Self> {
        let path = path.map_or_else(
            || project::root().join("local/ec2-emulator/world.json"),
            Path::to_path_buf,
        );
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let mut world: Self = serde_json::from_str(&text)
            .with_context(|| format!("parse the EC2 world file {}", path.display()))?;
        world.path = path;
        Ok(world)
    }

    /// # Errors
    /// When the world has no such region.
    pub(crate) fn region(&self, name: &str) -> Result<&WorldRegion> {
        self.regions.get(name).with_context(|| {
            format!(
                "the EC2 world file {} has no region {name}",
                self.path.display()
            )
        })
    }

    /// The names of all regions, sorted.
    pub(crate) fn regions(&self) -> impl Iterator<Item = &str> {
        self.regions.keys().map(String::as_str)
    }
}
