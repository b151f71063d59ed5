//! The agent's lifecycle: boot, register, then send heartbeats and serve the slots concurrently,
//! until the machine should shut down. Beside that, it leaves when a check of the machine fails.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::config::Config;
use crate::hasura::{Hasura, HasuraError};
use crate::slots::{SlotAction, SlotStatus, Slots};

/// First delay after a failure or a `RETRY`. The delay doubles with each further attempt.
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
/// Longest delay. It is short, because a machine that is ready should not stay unused for long.
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// Why the machine should shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownReason {
    /// The service answered `SHUT_DOWN`: it is terminating this instance or does not know it.
    Requested,
    /// The instance is draining, and no slot is occupied.
    Drained,
}

/// Runs until the machine should shut down. While the service is unreachable the agent keeps
/// running, because the sessions continue without it.
///
/// # Errors
///
/// [`HasuraError::Unreachable`] if the HTTP client cannot be built. Failed requests are logged and
/// repeated instead.
pub async fn run(config: &Config) -> Result<ShutdownReason, HasuraError> {
    let hasura = Hasura::new(config)?;
    sleep(config.timing.boot).await;
    let reason = tokio::select! {
        reason = serve(config, &hasura) => reason,
        reason = leave_when_broken(config, &hasura) => reason,
    };
    Ok(reason)
}

async fn serve(config: &Config, hasura: &Hasura) -> ShutdownReason {
    if let Registration::ShutDown = register(config, hasura).await {
        return ShutdownReason::Requested;
    }
    let idle = IdleSeconds::default();
    tokio::select! {
        reason = send_heartbeats(config, hasura, &idle) => reason,
        reason = serve_slots(config, hasura, &idle) => reason,
    }
}

/// Takes the instance out of service once its leave file says why. An instance that leaves goes on
/// serving its users: the slots say when it is empty.
async fn leave_when_broken(config: &Config, hasura: &Hasura) -> ShutdownReason {
    let mut outage = OutageLog::default();
    loop {
        // A file that cannot be read or is empty is not written yet.
        let written = std::fs::read_to_string(&config.leave_file).unwrap_or_default();
        let reason = written.trim();
        if !reason.is_empty() {
            match hasura.leave(&config.instance_id, reason).await {
                Ok(answer) => {
                    outage.record_success();
                    match answer.outcome.as_str() {
                        "LEAVING" => {
                            tracing::info!(reason, "instance leaves");
                            return std::future::pending().await;
                        }
                        "SHUT_DOWN" => return ShutdownReason::Requested,
                        // HELD: too many of the region leave. RETRY: there is no row yet.
                        outcome => tracing::warn!(outcome, reason, "instance does not leave yet"),
                    }
                }
                Err(error) => outage.record_failure("leave", &error),
            }
        }
        sleep(config.timing.heartbeat).await;
    }
}

enum Registration {
    Registered,
    ShutDown,
}

async fn register(config: &Config, hasura: &Hasura) -> Registration {
    let mut outage = OutageLog::default();
    let mut backoff = FIRST_BACKOFF;
    loop {
        match hasura
            .register(&config.instance_id, &config.instance_ip)
            .await
        {
            Ok(answer) => {
                outage.record_success();
                match answer.outcome.as_str() {
                    "REGISTERED" => {
                        tracing::info!(instance = config.instance_id, "instance registered");
                        return Registration::Registered;
                    }
                    "SHUT_DOWN" => return Registration::ShutDown,
                    // RETRY: the service launched this instance, but its row does not exist yet.
                    outcome => tracing::info!(outcome, ?backoff, "instance not registered yet"),
                }
            }
            Err(error) => outage.record_failure("register", &error),
        }
        sleep(backoff).await;
        backoff = (backoff * 2).min(LONGEST_BACKOFF);
    }
}

/// For how long the users of slots have been idle, by slot. A real agent watches their input.
type IdleSeconds = Mutex<BTreeMap<String, u64>>;

