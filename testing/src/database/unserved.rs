//! Users who left the line without a slot (`…_waits/up.sql`,
//! `…_replay_as_it_was/up.sql`). PostgreSQL's triggers write them; here, each
//! function that takes users out of lines does.

use jiff::{SignedDuration, Timestamp};
use shared::ids::{ClientSha, RegionName};

use super::tables::{Tables, UnservedUser, WaitingUser};

/// For how long they are kept: the default of `history_days`.
const KEPT: SignedDuration = SignedDuration::from_hours(90 * 24);

type Key = (String, RegionName, ClientSha);

impl Tables {
    /// Takes rows out of the lines. `served` is how long the user waited who gets a slot now.
    pub(super) fn leave_lines(
        &mut self,
        is_gone: impl Fn(&Key, &WaitingUser) -> bool,
        served: Option<SignedDuration>,
        now: Timestamp,
    ) {
        let gone: Vec<_> = self
            .waiting_users
            .extract_if(.., |key, waits| is_gone(key, waits))
            .collect();
        self.note_unserved(&gone, served, now);
    }

    /// Notes those of some rows, which are not in the lines any more, whose users left unserved.
    pub(super) fn note_unserved(
        &mut self,
        gone: &[(Key, WaitingUser)],
        served: Option<SignedDuration>,
        now: Timestamp,
    ) {
        let left: Vec<_> = gone
            .iter()
            .filter(|(key, waits)| self.has_left(key, waits, gone, served, now))
            .map(|((user, region, _), waits)| UnservedUser {
                user: user.clone(),
                region: region.clone(),
                first_at: waits.first_at,
                last_at: waits.last_at,
                left_at: (waits.last_at + self.line_time(region)).min(now),
            })
            .collect();
        self.unserved_users.extend(left);
    }

    fn has_left(
        &self,
        (user, region, _): &Key,
        waits: &WaitingUser,
        gone: &[(Key, WaitingUser)],
        served: Option<SignedDuration>,
        now: Timestamp,
    ) -> bool {
        let over = waits.last_at + self.line_time(region);
        // Who had left before, and gets a slot as a newcomer, did not wait for it.
        let is_served = served
            .is_some_and(|waited| now > waits.last_at && (waited.is_positive() || over >= now));
        let is_later =
            |first_at: Timestamp, last_at: Timestamp| last_at > waits.last_at && first_at <= over;
        let others = gone.iter().map(|(key, waits)| (key, waits));
        let mut others = self.waiting_users.iter().chain(others);
        let mut before = self.unserved_users.iter();
        !is_served
            && waits.regions.first() == Some(region)
            && !others.any(|((other, ..), it)| other == user && is_later(it.first_at, it.last_at))
            && !before.any(|it| it.user == *user && is_later(it.first_at, it.last_at))
    }

    pub(super) fn prune_unserved(&mut self, region: &RegionName, now: Timestamp) {
        self.unserved_users
            .retain(|it| it.region != *region || it.left_at >= now - KEPT);
    }
}
