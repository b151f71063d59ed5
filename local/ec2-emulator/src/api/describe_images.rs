//! `DescribeImages`. A deregistered image is not listed, and a request for its id fails.

use super::call::{ApiResult, Call};
use super::ids::IMAGE;
use crate::error::ApiError;
use crate::filters::{Filterable, Filters};
use crate::paging::Page;
use crate::world::{Image, ImageState, Tags};
use crate::xml::Xml;

/// All images have the same creation date, because the world file has none.
const CREATION_DATE: &str = "2026-01-01T00:00:00.000Z";

pub(super) fn handle(mut call: Call<'_>) -> ApiResult {
    let ids = call.params.list("ImageId")?;
    let owners = call.params.list("Owner")?;
    let filters = Filters::take::<Image>(&mut call.params)?;
    let page = Page::take(&mut call.params, (!ids.is_empty()).then_some("imageIds"))?;
    call.params.flag("IncludeDeprecated")?;
    call.params.flag("IncludeDisabled")?;
    call.finish()?;

    let region = call.region()?;
    IMAGE.check_known(&ids, |id| region.image(id).is_some())?;
    let is_deregistered = |id: &&String| {
        region
            .image(id)
            .is_some_and(|image| image.state == ImageState::Deregistered)
    };
    if let Some(id) = ids.iter().find(is_deregistered) {
        let message = format!("The image ID '{id}' is no longer available");
        return Err(ApiError::client("InvalidAMIID.Unavailable", message));
    }
    let owner = call.world.account_id();
    let is_owned = owners.is_empty() || owners.iter().any(|name| name == "self" || name == owner);
    let images = (0..)
        .zip(&region.images)
        .filter(|(_, image)| is_owned && image.state != ImageState::Deregistered)
        .filter(|(_, image)| ids.is_empty() || ids.contains(&image.id))
        .filter(|(_, image)| filters.matches(*image));
    let (images, next_token) = page.paginate(images);

    let mut xml = Xml::default();
    xml.set("imagesSet", images, |xml, image| {
        xml.text("imageId", &image.id);
        xml.text("imageLocation", format!("{owner}/{}", image.name));
        xml.text("imageState", image.state.as_str());
        xml.text("imageOwnerId", owner);
        xml.text("creationDate", CREATION_DATE);
        xml.text("isPublic", false);
        xml.text("architecture", image.architecture.as_str());
        xml.text("imageType", "machine");
        xml.text("name", &image.name);
        xml.text("rootDeviceType", "ebs");
        xml.text("rootDeviceName", "/dev/xvda");
        xml.set("blockDeviceMapping", std::iter::empty::<()>(), |_, ()| {});
        xml.text("virtualizationType", "hvm");
        xml.tags(&image.tags);
        xml.text("hypervisor", "xen");
        xml.text("enaSupport", true);
    });
    xml.text_if_some("nextToken", next_token);
    Ok(xml)
}

impl Filterable for Image {
    const NAMES: &'static [&'static str] = &["architecture", "image-id", "name", "state"];

    fn field(&self, name: &str) -> Vec<String> {
        let value = match name {
            "architecture" => self.architecture.as_str(),
            "image-id" => &self.id,
            "name" => &self.name,
            "state" => self.state.as_str(),
            _ => return Vec::new(),
        };
        vec![value.to_owned()]
    }

    fn tags(&self) -> &Tags {
        &self.tags
    }
}
