//! The port [`AccountRegions`]: which regions the account has enabled.

use async_trait::async_trait;
use shared::host::{AccountRegions, HostError};
use shared::ids::RegionName;

use crate::client::Ec2Regions;
use crate::convert::failure;

#[async_trait]
impl AccountRegions for Ec2Regions {
    async fn enabled_regions(&self) -> Result<Vec<RegionName>, HostError> {
        // Without `AllRegions`, EC2 leaves out those that the account has not enabled. Each region's
        // endpoint knows all of them: the functions' own region answers.
        let answer = self.home().describe_regions().send().await;
        let answer = answer.map_err(|error| failure("list the account's regions", &error))?;
        let regions = answer.regions.unwrap_or_default().into_iter();
        let names = regions.filter_map(|region| region.region_name);
        Ok(names.map(RegionName::new).collect())
    }
}
