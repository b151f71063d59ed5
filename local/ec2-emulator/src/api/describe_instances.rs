//! `DescribeInstances`, which lags behind the current state by the configured time.

use super::call::{ApiResult, Call};
use super::ids::INSTANCE;
use super::instance_xml;
use super::instance_xml::{SPOT_LIFECYCLE, spot_request_id};
use crate::filters::{Filterable, Filters};
use crate::market::Market;
use crate::paging::Page;
use crate::world::{InstanceView, Tags};
use crate::xml::Xml;

pub(super) fn handle(mut call: Call<'_>) -> ApiResult {
    let ids = call.params.list("InstanceId")?;
    let filters = Filters::take::<InstanceView<'_>>(&mut call.params)?;
    let page = Page::take(
        &mut call.params,
        (!ids.is_empty()).then_some("instancesSet"),
    )?;
    call.params.flag("IncludeManagedResources")?;
    call.finish()?;

    let hides_spot = call.world.settings.hide_spot_client_tokens && filters.has("client-token");
    let as_of = call.visible_until();
    let region = call.region()?;
    INSTANCE.check_known(&ids, |id| {
        region
            .instance(id)
            .is_some_and(|instance| instance.state_at(as_of).is_some())
    })?;
    let views = region
        .views(as_of)
        .filter(|view| ids.is_empty() || ids.contains(&view.instance.id))
        .filter(|view| filters.matches(view))
        .filter(|view| !(hides_spot && view.instance.spec.market == Market::Spot))
        .filter(|view| !call.omitted.ids.contains(&view.instance.id))
        .skip(call.omitted.oldest)
        .map(|view| (view.instance.seq, view));
    let (views, next_token) = page.paginate(views);

    let mut xml = Xml::default();
    let reservations =
        views.chunk_by(|a, b| a.instance.reservation_id == b.instance.reservation_id);
    xml.set("reservationSet", reservations, instance_xml::reservation);
    xml.text_if_some("nextToken", next_token);
    Ok(xml)
}

impl Filterable for InstanceView<'_> {
    const NAMES: &'static [&'static str] = &[
        "architecture",
        "availability-zone",
        "client-token",
        "iam-instance-profile.arn",
        "image-id",
        "instance-id",
        "instance-lifecycle",
        "instance-state-code",
        "instance-state-name",
        "instance-type",
        "instance.group-id",
        "instance.group-name",
        "ip-address",
        "key-name",
        "launch-time",
        "owner-id",
        "private-ip-address",
        "reservation-id",
        "spot-instance-request-id",
        "subnet-id",
        "vpc-id",
    ];

    fn field(&self, name: &str) -> Vec<String> {
        let Self {
            instance, state, ..
        } = *self;
        let while_connected = |value: String| self.is_connected().then_some(value);
        let is_spot = instance.spec.market == Market::Spot;
        let value = match name {
            "architecture" => Some(instance.architecture.to_owned()),
            "availability-zone" => Some(instance.subnet.zone.clone()),
            "client-token" => instance.spec.client_token.clone(),
            "iam-instance-profile.arn" => instance.spec.profile_arn.clone(),
            "image-id" => Some(instance.spec.image_id.clone()),
            "instance-id" => Some(instance.id.clone()),
            "instance-lifecycle" => is_spot.then(|| SPOT_LIFECYCLE.to_owned()),
            "instance-state-code" => Some(state.code().to_string()),
            "instance-state-name" => Some(state.as_str().to_owned()),
            "instance-type" => Some(instance.spec.instance_type.clone()),
            "instance.group-id" if self.is_connected() => {
                return instance
                    .groups
                    .iter()
                    .map(|group| group.id.clone())
                    .collect();
            }
            "instance.group-name" if self.is_connected() => {
                return instance
                    .groups
                    .iter()
                    .map(|group| group.name.clone())
                    .collect();
            }
            "ip-address" => self
                .public_ip()
                .and_then(|address| while_connected(address.to_string())),
            "key-name" => instance.spec.key_name.clone(),
            "launch-time" => Some(instance.launched_at.to_ec2()),
            "owner-id" => Some(instance.owner_id.clone()),
            "private-ip-address" => while_connected(instance.private_ip.to_string()),
            "reservation-id" => Some(instance.reservation_id.clone()),
            "spot-instance-request-id" => is_spot.then(|| spot_request_id(instance)),
            "subnet-id" => while_connected(instance.subnet.id.clone()),
            "vpc-id" => while_connected(instance.subnet.vpc_id.clone()),
            _ => None,
        };
        value.into_iter().collect()
    }

    fn tags(&self) -> &Tags {
        InstanceView::tags(self)
    }
}
