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
    /// Who holds a lock: unique per attempt, never reused.
    Owner;
    /// The idempotency token of one `RunInstances` request: at most 64 ASCII characters.
    ClientToken;
}

impl LaunchId {
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().to_string())
    }
}

impl Owner {
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().to_string())
    }
}

impl ClientToken {
    /// Random, not derived from the launch: a token that could be computed again could be
    /// sent again with other parameters.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().to_string())
    }
}
