//! The addresses of instances: what EC2 says is written to their rows, and users get it from there. An
//! agent is not asked: it could send users anywhere.

use jiff::{SignedDuration, Timestamp};

use super::plan::{Action, Plan};
use super::reason::Reason;
use super::rows::Rows;
use super::snapshot::Snapshot;
use crate::model::{Instance, InstanceAddresses, InstanceStatus, Machine, MachineState};
use crate::settings::AddressSource;

/// EC2 assigns a public address within seconds of the launch. Without one after this time, nobody
/// has arranged for one.
const ASSIGNED_WITHIN: SignedDuration = SignedDuration::from_secs(60);

/// Records addresses that rows do not have yet, or that have changed: an Elastic IP was associated,
/// or a machine was stopped and started.
///
/// Only the address that users of the region get counts. The other one is recorded with it.
pub(super) fn record(snapshot: &Snapshot, rows: &Rows<'_>, now: Timestamp, plan: &mut Plan) {
    let source = &snapshot.settings.addresses;
    let mut without = Vec::new();
    for row in rows.iter() {
        let (instance, Some(machine)) = (row.instance, row.machine) else {
            continue;
        };
        if row.is_down || instance.status == InstanceStatus::Terminating {
            continue;
        }
        let Some(ip) = source.of(machine.address, machine.public_address) else {
            if lacks_address(source, machine, now) {
                without.push((instance, machine));
            }
            continue;
        };
        let known = source.of(instance.private_ip, instance.public_ip);
        let is_given = |given: &String| given.parse() == Ok(ip);
        if known != Some(ip) || !instance.ip_addr.as_ref().is_none_or(is_given) {
            let addresses = InstanceAddresses {
                id: instance.id.clone(),
                private_ip: machine.address,
                public_ip: machine.public_address,
            };
            plan.push(
                Action::NoteAddresses { addresses },
                Reason::AddressOfEc2 { ip },
            );
        }
    }
    report(&without, plan);
}

fn lacks_address(source: &AddressSource, machine: &Machine, now: Timestamp) -> bool {
    *source == AddressSource::Public
        && machine.state == MachineState::Running
        && now.duration_since(machine.launched_at) >= ASSIGNED_WITHIN
}

/// One alert for all: a subnet says the same of each of its instances.
fn report(without: &[(&Instance, &Machine)], plan: &mut Plan) {
    if let Some((instance, machine)) = without.first() {
        let reason = Reason::NoPublicAddress {
            instances: u32::try_from(without.len()).unwrap_or(u32::MAX),
            first: instance.id.clone(),
            subnet: machine.subnet_id.clone(),
        };
        plan.alert(None, reason);
    }
}
