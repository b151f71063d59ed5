//! Renewing the tokens of host agents, so that no instance ends because of its token.
//!
//! A token is renewed when half of its time is over, and when another key is to sign it. The other
//! half is the time that an agent has to fetch the next one.

use jiff::{SignedDuration, Timestamp};

use super::plan::{Action, Plan};
use super::reason::Reason;
use super::snapshot::Snapshot;
use crate::ids::{InstanceId, KeyId};
use crate::model::{DrainCause, Instance, InstanceStatus};

/// Bounds one write of a pass to a hundred kilobytes. A fleet of thousands is renewed within an
/// hour of passes.
const RENEWALS_PER_PASS: usize = 200;

/// How tokens are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPolicy {
    /// The key that signs the tokens that are renewed.
    pub key: KeyId,
    /// That key is not in use yet: Hasura gets it when every agent has a token of it.
    pub is_rotating: bool,
    pub valid_for: SignedDuration,
}

impl TokenPolicy {
    /// Until when the instance's newest token is valid. That of the launch is not stored.
    fn valid_until(&self, instance: &Instance) -> Timestamp {
        match &instance.token {
            Some(token) => token.valid_until,
            None => instance.launched_at + self.valid_for,
        }
    }

    /// Why the instance's agent needs another token, if it does.
    fn renewal(&self, instance: &Instance, now: Timestamp) -> Option<Reason> {
        let other_key = match &instance.token {
            Some(token) => token.key != self.key,
            // Before a rotation, the key in use signed it.
            None => self.is_rotating,
        };
        let left = self.valid_until(instance).duration_since(now);
        if other_key {
            Some(Reason::KeyRotates)
        } else if left < self.valid_for / 2 {
            let hours_left = left.as_hours();
            Some(Reason::TokenAges { hours_left })
        } else {
            None
        }
    }

    /// For how long the agent has not used its next token, if that is too long. A token of the next
    /// key cannot be used yet.
    fn not_taken(&self, instance: &Instance, now: Timestamp) -> Option<Reason> {
        let token = instance.token.as_ref()?;
        let untaken_for = now.duration_since(token.untaken_since?);
        let is_usable = token.key == self.key && !self.is_rotating;
        (is_usable && untaken_for >= self.valid_for / 10).then(|| Reason::TokenNotTaken {
            hours: untaken_for.as_hours(),
        })
    }
}

/// Renews the tokens that end first. In a paused region, too: a token ends nonetheless.
pub(super) fn renew_tokens(snapshot: &Snapshot, now: Timestamp, plan: &mut Plan) {
    let Some(policy) = &snapshot.tokens else {
        return;
    };
    let mut due: Vec<(Timestamp, &InstanceId, &Instance, Reason)> = Vec::new();
    for instance in snapshot.instances.values().filter(|it| has_agent(it)) {
        if let Some(reason) = policy.renewal(instance, now) {
            let until = policy.valid_until(instance);
            due.push((until, &instance.id, instance, reason));
        } else if snapshot.silence(instance, now) < snapshot.settings.timeouts.heartbeat
            && let Some(reason) = policy.not_taken(instance, now)
        {
            plan.alert(Some(&instance.id), reason);
        }
    }
    due.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    let left = due.len().saturating_sub(RENEWALS_PER_PASS);
    for (_, _, instance, reason) in due.into_iter().take(RENEWALS_PER_PASS) {
        let action = Action::RenewToken {
            instance: instance.id.clone(),
            launch: instance.launch_id.clone(),
        };
        plan.push(action, reason);
    }
    if left > 0 {
        plan.note(None, Reason::RenewalsLeft { instances: left });
    }
}

/// Whether an agent has registered that may still send heartbeats.
fn has_agent(instance: &Instance) -> bool {
    matches!(
        instance.status,
        InstanceStatus::Active | InstanceStatus::Draining
    ) && instance.active_at.is_some()
        && instance.drain_cause != Some(DrainCause::Revoked)
}
