//! Newtypes for every id, so that a launch id never lands where an instance id belongs.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! text_id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            pub fn new(value: impl Into<String>) -> Self {
                Self(value.into())
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

        impl From<&str> for $name {
            fn from(value: &str) -> Self {
                Self(value.to_owned())
            }
        }

        impl From<String> for $name {
            fn from(value: String) -> Self {
                Self(value)
            }
        }
    )*};
}

text_id! {
    /// The unit of scaling, of configuration and of locking: an AWS region's name.
    RegionName;
    /// EC2's id of one virtual machine, `i-…`.
    InstanceId;
    /// One launch intent; the tag `scaling:launch` carries it to every instance of the launch.
    LaunchId;
    /// What instances boot from, `ami-…`.
    ImageId;
    /// The build of the client that an image serves.
    ClientSha;
    /// EC2's id of one Elastic IP, `eipalloc-…`.
    AddressId;
    /// Who holds a lock: unique per attempt, never reused.
    Owner;
    /// The idempotency token of one `RunInstances` request: at most 64 ASCII characters.
    ClientToken;
}

impl RegionName {
    /// Whether a region could have this name: it becomes part of keys, hosts' names and log lines.
    pub fn is_plausible(&self) -> bool {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        (1..=64).contains(&self.0.len()) && self.0.bytes().all(fits)
    }
}

impl LaunchId {
    pub fn random() -> Self {
        Self(RandomIds.unique())
    }
}

impl Owner {
    pub fn random() -> Self {
        Self(RandomIds.unique())
    }
}

impl ClientToken {
    pub fn random() -> Self {
        Self(RandomIds.unique())
    }
}

/// Makes what must never repeat. A simulation brings its own, so that a run can be run again.
pub trait UniqueIds: Send + Sync + fmt::Debug {
    /// At most 64 ASCII characters.
    fn unique(&self) -> String;
}

/// Random, not derived from anything: a client token that could be computed again could be sent
/// again with other parameters.
#[derive(Clone, Copy, Debug)]
pub struct RandomIds;

impl UniqueIds for RandomIds {
    fn unique(&self) -> String {
        uuid::Uuid::new_v4().to_string()
    }
}
