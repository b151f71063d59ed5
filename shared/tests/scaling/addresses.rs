//! External addresses: a golden plan, a table and properties.

use jiff::SignedDuration;
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop, prop_assert, prop_assert_eq, prop_compose,
    prop_oneof, proptest,
};
use shared::ids::{AddressId, InstanceId};
use shared::model::{
    AddressListing, AddressMove, AddressMoves, Carrier, ExternalAddress, Instance, MachineState,
    ReplicaAnswer,
};
use shared::scaling::{Action, Plan, Reason, Snapshot, address_moves_to_record, algorithm};
use shared::settings::REPLICA;
use testing::{NOW, address_of, at, instance, machine, snapshot};

use crate::support::{assert_plan, violations};

/// A replica's state in EC2's list, and its own status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    Healthy,
    Terminated,
    Silent,
    Creating,
    Stopped,
    Deleting,
}
use Is::{Creating, Deleting, Healthy, Silent, Stopped, Terminated};

/// What carries an address: nothing, the nth replica, or something that is not an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    Nobody,
    Replica(u8),
    Elsewhere,
}
use On::{Elsewhere, Nobody, Replica};

/// A region with the minimum 0 and the pool's addresses 1, 2, …. The replicas are `i-1`, `i-2`, …,
/// the oldest first.
fn region(replicas: &[Is], addresses: &[On]) -> Snapshot {
    let mut snapshot = snapshot([]);
    snapshot.settings.algorithm = REPLICA.to_owned();
    snapshot.settings.max_instances = u32::MAX;
    snapshot.settings.replicas.min_available = 0;
    snapshot.settings.replicas.address_tag = "pool=public".parse().ok();
    for (number, is) in (1..).zip(replicas) {
        let row = Instance {
            launched_at: at(i64::from(number) - 10_000),
            ..instance(&format!("i-{number}"))
        };
        let mut listed = machine(&row);
        listed.address = Some(address_of(number));
        listed.state = match is {
            Creating => MachineState::Pending,
            Stopped => MachineState::Stopped,
            Deleting => MachineState::ShuttingDown,
            Healthy | Terminated | Silent => MachineState::Running,
        };
        let answer = match is {
            Healthy => ReplicaAnswer::Healthy { capacity: 1 },
            Terminated => ReplicaAnswer::Terminated,
            _ => ReplicaAnswer::Unknown {
                why: "no answer".to_owned(),
            },
        };
        if listed.state == MachineState::Running {
            snapshot.answers.insert(row.id.clone(), answer);
        }
        snapshot.machines.insert(row.id, listed);
    }
    let listed = (1..).zip(addresses).map(|(n, on)| address(n, carrier(*on)));
    snapshot.addresses = AddressListing::Listed(listed.collect());
    snapshot
}

fn carrier(on: On) -> Carrier {
    match on {
        Nobody => Carrier::Nobody,
        Replica(n) => Carrier::Instance(replica(n)),
        Elsewhere => Carrier::Other("eni-nat".to_owned()),
    }
}

fn replica(n: u8) -> InstanceId {
    format!("i-{n}").into()
}

fn address_id(n: u8) -> AddressId {
    format!("eipalloc-{n}").into()
}

fn address(n: u8, carrier: Carrier) -> ExternalAddress {
    ExternalAddress {
        id: address_id(n),
        ip: [203, 0, 113, n].into(),
        carrier,
        in_pool: true,
    }
}

fn decide(snapshot: &Snapshot) -> Plan {
    let plan = algorithm(REPLICA).unwrap().decide(snapshot, NOW);
    assert_eq!(violations(snapshot, &plan, NOW), [], "{plan}");
    plan
}

/// The moves: the number of the address, to, from.
fn moves(plan: &Plan) -> Vec<(String, String, Option<String>)> {
    let moves = plan.steps.iter().filter_map(|step| match &step.action {
        Action::MoveAddress {
            address, to, from, ..
        } => Some((
            address.to_string().split_off("eipalloc-".len()),
            to.to_string(),
            from.as_ref().map(ToString::to_string),
        )),
        _ => None,
    });
    moves.collect()
}

