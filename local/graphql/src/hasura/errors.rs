//! Errors of PostgreSQL, as Hasura answers them (`Base/Error.hs`, `Execute/Types.hs`).
//!
//! postrust answers PostgreSQL's own message under `postgres-error`. Hasura answers that only for a
//! lost connection, and `unexpected` with the message `database query error` for every statement
//! that fails for a reason that is not the caller's. The cause is in `internal`, which is shown in
//! some modes only.

use serde_json::{Map, Value, json};

/// Whether the answer has `internal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Internal {
    Shown,
    Hidden,
}

/// Why PostgreSQL did not carry a request out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// What libpq says of the connection.
    Connection(String),
    /// A statement's error. The SQLSTATE is null where postrust hides it and the message is not one
    /// of those below.
    Statement {
        sqlstate: Option<&'static str>,
        message: String,
    },
}

impl Cause {
    pub(super) fn statement(sqlstate: &'static str, message: &str) -> Self {
        Self::Statement {
            sqlstate: Some(sqlstate),
            message: message.to_owned(),
        }
    }
}

/// PostgreSQL's messages, with their SQLSTATEs: postrust passes the message on only. A message is
/// compared by its beginning.
const STATEMENTS: [(&str, &str); 13] = [
    ("deadlock detected", "40P01"),
    ("could not serialize access", "40001"),
    ("canceling statement due to statement timeout", "57014"),
    ("canceling statement due to user request", "57014"),
    ("canceling statement due to lock timeout", "55P03"),
    ("could not obtain lock on row", "55P03"),
    ("cannot execute", "25006"),
    ("could not extend file", "53100"),
    ("out of memory", "53200"),
    ("out of shared memory", "53200"),
    ("invalid input syntax for type json", "22P02"),
    ("function ", "42883"),
    ("relation ", "42P01"),
];

/// Messages of PostgreSQL and of postrust's driver after which the connection is gone.
const CONNECTIONS: [&str; 11] = [
    "terminating connection",
    "the database system is",
    "sorry, too many clients already",
    "remaining connection slots are reserved",
    "too many connections for",
    "error communicating with database",
    "expected to read",
    "pool timed out",
    "attempted to acquire a connection on a closed pool",
    "Connection refused",
    "unexpected end of file",
];

/// Changes postrust's errors in an answer into Hasura's.
pub(super) fn translate(answer: &mut Value, internal: Internal) {
    let Some(Value::Array(errors)) = answer.get_mut("errors") else {
        return;
    };
    for error in errors {
        let message = error["message"].as_str().unwrap_or_default().to_owned();
        let path = error["extensions"]["path"]
            .as_str()
            .unwrap_or("$")
            .to_owned();
        let is_database_error = error["extensions"]["code"] == "postgres-error"
            && error["extensions"].get("internal").is_none();
        if is_database_error {
            let (message, extensions) = hasuras(&cause(&message), &path);
            *error = json!({"message": message, "extensions": extensions});
        } else if message.starts_with("Check constraint violation. ") {
            error["extensions"]["code"] = json!("permission-error");
        }
        if internal == Internal::Hidden
            && let Some(extensions) = error["extensions"].as_object_mut()
        {
            extensions.remove("internal");
        }
    }
}

/// The cause, by the message that postrust passes on.
fn cause(message: &str) -> Cause {
    if CONNECTIONS.iter().any(|text| message.contains(text)) {
        return Cause::Connection(format!("FATAL:  {message}\n"));
    }
    let known = STATEMENTS
        .iter()
        .find(|(beginning, _)| message.starts_with(beginning));
    Cause::Statement {
        sqlstate: known.map(|(_, sqlstate)| *sqlstate),
        message: message.to_owned(),
    }
}

/// Hasura's message and extensions for a cause.
pub(super) fn hasuras(cause: &Cause, path: &str) -> (&'static str, Value) {
    let (message, code, internal) = match cause {
        Cause::Connection(text) if text.contains("too many clients") => (
            "max connections reached on postgres",
            "postgres-max-connections-error",
            json!(text),
        ),
        Cause::Connection(text) => ("connection error", "postgres-error", json!(text)),
        Cause::Statement { sqlstate, message } => {
            let error = json!({
                "exec_status": "FatalError",
                "status_code": sqlstate,
                "message": message,
                "description": null,
                "hint": null,
            });
            let internal = json!({
                "statement": "",
                "prepared": true,
                "arguments": [],
                "error": error,
            });
            ("database query error", "unexpected", internal)
        }
    };
    let mut extensions = Map::new();
    extensions.insert("path".to_owned(), json!(path));
    extensions.insert("code".to_owned(), json!(code));
    extensions.insert("internal".to_owned(), internal);
    (message, Value::Object(extensions))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(message: &str, code: &str, internal: Internal) -> Value {
        let extensions = json!({"path": "$.selectionSet.begin_pass", "code": code});
        let mut answer = json!({"errors": [{"message": message, "extensions": extensions}]});
        translate(&mut answer, internal);
        answer["errors"][0].take()
    }

    #[test]
    fn error_of_a_statement_is_unexpected_and_its_cause_internal() {
        let error = translated("deadlock detected", "postgres-error", Internal::Shown);
        assert_eq!(error["message"], "database query error");
        let extensions = &error["extensions"];
        assert_eq!(extensions["code"], "unexpected");
        assert_eq!(extensions["path"], "$.selectionSet.begin_pass");
        assert_eq!(extensions["internal"]["error"]["status_code"], "40P01");
        assert_eq!(
            extensions["internal"]["error"]["message"],
            "deadlock detected"
        );
        let hidden = translated("deadlock detected", "postgres-error", Internal::Hidden);
        assert_eq!(hidden["extensions"].get("internal"), None);
        assert_eq!(hidden["extensions"]["code"], "unexpected");
    }

    #[test]
    fn lost_and_refused_connections_have_codes_of_their_own() {
        for (message, code) in [
            (
                "terminating connection due to administrator command",
                "postgres-error",
            ),
            (
                "error communicating with database: unexpected end of file",
                "postgres-error",
            ),
            (
                "pool timed out while waiting for an open connection",
                "postgres-error",
            ),
            (
                "sorry, too many clients already",
                "postgres-max-connections-error",
            ),
        ] {
            let error = translated(message, "postgres-error", Internal::Shown);
            assert_eq!(error["extensions"]["code"], code, "{message}");
            assert!(
                error["extensions"]["internal"].is_string(),
                "libpq has a text only"
            );
        }
    }

    #[test]
    fn refusals_of_the_caller_keep_their_codes() {
        for code in ["validation-failed", "access-denied", "data-exception"] {
            let error = translated("no", code, Internal::Shown);
            assert_eq!(error["extensions"]["code"], code);
            assert_eq!(error["message"], "no");
        }
        let error = translated(
            "Check constraint violation. new row for relation …",
            "constraint-violation",
            Internal::Shown,
        );
        assert_eq!(error["extensions"]["code"], "permission-error");
    }
}
