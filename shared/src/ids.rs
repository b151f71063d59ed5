//! A newtype for every id, so that a launch id cannot be passed as an instance id.
//!
//! Ids are shared, not copied: a pass holds each of them in several places, and a large region has
//! many.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! text_id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        // By hand: serde derives it for shared texts only with a feature of its own.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(Self::from)
            }
        }

        impl $name {
            pub fn new(value: impl Into<String>) -> Self {
                Self(value.into().into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
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
                Self(value.into())
            }
        }

        impl From<String> for $name {
            fn from(value: String) -> Self {
                Self(value.into())
            }
        }
    )*};
}

text_id! {
    /// The unit of scaling, of configuration and of locking: an AWS region's name.
    RegionName;
    /// EC2's id of one virtual machine, `i-…`.
    InstanceId;
    /// One launch intent. Every instance of the launch has it as the tag `scaling:launch`.
    LaunchId;
    /// EC2's id of the image that instances boot from, `ami-…`.
    ImageId;
    /// The commit that a user's client was built from. An image serves clients of one commit.
    ClientSha;
    /// EC2's id of one Elastic IP, `eipalloc-…`.
    AddressId;
    /// The holder of a lock: unique per attempt to acquire it, never reused.
    Owner;
    /// The idempotency token of one `RunInstances` request: at most 64 ASCII characters.
    ClientToken;
    /// The fingerprint of a key that signs host agents' tokens.
    KeyId;
    /// One token among those of an instance: its claim `x-hasura-token-id`.
    TokenId;
}

impl RegionName {
    /// Whether this could be an AWS region's name. It becomes part of keys, host names and log
    /// lines.
    pub fn is_plausible(&self) -> bool {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        (1..=64).contains(&self.0.len()) && self.0.bytes().all(fits)
    }
}

impl LaunchId {
    pub fn random() -> Self {
        Self(RandomIds.unique().into())
    }
}

impl Owner {
    pub fn random() -> Self {
        Self(RandomIds.unique().into())
    }
}

impl ClientToken {
    pub fn random() -> Self {
        Self(RandomIds.unique().into())
    }
}

/// Generates unique ids. The simulation has its own generator, so that runs are reproducible.
pub trait UniqueIds: Send + Sync + fmt::Debug {
    /// At most 64 ASCII characters.
    fn unique(&self) -> String;
}

/// Random UUIDs. A client token must not be derived from anything: one that could be computed again
/// could be sent again with other parameters.
#[derive(Clone, Copy, Debug)]
pub struct RandomIds;

impl UniqueIds for RandomIds {
    fn unique(&self) -> String {
        uuid::Uuid::new_v4().to_string()
    }
}