/// Each expected move is (address, to, from), with 0 for a free address.
fn assert_moves(case: &str, snapshot: &Snapshot, expected: &[(u8, u8, u8)]) -> Plan {
    let plan = decide(snapshot);
    let expected: Vec<_> = expected
        .iter()
        .map(|(address, to, from)| {
            let from = (*from > 0).then(|| format!("i-{from}"));
            (address.to_string(), format!("i-{to}"), from)
        })
        .collect();
    assert_eq!(moves(&plan), expected, "{case}: {plan}");
    plan
}

fn notes(plan: &Plan) -> Vec<String> {
    let about = |reason: &Reason| reason.name().starts_with("address");
    let notes = plan.notes.iter().filter(|note| about(&note.reason));
    notes.map(ToString::to_string).collect()
}

#[test]
fn address_moves_before_its_replica_is_deleted() {
    assert_plan(
        &region(
            &[Terminated, Healthy, Healthy, Silent, Creating],
            &[Replica(1), Replica(2), Nobody],
        ),
        "target 0, free 2, starting 1, waiting 0, occupied 0, live 5 of 4294967295
        i-1 terminated: delete: it reports that it is terminated; address 203.0.113.1: goes to i-3: the replica that carries it is deleted
        i-2 healthy, capacity 1: kept: counts with 1; address 203.0.113.2: kept
        i-3 healthy, capacity 1: kept: counts with 1; address: gets 203.0.113.1: the replica that carries it is deleted
        i-4 unknown (no answer): kept: neither deleted nor counted; address: none: only healthy replicas get one
        i-5 creating: kept: counts with 1 (REPLICA_CAPACITY); address: none: only healthy replicas get one
        - move address 203.0.113.1 from i-1 to i-3: the replica that carries it is deleted
        - delete replica i-1: it reports that it is terminated
        · available 2 and creating 1 meet the minimum of 0
        · every healthy replica has an address: 1 are free or become free, 0 are on replicas with unknown status",
    );
}

/// (address, to, from), with 0 for a free address.
type Moves = &'static [(u8, u8, u8)];

#[test]
fn addresses_move_to_healthy_replicas_without_one() {
    let cases: [(&str, &[Is], &[On], Moves); 14] = [
        (
            "free addresses go to the oldest replicas",
            &[Healthy, Healthy, Healthy],
            &[Nobody, Nobody],
            &[(1, 1, 0), (2, 2, 0)],
        ),
        (
            "each replica has one",
            &[Healthy, Healthy],
            &[Replica(2), Replica(1)],
            &[],
        ),
        (
            "more replicas than addresses",
            &[Healthy, Healthy],
            &[Replica(2)],
            &[],
        ),
        (
            "none for replicas that boot, are silent or end",
            &[Creating, Silent, Terminated, Stopped, Deleting],
            &[Nobody],
            &[],
        ),
        (
            "taken from ending replicas first, then free ones, then from silent ones",
            &[Silent, Terminated, Healthy, Healthy],
            &[Replica(1), Nobody, Replica(2)],
            &[(3, 3, 2), (2, 4, 0)],
        ),
        (
            "one on a silent replica moves if a healthy one has none",
            &[Silent, Healthy],
            &[Replica(1)],
            &[(1, 2, 1)],
        ),
        (
            "and stays otherwise",
            &[Silent, Healthy],
            &[Replica(1), Replica(2)],
            &[],
        ),
        (
            "one on a replica in error",
            &[Stopped, Healthy],
            &[Replica(1)],
            &[(1, 2, 1)],
        ),
        (
            "one on a replica that EC2 deletes",
            &[Deleting, Healthy],
            &[Replica(1)],
            &[(1, 2, 1)],
        ),
        (
            "one on a replica that boots",
            &[Creating, Healthy],
            &[Replica(1)],
            &[],
        ),
        ("one on a NAT gateway", &[Healthy], &[Elsewhere], &[]),
        (
            "one on an operator's machine",
            &[Healthy],
            &[Replica(9)],
            &[],
        ),
        (
            "two on one healthy replica: an operator did it",
            &[Healthy, Healthy],
            &[Replica(1), Replica(1)],
            &[],
        ),
        (
            "two on a replica that ends",
            &[Terminated, Healthy, Healthy],
            &[Replica(1), Replica(1)],
            &[(1, 2, 1), (2, 3, 1)],
        ),
    ];
    for (case, replicas, addresses, expected) in cases {
        assert_moves(case, &region(replicas, addresses), expected);
    }
}

