//! The end of an instance: by a request, by its own operating system, or by an interruption.

use super::ended_by::EndedBy;
use super::instance::{ShutdownBehavior, State, Transition};
use super::state::World;
use crate::clock::UnixMillis;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ShutdownKind {
    Terminate,
    /// EC2 could start a stopped instance again. This emulator cannot: it has no `StartInstances`.
    Stop,
}

/// The ids in a request that EC2 does not know, or no longer knows.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownInstances(pub Vec<String>);

impl World {
    /// Terminates the instances `ids`, and returns for each its state before and after, in the
    /// order of `ids`.
    ///
    /// # Errors
    /// If at least one id is unknown. Then no instance is terminated.
    pub fn terminate(
        &mut self,
        region: &str,
        ids: &[String],
        now: UnixMillis,
    ) -> Result<Vec<(State, State)>, UnknownInstances> {
        let Some(known) = self.regions.get(region) else {
            return Err(UnknownInstances(ids.to_vec()));
        };
        let unknown: Vec<_> = ids
            .iter()
            .filter(|id| known.instance(id).is_none())
            .cloned()
            .collect();
        if !unknown.is_empty() {
            return Err(UnknownInstances(unknown));
        }
        let states = |world: &Self| -> Vec<Option<State>> {
            let region = world.regions.get(region);
            ids.iter()
                .map(|id| region?.instance(id)?.state_at(now))
                .collect()
        };
        let before = states(self);
        for id in ids {
            self.shut_down(region, id, EndedBy::User, ShutdownKind::Terminate, now);
        }
        Ok(before
            .into_iter()
            .zip(states(self))
            .filter_map(|(a, b)| Some((a?, b?)))
            .collect())
    }

    /// Stops or terminates an instance whose own operating system has shut down. Its launch
    /// request decides which.
    pub fn shut_down_by_instance(&mut self, region: &str, id: &str, now: UnixMillis) {
        let behavior = self
            .region(region)
            .and_then(|region| region.instance(id))
            .map(|instance| instance.spec.shutdown_behavior);
        let kind = match behavior {
            Some(ShutdownBehavior::Stop) => ShutdownKind::Stop,
            Some(ShutdownBehavior::Terminate) => ShutdownKind::Terminate,
            None => return,
        };
        self.shut_down(region, id, EndedBy::Instance, kind, now);
    }

    /// Starts the shutdown of an instance. One that is already past this step stays as it is.
    pub(super) fn shut_down(
        &mut self,
        region: &str,
        id: &str,
        by: EndedBy,
        kind: ShutdownKind,
        now: UnixMillis,
    ) {
        let ended_at = now.after(self.settings.shutting_down());
        let (tagged, visible) = (
            self.settings.terminated_tagged(),
            self.settings.terminated_visible(),
        );
        let Some(instance) = self
            .regions
            .get_mut(region)
            .and_then(|region| region.instance_mut(id))
        else {
            return;
        };
        let state = |state, at_ms| Transition { state, at_ms };
        let ending = match (kind, instance.state_at(now)) {
            (ShutdownKind::Stop, Some(State::Pending | State::Running)) => {
                vec![state(State::Stopping, now), state(State::Stopped, ended_at)]
            }
            // A launch that fails goes from `pending` to `terminated` without a state in between:
            // <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/troubleshooting-launch.html>.
            (ShutdownKind::Terminate, Some(State::Pending)) if matches!(by, EndedBy::Launch(_)) => {
                vec![state(State::Terminated, now)]
            }
            (
                ShutdownKind::Terminate,
                Some(State::Pending | State::Running | State::Stopping | State::Stopped),
            ) => vec![
                state(State::ShuttingDown, now),
                state(State::Terminated, ended_at),
            ],
            _ => return,
        };
        let ended_at = ending.last().map_or(now, |last| last.at_ms);
        instance.end(by, ending, now);
        let seq = instance.seq;
        let mut due = vec![now, ended_at];
        if kind == ShutdownKind::Terminate {
            instance.untagged_at = Some(ended_at.after(tagged));
            let archived_at = ended_at.after(visible);
            instance.archived_at = Some(archived_at);
            due.push(archived_at);
        }
        let due = due.into_iter().map(|at| (at, region.to_owned(), seq));
        self.upcoming.extend(due);
        self.advance(now);
    }
}
