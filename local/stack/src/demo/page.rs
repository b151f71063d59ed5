//! What the status page shows, read as a program reads it: what is told of the day is what a
//! person sees there.

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::env_file::StackEnv;

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Page {
    pub(super) regions: Vec<Region>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Region {
    pub(super) region: String,
    pub(super) target: u32,
    #[serde(default)]
    pub(super) free: Option<u32>,
    #[serde(default)]
    pub(super) occupied: Option<u32>,
    #[serde(default)]
    pub(super) images: Vec<Image>,
    #[serde(default)]
    pub(super) refusals: Vec<serde_json::Value>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Image {
    pub(super) image: String,
    pub(super) state: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) instances: Instances,
    pub(super) free: u32,
    pub(super) occupied: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) struct Instances {
    pre_connection: u32,
    active: u32,
    draining: u32,
    terminating: u32,
}

impl Instances {
    pub(super) fn all(&self) -> u32 {
        self.pre_connection + self.active + self.draining + self.terminating
    }
}

impl Page {
    pub(super) async fn read(env: &StackEnv) -> Result<Self> {
        let request = reqwest::Client::new()
            .get(&env.status_url)
            .bearer_auth(&env.status_token)
            .header("accept", "application/json");
        let answer = request.send().await.context("ask for the status")?;
        let answer = answer.error_for_status().context("ask for the status")?;
        answer.json().await.context("read the status")
    }

    pub(super) fn region(&self, name: &str) -> Option<&Region> {
        self.regions.iter().find(|region| region.region == name)
    }
}

impl Region {
    /// Users on machines, and free places of those that it should have.
    pub(super) fn line(&self) -> String {
        let machines: u32 = self.images.iter().map(|it| it.instances.all()).sum();
        let plural = if machines == 1 { ", " } else { "s," };
        format!(
            "{} {:>2} on {machines:>2} VM{plural} {:>2}/{}",
            self.region,
            self.occupied.unwrap_or_default(),
            self.free.unwrap_or_default(),
            self.target
        )
    }
}
