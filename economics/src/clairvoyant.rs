//! What a workload costs somebody who knows it in advance, and what it costs at least.
//!
//! The clairvoyant serves each user at once: on the machine with a free slot whose end that extends
//! least, or else on a new one, which is launched exactly one (average) boot before. A machine ends
//! with its last session. That is feasible, and not quite the least.
//!
//! The lower bound is less than any way to serve these sessions costs. At each time there are at least
//! `sessions ÷ slots` machines, rounded up. Seen as layers, the k-th layer is needed while at least k
//! machines are: between two such times the machine is either kept or launched again, which costs at
//! least the time between them or a boot, whichever is less.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use crate::workload::Workload;
use crate::{Millis, millis};

/// A session that was or could be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Session {
    pub begin: Millis,
    pub end: Millis,
}

/// Machine time within what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foresight {
    pub clairvoyant: Millis,
    pub lower_bound: Millis,
}

/// What the workload costs if everybody is served when they arrive.
pub fn foresee(workload: &Workload) -> Foresight {
    let sessions: Vec<_> = workload
        .users
        .iter()
        .map(|user| Session {
            begin: user.arrives,
            end: user.arrives + user.session,
        })
        .collect();
    let measured = Session {
        begin: workload.from,
        end: workload.until,
    };
    let boot = millis(workload.boots.mean());
    Foresight {
        clairvoyant: clairvoyant(&sessions, workload.slots, boot, measured),
        lower_bound: lower_bound(&sessions, workload.slots, boot, measured),
    }
}

/// The part of a time that is within another.
pub fn overlap(time: Session, measured: Session) -> Millis {
    (time.end.min(measured.end) - time.begin.max(measured.begin)).max(0)
}

struct Machine {
    launched: Millis,
    end: Millis,
    free: u32,
}

/// `sessions` are in the order of their beginnings.
pub fn clairvoyant(sessions: &[Session], slots: u32, boot: Millis, measured: Session) -> Millis {
    let mut machines: Vec<Machine> = vec![];
    // Those with a free slot, by their ends.
    let mut with_room: BTreeSet<(Millis, usize)> = BTreeSet::new();
    let mut ends: BinaryHeap<Reverse<(Millis, usize)>> = BinaryHeap::new();
    for session in sessions {
        while let Some(Reverse((end, index))) = ends.peek().copied()
            && end <= session.begin
        {
            ends.pop();
            let machine = &mut machines[index];
            machine.free += 1;
            with_room.insert((machine.end, index));
        }
        // A machine that has ended is no longer open.
        while let Some(ended) = with_room.first().copied()
            && ended.0 <= session.begin
        {
            with_room.remove(&ended);
        }
        // The first that ends no earlier than the session, or else the last of the others.
        let chosen = with_room.range((session.end, 0)..).next().copied();
        let chosen = chosen.or_else(|| with_room.last().copied());
        let index = match chosen {
            Some(entry) => {
                with_room.remove(&entry);
                entry.1
            }
            None => {
                machines.push(Machine {
                    launched: session.begin - boot,
                    end: session.end,
                    free: slots,
                });
                machines.len() - 1
            }
        };
        let machine = &mut machines[index];
        machine.free -= 1;
        machine.end = machine.end.max(session.end);
        if machine.free > 0 {
            with_room.insert((machine.end, index));
        }
        ends.push(Reverse((session.end, index)));
    }
    let time = |machine: &Machine| Session {
        begin: machine.launched,
        end: machine.end,
    };
    machines
        .iter()
        .map(|machine| overlap(time(machine), measured))
        .sum()
}

