//! Decides which actions the slots of an instance need, from their last observed state and from
//! how long it has not changed. A restarted agent continues from the slots' state in the database.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::config::Timing;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotStatus {
    Waiting,
    Allocated,
    Connecting,
    Running,
    Dying,
}

impl SlotStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "WAITING",
            Self::Allocated => "ALLOCATED",
            Self::Connecting => "CONNECTING",
            Self::Running => "RUNNING",
            Self::Dying => "DYING",
        }
    }
}

impl FromStr for SlotStatus {
    /// Says which status is unknown.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [
            Self::Waiting,
            Self::Allocated,
            Self::Connecting,
            Self::Running,
            Self::Dying,
        ]
        .into_iter()
        .find(|status| status.as_str() == text)
        .ok_or_else(|| format!("a slot with the unknown status {text:?}"))
    }
}

/// A user's place on this instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    pub id: String,
    pub status: SlotStatus,
    pub user_id: Option<String>,
    pub session_id: Option<String>,
    /// The time until the session is to end; none if nobody wants that.
    pub ends_in: Option<Duration>,
}

impl Slot {
    /// Whether nothing has changed but the time.
    fn is_same(&self, other: &Self) -> bool {
        let state = |slot: &Self| (slot.status, slot.user_id.clone(), slot.session_id.clone());
        self.id == other.id && state(self) == state(other)
    }
}

/// A request to send to Hasura.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotAction {
    /// The user has connected.
    Claim {
        slot_id: String,
        user_id: String,
        session_id: String,
    },
    /// The session has started.
    ReportRunning { slot_id: String },
    /// The session has ended.
    ReportDying { slot_id: String },
    /// The ended session is cleaned up, so the slot can be replaced by a free one.
    Replace { slot_id: String },
}

/// The slots as last observed, by id.
#[derive(Debug, Default)]
pub struct Slots {
    observed: HashMap<String, ObservedSlot>,
}

#[derive(Debug)]
struct ObservedSlot {
    slot: Slot,
    /// When the slot was first observed in this state.
    since: Instant,
    /// When the session is to end at the latest.
    ends_at: Option<Instant>,
}

impl Slots {
    /// Replaces the observed slots by those that were read at `now`. The age of a slot that has
    /// not changed is kept.
    pub fn observe(&mut self, slots: Vec<Slot>, now: Instant) {
        let mut before = std::mem::take(&mut self.observed);
        for slot in slots {
            let since = before
                .remove(&slot.id)
                .filter(|observed| observed.slot.is_same(&slot))
                .map_or(now, |observed| observed.since);
            let ends_at = slot.ends_in.map(|left| now + left);
            let observed = ObservedSlot {
                slot,
                since,
                ends_at,
            };
            self.observed.insert(observed.slot.id.clone(), observed);
        }
    }

    /// The actions that are due at `now`: at most one per slot, ordered by slot id.
    pub fn actions_due(&self, now: Instant, timing: &Timing) -> Vec<SlotAction> {
        let mut due: Vec<_> = self
            .observed
            .iter()
            .filter_map(|(id, observed)| Some((id, observed.action_due(now, timing)?)))
            .collect();
        due.sort_by_key(|(id, _)| *id);
        due.into_iter().map(|(_, action)| action).collect()
    }

    /// For how many seconds the user of each running session has been idle, if a user is active for
    /// `active` after the session started.
    pub fn idle_seconds(&self, now: Instant, active: Duration) -> BTreeMap<String, u64> {
        let running = self
            .observed
            .iter()
            .filter(|(_, observed)| observed.slot.status == SlotStatus::Running);
        let idle = running.map(|(id, observed)| {
            let age = now.saturating_duration_since(observed.since);
            (id.clone(), age.saturating_sub(active).as_secs())
        });
        idle.collect()
    }

    pub fn any_occupied(&self) -> bool {
        self.observed
            .values()
            .any(|observed| observed.slot.status != SlotStatus::Waiting)
    }
}

