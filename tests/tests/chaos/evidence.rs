//! What the checks read: EC2's ledger, the audit of PostgreSQL, and the slots that were answered to
//! users. All times are of one clock, since everything runs on one machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use scaling_tests::deployed::Deployed;
use scaling_tests::ledger::{Call, Ledger, Machine};
use testing::invariants::MachineHistory;
use testing::invariants::fences::FenceChange;
use testing::invariants::launches::LaunchRequest;
use testing::invariants::line::{CapacityChange, Turn, turn_violations};
use testing::invariants::removals::{InstanceChange, RemovalHistory, TerminationRequest};
use testing::invariants::slots::{Holding, SlotChange};
use testing::invariants::{launches, removals, slots};
use tokio_postgres::Row;

use crate::process_faults::Pause;
use crate::regions::LOST_SECONDS;

const AUDIT: &str = include_str!("audit.sql");

/// `SessionsPerUser` in the template.
const SESSIONS: usize = 3;

#[derive(Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) launches: Vec<LaunchRequest>,
    pub(crate) terminations: Vec<TerminationRequest>,
    /// The number of `TerminateInstances` calls.
    pub(crate) termination_calls: usize,
    /// Every machine that was ever launched.
    pub(crate) machines: Vec<MachineHistory>,
    pub(crate) instances: Vec<InstanceChange>,
    pub(crate) slots: Vec<SlotChange>,
    /// The answers to users.
    pub(crate) turns: Vec<Turn>,
    /// When regions gained free slots.
    pub(crate) gained: Vec<CapacityChange>,
    /// When they lost some, apart from those that users got.
    pub(crate) lost: Vec<CapacityChange>,
    /// By region.
    pub(crate) fences: BTreeMap<String, Vec<FenceChange>>,
    pub(crate) pauses: Vec<Pause>,
    /// The slots that were answered to users.
    pub(crate) answers: Vec<Holding>,
    /// The number of EC2's events that a function was invoked with.
    pub(crate) events: usize,
}

/// EC2's calls, collected while they happen: the emulator drops old ones.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    last: u64,
    kept: Vec<Call>,
}

impl Calls {
    /// Collects the calls since the last time, and returns the rest of the ledger.
    pub(crate) async fn gather(&mut self, deployed: &Deployed) -> Ledger {
        let control = &deployed.stack.env().ec2_control_url;
        let mut ledger = Ledger::since(control, self.last).await;
        for call in std::mem::take(&mut ledger.calls) {
            assert_eq!(
                call.seq,
                self.last + 1,
                "calls were dropped: gather more often"
            );
            self.last = call.seq;
            if matches!(call.action.as_str(), "RunInstances" | "TerminateInstances") {
                self.kept.push(call);
            }
        }
        ledger
    }

    /// The number of calls of an action.
    fn of(&self, action: &str) -> usize {
        self.kept
            .iter()
            .filter(|call| call.action == action)
            .count()
    }
}

/// Records from now on what is committed.
pub(crate) async fn install_audit(deployed: &Deployed) {
    deployed
        .sql
        .batch_execute(AUDIT)
        .await
        .expect("the audit is installed");
}

