//! Elastic IPs: `AllocateAddress`, `DescribeAddresses`, `AssociateAddress`,
//! `DisassociateAddress`, `ReleaseAddress`.
//!
//! Every instance has one network interface, and every address is for use in a VPC.

use super::call::{ApiResult, Call, unknown_region};
use super::ids::{ADDRESS, INSTANCE};
use super::tags;
use crate::clock::UnixMillis;
use crate::error::ApiError;
use crate::filters::{Filterable, Filters};
use crate::world::{Address, AssociateOutcome, State, Tags};
use crate::xml::Xml;

pub(super) fn allocate(mut call: Call<'_>) -> ApiResult {
    match call.params.optional("Domain").as_deref() {
        None | Some("vpc") => {}
        Some(other) => {
            let expected = "Expecting \"vpc\".";
            return Err(ApiError::invalid_value("Domain", other, expected));
        }
    }
    let tags = new_tags(&mut call)?;
    call.finish()?;
    let address = call.world.allocate_address(call.region, tags, call.now);
    let address = address.ok_or_else(|| unknown_region(call.region))?;
    let mut xml = Xml::default();
    xml.text("publicIp", address.public_ip);
    xml.text("domain", "vpc");
    xml.text("allocationId", &address.allocation_id);
    Ok(xml)
}

fn new_tags(call: &mut Call<'_>) -> Result<Tags, ApiError> {
    let mut all = Tags::new();
    for mut member in call.params.members("TagSpecification")? {
        let kind = member.required("ResourceType")?;
        if kind != "elastic-ip" {
            let message =
                format!("'{kind}' is not a valid taggable resource type for this operation.");
            return Err(ApiError::client("InvalidParameterValue", message));
        }
        all.extend(tags::take(&mut member)?);
        member.finish()?;
    }
    Ok(all)
}

/// An address as of a time, which is in the past if listings lag.
struct AddressView<'a>(&'a Address, UnixMillis);

/// Returns all addresses in one response: EC2 does not paginate them.
pub(super) fn describe(mut call: Call<'_>) -> ApiResult {
    let ids = call.params.list("AllocationId")?;
    let ips = call.params.list("PublicIp")?;
    let filters = Filters::take::<AddressView<'_>>(&mut call.params)?;
    call.finish()?;
    let as_of = call.visible_until();
    let region = call.region()?;
    let is_known = |id: &str| region.address(id).is_some_and(|it| it.exists_at(as_of));
    ADDRESS.check_known(&ids, is_known)?;
    let views = region
        .addresses()
        .iter()
        .filter(|address| address.exists_at(as_of))
        .filter(|address| ids.is_empty() || ids.contains(&address.allocation_id))
        .filter(|address| ips.is_empty() || ips.contains(&address.public_ip.to_string()))
        .map(|address| AddressView(address, as_of))
        .filter(|view| filters.matches(view));
    let mut xml = Xml::default();
    let owner = call.world.account_id();
    xml.set("addressesSet", views, |xml, AddressView(address, as_of)| {
        xml.text("publicIp", address.public_ip);
        xml.text("allocationId", &address.allocation_id);
        xml.text("domain", "vpc");
        if let Some(association) = address.association_at(as_of) {
            xml.text_if_some("instanceId", association.instance_id.as_ref());
            xml.text("associationId", &association.association_id);
            xml.text("networkInterfaceId", &association.network_interface_id);
            xml.text("networkInterfaceOwnerId", owner);
            xml.text_if_some("privateIpAddress", association.private_ip.as_ref());
        }
        xml.tags(&address.tags);
        xml.text("publicIpv4Pool", "amazon");
        xml.text("networkBorderGroup", &region.name);
    });
    Ok(xml)
}

pub(super) fn associate(mut call: Call<'_>) -> ApiResult {
    let allocation = call.params.required("AllocationId")?;
    let instance = match call.params.optional("NetworkInterfaceId") {
        Some(interface) => interface.replacen("eni-", "i-", 1),
        None => call.params.required("InstanceId")?,
    };
    let allow_reassociation = match call.params.optional("AllowReassociation").as_deref() {
        // EC2's default in a VPC.
        None | Some("true") => true,
        Some("false") => false,
        Some(other) => {
            let expected = "Expecting \"true\" or \"false\".";
            return Err(ApiError::invalid_value(
                "AllowReassociation",
                other,
                expected,
            ));
        }
    };
    ADDRESS.check_form(std::slice::from_ref(&allocation))?;
    INSTANCE.check_form(std::slice::from_ref(&instance))?;
    call.finish()?;
    let done = call.world.associate_address(
        call.region,
        &allocation,
        &instance,
        allow_reassociation,
        call.now,
    );
    let association = match done {
        AssociateOutcome::Associated(id) => id,
        AssociateOutcome::AddressNotFound => return Err(ADDRESS.not_found(&[allocation])),
        AssociateOutcome::InstanceNotFound => return Err(INSTANCE.not_found(&[instance])),
        AssociateOutcome::WrongState(state) => return Err(wrong_state(&instance, state)),
        AssociateOutcome::AlreadyAssociated(id) => {
            let message =
                format!("resource {allocation} is already associated with associate-id {id}");
            return Err(ApiError::client("Resource.AlreadyAssociated", message));
        }
    };
    let mut xml = Xml::default();
    xml.text("return", true);
    xml.text("associationId", association);
    Ok(xml)
}

/// EC2's error for a request that names the instance rather than its network interface.
fn wrong_state(instance: &str, state: State) -> ApiError {
    let state = state.as_str();
    let message =
        format!("The {state} instance '{instance}' is not in a valid state for this operation.");
    ApiError::client("InvalidInstanceID", message)
}

pub(super) fn disassociate(mut call: Call<'_>) -> ApiResult {
    let id = call.params.required("AssociationId")?;
    call.finish()?;
    if !call.world.disassociate_address(call.region, &id, call.now) {
        let message = format!("The association ID '{id}' does not exist");
        return Err(ApiError::client("InvalidAssociationID.NotFound", message));
    }
    Ok(return_true())
}

pub(super) fn release(mut call: Call<'_>) -> ApiResult {
    let id = call.params.required("AllocationId")?;
    call.finish()?;
    match call.world.release_address(call.region, &id, call.now) {
        Some(true) => Ok(return_true()),
        Some(false) => Err(ApiError::client(
            "InvalidIPAddress.InUse",
            format!("The address with allocation id [{id}] is in use."),
        )),
        None => Err(ADDRESS.not_found(&[id])),
    }
}

fn return_true() -> Xml {
    let mut xml = Xml::default();
    xml.text("return", true);
    xml
}

impl Filterable for AddressView<'_> {
    const NAMES: &'static [&'static str] = &[
        "allocation-id",
        "association-id",
        "instance-id",
        "network-interface-id",
        "private-ip-address",
        "public-ip",
    ];

    fn field(&self, name: &str) -> Vec<String> {
        let Self(address, as_of) = self;
        let association = address.association_at(*as_of);
        let value = match name {
            "allocation-id" => Some(address.allocation_id.clone()),
            "association-id" => association.map(|it| it.association_id.clone()),
            "instance-id" => association.and_then(|it| it.instance_id.clone()),
            "network-interface-id" => association.map(|it| it.network_interface_id.clone()),
            "private-ip-address" => association
                .and_then(|it| it.private_ip)
                .map(|ip| ip.to_string()),
            "public-ip" => Some(address.public_ip.to_string()),
            _ => None,
        };
        value.into_iter().collect()
    }

    fn tags(&self) -> &Tags {
        &self.0.tags
    }
}
