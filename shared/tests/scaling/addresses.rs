//! External addresses, as a table and as properties.

use crate::support::violations;
use jiff::SignedDuration;
use proptest::prelude::*;

use crate::support::assert_plan;
use shared::ids::{AddressId, InstanceId};
use shared::model::{
    AddressListing, AddressMove, Carrier, ExternalAddress, Instance, MachineState, ReplicaAnswer,
};
use shared::scaling::{Action, Plan, Reason, Snapshot, address_moves_to_record, algorithm};
use shared::settings::REPLICA;
use testing::{NOW, address_of, at, instance, machine, snapshot};

/// A replica's answer in short: healthy, terminated, silent, creating, stopped, deleted.
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

/// What an address is on: nobody, the nth replica, or something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    Nobody,
    Replica(u8),
    Elsewhere,
}
use On::{Elsewhere, Nobody, Replica};

/// The replicas are `i-1`, `i-2`, …, the first the oldest; nothing is missing.
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
    assert_eq!(violations(&snapshot, &plan, NOW), [], "{plan}");
    plan
}

/// The moves: the last number of the address, to, from.
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

fn expect(case: &str, snapshot: &Snapshot, expected: &[(u8, u8, u8)]) -> Plan {
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
    let about = |reason: &Reason| reason.name().starts_with("Address");
    let notes = plan.notes.iter().filter(|note| about(&note.reason));
    notes.map(ToString::to_string).collect()
}

#[test]
fn an_address_is_handed_over_before_its_replica_is_deleted() {
    assert_plan(
        &region(
            &[Terminated, Healthy, Healthy, Silent, Creating],
            &[Replica(1), Replica(2), Nobody],
        ),
        "target 0, free 2, starting 1, waiting 0, occupied 0, live 5 of 4294967295
        i-1 terminated: delete: it reports that it is terminated; address 203.0.113.1: goes to i-3: the replica that carries it is deleted
        i-2 healthy, capacity 1: kept: counts with 1; address 203.0.113.2: kept
        i-3 healthy, capacity 1: kept: counts with 1; address: gets 203.0.113.1: the replica that carries it is deleted
        i-4 unknown (no answer): kept: neither deleted nor counted; address: none: only healthy ones get one
        i-5 creating: kept: counts with 1 (REPLICA_CAPACITY); address: none: only healthy ones get one
        - move address 203.0.113.1 from i-1 to i-3: the replica that carries it is deleted
        - delete replica i-1: it reports that it is terminated
        · available 2 and creating 1 meet the minimum of 0
        · every healthy replica has an address: 1 are free or become free, 0 are on replicas with unknown status",
    );
}

/// (address, to, from), 0 for nobody.
type Moves = &'static [(u8, u8, u8)];

#[test]
fn each_address_goes_where_it_should() {
    let cases: [(&str, &[Is], &[On], Moves); 14] = [
        (
            "free ones go to the oldest",
            &[Healthy, Healthy, Healthy],
            &[Nobody, Nobody],
            &[(1, 1, 0), (2, 2, 0)],
        ),
        (
            "nothing to do",
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
            "none to those that boot, are silent or end",
            &[Creating, Silent, Terminated, Stopped, Deleting],
            &[Nobody],
            &[],
        ),
        (
            "handed over goes before free, free before silent",
            &[Silent, Terminated, Healthy, Healthy],
            &[Replica(1), Nobody, Replica(2)],
            &[(3, 3, 2), (2, 4, 0)],
        ),
        (
            "one on a silent replica moves if there is somebody",
            &[Silent, Healthy],
            &[Replica(1)],
            &[(1, 2, 1)],
        ),
        (
            "and stays if there is not",
            &[Silent, Healthy],
            &[Replica(1), Replica(2)],
            &[],
        ),
        (
            "one in error",
            &[Stopped, Healthy],
            &[Replica(1)],
            &[(1, 2, 1)],
        ),
        (
            "one that EC2 deletes",
            &[Deleting, Healthy],
            &[Replica(1)],
            &[(1, 2, 1)],
        ),
        ("one that boots", &[Creating, Healthy], &[Replica(1)], &[]),
        ("a NAT gateway's", &[Healthy], &[Elsewhere], &[]),
        ("an operator's machine's", &[Healthy], &[Replica(9)], &[]),
        (
            "two on one: an operator's",
            &[Healthy, Healthy],
            &[Replica(1), Replica(1)],
            &[],
        ),
        (
            "two on one that ends",
            &[Terminated, Healthy, Healthy],
            &[Replica(1), Replica(1)],
            &[(1, 2, 1), (2, 3, 1)],
        ),
    ];
    for (case, replicas, addresses, expected) in cases {
        expect(case, &region(replicas, addresses), expected);
    }
}

