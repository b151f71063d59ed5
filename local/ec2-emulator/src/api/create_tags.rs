//! `CreateTags`, for instances only. The tags of resources in the world file do not change.

use super::call::{ApiResult, Call, unknown_region};
use super::ids::INSTANCE;
use super::tags;
use crate::error::ApiError;
use crate::xml::Xml;

pub(super) fn handle(mut call: Call<'_>) -> ApiResult {
    let ids = call.params.list("ResourceId")?;
    let tags = tags::take(&mut call.params)?;
    if ids.is_empty() {
        return Err(ApiError::missing_parameter("resourceIdSet"));
    }
    if tags.is_empty() {
        return Err(ApiError::missing_parameter("tagSet"));
    }
    let region = call.region()?;
    INSTANCE.check_known(&ids, |id| region.instance(id).is_some())?;
    let is_full = ids
        .iter()
        .filter_map(|id| region.instance(id))
        .any(|instance| {
            let new = tags.keys().filter(|key| !instance.tags.contains_key(*key));
            instance.tags.len() + new.count() > tags::MAX_TAGS
        });
    if is_full {
        return Err(tags::too_many());
    }
    call.finish()?;

    let region = call
        .world
        .region_mut(call.region)
        .ok_or_else(|| unknown_region(call.region))?;
    for id in &ids {
        if let Some(instance) = region.instance_mut(id) {
            instance.tags.extend(tags.clone());
        }
    }
    let mut xml = Xml::default();
    xml.text("return", true);
    Ok(xml)
}
