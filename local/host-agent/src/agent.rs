//! The life of an agent: boot, register, then send heartbeats and serve the slots side by side,
//! until there is nothing left to do.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::config::Config;
use crate::hasura::{Hasura, HasuraError};
use crate::slots::{Duty, SlotStatus, Slots};

/// The first wait after a failure or a `RETRY`; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait: a host that is ready should not stand idle for long.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Why the machine can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// The service has given this instance up, or never wanted it.
    GivenUp,
    /// It was draining, and the last session is over.
    Drained,
}

/// Runs until the machine should shut down. The service being out of reach is no reason to:
/// sessions go on without it. The error is of the kind that only another start can mend.
pub async fn run(config: &Config) -> Result<Leaving, HasuraError> {
    let hasura = Hasura::new(&config.user_data)?;
    sleep(config.pace.boot).await;
    if let Registration::Refused = register(config, &hasura).await {
        return Ok(Leaving::GivenUp);
    }
    let leaving = tokio::select! {
        leaving = send_heartbeats(config, &hasura) => leaving,
        leaving = serve_slots(config, &hasura) => leaving,
    };
    Ok(leaving)
}

enum Registration {
    Done,
    Refused,
}

async fn register(config: &Config, hasura: &Hasura) -> Registration {
    let mut trouble = Trouble::default();
    let mut wait = FIRST_WAIT;
    loop {
        match hasura
            .register(&config.instance_id, &config.instance_ip)
            .await
        {
            Ok(answer) => {
                trouble.is_over();
                match answer.outcome.as_str() {
                    "REGISTERED" => {
                        tracing::info!(instance = config.instance_id, "registered");
                        return Registration::Done;
                    }
                    "SHUT_DOWN" => return Registration::Refused,
                    // RETRY: the service has launched this instance, but not written it down yet.
                    outcome => tracing::info!(outcome, ?wait, "not registered yet"),
                }
            }
            Err(error) => trouble.happened("register", &error),
        }
        sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

async fn send_heartbeats(config: &Config, hasura: &Hasura) -> Leaving {
    let mut trouble = Trouble::default();
    loop {
        match hasura.heartbeat(&config.instance_id).await {
            Ok(answer) => {
                trouble.is_over();
                if answer.outcome == "SHUT_DOWN" {
                    return Leaving::GivenUp;
                }
            }
            Err(error) => trouble.happened("send a heartbeat", &error),
        }
        sleep(config.pace.heartbeat).await;
    }
}

async fn serve_slots(config: &Config, hasura: &Hasura) -> Leaving {
    let mut trouble = Trouble::default();
    let mut slots = Slots::default();
    loop {
        match look(config, hasura, &mut slots).await {
            Ok(Look::Leave) => return Leaving::Drained,
            // Look again at once: what was done may make something else due.
            Ok(Look::Progress) => {
                trouble.is_over();
                continue;
            }
            Ok(Look::Idle) => trouble.is_over(),
            Err(error) => trouble.happened("serve the slots", &error),
        }
        sleep(config.pace.poll).await;
    }
}

enum Look {
    Leave,
    Progress,
    Idle,
}

/// Looks at the slots once, and does what is due.
async fn look(config: &Config, hasura: &Hasura, slots: &mut Slots) -> Result<Look, HasuraError> {
    let Some(host) = hasura.own_slots(&config.instance_id).await? else {
        // A row that is not there may be a row that is not shown. Only the answer to a heartbeat
        // tells an agent to go.
        return Ok(Look::Idle);
    };
    let now = Instant::now();
    slots.observe(host.slots, now);
    if host.status == "DRAINING" && !slots.any_occupied() {
        return Ok(Look::Leave);
    }
    let mut look = Look::Idle;
    for duty in slots.due(now, &config.pace) {
        let outcome = fulfil(hasura, &duty).await?;
        tracing::info!(?duty, outcome, "told");
        // Anything else is an answer too: the slot has moved on, and the next look shows where.
        if matches!(
            outcome.as_str(),
            "CLAIMED" | "REPORTED" | "REPLACED" | "REMOVED"
        ) {
            look = Look::Progress;
        }
    }
    Ok(look)
}

async fn fulfil(hasura: &Hasura, duty: &Duty) -> Result<String, HasuraError> {
    match duty {
        Duty::Claim {
            slot_id,
            user_id,
            session_id,
        } => hasura.claim(slot_id, user_id, session_id).await,
        Duty::ReportRunning { slot_id } => hasura.report(slot_id, SlotStatus::Running).await,
        Duty::ReportDying { slot_id } => hasura.report(slot_id, SlotStatus::Dying).await,
        Duty::Replace { slot_id } => hasura.replace(slot_id).await,
    }
}

/// Logs an outage once when it begins and once when it is over, however long it lasts.
#[derive(Debug, Default)]
struct Trouble {
    failures: u32,
}

impl Trouble {
    fn happened(&mut self, doing: &'static str, error: &HasuraError) {
        self.failures += 1;
        if self.failures == 1 {
            tracing::warn!(
                doing,
                error = error as &dyn std::error::Error,
                "failed; trying again"
            );
        }
    }

    fn is_over(&mut self) {
        if self.failures > 0 {
            tracing::info!(failures = self.failures, "works again");
            self.failures = 0;
        }
    }
}
