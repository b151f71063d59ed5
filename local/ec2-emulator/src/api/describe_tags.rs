//! `DescribeTags`, for instances only.

use super::call::{ApiResult, Call};
use crate::filters::{Filterable, Filters};
use crate::paging::Page;
use crate::world::Tags;
use crate::xml::Xml;

/// One tag on one instance.
struct Tag<'a> {
    resource_id: &'a str,
    key: &'a str,
    value: &'a str,
    /// The tags that `tag:KEY` filters match against: only this one.
    as_tags: Tags,
}

pub(super) fn handle(mut call: Call<'_>) -> ApiResult {
    let filters = Filters::take::<Tag<'_>>(&mut call.params)?;
    let page = Page::take(&mut call.params, None)?;
    call.finish()?;

    let as_of = call.visible_until();
    let tags = call.region()?.views(as_of).flat_map(|view| {
        view.tags().iter().map(move |(key, value)| Tag {
            resource_id: &view.instance.id,
            key,
            value,
            as_tags: Tags::from([(key.clone(), value.clone())]),
        })
    });
    let (tags, next_token) = page.paginate((0..).zip(tags).filter(|(_, tag)| filters.matches(tag)));

    let mut xml = Xml::default();
    xml.set("tagSet", tags, |xml, tag| {
        xml.text("resourceId", tag.resource_id);
        xml.text("resourceType", "instance");
        xml.text("key", tag.key);
        xml.text("value", tag.value);
    });
    xml.text_if_some("nextToken", next_token);
    Ok(xml)
}

impl Filterable for Tag<'_> {
    const NAMES: &'static [&'static str] = &["key", "resource-id", "resource-type", "value"];

    fn field(&self, name: &str) -> Vec<String> {
        let value = match name {
            "key" => self.key,
            "resource-id" => self.resource_id,
            "resource-type" => "instance",
            "value" => self.value,
            _ => return Vec::new(),
        };
        vec![value.to_owned()]
    }

    fn tags(&self) -> &Tags {
        &self.as_tags
    }
}
