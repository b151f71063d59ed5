//! The addresses that users get: what EC2 says, not what agents say.

use std::net::IpAddr;

use shared::model::{Instance, InstanceAddresses, InstanceStatus, MachineState};
use shared::scaling::{Action, Plan, Reason, Snapshot, algorithm};
use shared::settings::AddressSource;
use testing::{NOW, instance, snapshot};

use crate::support::{assert_plan, booting, violations};

const PRIVATE: &str = "10.0.0.1";
const PUBLIC: &str = "203.0.113.9";

fn ip(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

/// A region with one instance, whose machine has both addresses.
fn with(instance: Instance, source: AddressSource) -> Snapshot {
    let mut snapshot = snapshot([instance]);
    snapshot.settings.target_free = 0;
    snapshot.settings.addresses = source;
    for machine in snapshot.machines.values_mut() {
        machine.address = ip(PRIVATE);
        machine.public_address = ip(PUBLIC);
    }
    snapshot
}

fn decide(snapshot: &Snapshot) -> Plan {
    let plan = algorithm("default").unwrap().decide(snapshot, NOW);
    assert_eq!(violations(snapshot, &plan, NOW), []);
    plan
}

/// The addresses that the plan writes.
fn noted(snapshot: &Snapshot) -> Vec<InstanceAddresses> {
    let steps = decide(snapshot).steps.into_iter();
    let addresses = steps.filter_map(|step| match step.action {
        Action::NoteAddresses { addresses } => Some(addresses),
        _ => None,
    });
    addresses.collect()
}

/// The instance after its addresses were written.
fn known(private: &str, public: Option<&str>, ip_addr: &str) -> Instance {
    Instance {
        private_ip: ip(private),
        public_ip: public.and_then(ip),
        ip_addr: Some(ip_addr.to_owned()),
        ..instance("i-1")
    }
}

#[test]
fn address_of_a_new_instance_is_written_before_its_agent_registers() {
    let new = Instance {
        private_ip: ip(PRIVATE),
        ..booting("i-1", 30)
    };
    assert_eq!(noted(&with(new.clone(), AddressSource::Private)), []);
    let expected = InstanceAddresses {
        id: "i-1".into(),
        private_ip: ip(PRIVATE),
        public_ip: ip(PUBLIC),
    };
    assert_eq!(noted(&with(new, AddressSource::Public)), [expected]);
}

#[test]
fn only_a_difference_in_the_address_of_users_is_written() {
    let suffix = "sandbox.example.com".to_owned();
    let reported = AddressSource::Reported { suffix };
    for (source, row, writes) in [
        (AddressSource::Private, known(PRIVATE, None, PRIVATE), false),
        (
            AddressSource::Private,
            known("10.0.0.2", None, PRIVATE),
            true,
        ),
        (
            AddressSource::Private,
            known(PRIVATE, None, "10.0.0.2"),
            true,
        ),
        // A row of an earlier version, with what its agent said.
        (
            AddressSource::Private,
            known(PRIVATE, None, "evil.example"),
            true,
        ),
        (
            AddressSource::Public,
            known(PRIVATE, Some(PUBLIC), PUBLIC),
            false,
        ),
        (
            AddressSource::Public,
            known(PRIVATE, Some(PUBLIC), PRIVATE),
            true,
        ),
        (AddressSource::Public, known(PRIVATE, None, PRIVATE), true),
        (
            reported,
            known("10.0.0.2", None, "a.sandbox.example.com"),
            false,
        ),
    ] {
        let snapshot = with(row, source);
        let shown = &snapshot.settings.addresses;
        assert_eq!(noted(&snapshot).len(), usize::from(writes), "{shown:?}");
    }
}

#[test]
fn one_ipv6_address_has_many_spellings() {
    let row = known("2001:db8::9", None, "2001:db8:0::0:9");
    let mut snapshot = with(row, AddressSource::Private);
    for machine in snapshot.machines.values_mut() {
        machine.address = ip("2001:db8::9");
    }
    assert_eq!(noted(&snapshot), []);
}

#[test]
fn machine_that_is_down_or_not_listed_changes_no_address() {
    for state in [
        MachineState::Stopping,
        MachineState::Stopped,
        MachineState::ShuttingDown,
        MachineState::Terminated,
    ] {
        let mut snapshot = with(known("10.0.0.2", None, "10.0.0.2"), AddressSource::Private);
        for machine in snapshot.machines.values_mut() {
            machine.state = state;
        }
        assert_eq!(noted(&snapshot), [], "{state}");
    }
    let mut unlisted = with(instance("i-1"), AddressSource::Private);
    unlisted.machines.clear();
    assert_eq!(noted(&unlisted), []);
    let ends = Instance {
        status: InstanceStatus::Terminating,
        ..instance("i-1")
    };
    assert_eq!(noted(&with(ends, AddressSource::Private)), []);
}

#[test]
fn instances_without_public_address_make_one_alert_that_names_the_subnet() {
    let mut snapshot = snapshot([booting("i-1", 90), booting("i-2", 90), booting("i-3", 30)]);
    snapshot.settings.target_free = 0;
    snapshot.settings.addresses = AddressSource::Public;
    let plan = decide(&snapshot);
    let alerts: Vec<_> = plan.notes.iter().filter(|note| note.alert).collect();
    let [alert] = alerts[..] else {
        panic!("{alerts:?}")
    };
    let expected = Reason::NoPublicAddress {
        instances: 2,
        first: "i-1".into(),
        subnet: Some("subnet-a".to_owned()),
    };
    assert_eq!(alert.reason, expected);
    assert!(alert.to_string().contains("subnet subnet-a assigns none"));
    // Those of other sources are not missed.
    snapshot.settings.addresses = AddressSource::Private;
    assert!(decide(&snapshot).notes.iter().all(|note| !note.alert));
}

#[test]
fn paused_region_writes_no_address() {
    let mut snapshot = with(instance("i-1"), AddressSource::Public);
    snapshot.settings.paused = true;
    assert_eq!(noted(&snapshot), []);
}

#[test]
fn plan_says_which_address_users_get() {
    let mut snapshot = with(known(PRIVATE, None, PRIVATE), AddressSource::Public);
    snapshot.settings.target_free = 2;
    assert_plan(
        &snapshot,
        "target 2, free 2, starting 0, waiting 0, occupied 0, live 1 of 10
        - note addresses of i-1: EC2 gave it 203.0.113.9, which users get (address_source)
        · free 2 and starting 0 meet the target of 2",
    );
}