#[test]
fn address_that_cannot_be_placed_is_noted() {
    let quiet = region(&[Healthy, Healthy, Silent], &[Replica(1)]);
    assert_eq!(notes(&decide(&quiet)), [""; 0]);
    let silent = region(&[Healthy, Silent], &[Nobody, Replica(1), Replica(2)]);
    assert_eq!(
        notes(&decide(&silent)),
        [
            "every healthy replica has an address: 1 are free or become free, 1 are on replicas with unknown status"
        ]
    );
    let elsewhere = region(&[Healthy], &[Elsewhere, Replica(9)]);
    assert_eq!(
        notes(&decide(&elsewhere)),
        [
            "203.0.113.1 has the pool's tag, but eni-nat, which is not a replica, carries it: not moved",
            "203.0.113.2 has the pool's tag, but i-9, which is not a replica, carries it: not moved",
        ]
    );
    let two = region(&[Healthy], &[Replica(1), Replica(1)]);
    assert_eq!(
        notes(&decide(&two)),
        ["i-1: it carries 2 addresses of the pool: not moved"]
    );
    let none = region(&[Healthy], &[]);
    assert_eq!(
        notes(&decide(&none)),
        ["no Elastic IP has the tag pool=public (replica_address_tag)"]
    );
}

#[test]
fn replica_with_an_address_outside_the_pool_gets_none() {
    let mut snapshot = region(&[Healthy, Healthy], &[Replica(1), Nobody]);
    let AddressListing::Listed(listed) = &mut snapshot.addresses else {
        unreachable!()
    };
    listed[0].in_pool = false;
    assert_moves("the other one gets it", &snapshot, &[(2, 2, 0)]);
    // An address outside the pool is not moved either.
    snapshot
        .answers
        .insert(replica(1), ReplicaAnswer::Terminated);
    assert_moves("only the pool's", &snapshot, &[(2, 2, 0)]);
}

#[test]
fn trimmed_replica_gives_its_address_away_and_gets_none() {
    let mut snapshot = region(&[Healthy, Healthy], &[Replica(1)]);
    snapshot.settings.replicas.trim = true;
    snapshot.settings.replicas.min_available = 1;
    assert_moves("the oldest is trimmed", &snapshot, &[(1, 2, 1)]);
    let AddressListing::Listed(listed) = &mut snapshot.addresses else {
        unreachable!()
    };
    listed[0].carrier = Carrier::Nobody;
    assert_moves("the oldest that stays", &snapshot, &[(1, 2, 0)]);
}

#[test]
fn no_address_moves_while_off_paused_or_not_listed() {
    let mut snapshot = region(&[Terminated, Healthy], &[Replica(1)]);
    snapshot.settings.paused = true;
    let paused = assert_moves("paused", &snapshot, &[]);
    let shown = paused.replicas[0].address.as_ref().unwrap();
    assert_eq!(
        shown.to_string(),
        "address 203.0.113.1: nothing: the region is paused"
    );
    snapshot.settings.paused = false;
    snapshot.addresses = AddressListing::Unknown {
        why: "list addresses: denied".to_owned(),
    };
    let unknown = assert_moves("EC2 does not list them", &snapshot, &[]);
    assert_eq!(
        unknown.steps.len(),
        1,
        "the replica is deleted anyway: {unknown}"
    );
    assert_eq!(
        notes(&unknown),
        ["no address is moved: list addresses: denied"]
    );
    assert!(unknown.notes.iter().any(|note| note.alert));
    snapshot.addresses = AddressListing::Off;
    let off = assert_moves("off", &snapshot, &[]);
    assert!(off.replicas.iter().all(|view| view.address.is_none()));
    assert_eq!(notes(&off), [""; 0]);
}

/// Records that address `n` moves to a replica: first requested `since` seconds ago, last
/// `requested` seconds ago.
fn record_move(
    snapshot: &mut Snapshot,
    n: u8,
    to: u8,
    before: &[Option<u8>],
    since: i64,
    requested: i64,
) {
    let moved = AddressMove {
        to: replica(to),
        before: before.iter().map(|n| n.map(replica)).collect(),
        since: at(-since),
        at: at(-requested),
    };
    snapshot.address_moves.insert(address_id(n), moved);
}

