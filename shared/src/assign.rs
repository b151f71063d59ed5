//! Assigning a user to a slot: the question, its answers, and the port behind which the
//! database decides in one round trip.

use std::cmp::Ordering;
use std::fmt;

use async_trait::async_trait;
use thiserror::Error;

use crate::db::DbError;
use crate::ids::{ClientSha, InstanceId, RegionName};

/// The commit hash by which a developer's own build asks for whatever is current.
pub const LOCAL_DEV: &str = "local_dev";

/// The longest user or session id, in characters. Identity providers stay under it
/// (OpenID Connect Core, section 2, bounds `sub` to 255 ASCII characters), and both ids are
/// keys of an index.
pub const LONGEST_ID: usize = 255;

/// Why a text is no user or session id.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("must be 1 to {LONGEST_ID} characters long, without control characters")]
pub struct BadId;

/// Postgres cannot hold a NUL, and a line break in a log line forges another.
fn checked_id(text: &str) -> Result<String, BadId> {
    let fits = (1..=LONGEST_ID).contains(&text.chars().count());
    if fits && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err(BadId)
    }
}

macro_rules! checked_text_id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub struct $name(String);

        impl $name {
            /// # Errors
            /// When `text` is empty, too long, or holds control characters.
            pub fn parse(text: &str) -> Result<Self, BadId> {
                checked_id(text).map(Self)
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

checked_text_id! {
    /// Who asks: the `sub` of a verified token, and nothing that a client says of itself.
    UserId;
    /// Which of the user's sessions; the client makes it up. A request repeated under it gets
    /// the same slot.
    SessionId;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignRequest {
    pub user: UserId,
    pub session: SessionId,
    /// Nearest first, none twice.
    pub regions: Vec<RegionName>,
    pub client: ClientBuild,
}

/// Which images the client can talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientBuild {
    /// Those built from the same commit.
    Sha(ClientSha),
    /// A region's current image, whatever it was built from.
    CurrentImage,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AssignOutcome {
    Assigned(Assignment),
    Refused {
        reason: AssignRefusal,
        /// What the clients of this environment should be running, if the database says.
        app: Option<AppVersion>,
    },
}

/// The slot that is now the user's until a connection claims it or its time to do so is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// A UUID; Whist's clients call it `mandelbox_id`.
    pub slot_id: String,
    pub ip: String,
    pub region: RegionName,
    pub instance_id: InstanceId,
    /// The user's session held this slot before the request.
    pub repeated: bool,
}

/// The first thing that stands in the way, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssignRefusal {
    /// The user holds as many slots as a user may.
    UserAlreadyActive,
    /// None of the regions asked for is known and enabled.
    RegionNotEnabled,
    /// No enabled one of them serves the client's build.
    CommitHashMismatch,
    /// They do, and have no free slot.
    NoInstanceAvailable,
}

impl AssignRefusal {
    pub const ALL: [Self; 4] = [
        Self::UserAlreadyActive,
        Self::RegionNotEnabled,
        Self::CommitHashMismatch,
        Self::NoInstanceAvailable,
    ];

    /// The name that clients and the database know it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::UserAlreadyActive => "USER_ALREADY_ACTIVE",
            Self::RegionNotEnabled => "REGION_NOT_ENABLED",
            Self::CommitHashMismatch => "COMMIT_HASH_MISMATCH",
            Self::NoInstanceAvailable => "NO_INSTANCE_AVAILABLE",
        }
    }
}

/// The app version of an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppVersion {
    pub version: String,
    pub client_sha: ClientSha,
}

impl AppVersion {
    /// Whether `client` is a version before this one; none when one of the two is not made of
    /// numbers and dots, up to a suffix such as `-rc.1`, which is not compared.
    pub fn is_newer_than(&self, client: &str) -> Option<bool> {
        Some(compare(&numbers(&self.version)?, &numbers(client)?) == Ordering::Greater)
    }
}

fn numbers(version: &str) -> Option<Vec<u64>> {
    let core = version
        .trim()
        .trim_start_matches('v')
        .split(['-', '+'])
        .next()?;
    core.split('.').map(|part| part.parse().ok()).collect()
}

/// As if the shorter one went on with zeros: `1.2` is `1.2.0`.
fn compare(a: &[u64], b: &[u64]) -> Ordering {
    (0..a.len().max(b.len()))
        .map(|i| a.get(i).unwrap_or(&0).cmp(b.get(i).unwrap_or(&0)))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// Gives users slots.
#[async_trait]
pub trait Assigner: Send + Sync {
    /// Finds the user a slot, or says why there is none. Asking again for the same user and
    /// session answers the same slot, so it is safe to ask again when an answer was lost.
    ///
    /// # Errors
    /// When the database cannot be asked or answers what it should not; a slot may have been
    /// assigned all the same.
    async fn assign(&self, request: &AssignRequest) -> Result<AssignOutcome, DbError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(version: &str) -> AppVersion {
        AppVersion {
            version: version.into(),
            client_sha: "abc".into(),
        }
    }

    #[test]
    fn versions_are_compared_number_by_number() {
        assert_eq!(app("1.10.0").is_newer_than("1.9.9"), Some(true));
        assert_eq!(app("2").is_newer_than("1.99"), Some(true));
        assert_eq!(app("1.2").is_newer_than("1.2.0"), Some(false));
        assert_eq!(app("1.2.0").is_newer_than("v1.2.1"), Some(false));
    }

    #[test]
    fn suffixes_of_versions_are_not_compared() {
        assert_eq!(app("1.2.0-rc.2").is_newer_than("1.2.0-rc.1"), Some(false));
        assert_eq!(app("1.3.0+7").is_newer_than("1.2.0-rc.1"), Some(true));
    }

    #[test]
    fn what_is_no_version_is_not_compared() {
        for odd in ["", ".", "latest", "1..2", "1.x", "99999999999999999999999"] {
            assert_eq!(app("1.2.3").is_newer_than(odd), None, "{odd}");
            assert_eq!(app(odd).is_newer_than("1.2.3"), None, "{odd}");
        }
    }

    #[test]
    fn ids_are_bounded_and_hold_no_control_characters() {
        assert!(UserId::parse("auth0|5f7c8ec7c33c6c004bbafe82").is_ok());
        assert!(SessionId::parse(&"é".repeat(LONGEST_ID)).is_ok());
        for bad in [
            "",
            "a\0b",
            "a\nb",
            "\u{85}",
            "x".repeat(LONGEST_ID + 1).as_str(),
        ] {
            assert_eq!(UserId::parse(bad), Err(BadId), "{bad:?}");
            assert_eq!(SessionId::parse(bad), Err(BadId), "{bad:?}");
        }
    }
}
