//! `instance-state-change`: EC2 says what becomes of a machine.
//!
//! event → [`event`] → one look at the database (is it ours?) → wake (durable, and only then seen)
//! → a pass for its region. An interruption or a rebalance recommendation is noted with the
//! instance first: EC2 tells it once, and to nobody who asks later.

pub mod event;

use lambda_runtime::Diagnostic;
use serde_json::{Value, json};
use shared::db::{DbError, WriteOutcome};
use shared::lock::LockError;
use shared::model::Notice;
use shared::pass::{Order, Passes};
use shared::trigger::Trigger;
use thiserror::Error;
use tracing::field::Empty;
use tracing::{Instrument, Span, info, info_span};

use event::{BadEvent, InstanceEvent, Says, is_news};

/// Why an event wakes nobody. Lambda sends it twice more, and then keeps it in the queue of
/// failures.
#[derive(Debug, Error)]
pub enum InstanceEventError {
    #[error(transparent)]
    BadEvent(#[from] BadEvent),
    #[error(transparent)]
    Database(#[from] DbError),
    #[error("the wake could not be made durable: {0}")]
    Wake(#[from] LockError),
}

/// What the invoker reads: the error's own words, without Rust's type names.
impl From<InstanceEventError> for Diagnostic {
    fn from(error: InstanceEventError) -> Self {
        let error_type = match &error {
            InstanceEventError::BadEvent(_) => "BadEvent",
            InstanceEventError::Database(_) => "DatabaseUnavailable",
            InstanceEventError::Wake(_) => "LockTableUnavailable",
        };
        Self {
            error_type: error_type.to_owned(),
            error_message: error.to_string(),
        }
    }
}

/// One event of one machine, ours or not.
///
/// # Errors
/// When the event cannot be understood, or its wake could not be made durable.
pub async fn handle(passes: &Passes, event: Value, request_id: &str) -> Result<Value, Diagnostic> {
    // The runtime logs the error of a failed invocation.
    let span = info_span!("instance-state-change", request = request_id, id = Empty);
    answer(passes, event)
        .instrument(span)
        .await
        .map_err(Into::into)
}

async fn answer(passes: &Passes, event: Value) -> Result<Value, InstanceEventError> {
    let event = InstanceEvent::parse(event)?;
    Span::current().record("id", &event.id);
    let InstanceEvent {
        id,
        region,
        instance,
        says,
    } = &event;
    let says = says.in_words();
    if let Some(why) = nothing_to_do(passes, &event).await? {
        info!(%instance, says, why, "nothing to look at");
        return Ok(json!({ "ignored": why }));
    }
    if !passes.wake(id, std::slice::from_ref(region)).await? {
        info!(%instance, says, "seen before");
        return Ok(json!({ "ignored": "seen before" }));
    }
    info!(%instance, says, %region, "woken");
    let order = Order {
        trigger: Trigger::InstanceEvent {
            instance: instance.clone(),
            says: says.to_owned(),
        },
        id: id.clone(),
        began: passes.clock.now(),
        approve_mass_removal: false,
    };
    // The wake is durable: whatever becomes of this pass, the event is not needed again.
    let report = passes.run(region, &order).await;
    Ok(json!({ "region": region, "result": report.outcome }))
}

/// Why no pass is needed, after the one look that any machine costs; notes down a notice.
async fn nothing_to_do(
    passes: &Passes,
    event: &InstanceEvent,
) -> Result<Option<&'static str>, DbError> {
    const NOT_OURS: &str = "not an instance of ours";
    match event.says {
        Says::Notice(notice) => {
            let outcome = passes.database.give_notice(&event.instance, notice).await?;
            Ok(match outcome {
                WriteOutcome::Unknown => Some(NOT_OURS),
                WriteOutcome::WrongState => Some("it is on its way out"),
                // Also when it was noted before: that attempt may not have woken anybody.
                _ => None,
            })
        }
        Says::State(state) => {
            let known = passes.database.find_instance(&event.instance).await?;
            Ok(match known {
                Some(known) if is_news(state, known.status) => None,
                Some(_) => Some("as the database expects"),
                None => Some(NOT_OURS),
            })
        }
    }
}

impl Says {
    fn in_words(&self) -> &'static str {
        match self {
            Self::State(state) => state.as_str(),
            Self::Notice(Notice::Interruption) => "interruption warning",
            Self::Notice(Notice::Rebalance) => "rebalance recommendation",
        }
    }
}
