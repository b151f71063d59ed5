//! What the simulation schedules, and the processes that it runs.

use std::fmt;

use jiff::Timestamp;
use shared::assign::{AssignOutcome, AssignRequest};
use shared::db::DbError;
use shared::ids::{InstanceId, RegionName};

use crate::builds::UpgradeRequest;
use crate::ec2_events::Ec2Event;
use crate::faults::Fault;
use crate::hasura_events::DatabaseEvent;
use crate::yield_points::{Delivery, LateRequest, ProcessId, YieldPointId};

/// Something that happens at a certain time.
#[derive(Debug)]
pub(crate) enum Scheduled {
    /// A process continues from its yield point.
    Resume {
        point: YieldPointId,
        process: ProcessId,
        delivery: Delivery,
    },
    /// A process sends its request, and then dies.
    LastResume {
        point: YieldPointId,
        process: ProcessId,
        delivery: Delivery,
    },
    Death(ProcessId, Fault),
    LateRequest(LateRequest),
    Event(Event),
}

/// Something that happens in the simulated world.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// EventBridge's schedule.
    ScheduleTick,
    UserArrives,
    AssignRetry(AssignAttempt),
    /// The user connects, and the agent asks the database whether the user may.
    UserConnects {
        instance: InstanceId,
        slot: String,
        attempt: AssignAttempt,
    },
    SessionEnds {
        instance: InstanceId,
        slot: String,
    },
    /// After a session, the agent replaces its slot by a free one.
    SlotCleared {
        instance: InstanceId,
        slot: String,
    },
    AgentBoots(InstanceId),
    Heartbeat(InstanceId),
    InstanceReclaimed(InstanceId),
    LaunchFails(InstanceId),
    Ec2ConditionsChange(RegionName),
    RandomFailure,
    OperatorActs,
    /// A user or an operator ends a session, or an operator drains an instance.
    SomebodyEnds,
    /// Someone does something with images: a release, a rollback, a mistake.
    ReleaseActivity,
    UpgradeRequested(UpgradeRequest),
    /// The app version is set to the commit of this build.
    AppVersionSet(u32),
    AgentDies(InstanceId),
    /// The transaction that held an instance has ended.
    RowFree(InstanceId),
    HasuraEventDelivered(DatabaseEvent),
    Ec2EventDelivered(Ec2Event),
}

/// As it appears in the trace.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HasuraEventDelivered(event) => {
                write!(f, "delivery of {}: {}", event.id, event.trigger)
            }
            Self::Ec2EventDelivered(event) => write!(
                f,
                "delivery of {}: {:?} of {}",
                event.id, event.kind, event.instance
            ),
            other => write!(f, "{other:?}"),
        }
    }
}

/// A session's request for a slot, and how its client repeats it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AssignAttempt {
    pub request: AssignRequest,
    /// How often the client tries again, if it is refused or not answered.
    pub retries: u32,
}

/// What a process runs, which decides what follows from its end.
#[derive(Debug)]
pub(crate) enum ProcessKind {
    Reconcile,
    HasuraEvent(DatabaseEvent),
    Ec2Event(Ec2Event),
    Client(AssignAttempt),
}

impl ProcessKind {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Reconcile => "invocations of reconcile",
            Self::HasuraEvent(_) => "invocations of hasura-event",
            Self::Ec2Event(_) => "invocations of instance-state-change",
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
    pub kind: ProcessKind,
    pub paused_until: Option<Timestamp>,
}

/// The answer to a client.
pub(crate) type AssignAnswer = Result<AssignOutcome, DbError>;
