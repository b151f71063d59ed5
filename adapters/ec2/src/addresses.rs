//! `DescribeAddresses` and `AssociateAddress`.

use aws_sdk_ec2::types::Address;

use super::Ec2;
use super::convert::failure;
use shared::host::{HostError, HostErrorKind, Reassociation};
use shared::ids::{AddressId, InstanceId};
use shared::model::{Carrier, ExternalAddress};
use shared::settings::AddressTag;

const LIST: &str = "list addresses";

const ALREADY_ASSOCIATED: &str = "Resource.AlreadyAssociated";

impl Ec2 {
    /// Not filtered by tag: a replica that carries another address of the account must be known,
    /// too. There are no pages.
    pub(super) async fn describe_addresses(
        &self,
        tag: &AddressTag,
    ) -> Result<Vec<ExternalAddress>, HostError> {
        let answer = self.client.describe_addresses().send().await;
        let answer = answer.map_err(|error| failure(LIST, &error))?;
        let addresses = answer.addresses().iter();
        addresses.map(|address| external(address, tag)).collect()
    }

    /// One request, and never a disassociation before it: a function that dies here leaves the
    /// address with the one or with the other.
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
        // The answer to an earlier attempt may have been lost.
        if error.code == ALREADY_ASSOCIATED && self.carries(to, address).await {
            return Ok(());
        }
        Err(error)
    }

    async fn carries(&self, instance: &InstanceId, address: &AddressId) -> bool {
        let answer = self
            .client
            .describe_addresses()
            .allocation_ids(address.as_str())
            .send()
            .await;
        answer.is_ok_and(|answer| {
            let mut found = answer.addresses().iter();
            found.any(|it| it.instance_id() == Some(instance.as_str()))
        })
    }
}

/// # Errors
/// When EC2 leaves out what it always sends.
fn external(address: &Address, tag: &AddressTag) -> Result<ExternalAddress, HostError> {
    let id = address.allocation_id().unwrap_or_default();
    let bad = |problem: &str| HostError {
        kind: HostErrorKind::Unclear,
        operation: LIST,
        code: "unreadable answer".to_owned(),
        message: format!("address {id:?}: {problem}"),
    };
    if id.is_empty() {
        return Err(bad("no allocation id"));
    }
    // In a Wavelength Zone it is the carrier's.
    let ip = address.public_ip().or(address.carrier_ip());
    let ip = ip.and_then(|ip| ip.parse().ok());
    Ok(ExternalAddress {
        id: id.into(),
        ip: ip.ok_or_else(|| bad("no public address"))?,
        carrier: carrier(address),
        in_pool: address
            .tags()
            .iter()
            .any(|it| it.key() == Some(&tag.key) && it.value() == Some(&tag.value)),
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
