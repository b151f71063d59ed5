//! Assigning a user to a slot: the request, its outcomes, and the port. The database decides, in
//! one round trip.

use std::fmt;

use async_trait::async_trait;
use jiff::SignedDuration;
use semver::Prerelease;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::db::DbError;
use crate::ids::{ClientSha, InstanceId, RegionName};

/// The commit hash that a developer's own build sends: it works with any current image.
pub const LOCAL_DEV: &str = "local_dev";

/// The longest user or session id, in characters. Identity providers stay within it (OpenID Connect
/// Core, section 2, limits `sub` to 255 ASCII characters). A limit is needed because both ids are
/// keys of an index.
pub const LONGEST_ID: usize = 255;

/// The text is not a user or session id.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("must be 1 to {LONGEST_ID} characters long, without control characters")]
pub struct BadId;

/// Control characters are rejected: PostgreSQL cannot store NUL, and a line break could forge a log
/// line.
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
            /// When `text` is empty, too long, or contains control characters.
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
    /// The user: the `sub` of a verified token, never a value that the client chose.
    UserId;
    /// One of the user's sessions, as named by the client. A repeated request of the same session
    /// gets the same slot.
    SessionId;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignRequest {
    pub user: UserId,
    pub session: SessionId,
    /// Nearest first, without duplicates.
    pub regions: Vec<RegionName>,
    pub client: ClientBuild,
    pub limits: SessionLimits,
}

/// Limits of a session beside those of its region: the lower one applies. None is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionLimits {
    /// The longest session, in seconds from the user's connection.
    pub max_session_seconds: Option<u32>,
    /// The longest time without activity of the user, in seconds.
    pub max_idle_seconds: Option<u32>,
}

/// Which images serve the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientBuild {
    /// Images that were built for the same commit.
    Sha(ClientSha),
    /// A region's current image, whatever commit it was built for.
    CurrentImage,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AssignOutcome {
    Assigned(Assignment),
    Refused {
        reason: AssignRefusal,
        /// Where no image serves the client: the version that clients of this environment should run, if the
        /// database has one.
        app: Option<AppVersion>,
        /// With [`AssignRefusal::UserAlreadyActive`]: the sessions that hold the user's slots.
        held: Vec<HeldSession>,
    },
}

/// A session that holds a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldSession {
    pub session_id: String,
    pub region: RegionName,
}

/// The outcome of ending a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// Nobody had connected: the slot is free, or the session is not in line any more.
    Ended,
    /// The agent of its instance is told, and ends it.
    Ending,
    /// The user has no such session, or it has ended.
    Unknown,
}

/// The slot that the user has now. It is released unless a connection claims it in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// A UUID; Whist's clients call it `mandelbox_id`.
    pub slot_id: String,
    pub ip: String,
    pub region: RegionName,
    pub instance_id: InstanceId,
    /// The user's session held this slot before the request.
    pub repeated: bool,
    /// The first of the requested regions that is enabled; none if they are all disabled by now.
    pub nearest: Option<RegionName>,
    /// How long the user was in the line before they got the slot. Zero if they were not.
    pub waited: SignedDuration,
}

/// Why no slot was assigned. Of several reasons the first in this order is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssignRefusal {
    /// The user holds the maximum number of slots.
    UserAlreadyActive,
    /// None of the requested regions exists and is enabled.
    RegionNotEnabled,
    /// None of the enabled regions serves any image, so that no client could be served: a fault of
    /// the service, not of the client.
    NoImageServed,
    /// None of the enabled regions serves the client's build.
    CommitHashMismatch,
    /// Regions serve the build, but have no free slot for the user, who is in their lines now.
    NoInstanceAvailable(InLine),
}

/// Where a user is in line: of their lines, the one in which they are expected to be served first.
///
/// A line has the users of a region and client build who were refused for lack of capacity and still
/// ask, in the order of their first refusals. A free slot goes to the first of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InLine {
    /// 1 is next. Exact up to 1000; 1001 stands for every place from there.
    pub place: u32,
    /// When a slot is expected to be free for the user, in seconds from now. None if that is unknown.
    pub estimate_seconds: Option<u32>,
    /// A user who does not ask for this many seconds has left the line.
    pub line_seconds: u32,
}