impl Evidence {
    pub(crate) async fn read(
        deployed: &Deployed,
        mut calls: Calls,
        pauses: Vec<Pause>,
        answers: Vec<Holding>,
    ) -> Self {
        let ledger = calls.gather(deployed).await;
        let deliveries = ledger.events.iter().flat_map(|event| &event.deliveries);
        let sql = &deployed.sql;
        let rows = async |query: &str| sql.query(query, &[]).await.expect(query);
        let instances = "SELECT (extract(epoch FROM at) * 1000000)::bigint, id, status, notice,
            occupied, silent_ms, drain_cause FROM audit.instances ORDER BY seq";
        let slots = "SELECT (extract(epoch FROM at) * 1000000)::bigint, id, instance_id,
            status, user_before, user_id, session_id FROM audit.slots ORDER BY seq";
        let turns = "SELECT (extract(epoch FROM at) * 1000000)::bigint, region, user_id, is_served,
            ahead, free, is_barred FROM audit.turns ORDER BY seq";
        // A drain that is taken back gives its region free slots, too.
        let lost = "SELECT (extract(epoch FROM at) * 1000000)::bigint, region
            FROM audit.instances ORDER BY seq";
        let gained = "SELECT (extract(epoch FROM at) * 1000000)::bigint, region
            FROM audit.slots WHERE status = 'WAITING' ORDER BY seq";
        let lost: Vec<_> = rows(lost).await.iter().map(capacity_change).collect();
        let mut gained: Vec<_> = rows(gained).await.iter().map(capacity_change).collect();
        gained.extend(lost.iter().cloned());
        let all_fences = "SELECT region, version_before, version FROM audit.fences ORDER BY seq";
        let mut fences: BTreeMap<String, Vec<FenceChange>> = BTreeMap::new();
        for row in rows(all_fences).await {
            fences.entry(row.get(0)).or_default().push(FenceChange {
                before: row.get(1),
                version: row.get(2),
            });
        }
        Self {
            events: deliveries.filter(|it| it.outcome == "delivered").count(),
            launches: calls.kept.iter().filter_map(Call::launch_request).collect(),
            terminations: calls.kept.iter().flat_map(Call::terminations).collect(),
            termination_calls: calls.of("TerminateInstances"),
            machines: ledger.instances.iter().map(Machine::history).collect(),
            instances: rows(instances).await.iter().map(instance_change).collect(),
            slots: rows(slots).await.iter().map(slot_change).collect(),
            turns: rows(turns).await.iter().map(turn).collect(),
            gained,
            lost,
            fences,
            pauses,
            answers,
        }
    }

    /// What is broken in the history of launches, removals, slots and lines. `closed` are the launches
    /// whose intents are closed.
    pub(crate) fn violations(&self, closed: &BTreeSet<String>) -> Vec<String> {
        let known = self
            .instances
            .iter()
            .map(|change| change.id.as_str())
            .collect();
        let mut found = launches::violations(&self.launches, &self.machines);
        found.extend(launches::unclosed(&self.launches, closed));
        found.extend(launches::without_row(&self.machines, &known));
        found.extend(removals::violations(&RemovalHistory {
            requests: &self.terminations,
            machines: &self.machines,
            instances: &self.instances,
            slots: &self.slots,
            lost_ms: i64::from(LOST_SECONDS) * 1000,
        }));
        found.extend(slots::history_violations(&self.slots, SESSIONS));
        found.extend(turn_violations(&self.turns, &self.gained, &self.lost));
        found.extend(slots::answers_without_assignment(
            &self.answers,
            &self.slots,
        ));
        found
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let became = |status| {
            let instances = self.instances.iter();
            instances
                .filter(|it| it.status.as_deref() == Some(status))
                .count()
        };
        write!(
            f,
            "{} machines by {} RunInstances, {} drained, {} ended of which {} by {} \
             TerminateInstances, {} of EC2's events delivered",
            self.machines.len(),
            self.launches.len(),
            became("DRAINING"),
            became("TERMINATING"),
            self.machines
                .iter()
                .filter(|it| it.ended_by.as_deref() == Some("user"))
                .count(),
            self.termination_calls,
            self.events,
        )?;
        let is_in_line = |turn: &&Turn| turn.ahead > 0;
        let in_line = self.turns.iter().filter(is_in_line).count();
        let turns = self.turns.len();
        write!(f, ", {turns} answers of which {in_line} with users ahead")
    }
}

fn instance_change(row: &Row) -> InstanceChange {
    InstanceChange {
        at_us: row.get(0),
        id: row.get(1),
        status: row.get(2),
        notice: row.get(3),
        occupied: row.get(4),
        silent_ms: row.get(5),
        drain_cause: row.get(6),
    }
}

fn turn(row: &Row) -> Turn {
    let number = |column| usize::try_from(row.get::<_, i64>(column)).unwrap();
    Turn {
        at_us: row.get(0),
        region: row.get(1),
        user: row.get(2),
        is_served: row.get(3),
        ahead: number(4),
        free: number(5),
        is_barred: row.get(6),
    }
}

fn capacity_change(row: &Row) -> CapacityChange {
    CapacityChange {
        at_us: row.get(0),
        region: row.get(1),
    }
}

fn slot_change(row: &Row) -> SlotChange {
    SlotChange {
        at_us: row.get(0),
        id: row.get(1),
        instance_id: row.get(2),
        status: row.get(3),
        user_before: row.get(4),
        user: row.get(5),
        session: row.get(6),
    }
}
