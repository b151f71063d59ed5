//! Defects of the line: the tables are changed around the right rule.

use jiff::{SignedDuration, Timestamp};
use shared::assign::{AssignOutcome, AssignRefusal, AssignRequest};
use shared::ids::RegionName;
use testing::Tables;

/// A wrong rule of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineDefect {
    /// Whoever asks while a slot is free gets it.
    IgnoresLine,
    /// Each refusal counts as the first.
    ForgetsFirstRefusal,
    /// A refused user joins only the line of the nearest region.
    JoinsNearestOnly,
    /// Users who do not ask any more keep their places.
    KeepsLeft,
    /// A user who was served stays in the other regions' lines.
    KeepsServedElsewhere,
    /// The slot says that nobody waited for it.
    ForgetsWaiting,
    /// The place counts only those ahead.
    CountsPlaceFromZero,
}

impl LineDefect {
    /// Changes the tables before the right rule.
    pub(super) fn before(self, tables: &mut Tables, request: &AssignRequest) {
        match self {
            Self::IgnoresLine => {
                tables
                    .waiting_users
                    .retain(|(user, ..), _| user == request.user.as_str());
            }
            Self::KeepsLeft => set_line_seconds(tables, |_| 3600),
            _ => {}
        }
    }

    /// Changes the tables and the answer after it. `was` are the tables before.
    pub(super) fn after(
        self,
        was: &Tables,
        tables: &mut Tables,
        request: &AssignRequest,
        outcome: &mut AssignOutcome,
        now: Timestamp,
    ) {
        let user = request.user.as_str();
        let is_served = matches!(outcome, AssignOutcome::Assigned(it) if !it.repeated);
        match self {
            Self::IgnoresLine => {
                let others = was.waiting_users.iter();
                let others = others.filter(|((other, ..), _)| other != user);
                tables
                    .waiting_users
                    .extend(others.map(|(key, waits)| (key.clone(), waits.clone())));
            }
            Self::ForgetsFirstRefusal => {
                let rows = tables.waiting_users.values_mut();
                rows.filter(|waits| waits.last_at == now)
                    .for_each(|waits| waits.first_at = now);
            }
            Self::JoinsNearestOnly => tables
                .waiting_users
                .retain(|(_, region, _), waits| waits.regions.first() == Some(region)),
            Self::KeepsLeft => {
                set_line_seconds(tables, |region| was.regions[region].settings.line_seconds);
            }
            Self::KeepsServedElsewhere if is_served => {
                let own = was.waiting_users.iter();
                let mut own = own.filter(|((of, ..), _)| of == user);
                tables
                    .waiting_users
                    .extend(own.next().map(|(key, waits)| (key.clone(), waits.clone())));
            }
            Self::ForgetsWaiting => {
                let slots = tables.slots.values_mut();
                slots.for_each(|slot| slot.waited = SignedDuration::ZERO);
            }
            Self::CountsPlaceFromZero => {
                if let AssignOutcome::Refused {
                    reason: AssignRefusal::NoInstanceAvailable(in_line),
                    ..
                } = outcome
                {
                    in_line.place -= 1;
                }
            }
            Self::KeepsServedElsewhere => {}
        }
    }
}

fn set_line_seconds(tables: &mut Tables, seconds: impl Fn(&RegionName) -> u32) {
    for (region, row) in &mut tables.regions {
        row.settings.line_seconds = seconds(region);
    }
}