#[test]
fn move_that_is_not_listed_yet_is_repeated_and_causes_no_other() {
    let mut lagging = region(&[Healthy, Healthy], &[Nobody, Nobody]);
    record_move(&mut lagging, 1, 2, &[None], 20, 20);
    let plan = assert_moves(
        "the same move again, and i-2 gets no other address",
        &lagging,
        &[(1, 2, 0), (2, 1, 0)],
    );
    assert_eq!(
        plan.steps[0].reason.to_string(),
        "a pass recorded this 20 s ago, and EC2 does not list it yet"
    );
    let recorded = address_moves_to_record(&lagging, &plan, NOW).unwrap();
    let again = &recorded[&address_id(1)];
    assert_eq!(
        (again.since, again.at),
        (at(-20), NOW),
        "requested first then, and last now"
    );
}

#[test]
fn move_that_is_not_listed_is_given_up_after_two_minutes() {
    let mut refused = region(&[Healthy, Healthy], &[Nobody]);
    record_move(&mut refused, 1, 1, &[None], 130, 70);
    assert_moves(
        "not repeated forever, and the list may still lag",
        &refused,
        &[],
    );
    record_move(&mut refused, 1, 1, &[None], 190, 130);
    assert_moves("then another replica gets it", &refused, &[(1, 2, 0)]);
}

#[test]
fn every_possible_carrier_of_a_recorded_move_is_respected() {
    let mut ended = region(&[Healthy, Silent, Healthy], &[Replica(9)]);
    record_move(&mut ended, 1, 2, &[Some(9)], 20, 20);
    assert_moves("it may be on i-2, which went silent", &ended, &[(1, 1, 2)]);

    let mut back = region(&[Healthy, Silent, Healthy], &[Replica(1)]);
    record_move(&mut back, 1, 2, &[Some(1)], 20, 20);
    assert_moves("it may still be on i-1, which is healthy again", &back, &[]);
    record_move(&mut back, 1, 2, &[None, Some(1)], 20, 20);
    let AddressListing::Listed(listed) = &mut back.addresses else {
        unreachable!()
    };
    listed[0].carrier = Carrier::Nobody;
    listed.push(address(2, Carrier::Nobody));
    assert_moves(
        "whatever the list says, and i-1 gets no other",
        &back,
        &[(2, 3, 0)],
    );

    let mut shown = region(&[Healthy, Terminated, Healthy], &[Replica(2)]);
    record_move(&mut shown, 1, 2, &[Some(1)], 20, 20);
    assert_moves("a list that shows the move", &shown, &[(1, 1, 2)]);
    record_move(&mut shown, 1, 2, &[Some(2), Some(1)], 20, 20);
    assert_moves("or the state from before the last two moves", &shown, &[]);

    let mut by_hand = region(&[Healthy, Healthy], &[Replica(2), Nobody]);
    record_move(&mut by_hand, 1, 1, &[None], 20, 20);
    assert_moves("an operator's move is left alone", &by_hand, &[]);
}

#[test]
fn recorded_move_lists_all_earlier_carriers() {
    let mut snapshot = region(&[Silent, Healthy], &[Replica(1)]);
    record_move(&mut snapshot, 1, 1, &[Some(7)], 300, 300);
    record_move(&mut snapshot, 2, 2, &[None], 601, 601);
    let plan = assert_moves("to i-2", &snapshot, &[(1, 2, 1)]);
    let recorded = address_moves_to_record(&snapshot, &plan, NOW).unwrap();
    assert_eq!(
        recorded.len(),
        1,
        "moves older than ten minutes are dropped"
    );
    let now = AddressMove {
        to: replica(2),
        before: vec![Some(replica(7)), Some(replica(1))],
        since: NOW,
        at: NOW,
    };
    assert_eq!(recorded[&address_id(1)], now);
    let everybody: Vec<_> = (1..=100).map(Some).collect();
    record_move(&mut snapshot, 1, 1, &everybody, 300, 300);
    let recorded = address_moves_to_record(&snapshot, &plan, NOW).unwrap();
    let before = &recorded[&address_id(1)].before;
    assert_eq!(before.len(), 20, "a record is bounded");
    assert_eq!(before.last(), Some(&Some(replica(1))));
    let quiet = region(&[Healthy], &[Replica(1)]);
    assert_eq!(address_moves_to_record(&quiet, &decide(&quiet), NOW), None);
}

