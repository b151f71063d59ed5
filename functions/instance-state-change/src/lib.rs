//! `instance-state-change` handles EC2's events about instances: state changes, and also spot
//! interruption warnings and rebalance recommendations.
//!
//! event → [`event`] → one database request (is the instance ours?) → wake mark → a pass for its
//! region. A spot notice is recorded with its instance first: EC2 sends it once and has no API that
//! returns it later.

pub mod event;

use lambda_runtime::Diagnostic;
use serde_json::{Value, json};
use shared::db::{DbError, InstanceDatabase, WriteOutcome};
use shared::ids::InstanceId;
use shared::lock::LockError;
use shared::model::{MachineState, SpotNotice};
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
    #[error("set the region's wake mark: {0}")]
    Lock(#[from] LockError),
}

/// What the invoker reads: the error's own words, without Rust's type names.
impl From<InstanceEventError> for Diagnostic {
    fn from(error: InstanceEventError) -> Self {
        let error_type = match &error {
            InstanceEventError::BadEvent(_) => "BadEvent",
            InstanceEventError::Database(_) => "DatabaseUnavailable",
            InstanceEventError::Lock(_) => "LockTableUnavailable",
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
    } = &event;
    let event_kind = kind.name();
    let effect = match (reconciler.instances.as_deref(), kind) {
        // A stack of replicas alone has no rows.
        (None, _) => Effect::Ignored(NOT_OURS),
        (Some(database), Ec2EventKind::SpotNotice(notice)) => {
            record_notice(database, instance, *notice).await?
        }
        (Some(database), Ec2EventKind::State(state)) => {
            compare_with_row(database, instance, *state).await?
        }
    };
    if let Effect::Ignored(reason) = effect {
        info!(%instance, event_kind, reason, "event ignored");
        return Ok(json!({ "ignored": reason }));
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

/// Whether an event needs a pass.
enum Effect {
    NeedsPass,
    Ignored(&'static str),
}

const NOT_OURS: &str = "not an instance of ours";

/// Records the notice with its instance. It also needs a pass when it was recorded before: the
/// attempt that recorded it may not have set the wake mark.
async fn record_notice(
    database: &dyn InstanceDatabase,
    instance: &InstanceId,
    notice: SpotNotice,
) -> Result<Effect, DbError> {
    let outcome = database.record_spot_notice(instance, notice).await?;
    Ok(match outcome {
        WriteOutcome::Unknown => Effect::Ignored(NOT_OURS),
        WriteOutcome::WrongState => Effect::Ignored("it is on its way out"),
        _ => Effect::NeedsPass,
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
        Some(_) => Effect::Ignored("as the database expects"),
        None => Effect::Ignored(NOT_OURS),
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
