//! `DescribeInstanceTypes`, for types that a request names: EC2 has about a thousand.

use super::call::{ApiResult, Call};
use crate::error::ApiError;
use crate::paging::Page;
use crate::world::InstanceType;
use crate::xml::Xml;

pub(super) fn handle(mut call: Call<'_>) -> ApiResult {
    let named = call.params.list("InstanceType")?;
    let mut filtered = Vec::new();
    for mut filter in call.params.members("Filter")? {
        let name = filter.required("Name")?;
        let values = filter.list("Value")?;
        filter.finish()?;
        if name != "instance-type" {
            let message = format!("The filter '{name}' is invalid");
            return Err(ApiError::client("InvalidParameterValue", message));
        }
        filtered = values;
    }
    let page = Page::take(
        &mut call.params,
        (!named.is_empty()).then_some("instanceTypes"),
    )?;
    call.finish()?;
    call.region()?;

    let unknown: Vec<&str> = named
        .iter()
        .filter(|name| InstanceType::named(name).is_none())
        .map(String::as_str)
        .collect();
    if !unknown.is_empty() {
        let message = format!(
            "The following supplied instance types do not exist: [{}]",
            unknown.join(", ")
        );
        return Err(ApiError::client("InvalidInstanceType", message));
    }
    let types = named
        .iter()
        .chain(&filtered)
        .filter_map(|name| InstanceType::named(name));
    let (types, next_token) = page.paginate((0..).zip(types));

    let mut xml = Xml::default();
    xml.set("instanceTypeSet", types, |xml, found| {
        xml.text("instanceType", &found.name);
        xml.text("currentGeneration", true);
        xml.element("processorInfo", |xml| {
            xml.set(
                "supportedArchitectures",
                [found.architecture.as_str()],
                |xml, architecture| xml.value(architecture),
            );
        });
        xml.element("vCpuInfo", |xml| {
            xml.text("defaultVCpus", found.vcpus);
        });
    });
    xml.text_if_some("nextToken", next_token);
    Ok(xml)
}