/// `sessions` may be in any order.
pub fn lower_bound(sessions: &[Session], slots: u32, boot: Millis, measured: Session) -> Millis {
    let mut changes: Vec<(Millis, i64)> = vec![];
    for session in sessions {
        changes.push((session.begin, 1));
        changes.push((session.end, -1));
    }
    // At the same time, sessions end before others begin.
    changes.sort_unstable();
    // When each layer was needed last.
    let mut needed_until: Vec<Millis> = vec![];
    let (mut running, mut layers, mut since) = (0_i64, 0_usize, measured.begin);
    let mut cost = 0;
    for (at, change) in changes {
        let now = at.clamp(measured.begin, measured.end);
        cost += Millis::try_from(layers).unwrap_or(Millis::MAX) * (now - since);
        since = now;
        running += change;
        let needed = usize::try_from(running.max(0).unsigned_abs().div_ceil(slots.max(1).into()));
        let needed = needed.unwrap_or(usize::MAX);
        while layers < needed {
            if needed_until.len() == layers {
                needed_until.push(Millis::MIN);
            }
            if at >= measured.begin && at < measured.end {
                let pause = at - needed_until[layers].max(measured.begin);
                cost += pause.min(boot);
            }
            layers += 1;
        }
        while layers > needed {
            layers -= 1;
            needed_until[layers] = at;
        }
    }
    cost
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{LogNormal, Random};

    const ALL: Session = Session {
        begin: -1_000,
        end: 1_000_000,
    };

    fn session(begin: Millis, end: Millis) -> Session {
        Session { begin, end }
    }

    #[test]
    fn clairvoyant_extends_the_machine_that_it_extends_least() {
        // With a boot of 10 and two slots, by hand:
        // A 0-100 opens the first machine, at -10. B 5-50 fits into it.
        // C 20-200 finds it full, and opens the second, at 10.
        // D 60-150 finds both with a slot. The second ends no earlier: it is not extended.
        // E 70-120 finds only the first: it ends at 120 instead of 100.
        // First: -10 to 120. Second: 10 to 200.
        let sessions = [
            session(0, 100),
            session(5, 50),
            session(20, 200),
            session(60, 150),
            session(70, 120),
        ];
        assert_eq!(clairvoyant(&sessions, 2, 10, ALL), 130 + 190);
        // 3 sessions at a time from 20 to 50, 2 or fewer from 50 to 60, 3 or 4 from 60 to 120,
        // then 2, then 1. The first layer from 0 to 200, the second from 20 to 50 and 60 to 120,
        // and its pause of 10 costs as much as a boot. Two boots for the beginnings.
        assert_eq!(lower_bound(&sessions, 2, 10, ALL), 200 + 30 + 10 + 60 + 20);
    }

    #[test]
    fn short_pause_costs_its_time_and_a_long_one_a_boot() {
        let gap = |pause: Millis| [session(0, 100), session(100 + pause, 200 + pause)];
        assert_eq!(lower_bound(&gap(3), 1, 10, ALL), 10 + 200 + 3);
        assert_eq!(lower_bound(&gap(30), 1, 10, ALL), 10 + 200 + 10);
    }

    #[test]
    fn only_what_is_measured_costs() {
        let sessions = [session(0, 100), session(300, 400)];
        let measured = session(50, 310);
        assert_eq!(clairvoyant(&sessions, 1, 10, measured), 50 + 20);
        assert_eq!(lower_bound(&sessions, 1, 10, measured), 50 + 20);
    }

    #[test]
    fn lower_bound_is_at_most_the_clairvoyants_for_any_sessions() {
        for seed in 0..200 {
            let mut random = Random::stream(seed, "bound");
            let length = LogNormal::of_mean(900.0, 1.2);
            let mut at = 0.0;
            let mut sessions = vec![];
            for _ in 0..300 {
                at += random.exponential(30.0);
                let end = at + length.draw(&mut random);
                sessions.push(session(millis(at), millis(end)));
            }
            let slots = 1 + u32::try_from(seed % 8).unwrap();
            let measured = session(millis(600.0), millis(6_000.0));
            for boot in [0, 60_000, 600_000] {
                let clairvoyant = clairvoyant(&sessions, slots, boot, measured);
                let bound = lower_bound(&sessions, slots, boot, measured);
                assert!(bound <= clairvoyant, "seed {seed}: {bound} > {clairvoyant}");
                assert!(bound > 0);
            }
        }
    }
}
