//! Converting EC2's types and errors into the port's.

use std::net::IpAddr;

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::types::{Instance, InstanceLifecycleType, InstanceStateName};
use aws_smithy_types::date_time::DateTime;
use jiff::Timestamp;
use shared::host::{HostError, HostErrorKind, tags};
use shared::ids::LaunchId;
use shared::model::{Machine, MachineState, StateReason};
use shared::words::quoted;

use crate::error_codes::classify;

/// The error of a failed call, with EC2's code and message.
pub(crate) fn failure<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> HostError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let SdkError::ServiceError(service) = error else {
        // Without a readable answer, it is unknown whether the request took effect.
        return HostError {
            kind: HostErrorKind::Unclear,
            operation,
            code: "no answer".to_owned(),
            message: aws_settings::describe(error),
        };
    };
    let code = service.err().code().unwrap_or("no code");
    HostError {
        kind: classify(code, service.raw().status().is_server_error()),
        operation,
        code: code.to_owned(),
        message: service.err().message().unwrap_or("no message").to_owned(),
    }
}

/// # Errors
/// When EC2's answer lacks a field that it always has: nothing is decided on partial data.
pub(crate) fn machine(operation: &'static str, instance: &Instance) -> Result<Machine, HostError> {
    let id = instance.instance_id().unwrap_or_default();
    let bad = |problem: &str| HostError {
        kind: HostErrorKind::Unclear,
        operation,
        code: "unreadable answer".to_owned(),
        message: format!("instance {}: {problem}", quoted(id)),
    };
    if id.is_empty() {
        return Err(bad("no instance id"));
    }
    let state = match instance.state().and_then(|state| state.name()) {
        Some(InstanceStateName::Pending) => MachineState::Pending,
        Some(InstanceStateName::Running) => MachineState::Running,
        Some(InstanceStateName::ShuttingDown) => MachineState::ShuttingDown,
        Some(InstanceStateName::Terminated) => MachineState::Terminated,
        Some(InstanceStateName::Stopping) => MachineState::Stopping,
        Some(InstanceStateName::Stopped) => MachineState::Stopped,
        other => {
            let state = other.map_or("none", InstanceStateName::as_str);
            return Err(bad(&format!("unknown state {}", quoted(state))));
        }
    };
    let tag = |key: &str| {
        instance
            .tags()
            .iter()
            .find(|tag| tag.key() == Some(key))
            .and_then(|tag| tag.value())
    };
    Ok(Machine {
        id: id.into(),
        state,
        launched_at: instance
            .launch_time()
            .and_then(timestamp)
            .ok_or_else(|| bad("no launch time"))?,
        launch_id: tag(tags::LAUNCH).map(LaunchId::from),
        image_id: instance.image_id().unwrap_or_default().into(),
        client_sha: tag(tags::CLIENT_SHA).unwrap_or_default().into(),
        instance_type: instance
            .instance_type()
            .map(|kind| kind.as_str().to_owned())
            .unwrap_or_default(),
        capacity: tag(tags::CAPACITY)
            .and_then(|value| value.parse().ok())
            .unwrap_or(1),
        // A terminated instance has no subnet.
        subnet_id: instance
            .subnet_id()
            .or(tag(tags::SUBNET))
            .map(str::to_owned),
        spot: instance.instance_lifecycle() == Some(&InstanceLifecycleType::Spot),
        state_reason: state_reason(instance, state),
        address: address_of(instance.private_ip_address(), instance),
        public_address: address_of(instance.public_ip_address(), instance),
    })
}

/// One of the addresses. Without IPv4, in an IPv6-only subnet, an instance has one address, which is
/// its private and its public one.
fn address_of(ipv4: Option<&str>, instance: &Instance) -> Option<IpAddr> {
    let ipv6 = || {
        let only = instance.private_ip_address().is_none();
        instance.ipv6_address().filter(|_| only)
    };
    ipv4.or_else(ipv6)?.parse().ok()
}

/// Why the machine is down. EC2 also gives a pending instance a reason, which says nothing.
fn state_reason(instance: &Instance, state: MachineState) -> Option<StateReason> {
    let reason = instance.state_reason().filter(|_| state.is_down())?;
    Some(StateReason {
        code: reason.code()?.to_owned(),
        message: reason.message().unwrap_or_default().to_owned(),
    })
}

fn timestamp(time: &DateTime) -> Option<Timestamp> {
    Timestamp::from_millisecond(time.to_millis().ok()?).ok()
}
