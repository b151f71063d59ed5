//! What is to be done for the slots of an instance, as a function of what they were last seen to
//! be and for how long: no state of its own that a crash could lose.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::Instant;

use crate::config::Pace;

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
        .ok_or_else(|| format!("a slot of the unknown status {text:?}"))
    }
}

/// A user's place on this instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    pub id: String,
    pub status: SlotStatus,
    pub user_id: Option<String>,
    pub session_id: Option<String>,
}

/// Something to tell Hasura now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Duty {
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
    /// What the session left is cleaned up.
    Replace { slot_id: String },
}

/// The slots as they were last seen.
#[derive(Debug, Default)]
pub struct Slots {
    seen: HashMap<String, Seen>,
}

#[derive(Debug)]
struct Seen {
    slot: Slot,
    since: Instant,
}

impl Slots {
    /// Takes in what was seen at `now`; a slot that has not changed keeps its age.
    pub fn observe(&mut self, slots: Vec<Slot>, now: Instant) {
        let mut before = std::mem::take(&mut self.seen);
        for slot in slots {
            let since = before
                .remove(&slot.id)
                .filter(|seen| seen.slot == slot)
                .map_or(now, |seen| seen.since);
            self.seen.insert(slot.id.clone(), Seen { slot, since });
        }
    }

    /// What is due at `now`, at most one thing a slot, in the order of the slots' ids.
    pub fn due(&self, now: Instant, pace: &Pace) -> Vec<Duty> {
        let mut due: Vec<_> = self
            .seen
            .iter()
            .filter_map(|(id, seen)| Some((id, seen.duty(now, pace)?)))
            .collect();
        due.sort_by_key(|(id, _)| *id);
        due.into_iter().map(|(_, duty)| duty).collect()
    }

    pub fn any_occupied(&self) -> bool {
        self.seen
            .values()
            .any(|seen| seen.slot.status != SlotStatus::Waiting)
    }
}

impl Seen {
    fn duty(&self, now: Instant, pace: &Pace) -> Option<Duty> {
        let age = now.saturating_duration_since(self.since);
        let slot_id = self.slot.id.clone();
        match self.slot.status {
            SlotStatus::Waiting => None,
            SlotStatus::Allocated => (age >= pace.connect).then_some(Duty::Claim {
                slot_id,
                user_id: self.slot.user_id.clone()?,
                session_id: self.slot.session_id.clone()?,
            }),
            SlotStatus::Connecting => Some(Duty::ReportRunning { slot_id }),
            SlotStatus::Running => {
                let user = self.slot.user_id.as_deref().unwrap_or_default();
                let session = self.slot.session_id.as_deref().unwrap_or_default();
                let is_over = age >= pace.session_of(user, session);
                is_over.then_some(Duty::ReportDying { slot_id })
            }
            SlotStatus::Dying => Some(Duty::Replace { slot_id }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PACE: Pace = Pace {
        boot: Duration::ZERO,
        connect: Duration::from_secs(2),
        session: Duration::from_secs(60),
        session_max: Duration::from_secs(60),
        heartbeat: Duration::from_secs(5),
        poll: Duration::from_secs(1),
    };

    fn slot(id: &str, status: SlotStatus, user: Option<&str>) -> Slot {
        Slot {
            id: id.into(),
            status,
            user_id: user.map(Into::into),
            session_id: user.map(|_| "s".into()),
        }
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_free_slot_asks_for_nothing() {
        let start = Instant::now();
        let mut slots = Slots::default();
        slots.observe(vec![slot("a", SlotStatus::Waiting, None)], start);
        assert!(slots.due(start + seconds(1000), &PACE).is_empty());
        assert!(!slots.any_occupied());
    }

    #[test]
    fn a_user_connects_after_a_while_and_for_the_session_that_was_assigned() {
        let start = Instant::now();
        let mut slots = Slots::default();
        slots.observe(vec![slot("a", SlotStatus::Allocated, Some("u"))], start);
        assert!(slots.due(start + seconds(1), &PACE).is_empty());
        let claim = Duty::Claim {
            slot_id: "a".into(),
            user_id: "u".into(),
            session_id: "s".into(),
        };
        assert_eq!(slots.due(start + seconds(2), &PACE), [claim]);
        assert!(slots.any_occupied());
    }

    #[test]
    fn a_slot_given_to_somebody_else_starts_anew() {
        let start = Instant::now();
        let mut slots = Slots::default();
        slots.observe(vec![slot("a", SlotStatus::Allocated, Some("u"))], start);
        slots.observe(
            vec![slot("a", SlotStatus::Allocated, Some("v"))],
            start + seconds(1),
        );
        assert!(slots.due(start + seconds(2), &PACE).is_empty());
        assert_eq!(slots.due(start + seconds(3), &PACE).len(), 1);
    }

    #[test]
    fn looking_again_does_not_make_a_session_younger() {
        let start = Instant::now();
        let mut slots = Slots::default();
        for second in 0..=60 {
            slots.observe(
                vec![slot("a", SlotStatus::Running, Some("u"))],
                start + seconds(second),
            );
        }
        let ended = Duty::ReportDying {
            slot_id: "a".into(),
        };
        assert_eq!(slots.due(start + seconds(60), &PACE), [ended]);
    }

    #[test]
    fn an_agent_that_was_started_again_goes_on_where_the_slots_are() {
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
            slots.due(start, &PACE),
            [
                Duty::ReportRunning {
                    slot_id: "a".into()
                },
                Duty::Replace {
                    slot_id: "b".into()
                },
            ]
        );
    }

    #[test]
    fn a_slot_that_is_gone_is_forgotten() {
        let start = Instant::now();
        let mut slots = Slots::default();
        slots.observe(vec![slot("a", SlotStatus::Dying, Some("u"))], start);
        slots.observe(vec![slot("b", SlotStatus::Waiting, None)], start);
        assert!(slots.due(start, &PACE).is_empty());
        assert!(!slots.any_occupied());
    }

    #[test]
    fn statuses_are_read_back_as_they_are_written() {
        assert_eq!("DYING".parse(), Ok(SlotStatus::Dying));
        assert!("DEAD".parse::<SlotStatus>().unwrap_err().contains("DEAD"));
    }
}
