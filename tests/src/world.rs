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
