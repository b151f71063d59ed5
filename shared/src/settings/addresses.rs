//! `regions.address_source` and `regions.address_suffix`: the address that users get.

use std::net::IpAddr;

use serde_json::Value;

use super::columns::BadSetting;
use super::shapes;
use crate::words::quoted;

const SOURCE: &str = "address_source";
const SUFFIX: &str = "address_suffix";

/// Where the address comes from that users of a region get.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AddressSource {
    /// EC2: the private address.
    #[default]
    Private,
    /// EC2: the public address, an Elastic IP included.
    Public,
    /// A DNS name under this suffix, which the instance's agent reports. The database checks it.
    Reported { suffix: String },
}

impl AddressSource {
    /// # Errors
    /// Names the column, and what its value must be.
    pub(super) fn read(row: &Value) -> Result<Self, BadSetting> {
        let text = |column: &'static str| match row.get(column) {
            None | Some(Value::Null) => Ok(""),
            Some(Value::String(text)) => Ok(text.as_str()),
            Some(_) => Err(bad(column, "must be a text".to_owned())),
        };
        let suffix = text(SUFFIX)?;
        // An empty text counts as not set: web forms leave one behind.
        if !suffix.is_empty() {
            shapes::dns_suffix(suffix).map_err(|problem| bad(SUFFIX, problem))?;
        }
        match text(SOURCE)? {
            "private" => Ok(Self::Private),
            "public" => Ok(Self::Public),
            "reported" if suffix.is_empty() => Err(bad(
                SOURCE,
                "\"reported\" needs address_suffix, such as sandbox.example.com".to_owned(),
            )),
            "reported" => Ok(Self::Reported {
                suffix: suffix.to_owned(),
            }),
            other => Err(bad(
                SOURCE,
                format!(
                    "{} must be private, public or reported",
                    quoted(&shapes::shortened(other))
                ),
            )),
        }
    }

    /// The one of EC2's addresses that users get; none if EC2 has not given it, or if agents report
    /// names.
    pub fn of(&self, private: Option<IpAddr>, public: Option<IpAddr>) -> Option<IpAddr> {
        match self {
            Self::Private => private,
            Self::Public => public,
            Self::Reported { .. } => None,
        }
    }
}

fn bad(column: &'static str, problem: String) -> BadSetting {
    BadSetting { column, problem }
}
