//! `DescribeRegions`: the regions of the world file, all of them enabled.

use super::call::{ApiResult, Call};
use crate::error::ApiError;
use crate::filters::{Filterable, Filters};
use crate::world::Tags;
use crate::xml::Xml;

struct KnownRegion {
    name: String,
    tags: Tags,
}

impl KnownRegion {
    fn endpoint(&self) -> String {
        format!("ec2.{}.amazonaws.com", self.name)
    }
}

/// The account has enabled every region, so that `AllRegions` adds none.
pub(super) fn handle(mut call: Call<'_>) -> ApiResult {
    let names = call.params.list("RegionName")?;
    let filters = Filters::take::<KnownRegion>(&mut call.params)?;
    call.params.flag("AllRegions")?;
    call.finish()?;

    let known = call.world.region_names();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        return Err(ApiError::client(
            "InvalidParameterValue",
            format!("Invalid value '{unknown}' for region."),
        ));
    }
    let regions = known
        .into_iter()
        .filter(|name| names.is_empty() || names.contains(name))
        .map(|name| KnownRegion {
            name,
            tags: Tags::default(),
        })
        .filter(|region| filters.matches(region));
    let mut xml = Xml::default();
    xml.set("regionInfo", regions, |xml, region| {
        xml.text("regionName", &region.name);
        xml.text("regionEndpoint", region.endpoint());
        xml.text("optInStatus", "opt-in-not-required");
    });
    Ok(xml)
}

impl Filterable for KnownRegion {
    const NAMES: &'static [&'static str] = &["endpoint", "opt-in-status", "region-name"];

    fn field(&self, name: &str) -> Vec<String> {
        vec![match name {
            "endpoint" => self.endpoint(),
            "opt-in-status" => "opt-in-not-required".to_owned(),
            "region-name" => self.name.clone(),
            _ => return Vec::new(),
        }]
    }

    fn tags(&self) -> &Tags {
        &self.tags
    }
}
