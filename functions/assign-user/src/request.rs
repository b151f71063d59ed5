//! Parses request bodies. Errors name the field that is wrong.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use shared::assign::{
    AssignRequest, BadId, ClientBuild, LOCAL_DEV, SessionId, SessionLimits, UserId,
};
use shared::ids::{ClientSha, RegionName};
use thiserror::Error;

/// AWS has fewer regions. Each region of a request costs the database a lookup.
const MOST_REGIONS: usize = 64;

/// In bytes. Region names and commit hashes are shorter.
const LONGEST_NAME: usize = 128;

/// The longest e-mail address (RFC 5321, section 4.5.3.1, as RFC 3696's erratum 1690 counts it).
const LONGEST_EMAIL: usize = 254;

const LONGEST_VERSION: usize = 64;

/// In seconds. Gateways and clients that give up after 30 seconds get the answer.
pub(crate) const LONGEST_WAIT: u8 = 20;

/// A year, in seconds: a longer limit is none.
const LONGEST_LIMIT: u32 = 365 * 24 * 60 * 60;

/// The session that a path names: its last part, percent-encoded.
///
/// # Errors
/// When it cannot be a session's id.
pub fn session_of_path(part: &str) -> Result<SessionId, BadId> {
    let text = percent_decode_str(part).decode_utf8().map_err(|_| BadId)?;
    SessionId::parse(&text)
}

/// What is wrong with a body. Developers of clients read it.
#[derive(Debug, Error)]
pub enum BadBody {
    #[error("the body is empty: send a JSON object")]
    Empty,
    /// With the position only: serde_json does not quote the text at a syntax error.
    #[error("the body is not valid JSON: {0}")]
    Json(#[source] serde_json::Error),
    #[error("the body must be a JSON object")]
    NotAnObject,
    #[error("field `{field}` {problem}")]
    Field {
        field: &'static str,
        problem: String,
    },
}

/// A parsed request body.
#[derive(Debug, PartialEq, Eq)]
pub struct AssignBody {
    session: SessionId,
    regions: Vec<RegionName>,
    client: ClientBuild,
    claims: ClientClaims,
    limits: SessionLimits,
    /// How long the client waits for a slot, if there is none.
    pub wait: Duration,
}

/// What the client claims about itself, sanitised. It is only logged, and never trusted: every
/// client can claim any address.
#[derive(Debug, PartialEq, Eq)]
pub struct ClientClaims {
    pub email: Option<String>,
    pub version: Option<String>,
}

impl AssignBody {
    /// # Errors
    /// When the body is not a JSON object, or a field is missing or invalid.
    pub fn parse(body: &[u8], local_dev: LocalDev) -> Result<Self, BadBody> {
        if body.is_empty() {
            return Err(BadBody::Empty);
        }
        let fields = match serde_json::from_slice(body).map_err(BadBody::Json)? {
            Value::Object(fields) => fields,
            _ => return Err(BadBody::NotAnObject),
        };
        let body = Fields { fields, body };
        Ok(Self {
            session: body.session()?,
            regions: body.regions()?,
            client: body.client(local_dev)?,
            wait: body.wait()?,
            limits: SessionLimits {
                max_session_seconds: body.limit("max_session_seconds")?,
                max_idle_seconds: body.limit("max_idle_seconds")?,
            },
            claims: ClientClaims {
                email: body.for_logs("user_email", LONGEST_EMAIL)?,
                version: body.for_logs("version", LONGEST_VERSION)?,
            },
        })
    }

    /// The request of `user`, who comes from a verified token.
    pub fn into_request(self, user: UserId) -> (AssignRequest, ClientClaims) {
        let Self {
            session,
            regions,
            client,
            claims,
            limits,
            wait: _,
        } = self;
        (
            AssignRequest {
                user,
                session,
                regions,
                client,
                limits,
            },
            claims,
        )
    }
}

/// Whether the commit hash `local_dev` means the current image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalDev {
    /// Outside production.
    Allowed,
    /// In production, where it is a commit hash that no image has.
    Refused,
}

struct Fields<'b> {
    fields: Map<String, Value>,
    body: &'b [u8],
}

