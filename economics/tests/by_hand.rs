//! Ten minutes that were computed by hand: every number below is derived in the comments.

use scaling_economics::boots::Boots;
use scaling_economics::clairvoyant::{Foresight, foresee};
use scaling_economics::outcome::Time;
use scaling_economics::policy::Policy;
use scaling_economics::random::LogNormal;
use scaling_economics::run::{Conditions, run};
use scaling_economics::workload::{User, Workload};

const SECOND: i64 = 1000;

fn user(arrives: i64, session: i64) -> User {
    User {
        arrives: arrives * SECOND,
        session: session * SECOND,
    }
}

/// One slot an instance, one slot to keep free, boots of exactly 60 s.
fn workload(slots: u32, users: Vec<User>) -> Workload {
    Workload {
        name: "by hand".to_owned(),
        users,
        boots: Boots::LogNormal(LogNormal {
            median: 60.0,
            sigma: 0.0,
        }),
        slots,
        from: 0,
        until: 600 * SECOND,
    }
}

#[test]
fn ten_minutes_are_as_computed_by_hand() {
    let workload = workload(1, vec![user(100, 300), user(130, 200)]);
    let fixed = Policy::named("fixed").unwrap();
    let outcome = run(&workload, fixed, 1, &Conditions::default()).unwrap();

    // The pass at 0 launches the first machine, which registers at 60.
    // The first user comes at 100 and gets its slot until 400. That leaves no free slot, so that the
    // region is woken, and the pass at 101 launches the second machine: it registers at 161.
    // The second user comes at 130 and waits. The pass at 131 launches the third machine, for the user
    // in line (the second one is for the buffer): it registers at 191.
    // That user asks each second, gets the second machine's slot at 161, and leaves at 361.
    // The pass at 420 finds three free slots where one is enough. It drains the two oldest machines.
    // Their agents hear of it at their next heartbeats, at 420 and 421, and shut down.
    assert_eq!(
        (outcome.users, outcome.not_at_once, outcome.gave_up),
        (2, 1, 0)
    );
    assert_eq!(outcome.waits, [31 * SECOND]);
    assert_eq!(outcome.launches, 3);
    let expected = Time {
        // 100 to 400, and 161 to 361.
        used: (300 + 200) * SECOND,
        // The first: 60 to 100, 400 to 420. The second: 361 to 421. The third: 191 to the end.
        empty: (40 + 20 + 60 + 409) * SECOND,
        // Three boots.
        booting: 3 * 60 * SECOND,
        // With one slot, a machine is occupied or empty.
        fragmented: 0,
    };
    assert_eq!(outcome.time, expected);
    // 0 to 420, 101 to 421, 131 to 600.
    assert_eq!(outcome.machine_time(), (420 + 320 + 469) * SECOND);

    // With foresight, each user has a machine that was launched 60 s before and ends with them:
    // 40 to 400, and 70 to 330. Nothing is cheaper: both are needed, and each boots once.
    let foresight = Foresight {
        clairvoyant: (360 + 260) * SECOND,
        lower_bound: (360 + 260) * SECOND,
    };
    assert_eq!(foresee(&workload), foresight);
}

#[test]
fn half_occupied_machine_is_fragmented() {
    let workload = workload(2, vec![user(100, 200)]);
    let fixed = Policy::named("fixed").unwrap();
    let outcome = run(&workload, fixed, 1, &Conditions::default()).unwrap();

    // The pass at 0 launches one machine for one free slot. While the user is there, from 100 to 300,
    // its other slot is free, which is enough: nothing else is launched, and nothing is surplus.
    let expected = Time {
        used: 200 * SECOND,
        // Two slots: 60 to 100, and 300 to 600.
        empty: 2 * (40 + 300) * SECOND,
        booting: 2 * 60 * SECOND,
        fragmented: 200 * SECOND,
    };
    assert_eq!(outcome.time, expected);
    assert_eq!((outcome.launches, outcome.not_at_once), (1, 0));
    assert_eq!(outcome.wait(0.5), None);
}

#[test]
fn user_without_patience_gives_up() {
    // Nobody can be served before the first machine registers at 60.
    let workload = workload(1, vec![user(10, 100)]);
    let fixed = Policy::named("fixed").unwrap();
    let conditions = Conditions {
        patience: 20 * SECOND,
        ..Conditions::default()
    };
    let outcome = run(&workload, fixed, 1, &conditions).unwrap();
    assert_eq!((outcome.not_at_once, outcome.gave_up), (1, 1));
    assert_eq!(outcome.waits, [20 * SECOND]);
    assert_eq!(outcome.time.used, 0);
}