impl AssignRefusal {
    /// The name in the database and, except for [`Self::NoImageServed`], in answers to clients.
    pub fn name(self) -> &'static str {
        match self {
            Self::UserAlreadyActive => "USER_ALREADY_ACTIVE",
            Self::RegionNotEnabled => "REGION_NOT_ENABLED",
            Self::NoImageServed => "NO_IMAGE_SERVED",
            Self::CommitHashMismatch => "COMMIT_HASH_MISMATCH",
            Self::NoInstanceAvailable(_) => "NO_INSTANCE_AVAILABLE",
        }
    }

    /// Whether the service could not serve a request that it should have served.
    pub fn is_of_service(self) -> bool {
        matches!(self, Self::NoImageServed | Self::NoInstanceAvailable(_))
    }
}

/// The app version of an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppVersion {
    pub version: String,
    pub client_sha: ClientSha,
}

impl AppVersion {
    /// Whether `client` is an older version. Pre-releases are ordered as semantic versioning says:
    /// `1.2.0-rc.2` is older than `1.2.0-rc.10`, and both are older than `1.2.0`. None if one of the
    /// two does not begin with numbers and dots, or has a malformed suffix.
    pub fn is_newer_than(&self, client: &str) -> Option<bool> {
        Some(Version::parse(&self.version)? > Version::parse(client)?)
    }
}

/// A version in order of precedence. Unlike semantic versioning, it may have any count of numbers.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    /// Without zeros at the end: `1.2` equals `1.2.0`.
    numbers: Vec<u64>,
    pre_release: Prerelease,
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix('v').unwrap_or(text);
        // Build metadata has no precedence.
        let text = text.split_once('+').map_or(text, |(version, _)| version);
        let (core, pre_release) = text.split_once('-').unwrap_or((text, ""));
        let numbers: Option<Vec<u64>> = core.split('.').map(|part| part.parse().ok()).collect();
        let mut numbers = numbers?;
        while numbers.last() == Some(&0) {
            numbers.pop();
        }
        Some(Self {
            numbers,
            pre_release: Prerelease::new(pre_release).ok()?,
        })
    }
}

/// Assigns users to slots.
#[async_trait]
pub trait Assigner: Send + Sync {
    /// Assigns a slot, or says why there is none. The same user and session get the same slot
    /// again, so a request whose answer was lost can be repeated.
    ///
    /// # Errors
    /// When the database does not answer, or its answer is invalid. A slot may have been assigned
    /// anyway.
    async fn assign(&self, request: &AssignRequest) -> Result<AssignOutcome, DbError>;

    /// Ends a session of the user, and takes it out of the line. It may be repeated.
    ///
    /// # Errors
    /// When the database does not answer. The session may have been ended anyway.
    async fn end_session(&self, user: &UserId, session: &SessionId) -> Result<SessionEnd, DbError>;
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

    /// The example of semantic versioning 2.0.0, item 11, and numbers that differ in length.
    #[test]
    fn versions_are_ordered_as_semantic_versioning_says() {
        let ascending = [
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.0.1",
            "v1.1-rc.1",
            "1.1",
        ];
        for (i, older) in ascending.iter().enumerate() {
            for newer in &ascending[i + 1..] {
                assert_eq!(app(newer).is_newer_than(older), Some(true), "{newer}");
                assert_eq!(app(older).is_newer_than(newer), Some(false), "{older}");
            }
        }
    }

    #[test]
    fn build_metadata_is_not_compared() {
        assert_eq!(app("1.2.0+2").is_newer_than("1.2.0+1"), Some(false));
        assert_eq!(app("1.2.0+1-x").is_newer_than("1.2.0"), Some(false));
        assert_eq!(app("1.3.0+7").is_newer_than("1.2.0-rc.1"), Some(true));
    }

    #[test]
    fn malformed_version_is_not_compared() {
        for odd in [
            "",
            ".",
            "latest",
            "1..2",
            "1.x",
            "1.2.3-rc..1",
            "1.2.3-01",
            "99999999999999999999999",
        ] {
            assert_eq!(app("1.2.3").is_newer_than(odd), None, "{odd}");
            assert_eq!(app(odd).is_newer_than("1.2.3"), None, "{odd}");
        }
    }

    #[test]
    fn id_that_is_empty_too_long_or_has_control_characters_is_rejected() {
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
