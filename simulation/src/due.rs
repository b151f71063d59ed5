//! What may be due in a simulation, and what processes are for.

use jiff::Timestamp;
use shared::assign::AssignOutcome;
use shared::db::DbError;
use shared::ids::{InstanceId, RegionName};

use crate::ec2_events::Ec2Event;
use crate::events::DatabaseEvent;
use crate::faults::Fault;
use crate::gate::{GateId, ProcessId, Straggler, Verdict};
use crate::rollouts::Wish;

/// Something that is due.
#[derive(Debug)]
pub(crate) enum Due {
    Gate {
        gate: GateId,
        process: ProcessId,
        verdict: Verdict,
    },
    /// The request leaves, and its sender dies.
    LastGate {
        gate: GateId,
        process: ProcessId,
        verdict: Verdict,
    },
    Death(ProcessId, Fault),
    Straggler(Straggler),
    Happening(Happening),
}

/// What happens in the world by itself.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    Minute,
    UserComes,
    AsksAgain(Ask),
    /// The user connects, and the agent is asked whether that may be.
    Connects {
        instance: InstanceId,
        slot: String,
        ask: Ask,
    },
    SessionEnds {
        instance: InstanceId,
        slot: String,
    },
    SlotIsCleared {
        instance: InstanceId,
        slot: String,
    },
    Boots(InstanceId),
    Beats(InstanceId),
    IsTaken(InstanceId),
    Weather(RegionName),
    Misfortune,
    Operator,
    /// Somebody has something to do with images.
    Rollout,
    /// An image is asked for.
    AsksFor(Wish),
    /// The app version is set to what this build was made from.
    Names(u32),
    AgentDies(InstanceId),
    Deliver(DatabaseEvent),
    Ec2Says(Ec2Event),
}

/// One session's wish for a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub user: String,
    pub session: String,
    pub tries: u32,
}

/// What a process was for, and so what follows from its end.
#[derive(Debug)]
pub(crate) enum Purpose {
    Reconcile,
    Webhook(DatabaseEvent),
    InstanceEvent(Ec2Event),
    Client(Ask),
}

impl Purpose {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Reconcile => "invocations of reconcile",
            Self::Webhook(_) => "invocations of hasura-event",
            Self::InstanceEvent(_) => "invocations of instance-state-change",
            Self::Client(_) => "requests of users",
        }
    }

    pub(crate) fn is_function(&self) -> bool {
        !matches!(self, Self::Client(_))
    }
}

#[derive(Debug)]
pub(crate) struct Process {
    pub name: String,
    pub purpose: Purpose,
    pub paused_until: Option<Timestamp>,
}

/// What a client was answered.
pub(crate) type Told = Result<AssignOutcome, DbError>;
