//! `DescribeSecurityGroups`. Rules are not emulated: like a new group, every group allows all
//! outbound traffic and no inbound traffic.

use super::call::{ApiResult, Call};
use super::ids::SECURITY_GROUP;
use crate::filters::{Filterable, Filters};
use crate::paging::Page;
use crate::world::{SecurityGroup, Tags};
use crate::xml::Xml;

pub(super) fn handle(mut call: Call<'_>) -> ApiResult {
    let ids = call.params.list("GroupId")?;
    let filters = Filters::take::<SecurityGroup>(&mut call.params)?;
    let page = Page::take(&mut call.params, (!ids.is_empty()).then_some("groupIds"))?;
    call.finish()?;

    let region = call.region()?;
    SECURITY_GROUP.check_known(&ids, |id| region.security_group(id).is_some())?;
    let groups = (0..)
        .zip(&region.security_groups)
        .filter(|(_, group)| ids.is_empty() || ids.contains(&group.id))
        .filter(|(_, group)| filters.matches(*group));
    let (groups, next_token) = page.paginate(groups);

    let mut xml = Xml::default();
    let owner = call.world.account_id();
    xml.set("securityGroupInfo", groups, |xml, group| {
        xml.text("ownerId", owner);
        xml.text("groupId", &group.id);
        xml.text("groupName", &group.name);
        xml.text("groupDescription", &group.description);
        xml.text(
            "securityGroupArn",
            format!(
                "arn:aws:ec2:{}:{owner}:security-group/{}",
                region.name, group.id
            ),
        );
        xml.text("vpcId", &group.vpc_id);
        xml.set("ipPermissions", std::iter::empty::<()>(), |_, ()| {});
        xml.set("ipPermissionsEgress", ["0.0.0.0/0"], |xml, everywhere| {
            xml.text("ipProtocol", -1);
            xml.set("groups", std::iter::empty::<()>(), |_, ()| {});
            xml.set("ipRanges", [everywhere], |xml, range| {
                xml.text("cidrIp", range);
            });
            xml.set("ipv6Ranges", std::iter::empty::<()>(), |_, ()| {});
            xml.set("prefixListIds", std::iter::empty::<()>(), |_, ()| {});
        });
        xml.tags(&group.tags);
    });
    xml.text_if_some("nextToken", next_token);
    Ok(xml)
}

impl Filterable for SecurityGroup {
    const NAMES: &'static [&'static str] = &["description", "group-id", "group-name", "vpc-id"];

    fn field(&self, name: &str) -> Vec<String> {
        let value = match name {
            "description" => &self.description,
            "group-id" => &self.id,
            "group-name" => &self.name,
            "vpc-id" => &self.vpc_id,
            _ => return Vec::new(),
        };
        vec![value.clone()]
    }

    fn tags(&self) -> &Tags {
        &self.tags
    }
}
