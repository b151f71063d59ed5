//! `instance-state-change` handles EC2's events about instances: state changes, and also spot
//! interruption warnings and rebalance recommendations.
//!
//! event → [`event`] → one database request (is the instance ours?) → wake mark → a pass for its
//! region. A spot notice is recorded with its instance first: EC2 sends it once and has no API that
//! returns it later.
//!
//! An instance without a row may be one that a pass is launching: its holder looks again.

pub mod event;

use jiff::Timestamp;
use lambda_runtime::Diagnostic;
use serde_json::{Value, json};
use shared::db::{DbError, InstanceDatabase, WriteOutcome};
use shared::ids::InstanceId;
use shared::lock::LockError;
use shared::model::{InstanceStatus, MachineState, SpotNotice};
use shared::pass::{EventOutcome, Reconciler};
use shared::trigger::Trigger;
use thiserror::Error;
use tracing::field::Empty;
use tracing::{Instrument, Span, info, info_span};

use event::{BadEvent, Ec2EventKind, InstanceEvent, is_news};

/// Why an event failed. Lambda sends it twice more, and then puts it into the failure queue.
#[derive(Debug, Error)]
pub enum InstanceEventError {
    #[error(transparent)]
    BadEvent(#[from] BadEvent),
    #[error(transparent)]
    Database(#[from] DbError),
    #[error("read the region's lock or set its wake mark: {0}")]
    Lock(#[from] LockError),
    /// A notice can be recorded only with a row.
    #[error("{0} has no row yet, and a pass runs that may write it: the event is sent again")]
    NoRowYet(InstanceId),
    #[error("record the notice of {0}: somebody else holds its row")]
    Busy(InstanceId),
}

/// What the invoker reads: the error's own words, without Rust's type names.
impl From<InstanceEventError> for Diagnostic {
    fn from(error: InstanceEventError) -> Self {
        let error_type = match &error {
            InstanceEventError::BadEvent(_) => "BadEvent",
            InstanceEventError::Database(_) => "DatabaseUnavailable",
            InstanceEventError::Busy(_) => "RowBusy",
            InstanceEventError::Lock(_) => "LockTableUnavailable",
            InstanceEventError::NoRowYet(_) => "NoRowYet",
        };
        Self {
            error_type: error_type.to_owned(),
            error_message: error.to_string(),
        }
    }
}

/// Handles one event about one instance, ours or not.
///
/// # Errors
/// When the event is not understood, or it is not certain that its wake mark is durable.
pub async fn handle(
    reconciler: &Reconciler,
    event: Value,
    request_id: &str,
) -> Result<Value, Diagnostic> {
    // The runtime logs the error of a failed invocation.
    let span = info_span!("instance-state-change", request = request_id, id = Empty);
    handle_event(reconciler, event)
        .instrument(span)
        .await
        .map_err(Into::into)
}

async fn handle_event(reconciler: &Reconciler, event: Value) -> Result<Value, InstanceEventError> {
    let event = InstanceEvent::parse(event)?;
    Span::current().record("id", &event.id);
    let InstanceEvent {
        id,
        region,
        instance,
        kind,
        time,
    } = &event;
    let event_kind = kind.name();
    // Before the row: a pass writes the rows of its launches while it holds the lock. So there is
    // none to come if the lock is free now and the row is missing afterwards.
    let is_passing = reconciler.is_passing(region).await?;
    let effect = match (reconciler.instances.as_deref(), kind, time) {
        // A stack of replicas alone has no rows.
        (None, ..) => return Ok(ignored(&event, NOT_OURS)),
        (Some(database), Ec2EventKind::SpotNotice(notice), _) => {
            record_notice(database, instance, *notice).await?
        }
        (Some(database), Ec2EventKind::State(MachineState::Running), Some(time)) => {
            note_running(database, instance, *time).await?
        }
        (Some(database), Ec2EventKind::State(state), _) => {
            compare_with_row(database, instance, *state).await?
        }
    };
    match (effect, kind) {
        (Effect::NeedsPass, _) => {}
        // The pass looks again when it finds the wake mark; this one runs if that has ended meanwhile.
        (Effect::NoRow, Ec2EventKind::State(state))
            if is_passing && is_news(*state, InstanceStatus::PreConnection) => {}
        (Effect::NoRow, Ec2EventKind::SpotNotice(_)) if is_passing => {
            return Err(InstanceEventError::NoRowYet(instance.clone()));
        }
        (Effect::NoRow, _) => return Ok(ignored(&event, NOT_OURS)),
        (Effect::Ignored(reason), _) => return Ok(ignored(&event, reason)),
    }
    info!(%instance, event_kind, %region, "event received");
    let trigger = Trigger::InstanceEvent {
        instance: instance.clone(),
        says: event_kind.to_owned(),
    };
    let outcome = reconciler
        .handle_event(id, std::slice::from_ref(region), trigger)
        .await?;
    Ok(match outcome {
        EventOutcome::AlreadyHandled => json!({ "ignored": "seen before" }),
        EventOutcome::Handled(reports) => json!({
            "region": region,
            "result": reports.first().map(|report| &report.outcome),
        }),
    })
}

fn ignored(event: &InstanceEvent, reason: &str) -> Value {
    let event_kind = event.kind.name();
    info!(instance = %event.instance, event_kind, reason, "event ignored");
    json!({ "ignored": reason })
}

/// Whether an event needs a pass.
enum Effect {
    NeedsPass,
    /// The instance has no row.
    NoRow,
    Ignored(&'static str),
}

const NOT_OURS: &str = "not an instance of ours";
const EXPECTED: &str = "as the database expects";

/// Records the notice with its instance. It also needs a pass when it was recorded before: the
/// attempt that recorded it may not have set the wake mark.
async fn record_notice(
    database: &dyn InstanceDatabase,
    instance: &InstanceId,
    notice: SpotNotice,
) -> Result<Effect, InstanceEventError> {
    let outcome = database.record_spot_notice(instance, notice).await?;
    Ok(match outcome {
        WriteOutcome::Busy => return Err(InstanceEventError::Busy(instance.clone())),
        WriteOutcome::Unknown => Effect::NoRow,
        WriteOutcome::WrongState => Effect::Ignored("it is on its way out"),
        _ => Effect::NeedsPass,
    })
}

/// Tells the history since when EC2 runs the instance, in the request that looks it up. If somebody else
/// holds the row, a pass tells it.
async fn note_running(
    database: &dyn InstanceDatabase,
    instance: &InstanceId,
    since: Timestamp,
) -> Result<Effect, DbError> {
    let noted = database.note_running(&[(instance.clone(), since)]).await?;
    Ok(match noted.first().map(|row| row.outcome) {
        None | Some(WriteOutcome::Unknown) => Effect::NoRow,
        Some(_) => Effect::Ignored(EXPECTED),
    })
}

/// Compares a state change with the instance's row.
async fn compare_with_row(
    database: &dyn InstanceDatabase,
    instance: &InstanceId,
    state: MachineState,
) -> Result<Effect, DbError> {
    Ok(match database.find_instance(instance).await? {
        Some(known) if is_news(state, known.status) => Effect::NeedsPass,
        Some(_) => Effect::Ignored(EXPECTED),
        None => Effect::NoRow,
    })
}

impl Ec2EventKind {
    fn name(&self) -> &'static str {
        match self {
            Self::State(state) => state.as_str(),
            Self::SpotNotice(SpotNotice::Interruption) => "interruption warning",
            Self::SpotNotice(SpotNotice::Rebalance) => "rebalance recommendation",
        }
    }
}