impl Fields<'_> {
    /// A field that is `null` counts as missing: some clients serialise missing values so.
    fn get(&self, field: &str) -> Option<&Value> {
        self.fields.get(field).filter(|value| !value.is_null())
    }

    fn required(&self, field: &'static str) -> Result<&Value, BadBody> {
        self.get(field).ok_or_else(|| bad(field, "is missing"))
    }

    fn session(&self) -> Result<SessionId, BadBody> {
        let field = "session_id";
        let text = match self.required(field)? {
            Value::String(text) => Some(text.clone()),
            // Whist's clients send the time in milliseconds.
            Value::Number(_) => self.number_text().filter(|text| is_whole(text)),
            _ => None,
        };
        let text = text.ok_or_else(|| {
            let must = "must be an integer without an exponent, or a string";
            bad(field, must)
        })?;
        SessionId::parse(&text).map_err(|problem| bad(field, problem))
    }

    /// The number in `session_id` as the client wrote it. A parsed one would have lost the digits of a
    /// large integer, so that two sessions could become one.
    fn number_text(&self) -> Option<String> {
        let fields: HashMap<String, &RawValue> = serde_json::from_slice(self.body).ok()?;
        Some(fields.get("session_id")?.get().to_owned())
    }

    fn regions(&self) -> Result<Vec<RegionName>, BadBody> {
        let field = "regions";
        let names = names(self.required(field)?).ok_or_else(|| {
            let must = format!("must be a list of 1 to {MOST_REGIONS} names, the nearest first");
            bad(field, must)
        })?;
        let mut regions: Vec<RegionName> = Vec::with_capacity(names.len());
        for name in names {
            if !regions.iter().any(|known| known.as_str() == name) {
                regions.push(RegionName::new(name));
            }
        }
        Ok(regions)
    }

    fn client(&self, local_dev: LocalDev) -> Result<ClientBuild, BadBody> {
        let field = "client_commit_hash";
        match self.required(field)?.as_str().filter(|hash| is_name(hash)) {
            Some(LOCAL_DEV) if local_dev == LocalDev::Allowed => Ok(ClientBuild::CurrentImage),
            Some(hash) => Ok(ClientBuild::Sha(ClientSha::new(hash))),
            None => {
                let must = format!(
                    "must be a string of 1 to {LONGEST_NAME} bytes, without control characters"
                );
                Err(bad(field, must))
            }
        }
    }

    fn wait(&self) -> Result<Duration, BadBody> {
        let field = "wait_seconds";
        let Some(value) = self.get(field) else {
            return Ok(Duration::ZERO);
        };
        value
            .as_u64()
            .filter(|seconds| *seconds <= LONGEST_WAIT.into())
            .map(Duration::from_secs)
            .ok_or_else(|| {
                bad(
                    field,
                    format!("must be an integer from 0 to {LONGEST_WAIT}"),
                )
            })
    }

    fn limit(&self, field: &'static str) -> Result<Option<u32>, BadBody> {
        let Some(value) = self.get(field) else {
            return Ok(None);
        };
        let seconds = value.as_u64().and_then(|seconds| seconds.try_into().ok());
        seconds
            .filter(|seconds| (1..=LONGEST_LIMIT).contains(seconds))
            .map(Some)
            .ok_or_else(|| {
                bad(
                    field,
                    format!("must be an integer from 1 to {LONGEST_LIMIT}"),
                )
            })
    }

    /// A field that is only logged. Only a wrong type is an error, because it shows a broken client.
    fn for_logs(&self, field: &'static str, longest: usize) -> Result<Option<String>, BadBody> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(sanitised(text, longest))),
            Some(_) => Err(bad(field, "must be a string")),
        }
    }
}

fn bad(field: &'static str, problem: impl fmt::Display) -> BadBody {
    BadBody::Field {
        field,
        problem: problem.to_string(),
    }
}

/// The regions' names; none if the list or a name is invalid.
fn names(regions: &Value) -> Option<Vec<&str>> {
    let names: Option<Vec<&str>> = regions
        .as_array()?
        .iter()
        .map(|name| name.as_str().filter(|name| is_name(name)))
        .collect();
    names.filter(|names| (1..=MOST_REGIONS).contains(&names.len()))
}

/// Whether a JSON number is an integer as most encoders write it: `17`, or `17.0` from those that
/// only have floating-point numbers. An exponent stands for digits that the encoder left out.
fn is_whole(number: &str) -> bool {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    digits.bytes().all(|digit| digit.is_ascii_digit())
        && fraction.bytes().all(|digit| digit == b'0')
}

/// No control characters: Postgres cannot store NUL, and a line break could forge a log line.
fn is_name(text: &str) -> bool {
    (1..=LONGEST_NAME).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// Replaces all but printable ASCII: other characters could break, hide or reorder a log line.
fn sanitised(text: &str, longest: usize) -> String {
    let printable = |c: char| {
        if c.is_ascii_graphic() || c == ' ' {
            c
        } else {
            '?'
        }
    };
    text.trim().chars().take(longest).map(printable).collect()
}

#[cfg(test)]
mod tests;
