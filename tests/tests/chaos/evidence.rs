//! What the checks look at: EC2's ledger, the audit of Postgres, what users were told. All times
//! are of one clock, since everything runs on one machine.

use std::fmt;

use scaling_tests::deployed::Deployed;
use scaling_tests::ledger::{Call, Ledger, Machine};
use tokio_postgres::Row;

use crate::hunt::Pause;
use crate::users::Told;

const AUDIT: &str = include_str!("audit.sql");

#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// `RunInstances` and `TerminateInstances`.
    pub(crate) calls: Vec<Call>,
    /// All that were ever launched.
    pub(crate) machines: Vec<Machine>,
    pub(crate) instances: Vec<InstanceChange>,
    pub(crate) slots: Vec<SlotChange>,
    pub(crate) fences: Vec<FenceChange>,
    pub(crate) pauses: Vec<Pause>,
    pub(crate) told: Vec<Told>,
    /// Those of EC2's events that a function was invoked with.
    pub(crate) events: usize,
}

/// A status of an instance that was committed.
#[derive(Clone, Debug, Default)]
pub(crate) struct InstanceChange {
    pub(crate) at_us: i64,
    pub(crate) id: String,
    pub(crate) status: Option<String>,
    pub(crate) notice: Option<String>,
    pub(crate) occupied: i64,
    pub(crate) silent_ms: Option<i64>,
}

/// A status or a user of a slot that was committed.
#[derive(Clone, Debug, Default)]
pub(crate) struct SlotChange {
    pub(crate) at_us: i64,
    pub(crate) id: String,
    pub(crate) instance_id: String,
    pub(crate) status: Option<String>,
    pub(crate) was_user: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) session: Option<String>,
}

/// A fence that a pass raised.
#[derive(Clone, Debug, Default)]
pub(crate) struct FenceChange {
    pub(crate) region: String,
    pub(crate) was: Option<i64>,
    pub(crate) version: i64,
}

/// EC2's calls as they come: the emulator forgets old ones.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    last: u64,
    kept: Vec<Call>,
}

impl Calls {
    /// Takes the calls since the last time, and gives the rest of the ledger back.
    pub(crate) async fn gather(&mut self, deployed: &Deployed) -> Ledger {
        let control = &deployed.stack.env().ec2_control_url;
        let mut ledger = Ledger::since(control, self.last).await;
        for call in std::mem::take(&mut ledger.calls) {
            assert_eq!(
                call.seq,
                self.last + 1,
                "calls were forgotten: gather more often"
            );
            self.last = call.seq;
            if matches!(call.action.as_str(), "RunInstances" | "TerminateInstances") {
                self.kept.push(call);
            }
        }
        ledger
    }
}

/// Writes down from now on what is committed.
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
        told: Vec<Told>,
    ) -> Self {
        let ledger = calls.gather(deployed).await;
        let deliveries = ledger.events.iter().flat_map(|event| &event.deliveries);
        let sql = &deployed.sql;
        let rows = async |query: &str| sql.query(query, &[]).await.expect(query);
        let instances = "SELECT (extract(epoch FROM at) * 1000000)::bigint, id, status, notice,
            occupied, silent_ms FROM audit.instances ORDER BY seq";
        let slots = "SELECT (extract(epoch FROM at) * 1000000)::bigint, id, instance_id,
            status, was_user, user_id, session_id FROM audit.slots ORDER BY seq";
        let fences = "SELECT region, was, version FROM audit.fences ORDER BY seq";
        Self {
            events: deliveries.filter(|it| it.outcome == "delivered").count(),
            calls: calls.kept,
            machines: ledger.instances,
            instances: rows(instances)
                .await
                .iter()
                .map(InstanceChange::read)
                .collect(),
            slots: rows(slots).await.iter().map(SlotChange::read).collect(),
            fences: rows(fences).await.iter().map(FenceChange::read).collect(),
            pauses,
            told,
        }
    }

    /// The first moment at which an instance was committed to be in this status.
    pub(crate) fn first(&self, id: &str, status: &str) -> Option<&InstanceChange> {
        let is =
            |change: &&InstanceChange| change.id == id && change.status.as_deref() == Some(status);
        self.instances.iter().find(is)
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked = |action| {
            self.calls
                .iter()
                .filter(|call| call.action == action)
                .count()
        };
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
            asked("RunInstances"),
            became("DRAINING"),
            became("TERMINATING"),
            self.machines
                .iter()
                .filter(|it| it.ended_by.as_deref() == Some("user"))
                .count(),
            asked("TerminateInstances"),
            self.events,
        )
    }
}

impl InstanceChange {
    fn read(row: &Row) -> Self {
        Self {
            at_us: row.get(0),
            id: row.get(1),
            status: row.get(2),
            notice: row.get(3),
            occupied: row.get(4),
            silent_ms: row.get(5),
        }
    }
}

impl SlotChange {
    fn read(row: &Row) -> Self {
        Self {
            at_us: row.get(0),
            id: row.get(1),
            instance_id: row.get(2),
            status: row.get(3),
            was_user: row.get(4),
            user: row.get(5),
            session: row.get(6),
        }
    }

    pub(crate) fn is_occupied(&self) -> bool {
        self.user.is_some()
    }
}

impl FenceChange {
    fn read(row: &Row) -> Self {
        Self {
            region: row.get(0),
            was: row.get(1),
            version: row.get(2),
        }
    }
}