fn any_is() -> impl Strategy<Value = Is> {
    prop_oneof![
        5 => Just(Healthy),
        2 => Just(Silent),
        1 => Just(Terminated),
        1 => Just(Creating),
        1 => Just(Stopped),
        1 => Just(Deleting),
    ]
}

fn any_on() -> impl Strategy<Value = On> {
    prop_oneof![3 => Just(Nobody), 5 => (1u8..12).prop_map(Replica), 1 => Just(Elsewhere)]
}

prop_compose! {
    fn any_region()(
        replicas in prop::collection::vec(any_is(), 0..12),
        addresses in prop::collection::vec((any_on(), any::<bool>()), 0..8),
        trim in any::<bool>(),
        min in 0u32..8,
    ) -> Snapshot {
        let on: Vec<_> = addresses.iter().map(|(on, _)| *on).collect();
        let mut snapshot = region(&replicas, &on);
        if let AddressListing::Listed(listed) = &mut snapshot.addresses {
            for (address, (_, foreign)) in listed.iter_mut().zip(&addresses) {
                address.in_pool = !foreign;
            }
        }
        snapshot.settings.replicas.trim = trim;
        snapshot.settings.replicas.min_available = min;
        snapshot
    }
}

/// Executes a plan as EC2 does, without lag.
fn execute(snapshot: &mut Snapshot, plan: &Plan) {
    let AddressListing::Listed(listed) = &mut snapshot.addresses else {
        return;
    };
    for step in &plan.steps {
        if let Action::MoveAddress { address, to, .. } = &step.action {
            let moved = listed.iter_mut().find(|it| it.id == *address).unwrap();
            moved.carrier = Carrier::Instance(to.clone());
        }
        if let Action::DeleteReplica { instance } = &step.action {
            snapshot.machines.remove(instance);
            snapshot.answers.remove(instance);
            for address in listed.iter_mut() {
                if address.carrier.instance() == Some(instance) {
                    address.carrier = Carrier::Nobody;
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// `decide` checks the invariants: no address is taken from a healthy replica, none gets a second
    /// one, and no address moves twice.
    #[test]
    fn plan_breaks_no_invariant_and_the_next_one_has_no_moves(mut snapshot in any_region()) {
        let plan = decide(&snapshot);
        prop_assert_eq!(&plan, &decide(&snapshot), "equal inputs, equal plans");
        execute(&mut snapshot, &plan);
        snapshot.settings.replicas.trim = false;
        let second = decide(&snapshot);
        prop_assert_eq!(moves(&second), vec![], "{}\nthen\n{}", plan, second);
    }

    /// While a healthy replica has no address, no address of the pool stays free.
    #[test]
    fn free_address_is_given_to_a_healthy_replica_without_one(mut snapshot in any_region()) {
        let plan = decide(&snapshot);
        execute(&mut snapshot, &plan);
        let AddressListing::Listed(listed) = &snapshot.addresses else { unreachable!() };
        let has_one = |id: &InstanceId| listed.iter().any(|it| it.carrier.instance() == Some(id));
        let healthy = |id: &&InstanceId| matches!(snapshot.answers.get(*id), Some(ReplicaAnswer::Healthy { .. }));
        let without = snapshot.machines.keys().filter(healthy).filter(|id| !has_one(id)).count();
        let idle = listed.iter().filter(|it| it.in_pool && it.carrier == Carrier::Nobody).count();
        prop_assert!(without == 0 || idle == 0, "{plan}");
    }

    #[test]
    fn plan_shows_each_move_with_both_replicas(snapshot in any_region()) {
        let plan = decide(&snapshot);
        for (_, to, from) in moves(&plan) {
            for id in std::iter::once(to).chain(from) {
                let view = plan.replicas.iter().find(|view| view.instance.as_str() == id);
                let shown = view.unwrap().address.as_ref().unwrap();
                prop_assert!(shown.to_string().contains("203.0.113."), "{plan}");
            }
        }
    }
}

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    /// A pass `after` seconds later, on a list that is `lag` seconds old. The bits of `done` say which
    /// of its calls reach EC2.
    Pass { after: i64, lag: i64, done: u8 },
    /// A replica changes its status.
    Change { replica: u8, is: Is },
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (1i64..90, 0i64..=100, any::<u8>())
            .prop_map(|(after, lag, done)| Event::Pass { after, lag, done }),
        2 => (1u8..=4, prop_oneof![3 => Just(Healthy), 2 => Just(Silent)])
            .prop_map(|(replica, is)| Event::Change { replica, is }),
    ]
}

/// The carriers of both addresses, each with the second since which they have been so.
type Truth = Vec<(i64, [Option<u8>; 2])>;

fn truth_at(truth: &Truth, second: i64) -> [Option<u8>; 2] {
    let known = truth.iter().rev().find(|(since, _)| *since <= second);
    known.map_or([None; 2], |(_, carriers)| *carriers)
}

/// Executes one call. An error means that the call broke a rule.
fn call(
    truth: &mut Truth,
    now: i64,
    states: &[Is],
    (address, to, from): &(String, String, Option<String>),
) -> Result<(), String> {
    let address = address.parse::<usize>().unwrap() - 1;
    let to: u8 = to[2..].parse().unwrap();
    let mut carriers = truth_at(truth, now);
    let is_healthy = |n: u8| states[usize::from(n) - 1] == Healthy;
    match carriers[address] {
        Some(carrier) if carrier == to => return Ok(()),
        // EC2 refuses: reassociation was not allowed.
        Some(_) if from.is_none() => return Ok(()),
        Some(carrier) if is_healthy(carrier) => {
            return Err(format!("{address} is taken from healthy i-{carrier}"));
        }
        _ => {}
    }
    if carriers.contains(&Some(to)) {
        return Err(format!("i-{to} loses the address that it has"));
    }
    carriers[address] = Some(to);
    truth.push((now, carriers));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// Whichever calls are lost, and with lists that are up to two minutes old: no address is taken
    /// from a healthy replica, and in the end all addresses are carried.
    #[test]
    fn lagging_lists_and_lost_calls_take_no_address_from_a_healthy_replica(
        events in prop::collection::vec(any_event(), 1..40),
    ) {
        let mut truth: Truth = vec![(-1_000, [None; 2])];
        let mut states = [Healthy; 4];
        let mut recorded = AddressMoves::new();
        let mut now = 0;
        let quiet_passes = (0..10).map(|_| Event::Pass { after: 60, lag: 0, done: u8::MAX });
        for event in events.into_iter().chain(quiet_passes) {
            let (after, lag, done) = match event {
                Event::Change { replica, is } => {
                    states[usize::from(replica) - 1] = is;
                    continue;
                }
                Event::Pass { after, lag, done } => (after, lag, done),
            };
            now += after;
            let listed = truth_at(&truth, now - lag).map(|on| on.map_or(Nobody, Replica));
            let mut snapshot = region(&states, &listed);
            snapshot.address_moves = recorded.clone();
            let at_now = NOW + SignedDuration::from_secs(now);
            let plan = algorithm(REPLICA).unwrap().decide(&snapshot, at_now);
            prop_assert_eq!(violations(&snapshot, &plan, at_now), vec![], "{}", plan);
            if let Some(moves) = address_moves_to_record(&snapshot, &plan, at_now) {
                recorded = moves;
            }
            for (place, requested) in moves(&plan).iter().enumerate() {
                if done & (1 << place) != 0
                    && let Err(error) = call(&mut truth, now, &states, requested)
                {
                    prop_assert!(false, "{error}: {plan}\n{recorded:#?}\n{truth:?}");
                }
            }
        }
        let carried = truth_at(&truth, now);
        let healthy: Vec<u8> = (1..=4).filter(|n| states[usize::from(*n) - 1] == Healthy).collect();
        let served = carried.iter().flatten().filter(|n| healthy.contains(n)).count();
        prop_assert_eq!(served, healthy.len().min(2), "{:?} {:?}", carried, states);
    }
}
