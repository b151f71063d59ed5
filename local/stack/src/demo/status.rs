//! The status page, read as JSON. The demonstration prints what a person sees on the page.

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::env_file::StackEnv;

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Status {
    pub(super) regions: Vec<RegionStatus>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct RegionStatus {
    pub(super) region: String,
    pub(super) target: u32,
    #[serde(default)]
    pub(super) free: Option<u32>,
    #[serde(default)]
    pub(super) occupied: Option<u32>,
    #[serde(default)]
    pub(super) images: Vec<ImageStatus>,
    #[serde(default)]
    pub(super) refusals: Vec<serde_json::Value>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct ImageStatus {
    pub(super) image: String,
    pub(super) state: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) instances: InstanceCounts,
    pub(super) free: u32,
    pub(super) occupied: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) struct InstanceCounts {
    pre_connection: u32,
    active: u32,
    draining: u32,
    terminating: u32,
}

impl InstanceCounts {
    pub(super) fn total(&self) -> u32 {
        self.pre_connection + self.active + self.draining + self.terminating
    }
}

impl Status {
    /// # Errors
    /// When the status function does not answer with the expected JSON.
    pub(super) async fn read(env: &StackEnv) -> Result<Self> {
        let request = reqwest::Client::new()
            .get(&env.status_url)
            .bearer_auth(&env.status_token)
            .header("accept", "application/json");
        let response = request.send().await.context("request the status page")?;
        let response = response
            .error_for_status()
            .context("request the status page")?;
        response.json().await.context("parse the status page")
    }

    pub(super) fn region(&self, name: &str) -> Option<&RegionStatus> {
        self.regions.iter().find(|region| region.region == name)
    }
}

impl RegionStatus {
    /// One line for the terminal: users, VMs and free slots of the region.
    pub(super) fn line(&self) -> String {
        let vms: u32 = self.images.iter().map(|it| it.instances.total()).sum();
        format!(
            "{}: users {:>3}, VMs {vms:>2}, free slots {:>2} (target {})",
            self.region,
            self.occupied.unwrap_or_default(),
            self.free.unwrap_or_default(),
            self.target
        )
    }
}