async fn send_heartbeats(config: &Config, hasura: &Hasura, idle: &IdleSeconds) -> ShutdownReason {
    let mut outage = OutageLog::default();
    loop {
        let idle = idle.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let idle = config.timing.active.map(|_| &idle);
        match hasura.heartbeat(&config.instance_id, idle).await {
            Ok((answer, ends)) => {
                outage.record_success();
                // Here a real agent tells its users.
                for end in ends {
                    tracing::info!(?end, "session is to end");
                }
                if answer.outcome == "SHUT_DOWN" {
                    return ShutdownReason::Requested;
                }
            }
            Err(error) => outage.record_failure("send a heartbeat", &error),
        }
        sleep(config.timing.heartbeat).await;
    }
}

async fn serve_slots(config: &Config, hasura: &Hasura, idle: &IdleSeconds) -> ShutdownReason {
    let mut outage = OutageLog::default();
    let mut slots = Slots::default();
    loop {
        let polled = poll_slots(config, hasura, &mut slots).await;
        if let Some(active) = config.timing.active {
            let seconds = slots.idle_seconds(Instant::now(), active);
            *idle.lock().unwrap_or_else(PoisonError::into_inner) = seconds;
        }
        match polled {
            Ok(Poll::Drained) => return ShutdownReason::Drained,
            // Poll again immediately: a change may make another action due.
            Ok(Poll::Changed) => {
                outage.record_success();
                continue;
            }
            Ok(Poll::Unchanged) => outage.record_success(),
            Err(error) => outage.record_failure("serve the slots", &error),
        }
        sleep(config.timing.poll).await;
    }
}

enum Poll {
    Drained,
    Changed,
    Unchanged,
}

/// Reads the slots once and sends the actions that are due.
async fn poll_slots(
    config: &Config,
    hasura: &Hasura,
    slots: &mut Slots,
) -> Result<Poll, HasuraError> {
    let Some(host) = hasura.own_instance(&config.instance_id).await? else {
        // The row may exist without being visible to this role, so this is not a reason to shut
        // down. Only the answer to a heartbeat is.
        return Ok(Poll::Unchanged);
    };
    let now = Instant::now();
    slots.observe(host.slots, now);
    if host.status == "DRAINING" && !slots.any_occupied() {
        return Ok(Poll::Drained);
    }
    let mut poll = Poll::Unchanged;
    for action in slots.actions_due(now, &config.timing) {
        let outcome = send_action(hasura, &action).await?;
        tracing::info!(?action, outcome, "slot action sent");
        // After any other outcome, the slot has changed meanwhile. The next poll shows its state.
        if matches!(
            outcome.as_str(),
            "CLAIMED" | "REPORTED" | "REPLACED" | "REMOVED"
        ) {
            poll = Poll::Changed;
        }
    }
    Ok(poll)
}

async fn send_action(hasura: &Hasura, action: &SlotAction) -> Result<String, HasuraError> {
    match action {
        SlotAction::Claim {
            slot_id,
            user_id,
            session_id,
        } => hasura.claim(slot_id, user_id, session_id).await,
        SlotAction::ReportRunning { slot_id } => hasura.report(slot_id, SlotStatus::Running).await,
        SlotAction::ReportDying { slot_id } => hasura.report(slot_id, SlotStatus::Dying).await,
        SlotAction::Replace { slot_id } => hasura.replace(slot_id).await,
    }
}

/// Logs the beginning and the end of an outage, but not every failed attempt in between.
#[derive(Debug, Default)]
struct OutageLog {
    failures: u32,
}

impl OutageLog {
    fn record_failure(&mut self, operation: &'static str, error: &HasuraError) {
        self.failures += 1;
        if self.failures == 1 {
            tracing::warn!(
                operation,
                error = error as &dyn std::error::Error,
                "request to Hasura failed; retrying"
            );
        }
    }

    fn record_success(&mut self) {
        if self.failures > 0 {
            tracing::info!(failures = self.failures, "requests to Hasura succeed again");
            self.failures = 0;
        }
    }
}