impl ObservedSlot {
    fn action_due(&self, now: Instant, timing: &Timing) -> Option<SlotAction> {
        let age = now.saturating_duration_since(self.since);
        let slot_id = self.slot.id.clone();
        let is_claimed = matches!(
            self.slot.status,
            SlotStatus::Connecting | SlotStatus::Running
        );
        let is_over = |at: Instant| now >= at + timing.end_delay;
        if is_claimed && self.ends_at.is_some_and(is_over) {
            return Some(SlotAction::ReportDying { slot_id });
        }
        match self.slot.status {
            SlotStatus::Waiting => None,
            SlotStatus::Allocated => (age >= timing.connect).then_some(SlotAction::Claim {
                slot_id,
                user_id: self.slot.user_id.clone()?,
                session_id: self.slot.session_id.clone()?,
            }),
            SlotStatus::Connecting => Some(SlotAction::ReportRunning { slot_id }),
            SlotStatus::Running => {
                let user = self.slot.user_id.as_deref().unwrap_or_default();
                let session = self.slot.session_id.as_deref().unwrap_or_default();
                let is_over = age >= timing.session_length(user, session);
                is_over.then_some(SlotAction::ReportDying { slot_id })
            }
            SlotStatus::Dying => Some(SlotAction::Replace { slot_id }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing {
        boot: Duration::ZERO,
        connect: Duration::from_secs(2),
        session: Duration::from_secs(60),
        session_max: Duration::from_secs(60),
        heartbeat: Duration::from_secs(5),
        poll: Duration::from_secs(1),
        active: None,
        end_delay: Duration::ZERO,
    };

    fn slot(id: &str, status: SlotStatus, user: Option<&str>) -> Slot {
        Slot {
            id: id.into(),
            status,
            user_id: user.map(Into::into),
            session_id: user.map(|_| "s".into()),
            ends_in: None,
        }
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn free_slot_needs_no_action() {
        let start = Instant::now();
        let mut slots = Slots::default();
        slots.observe(vec![slot("a", SlotStatus::Waiting, None)], start);
        assert!(slots.actions_due(start + seconds(1000), &TIMING).is_empty());
        assert!(!slots.any_occupied());
    }

    #[test]
    fn allocated_slot_is_claimed_after_the_connect_time_for_its_user_and_session() {
        let start = Instant::now();
        let mut slots = Slots::default();
        slots.observe(vec![slot("a", SlotStatus::Allocated, Some("u"))], start);
        assert!(slots.actions_due(start + seconds(1), &TIMING).is_empty());
        let claim = SlotAction::Claim {
            slot_id: "a".into(),
            user_id: "u".into(),
            session_id: "s".into(),
        };
        assert_eq!(slots.actions_due(start + seconds(2), &TIMING), [claim]);
        assert!(slots.any_occupied());
    }

    #[test]
    fn slot_reassigned_to_another_user_restarts_its_age() {
        let start = Instant::now();
        let mut slots = Slots::default();
        slots.observe(vec![slot("a", SlotStatus::Allocated, Some("u"))], start);
        slots.observe(
            vec![slot("a", SlotStatus::Allocated, Some("v"))],
            start + seconds(1),
        );
        assert!(slots.actions_due(start + seconds(2), &TIMING).is_empty());
        assert_eq!(slots.actions_due(start + seconds(3), &TIMING).len(), 1);
    }

    #[test]
    fn repeated_observation_keeps_the_age_of_a_session() {
        let start = Instant::now();
        let mut slots = Slots::default();
        for second in 0..=60 {
            slots.observe(
                vec![slot("a", SlotStatus::Running, Some("u"))],
                start + seconds(second),
            );
        }
        let ended = SlotAction::ReportDying {
            slot_id: "a".into(),
        };
        assert_eq!(slots.actions_due(start + seconds(60), &TIMING), [ended]);
    }

    #[test]
    fn restarted_agent_continues_from_the_state_of_the_slots() {
        let start = Instant::now();
        let mut slots = Slots::default();
        slots.observe(
            vec![
                slot("b", SlotStatus::Dying, Some("u")),
                slot("a", SlotStatus::Connecting, Some("v")),
            ],
            start,
        );
        assert_eq!(
            slots.actions_due(start, &TIMING),
            [
                SlotAction::ReportRunning {
                    slot_id: "a".into()
                },
                SlotAction::Replace {
                    slot_id: "b".into()
                },
            ]
        );
    }

    #[test]
    fn session_that_is_to_end_is_ended_in_time_and_its_age_goes_on() {
        let start = Instant::now();
        let mut slots = Slots::default();
        let running = || slot("a", SlotStatus::Running, Some("u"));
        slots.observe(vec![running()], start);
        let ends = Slot {
            ends_in: Some(seconds(5)),
            ..running()
        };
        slots.observe(vec![ends], start + seconds(10));
        assert!(slots.actions_due(start + seconds(14), &TIMING).is_empty());
        let ended = || SlotAction::ReportDying {
            slot_id: "a".into(),
        };
        assert_eq!(slots.actions_due(start + seconds(15), &TIMING), [ended()]);
        let late = Timing {
            end_delay: seconds(100),
            ..TIMING
        };
        assert!(slots.actions_due(start + seconds(59), &late).is_empty());
        assert_eq!(slots.actions_due(start + seconds(60), &late), [ended()]);
        // Its user is active again.
        slots.observe(vec![running()], start + seconds(14));
        assert!(slots.actions_due(start + seconds(15), &TIMING).is_empty());
        let idle = slots.idle_seconds(start + seconds(20), seconds(5));
        assert_eq!(idle, BTreeMap::from([("a".to_owned(), 15)]));
    }

    #[test]
    fn slot_missing_from_an_observation_is_dropped() {
        let start = Instant::now();
        let mut slots = Slots::default();
        slots.observe(vec![slot("a", SlotStatus::Dying, Some("u"))], start);
        slots.observe(vec![slot("b", SlotStatus::Waiting, None)], start);
        assert!(slots.actions_due(start, &TIMING).is_empty());
        assert!(!slots.any_occupied());
    }

    #[test]
    fn slot_status_is_parsed_from_its_text_and_unknown_text_is_rejected() {
        assert_eq!("DYING".parse(), Ok(SlotStatus::Dying));
        assert!("DEAD".parse::<SlotStatus>().unwrap_err().contains("DEAD"));
    }
}