#[test]
fn what_could_not_be_placed_is_noted_and_what_is_normal_is_not() {
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
fn a_replica_with_an_address_outside_of_the_pool_gets_none() {
    let mut snapshot = region(&[Healthy, Healthy], &[Replica(1), Nobody]);
    let AddressListing::Listed(listed) = &mut snapshot.addresses else {
        unreachable!()
    };
    listed[0].in_pool = false;
    expect("the other one gets it", &snapshot, &[(2, 2, 0)]);
    // It is not the pool's: it is not handed over either.
    snapshot
        .answers
        .insert(replica(1), ReplicaAnswer::Terminated);
    expect("only the pool's", &snapshot, &[(2, 2, 0)]);
}

#[test]
fn a_trimmed_replica_hands_over_and_gets_nothing() {
    let mut snapshot = region(&[Healthy, Healthy], &[Replica(1)]);
    snapshot.settings.replicas.trim = true;
    snapshot.settings.replicas.min_available = 1;
    expect("the oldest is trimmed", &snapshot, &[(1, 2, 1)]);
    let AddressListing::Listed(listed) = &mut snapshot.addresses else {
        unreachable!()
    };
    listed[0].carrier = Carrier::Nobody;
    expect("the oldest that stays", &snapshot, &[(1, 2, 0)]);
}

#[test]
fn off_paused_or_unknown_means_that_nothing_is_moved_and_replicas_are_kept() {
    let mut snapshot = region(&[Terminated, Healthy], &[Replica(1)]);
    snapshot.settings.paused = true;
    let paused = expect("paused", &snapshot, &[]);
    let shown = paused.replicas[0].address.as_ref().unwrap();
    assert_eq!(
        shown.to_string(),
        "address 203.0.113.1: nothing: the region is paused"
    );
    snapshot.settings.paused = false;
    snapshot.addresses = AddressListing::Unknown {
        why: "list addresses: denied".to_owned(),
    };
    let unknown = expect("EC2 does not tell", &snapshot, &[]);
    assert_eq!(unknown.steps.len(), 1, "deleted all the same: {unknown}");
    assert_eq!(
        notes(&unknown),
        ["no address is moved: list addresses: denied"]
    );
    assert!(unknown.notes.iter().any(|note| note.alert));
    snapshot.addresses = AddressListing::Off;
    let off = expect("off", &snapshot, &[]);
    assert!(off.replicas.iter().all(|view| view.address.is_none()));
    assert_eq!(notes(&off), [""; 0]);
}

/// An address was moved to a replica, seconds ago.
fn moved(snapshot: &mut Snapshot, n: u8, to: u8, before: &[Option<u8>], since: i64, asked: i64) {
    let moved = AddressMove {
        to: replica(to),
        before: before.iter().map(|n| n.map(replica)).collect(),
        since: at(-since),
        at: at(-asked),
    };
    snapshot.address_moves.insert(address_id(n), moved);
}

#[test]
fn a_list_from_before_a_move_makes_nobody_move_anything_else() {
    let mut lagging = region(&[Healthy, Healthy], &[Nobody, Nobody]);
    moved(&mut lagging, 1, 2, &[None], 20, 20);
    let plan = expect(
        "the same again, and i-2 is taken",
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
        "since then, asked now"
    );

    let mut refused = region(&[Healthy, Healthy], &[Nobody]);
    moved(&mut refused, 1, 1, &[None], 130, 70);
    expect("not for ever, and the list may lag still", &refused, &[]);
    moved(&mut refused, 1, 1, &[None], 190, 130);
    expect("then it is another one's turn", &refused, &[(1, 2, 0)]);

    let mut ended = region(&[Healthy, Silent, Healthy], &[Replica(9)]);
    moved(&mut ended, 1, 2, &[Some(9)], 20, 20);
    expect("it may be on i-2, which went silent", &ended, &[(1, 1, 2)]);

    let mut back = region(&[Healthy, Silent, Healthy], &[Replica(1)]);
    moved(&mut back, 1, 2, &[Some(1)], 20, 20);
    expect("it may be on i-1 still, which is healthy again", &back, &[]);
    moved(&mut back, 1, 2, &[None, Some(1)], 20, 20);
    let AddressListing::Listed(listed) = &mut back.addresses else {
        unreachable!()
    };
    listed[0].carrier = Carrier::Nobody;
    listed.push(address(2, Carrier::Nobody));
    expect(
        "whatever the list says; nor does i-1 get another",
        &back,
        &[(2, 3, 0)],
    );

    let mut shown = region(&[Healthy, Terminated, Healthy], &[Replica(2)]);
    moved(&mut shown, 1, 2, &[Some(1)], 20, 20);
    expect("a list that shows the move", &shown, &[(1, 1, 2)]);
    moved(&mut shown, 1, 2, &[Some(2), Some(1)], 20, 20);
    expect("or what was before the last two", &shown, &[]);

    let mut by_hand = region(&[Healthy, Healthy], &[Replica(2), Nobody]);
    moved(&mut by_hand, 1, 1, &[None], 20, 20);
    expect("an operator's move is left alone", &by_hand, &[]);
}

#[test]
fn a_move_is_recorded_with_all_that_carried_the_address_before() {
    let mut snapshot = region(&[Silent, Healthy], &[Replica(1)]);
    moved(&mut snapshot, 1, 1, &[Some(7)], 300, 300);
    moved(&mut snapshot, 2, 2, &[None], 601, 601);
    let plan = expect("to i-2", &snapshot, &[(1, 2, 1)]);
    let recorded = address_moves_to_record(&snapshot, &plan, NOW).unwrap();
    assert_eq!(recorded.len(), 1, "those of long ago are forgotten");
    let now = AddressMove {
        to: replica(2),
        before: vec![Some(replica(7)), Some(replica(1))],
        since: NOW,
        at: NOW,
    };
    assert_eq!(recorded[&address_id(1)], now);
    let everybody: Vec<_> = (1..=100).map(Some).collect();
    moved(&mut snapshot, 1, 1, &everybody, 300, 300);
    let recorded = address_moves_to_record(&snapshot, &plan, NOW).unwrap();
    let before = &recorded[&address_id(1)].before;
    assert_eq!(before.len(), 20, "a record has an end");
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

/// As EC2 does it, without lag.
fn act(snapshot: &mut Snapshot, plan: &Plan) {
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

    /// `decide` checks the rules: never from a healthy one, never a second one, none twice.
    #[test]
    fn no_plan_breaks_the_rules_and_a_second_one_is_empty(snapshot in any_region()) {
        let mut snapshot = snapshot;
        let plan = decide(&snapshot);
        prop_assert_eq!(&plan, &decide(&snapshot), "equal inputs, equal plans");
        act(&mut snapshot, &plan);
        snapshot.settings.replicas.trim = false;
        let second = decide(&snapshot);
        prop_assert_eq!(moves(&second), vec![], "{}\nthen\n{}", plan, second);
    }

    /// As long as a healthy replica is without an address, none that could be moved is left.
    #[test]
    fn whatever_can_be_placed_is(snapshot in any_region()) {
        let mut snapshot = snapshot;
        let plan = decide(&snapshot);
        act(&mut snapshot, &plan);
        let AddressListing::Listed(listed) = &snapshot.addresses else { unreachable!() };
        let has_one = |id: &InstanceId| listed.iter().any(|it| it.carrier.instance() == Some(id));
        let healthy = |id: &&InstanceId| matches!(snapshot.answers.get(*id), Some(ReplicaAnswer::Healthy { .. }));
        let without = snapshot.machines.keys().filter(healthy).filter(|id| !has_one(id)).count();
        let idle = listed.iter().filter(|it| it.in_pool && it.carrier == Carrier::Nobody).count();
        prop_assert!(without == 0 || idle == 0, "{plan}");
    }

    #[test]
    fn every_move_is_shown_with_both_replicas(snapshot in any_region()) {
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

/// What happens next to the world.
#[derive(Clone, Debug)]
enum Event {
    /// A pass after so many seconds, on a list that is so old; each of its calls is made or not.
    Pass { after: i64, lag: i64, done: u8 },
    /// A replica stands otherwise.
    Turn { replica: u8, is: Is },
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (1i64..90, 0i64..=100, any::<u8>())
            .prop_map(|(after, lag, done)| Event::Pass { after, lag, done }),
        2 => (1u8..=4, prop_oneof![3 => Just(Healthy), 2 => Just(Silent)])
            .prop_map(|(replica, is)| Event::Turn { replica, is }),
    ]
}

/// Who carries each address, by the moment since which.
type Truth = Vec<(i64, [Option<u8>; 2])>;

fn truth_at(truth: &Truth, second: i64) -> [Option<u8>; 2] {
    let known = truth.iter().rev().find(|(since, _)| *since <= second);
    known.map_or([None; 2], |(_, carriers)| *carriers)
}

/// One call; the error is what must never be.
fn call(
    truth: &mut Truth,
    now: i64,
    standing: &[Is],
    (address, to, from): &(String, String, Option<String>),
) -> Result<(), String> {
    let address = address.parse::<usize>().unwrap() - 1;
    let to: u8 = to[2..].parse().unwrap();
    let mut carriers = truth_at(truth, now);
    let is_healthy = |n: u8| standing[usize::from(n) - 1] == Healthy;
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

    /// Whichever calls are lost, and however old EC2's lists are below two minutes: no address
    /// is taken from a replica that is healthy, and in the end all are carried.
    #[test]
    fn lists_that_lag_and_calls_that_fail_take_no_address_from_a_healthy_replica(
        events in prop::collection::vec(any_event(), 1..40),
    ) {
        let mut truth: Truth = vec![(-1_000, [None; 2])];
        let mut standing = [Healthy; 4];
        let mut recorded = shared::model::AddressMoves::new();
        let mut now = 0;
        let calm = (0..10).map(|_| Event::Pass { after: 60, lag: 0, done: u8::MAX });
        for event in events.into_iter().chain(calm) {
            let (after, lag, done) = match event {
                Event::Turn { replica, is } => {
                    standing[usize::from(replica) - 1] = is;
                    continue;
                }
                Event::Pass { after, lag, done } => (after, lag, done),
            };
            now += after;
            let listed = truth_at(&truth, now - lag).map(|on| on.map_or(Nobody, Replica));
            let mut snapshot = region(&standing, &listed);
            snapshot.address_moves = recorded.clone();
            let at_now = NOW + SignedDuration::from_secs(now);
            let plan = algorithm(REPLICA).unwrap().decide(&snapshot, at_now);
            prop_assert_eq!(violations(&snapshot, &plan, at_now), vec![], "{}", plan);
            if let Some(moves) = address_moves_to_record(&snapshot, &plan, at_now) {
                recorded = moves;
            }
            for (place, asked) in moves(&plan).iter().enumerate() {
                if done & (1 << place) != 0
                    && let Err(broken) = call(&mut truth, now, &standing, asked)
                {
                    prop_assert!(false, "{broken}: {plan}\n{recorded:#?}\n{truth:?}");
                }
            }
        }
        let carried = truth_at(&truth, now);
        let healthy: Vec<u8> = (1..=4).filter(|n| standing[usize::from(*n) - 1] == Healthy).collect();
        let served = carried.iter().flatten().filter(|n| healthy.contains(n)).count();
        prop_assert_eq!(served, healthy.len().min(2), "{:?} {:?}", carried, standing);
    }
}
