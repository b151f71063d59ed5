//! The XML of an instance and its reservation, for `RunInstances` and `DescribeInstances`.
//!
//! It has the elements that EC2 writes for a plain instance, in EC2's order, except those for what
//! this emulator does not have.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv4Addr;

use crate::market::Market;
use crate::world::{Group, Instance, InstanceView, MetadataOptions};
use crate::xml::Xml;

/// The `instanceLifecycle` of a spot instance; other instances have none.
pub(super) const SPOT_LIFECYCLE: &str = "spot";

/// Writes one reservation. All instances in `views` must be of one launch.
pub(super) fn reservation(xml: &mut Xml, views: &[InstanceView<'_>]) {
    let Some(first) = views.first() else { return };
    xml.text("reservationId", &first.instance.reservation_id);
    xml.text("ownerId", &first.instance.owner_id);
    // Only instances in EC2-Classic, which no longer exists, have groups here.
    xml.set("groupSet", std::iter::empty::<()>(), |_, ()| {});
    xml.set("instancesSet", views, |xml, view| instance(xml, *view));
}

fn instance(xml: &mut Xml, view: InstanceView<'_>) {
    let InstanceView {
        instance, state, ..
    } = view;
    let spec = &instance.spec;
    xml.text("instanceId", &instance.id);
    xml.text("imageId", &spec.image_id);
    xml.element("instanceState", |xml| {
        xml.text("code", state.code());
        xml.text("name", state.as_str());
    });
    xml.text("privateDnsName", private_name(view));
    xml.text("dnsName", public_name(view));
    xml.text("reason", instance.transition_reason_at(view.as_of));
    xml.text_if_some("keyName", spec.key_name.as_ref());
    xml.text("amiLaunchIndex", instance.launch_index);
    xml.set("productCodes", std::iter::empty::<()>(), |_, ()| {});
    xml.text("instanceType", &spec.instance_type);
    xml.text("launchTime", instance.launched_at.to_ec2());
    xml.element("placement", |xml| {
        xml.text("availabilityZone", &instance.subnet.zone);
        xml.text("availabilityZoneId", &instance.subnet.zone_id);
        xml.text("groupName", "");
        xml.text("tenancy", "default");
    });
    xml.element("monitoring", |xml| {
        xml.text(
            "state",
            if spec.monitoring {
                "enabled"
            } else {
                "disabled"
            },
        );
    });
    if view.is_connected() {
        xml.text("subnetId", &instance.subnet.id);
        xml.text("vpcId", &instance.subnet.vpc_id);
        xml.text("privateIpAddress", instance.private_ip);
        xml.text_if_some("ipAddress", view.public_ip().as_ref());
        xml.text("sourceDestCheck", true);
    }
    groups(xml, view);
    if let Some(reason) = instance.state_reason_at(view.as_of) {
        xml.element("stateReason", |xml| {
            xml.text("code", reason.code);
            xml.text("message", reason.message);
        });
    }
    xml.text("architecture", instance.architecture);
    xml.text("rootDeviceType", "ebs");
    xml.text("rootDeviceName", "/dev/xvda");
    xml.set("blockDeviceMapping", std::iter::empty::<()>(), |_, ()| {});
    xml.text("virtualizationType", "hvm");
    if spec.market == Market::Spot {
        xml.text("instanceLifecycle", SPOT_LIFECYCLE);
        xml.text("spotInstanceRequestId", spot_request_id(instance));
    }
    xml.text(
        "clientToken",
        spec.client_token.as_deref().unwrap_or_default(),
    );
    if !view.tags().is_empty() {
        xml.tags(view.tags());
    }
    xml.text("hypervisor", "xen");
    if view.is_connected() {
        network_interface(xml, view);
    }
    if let Some(arn) = &spec.profile_arn {
        xml.element("iamInstanceProfile", |xml| {
            xml.text("arn", arn);
            xml.text("id", profile_id(arn));
        });
    }
    xml.text("ebsOptimized", spec.ebs_optimized);
    xml.text("enaSupport", true);
    metadata_options(xml, &spec.metadata_options);
}

fn metadata_options(xml: &mut Xml, options: &MetadataOptions) {
    xml.element("metadataOptions", |xml| {
        xml.text("state", "applied");
        xml.text("httpTokens", options.http_tokens.as_str());
        let hops = options.http_put_response_hop_limit;
        xml.text("httpPutResponseHopLimit", hops);
        xml.text("httpEndpoint", options.http_endpoint.as_str());
        xml.text("httpProtocolIpv6", options.http_protocol_ipv6.as_str());
        let tags = options.instance_metadata_tags;
        xml.text("instanceMetadataTags", tags.as_str());
    });
}

fn groups(xml: &mut Xml, view: InstanceView<'_>) {
    let groups: &[Group] = if view.is_connected() {
        &view.instance.groups
    } else {
        &[]
    };
    xml.set("groupSet", groups, |xml, group| {
        xml.text("groupId", &group.id);
        xml.text("groupName", &group.name);
    });
}

fn network_interface(xml: &mut Xml, view: InstanceView<'_>) {
    let instance = view.instance;
    xml.set("networkInterfaceSet", [instance], |xml, instance| {
        xml.text("networkInterfaceId", instance.id.replacen("i-", "eni-", 1));
        xml.text("subnetId", &instance.subnet.id);
        xml.text("vpcId", &instance.subnet.vpc_id);
        xml.text("ownerId", &instance.owner_id);
        xml.text("status", "in-use");
        xml.text("privateIpAddress", instance.private_ip);
        xml.text("sourceDestCheck", true);
        groups(xml, view);
        if let Some(ip) = view.elastic_ip {
            xml.element("association", |xml| {
                xml.text("publicIp", ip);
                xml.text("publicDnsName", public_name(view));
                xml.text("ipOwnerId", &instance.owner_id);
            });
        }
        xml.element("attachment", |xml| {
            xml.text("attachmentId", instance.id.replacen("i-", "eni-attach-", 1));
            xml.text("deviceIndex", 0);
            xml.text("status", "attached");
            xml.text("attachTime", instance.launched_at.to_ec2());
            xml.text("deleteOnTermination", true);
        });
    });
}

/// The id of the spot request behind an instance. EC2 creates one for each instance of a launch.
pub(super) fn spot_request_id(instance: &Instance) -> String {
    instance.id.replacen("i-", "sir-", 1)
}

fn private_name(view: InstanceView<'_>) -> String {
    let domain = match view.region() {
        "us-east-1" => "ec2.internal".to_owned(),
        region => format!("{region}.compute.internal"),
    };
    dns_name(view, "ip", Some(view.instance.private_ip), &domain)
}

fn public_name(view: InstanceView<'_>) -> String {
    let domain = match view.region() {
        "us-east-1" => "compute-1.amazonaws.com".to_owned(),
        region => format!("{region}.compute.amazonaws.com"),
    };
    dns_name(view, "ec2", view.public_ip(), &domain)
}

/// The DNS name of an address; empty for an instance that does not have it.
fn dns_name(
    view: InstanceView<'_>,
    prefix: &str,
    address: Option<Ipv4Addr>,
    domain: &str,
) -> String {
    let Some(address) = address.filter(|_| view.is_connected()) else {
        return String::new();
    };
    let dashed = address.to_string().replace('.', "-");
    format!("{prefix}-{dashed}.{domain}")
}

/// The profile's id, derived from its ARN, so that it is the same for all instances.
fn profile_id(arn: &str) -> String {
    let mut hasher = DefaultHasher::new();
    arn.hash(&mut hasher);
    format!("AIPA0{:016X}", hasher.finish())
}
