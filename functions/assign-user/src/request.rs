//! Parses request bodies. Errors name the field that is wrong.

use std::fmt;

use serde_json::{Map, Value};
use shared::assign::{AssignRequest, ClientBuild, LOCAL_DEV, SessionId, UserId};
use shared::ids::{ClientSha, RegionName};
use thiserror::Error;

/// AWS has fewer regions. Each region of a request costs the database a lookup.
const MOST_REGIONS: usize = 64;

/// In bytes. Region names and commit hashes are shorter.
const LONGEST_NAME: usize = 128;

/// The longest e-mail address (RFC 5321, section 4.5.3.1, as RFC 3696's erratum 1690 counts it).
const LONGEST_EMAIL: usize = 254;

const LONGEST_VERSION: usize = 64;

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
        let body = match serde_json::from_slice(body).map_err(BadBody::Json)? {
            Value::Object(body) => Fields(body),
            _ => return Err(BadBody::NotAnObject),
        };
        Ok(Self {
            session: body.session()?,
            regions: body.regions()?,
            client: body.client(local_dev)?,
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
        } = self;
        (
            AssignRequest {
                user,
                session,
                regions,
                client,
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

struct Fields(Map<String, Value>);

impl Fields {
    /// A field that is `null` counts as missing: some clients serialise missing values so.
    fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    fn required(&self, field: &'static str) -> Result<&Value, BadBody> {
        self.get(field).ok_or_else(|| bad(field, "is missing"))
    }

    fn session(&self) -> Result<SessionId, BadBody> {
        let field = "session_id";
        let text = match self.required(field)? {
            Value::String(text) => text.clone(),
            // Whist's clients send the time in milliseconds.
            Value::Number(number) if !number.is_f64() => number.to_string(),
            _ => return Err(bad(field, "must be an integer or a string")),
        };
        SessionId::parse(&text).map_err(|problem| bad(field, problem))
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
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(body: &Value) -> Result<AssignBody, BadBody> {
        AssignBody::parse(body.to_string().as_bytes(), LocalDev::Allowed)
    }

    fn good() -> Value {
        json!({
            "regions": ["us-east-1", "us-west-2"],
            "client_commit_hash": "3f1e9c",
            "user_email": "ada@example.com",
            "version": "3.1.0",
            "session_id": 1_660_000_000_000_u64,
        })
    }

    fn with(field: &str, value: Value) -> Value {
        let mut body = good();
        body[field] = value;
        body
    }

    #[track_caller]
    fn names_the_field(field: &str, body: &Value) {
        let error = parse(body).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("field `{field}` ")),
            "{error} for {body}"
        );
    }

    #[test]
    fn session_is_an_integer_or_a_string() {
        for (sent, kept) in [
            (json!(17), "17"),
            (json!("17"), "17"),
            (json!("a-b"), "a-b"),
        ] {
            assert_eq!(
                parse(&with("session_id", sent)).unwrap().session.as_str(),
                kept
            );
        }
        for bad in [
            json!(1.5),
            json!(1e300),
            json!(""),
            json!([]),
            json!({}),
            json!(true),
        ] {
            names_the_field("session_id", &with("session_id", bad));
        }
        names_the_field("session_id", &with("session_id", json!("x".repeat(256))));
    }

    #[test]
    fn missing_field_is_named() {
        for field in ["regions", "client_commit_hash", "session_id"] {
            names_the_field(field, &with(field, Value::Null));
            let mut body = good();
            body.as_object_mut().unwrap().remove(field);
            names_the_field(field, &body);
        }
    }

    #[test]
    fn regions_keep_their_order_without_duplicates() {
        let body = with("regions", json!(["b", "a", "b", "c", "a"]));
        let regions = parse(&body).unwrap().regions;
        assert_eq!(regions, ["b", "a", "c"].map(RegionName::from));
    }

    #[test]
    fn invalid_regions_are_rejected() {
        let too_many: Vec<String> = (0..65).map(|i| format!("r{i}")).collect();
        for bad in [
            json!([]),
            json!("us-east-1"),
            json!([1]),
            json!([""]),
            json!(["a\u{0}"]),
            json!({}),
            json!(too_many),
        ] {
            names_the_field("regions", &with("regions", bad));
        }
    }

    #[test]
    fn local_dev_means_the_current_image_only_outside_production() {
        let body = with("client_commit_hash", json!("local_dev")).to_string();
        let client = |local_dev| {
            AssignBody::parse(body.as_bytes(), local_dev)
                .unwrap()
                .client
        };
        assert_eq!(client(LocalDev::Allowed), ClientBuild::CurrentImage);
        assert_eq!(
            client(LocalDev::Refused),
            ClientBuild::Sha("local_dev".into())
        );
    }

    #[test]
    fn invalid_commit_hashes_are_rejected() {
        for bad in [
            json!(""),
            json!(7),
            json!("a\nb"),
            json!("x".repeat(129)),
            json!([]),
        ] {
            names_the_field("client_commit_hash", &with("client_commit_hash", bad));
        }
    }

    #[test]
    fn fields_for_logs_are_sanitised_and_optional() {
        let body = parse(&with("user_email", json!(" a\n\u{202e}b\"@x \u{0}"))).unwrap();
        assert_eq!(body.claims.email.as_deref(), Some("a??b\"@x ?"));
        let body = parse(&with("user_email", json!("e".repeat(10_000)))).unwrap();
        assert_eq!(
            body.claims.email.map(|email| email.len()),
            Some(LONGEST_EMAIL)
        );
        let body = parse(&with("version", Value::Null)).unwrap();
        assert_eq!(body.claims.version, None);
        names_the_field("version", &with("version", json!(3)));
        names_the_field("user_email", &with("user_email", json!({"a": 1})));
    }

    #[test]
    fn body_that_is_not_an_object_is_rejected_without_quoting_it() {
        let refused = |body: &[u8]| {
            AssignBody::parse(body, LocalDev::Allowed)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(refused(b""), "the body is empty: send a JSON object");
        assert_eq!(refused(b"[]"), "the body must be a JSON object");
        assert_eq!(refused(b"\"secret\""), "the body must be a JSON object");
        assert_eq!(
            refused(br#"{"regions": secret}"#),
            "the body is not valid JSON: expected value at line 1 column 13"
        );
        assert!(refused(b"\xff\xfe").contains("not valid JSON"));
        assert!(refused("[".repeat(60_000).as_bytes()).contains("recursion limit"));
    }
}
