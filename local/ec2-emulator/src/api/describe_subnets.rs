//! `DescribeSubnets`.

use super::call::{ApiResult, Call};
use super::ids::SUBNET;
use crate::filters::{Filterable, Filters};
use crate::paging::Page;
use crate::world::{Subnet, Tags};
use crate::xml::Xml;

pub(super) fn handle(mut call: Call<'_>) -> ApiResult {
    let ids = call.params.list("SubnetId")?;
    let filters = Filters::take::<Subnet>(&mut call.params)?;
    let page = Page::take(&mut call.params, (!ids.is_empty()).then_some("subnetIds"))?;
    call.finish()?;

    let region = call.region()?;
    SUBNET.check_known(&ids, |id| region.subnet(id).is_some())?;
    let subnets = (0..)
        .zip(&region.subnets)
        .filter(|(_, subnet)| ids.is_empty() || ids.contains(&subnet.id))
        .filter(|(_, subnet)| filters.matches(*subnet));
    let (subnets, next_token) = page.paginate(subnets);

    let mut xml = Xml::default();
    let (owner, now) = (call.world.account_id(), call.now);
    xml.set("subnetSet", subnets, |xml, subnet| {
        xml.text("subnetId", &subnet.id);
        xml.text(
            "subnetArn",
            format!("arn:aws:ec2:{}:{owner}:subnet/{}", region.name, subnet.id),
        );
        xml.text("state", "available");
        xml.text("ownerId", owner);
        xml.text("vpcId", &subnet.vpc_id);
        xml.text("cidrBlock", subnet.cidr);
        xml.set(
            "ipv6CidrBlockAssociationSet",
            std::iter::empty::<()>(),
            |_, ()| {},
        );
        xml.text(
            "availableIpAddressCount",
            region.free_address_count(subnet, now),
        );
        xml.text("availabilityZone", &subnet.zone);
        xml.text("availabilityZoneId", &subnet.zone_id);
        xml.text("defaultForAz", subnet.default_for_zone);
        xml.text("mapPublicIpOnLaunch", subnet.map_public_ip_on_launch);
        xml.text("assignIpv6AddressOnCreation", false);
        xml.tags(&subnet.tags);
    });
    xml.text_if_some("nextToken", next_token);
    Ok(xml)
}

impl Filterable for Subnet {
    const NAMES: &'static [&'static str] = &[
        "availability-zone",
        "availabilityZone",
        "availability-zone-id",
        "cidr-block",
        "default-for-az",
        "state",
        "subnet-id",
        "vpc-id",
    ];

    fn field(&self, name: &str) -> Vec<String> {
        let value = match name {
            "availability-zone" | "availabilityZone" => self.zone.clone(),
            "availability-zone-id" => self.zone_id.clone(),
            "cidr-block" => self.cidr.to_string(),
            "default-for-az" => self.default_for_zone.to_string(),
            "state" => "available".to_owned(),
            "subnet-id" => self.id.clone(),
            "vpc-id" => self.vpc_id.clone(),
            _ => return Vec::new(),
        };
        vec![value]
    }

    fn tags(&self) -> &Tags {
        &self.tags
    }
}
