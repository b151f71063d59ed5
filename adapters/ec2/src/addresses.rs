//! `DescribeAddresses` and `AssociateAddress`.

use aws_sdk_ec2::types::Address;
use shared::host::{HostError, HostErrorKind, Reassociation};
use shared::ids::{AddressId, InstanceId};
use shared::model::{Carrier, ExternalAddress};
use shared::settings::AddressTag;
use shared::words::quoted;

use crate::client::Ec2;
use crate::convert::failure;

const LIST: &str = "list addresses";

const ALREADY_ASSOCIATED: &str = "Resource.AlreadyAssociated";

impl Ec2 {
    /// All addresses of the account. They are not filtered by tag, because a replica may have an
    /// address that is not in the pool. `DescribeAddresses` has no pages.
    pub(super) async fn describe_addresses(
        &self,
        tag: &AddressTag,
    ) -> Result<Vec<ExternalAddress>, HostError> {
        let answer = self.client.describe_addresses().send().await;
        let answer = answer.map_err(|error| failure(LIST, &error))?;
        let addresses = answer.addresses().iter();
        addresses.map(|address| external(address, tag)).collect()
    }

    /// Moves an address in one request, without a disassociation before it: if the function dies,
    /// the address is still associated, with the one instance or with the other.
    pub(super) async fn associate_address(
        &self,
        address: &AddressId,
        to: &InstanceId,
        allowed: Reassociation,
    ) -> Result<(), HostError> {
        let answer = self
            .client
            .associate_address()
            .allocation_id(address.as_str())
            .instance_id(to.as_str())
            .allow_reassociation(allowed == Reassociation::Allowed)
            .send()
            .await;
        let Err(error) = answer else { return Ok(()) };
        let error = failure("associate an address", &error);
        // An earlier attempt may have succeeded, and its answer was lost.
        if error.code == ALREADY_ASSOCIATED && self.carries(to, address).await {
            return Ok(());
        }
        Err(error)
    }

    /// Whether EC2 lists the address with this instance.
    async fn carries(&self, instance: &InstanceId, address: &AddressId) -> bool {
        let answer = self
            .client
            .describe_addresses()
            .allocation_ids(address.as_str())
            .send()
            .await;
        answer.is_ok_and(|answer| {
            let mut addresses = answer.addresses().iter();
            addresses.any(|found| found.instance_id() == Some(instance.as_str()))
        })
    }
}

/// # Errors
/// When EC2's answer lacks a field that it always has.
fn external(address: &Address, tag: &AddressTag) -> Result<ExternalAddress, HostError> {
    let id = address.allocation_id().unwrap_or_default();
    let bad = |problem: &str| HostError {
        kind: HostErrorKind::Unclear,
        operation: LIST,
        code: "unreadable answer".to_owned(),
        message: format!("address {}: {problem}", quoted(id)),
    };
    if id.is_empty() {
        return Err(bad("no allocation id"));
    }
    // In a Wavelength Zone the address is the carrier's.
    let ip = address.public_ip().or(address.carrier_ip());
    let ip = ip.and_then(|ip| ip.parse().ok());
    Ok(ExternalAddress {
        id: id.into(),
        ip: ip.ok_or_else(|| bad("no public address"))?,
        carrier: carrier(address),
        in_pool: address
            .tags()
            .iter()
            .any(|own| own.key() == Some(&tag.key) && own.value() == Some(&tag.value)),
    })
}

fn carrier(address: &Address) -> Carrier {
    let text = |value: Option<&str>| value.filter(|text| !text.is_empty()).map(str::to_owned);
    let interface = || text(address.network_interface_id()).or(text(address.association_id()));
    match text(address.instance_id()) {
        Some(id) => Carrier::Instance(id.into()),
        None => interface().map_or(Carrier::Nobody, Carrier::Other),
    }
}
