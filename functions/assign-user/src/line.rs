//! When a user in line is asked for again: by the client after a refusal, and by this function while
//! it keeps a request open. No I/O.
//!
//! A free slot is kept for the first in line until they ask, so those near the front come back soon.
//! The others are spread over several seconds: a thousand clients that were refused at once must not
//! return at once. Nobody is told to come back after they have left the line.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use jiff::Timestamp;
use shared::assign::{AssignRequest, InLine};

/// In seconds. A slot that becomes free unexpectedly waits no longer for a client far back, and a
/// thousand of them make 150 requests a second.
const LONGEST: u32 = 10;

/// Places this far to the front are asked for every second while a request is kept open.
const FRONT: u32 = 10;

/// How often at most this function asks the database for one user.
pub(crate) const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// The seconds after which a client should ask again: at least 1, and less than `line_seconds` (if
/// that is at least 2). Clients with the same place get different seconds by their `spread`.
pub(crate) fn retry_after_seconds(line: &InLine, spread: u64) -> u32 {
    // A third is left for the client's delay and the way of its request.
    let in_time = line.line_seconds - line.line_seconds.div_ceil(3);
    let by_place = 2u32.saturating_add(line.place / 10);
    // Before a slot is expected, more of the users whose turn it may be are there.
    let by_estimate = line.estimate_seconds.map_or(u32::MAX, |seconds| {
        seconds.saturating_add(1).saturating_add(line.place / 25)
    });
    let latest = by_place.min(by_estimate).min(in_time).clamp(1, LONGEST);
    let earliest = (latest / 3).max(1);
    let choices = u64::from(latest - earliest + 1);
    earliest + u32::try_from(spread % choices).unwrap_or_default()
}

/// The pause before this function asks for the user again, while it keeps their request open.
pub(crate) fn pause(line: &InLine, spread: u64) -> Duration {
    if line.place <= FRONT {
        SHORTEST_PAUSE
    } else {
        Duration::from_secs(retry_after_seconds(line, spread).into())
    }
}

/// A number that differs from user to user, and from request to request.
pub(crate) fn spread(request: &AssignRequest, now: Timestamp) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&request.user, &request.session, now.as_nanosecond()).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use shared::assign::{ClientBuild, SessionId, SessionLimits, UserId};

    use super::*;

    fn line(place: u32, estimate_seconds: Option<u32>, line_seconds: u32) -> InLine {
        InLine {
            place,
            estimate_seconds,
            line_seconds,
        }
    }

    fn any_line() -> impl Strategy<Value = InLine> {
        let place = prop_oneof![1..=1001u32, Just(u32::MAX)];
        let estimate = proptest::option::of(prop_oneof![1..=600u32, Just(u32::MAX)]);
        (place, estimate, 2..=300u32)
            .prop_map(|(place, estimate, line_seconds)| line(place, estimate, line_seconds))
    }

    /// The number of a thousand users, refused at the same moment, who come back in each second.
    fn returns(estimate: Option<u32>, line_seconds: u32) -> BTreeMap<u32, usize> {
        let mut returns = BTreeMap::new();
        for place in 1..=1000 {
            let request = AssignRequest {
                user: UserId::parse(&format!("user-{place}")).unwrap(),
                session: SessionId::parse("1").unwrap(),
                regions: vec!["us-east-1".into()],
                client: ClientBuild::CurrentImage,
                limits: SessionLimits::default(),
            };
            let spread = spread(&request, Timestamp::UNIX_EPOCH);
            let seconds = retry_after_seconds(&line(place, estimate, line_seconds), spread);
            *returns.entry(seconds).or_default() += 1;
        }
        returns
    }

    proptest! {
        #[test]
        fn client_comes_back_before_it_has_left_the_line(line in any_line(), spread: u64) {
            let seconds = retry_after_seconds(&line, spread);
            prop_assert!(1 <= seconds && seconds < line.line_seconds, "{seconds}");
        }

        #[test]
        fn function_asks_at_most_once_a_second_and_keeps_the_place(line in any_line(), spread: u64) {
            let pause = pause(&line, spread);
            prop_assert!(SHORTEST_PAUSE <= pause, "{pause:?}");
            prop_assert!(pause < Duration::from_secs(line.line_seconds.into()), "{pause:?}");
        }

        #[test]
        fn next_in_line_comes_back_within_two_seconds(
            place in 1..10u32,
            estimate in proptest::option::of(1..=600u32),
            line_seconds in 5..=300u32,
            spread: u64,
        ) {
            let seconds = retry_after_seconds(&line(place, estimate, line_seconds), spread);
            prop_assert!((1..=2).contains(&seconds), "{seconds}");
        }

        #[test]
        fn thousand_users_do_not_come_back_at_once(
            estimate in proptest::option::of(1..=600u32),
            line_seconds in 15..=300u32,
        ) {
            let returns = returns(estimate, line_seconds);
            prop_assert!(returns.values().all(|users| *users <= 200), "{returns:?}");
        }
    }

    #[test]
    fn shortest_line_spreads_a_thousand_users_over_the_seconds_that_it_has() {
        let returns = returns(None, 5);
        assert_eq!(returns.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
        assert!(returns.values().all(|users| *users <= 400), "{returns:?}");
    }

    #[test]
    fn user_far_back_comes_back_earlier_when_slots_are_expected() {
        let latest = |estimate| {
            let all = (0..100).map(|spread| retry_after_seconds(&line(60, estimate, 15), spread));
            all.max()
        };
        assert_eq!(latest(None), Some(8));
        assert_eq!(latest(Some(120)), Some(8));
        assert_eq!(latest(Some(1)), Some(4));
    }

    #[test]
    fn same_user_comes_back_after_other_seconds_each_time() {
        let request = |user: &str, session: &str| AssignRequest {
            user: UserId::parse(user).unwrap(),
            session: SessionId::parse(session).unwrap(),
            regions: vec!["us-east-1".into()],
            client: ClientBuild::CurrentImage,
            limits: SessionLimits::default(),
        };
        let [now, later] = [0, 1].map(|second| Timestamp::from_second(second).unwrap());
        let ada = spread(&request("ada", "1"), now);
        for other in [
            spread(&request("ada", "1"), later),
            spread(&request("ada", "2"), now),
            spread(&request("bob", "1"), now),
        ] {
            assert_ne!(ada, other);
        }
    }
}
