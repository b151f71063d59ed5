//! Reads Hasura's answers.
//!
//! Hasura answers every error of a request with status 200, also when PostgreSQL is not reachable,
//! rolls back or is being replaced. Only the code in `extensions` tells these from a mistake of the
//! caller (Hasura's `Base/Error.hs`, `Backends/Postgres/Execute/Types.hs`).

use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use shared::function_token::{FunctionRole, TokenClaims};

use crate::failure::{Failure, Reach};

/// Codes of errors that pass: PostgreSQL or Hasura could not carry the request out just now.
const TRANSIENT_CODES: [&str; 8] = [
    // The connection was lost, or could not be had in time; or the commit failed.
    "postgres-error",
    "postgres-max-connections-error",
    // A transaction was rolled back for the sake of another.
    "concurrent-update",
    "connection-timeout-error",
    "connection-not-established",
    "timeout",
    "time-limit-exceeded",
    "busy",
];

/// The code of all errors that Hasura's authors did not expect, of which some pass. PostgreSQL's
/// code (SQLSTATE) says which, if Hasura shows it.
const UNEXPECTED: &str = "unexpected";

/// Classes of SQLSTATEs that pass, and single ones of other classes (PostgreSQL, appendix A).
const TRANSIENT_SQLSTATES: [&str; 7] = [
    "08",    // connection exceptions
    "25006", // read only: a standby that takes over
    "40",    // rollbacks: deadlocks, serialization failures
    "53",    // no memory, no connections, disk full
    "55P03", // a lock was not available in time
    "57",    // cancelled, shut down, starting up
    "58",    // errors of the operating system
];

/// Hasura's message for a document that is not in its allow list (`Execute.hs`).
pub(crate) const NOT_LISTED: &str = "query is not allowed";

/// The most characters of a message of Hasura or PostgreSQL in an error.
const LONGEST_MESSAGE: usize = 300;

/// The most characters of a body in the log.
const LONGEST_BODY: usize = 500;

/// An answer, and the request that it is to.
pub(crate) struct Answer<'a> {
    pub(crate) operation: &'static str,
    pub(crate) endpoint: &'a str,
    /// The function's token. An answer that repeats it is not shown with it.
    pub(crate) token: &'a str,
    pub(crate) status: StatusCode,
    pub(crate) body: &'a [u8],
}

/// An answer in GraphQL's format. Unlike in `graphql_client`'s, the extensions are not typed:
/// `internal` has an object or a text.
#[derive(Deserialize)]
struct Envelope<Data> {
    data: Option<Data>,
    errors: Option<Vec<GraphqlError>>,
}

#[derive(Deserialize)]
struct GraphqlError {
    message: String,
    #[serde(default)]
    extensions: Value,
}

/// The data of an answer.
///
/// # Errors
/// When the answer is not Hasura's, or an error.
pub(crate) fn read<Data: DeserializeOwned>(answer: &Answer<'_>) -> Result<Data, Failure> {
    let Answer {
        operation,
        endpoint,
        token,
        ..
    } = *answer;
    let lost = |reason| Failure::lost(operation, reason);
    let excerpt = || excerpt(&String::from_utf8_lossy(answer.body), token, LONGEST_BODY);
    if !answer.status.is_success() {
        let mut failure = lost(format!("{endpoint} answered {}", answer.status));
        if answer.status.is_client_error() && answer.status != StatusCode::TOO_MANY_REQUESTS {
            failure.reach = Reach::Settled;
        }
        return Err(failure.with_body(excerpt()));
    }
    let envelope: Envelope<Data> = serde_json::from_slice(answer.body).map_err(|error| {
        // A reader's error may quote a value.
        let place = format!("line {}, column {}", error.line(), error.column());
        let kind = match error.classify() {
            serde_json::error::Category::Data => "is not of the expected form",
            _ => "is not JSON",
        };
        lost(format!("the answer {kind}, {place}")).with_body(excerpt())
    })?;
    if let Some(error) = envelope.errors.into_iter().flatten().next() {
        return Err(refusal(operation, token, &error));
    }
    envelope
        .data
        .ok_or_else(|| lost("the answer has neither data nor errors".into()))
}

/// What an error of Hasura means.
fn refusal(operation: &'static str, token: &str, error: &GraphqlError) -> Failure {
    let code = error.extensions["code"].as_str().unwrap_or("no code");
    let cause = Cause::of(&error.extensions["internal"]);
    let passes = match cause.sqlstate {
        Some(state) if code == UNEXPECTED => {
            let passes = |class: &&str| state.starts_with(*class);
            TRANSIENT_SQLSTATES.iter().any(passes)
        }
        // Hasura hides the cause unless it runs in a mode for developers.
        None if code == UNEXPECTED => true,
        _ => TRANSIENT_CODES.contains(&code),
    };
    let mut message = excerpt(&error.message, token, LONGEST_MESSAGE);
    if let Some(text) = cause.message {
        let text = excerpt(text, token, LONGEST_MESSAGE);
        message = format!("{message}: {text}");
    }
    if let Some(state) = cause.sqlstate {
        message = format!("{message} (SQLSTATE {state})");
    }
    let code = excerpt(code, token, LONGEST_MESSAGE);
    if passes {
        Failure::lost(operation, format!("{message} ({code})"))
    } else {
        if let Some(remedy) = remedy(&code, &error.message, token) {
            message = format!("{message}: {remedy}");
        }
        Failure::refused(operation, code, message)
    }
}

/// What an operator has to correct after a refusal that is not the request's fault.
fn remedy(code: &str, message: &str, token: &str) -> Option<String> {
    match code {
        "invalid-jwt" | "access-denied" => {
            let claims = TokenClaims::of(token);
            let is_own =
                |role: &FunctionRole| claims.as_ref().is_some_and(|it| it.role == role.name());
            let role = FunctionRole::ALL.into_iter().find(is_own);
            let token = match role {
                Some(role) => format!(
                    "the token is the key `{}` of the stack's secret",
                    role.secret_key()
                ),
                None => "HASURA_TOKEN is not a token of a function's role".to_owned(),
            };
            Some(format!(
                "{token}: make new ones, see docs/operations.md, \"The functions' tokens\""
            ))
        }
        "validation-failed" if message == NOT_LISTED => Some(
            "the allow list is not this release's: `hasura metadata apply`, see docs/hasura.md, \
             \"The allow list\""
                .to_owned(),
        ),
        _ => None,
    }
}

/// PostgreSQL's part of an error, which Hasura shows in its mode for developers only.
/// `internal` also has the statement and its arguments, which are users' data: they are not read.
#[derive(Default)]
struct Cause<'a> {
    sqlstate: Option<&'a str>,
    message: Option<&'a str>,
}

impl<'a> Cause<'a> {
    fn of(internal: &'a Value) -> Self {
        // A lost connection is a text, an error of a statement an object.
        if let Some(text) = internal.as_str() {
            return Self {
                sqlstate: None,
                message: Some(text),
            };
        }
        let error = &internal["error"];
        Self {
            sqlstate: error["status_code"].as_str().filter(|state| {
                state.len() == 5 && state.bytes().all(|byte| byte.is_ascii_alphanumeric())
            }),
            message: error["message"].as_str().or_else(|| error.as_str()),
        }
    }
}

/// The beginning of a text that somebody else wrote, on one line and without the token.
fn excerpt(text: &str, token: &str, longest: usize) -> String {
    let text = match token {
        "" => text.to_owned(),
        token => text.replace(token, "(token)"),
    };
    let words: Vec<_> = text.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(longest) {
        None => line,
        Some((end, _)) => format!("{}…", &line[..end]),
    }
}
