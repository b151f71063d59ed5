//! Every sample event of this function in `events/`, with its answer.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{Token, World};

const PLACEHOLDER: &str = "Bearer REPLACE_WITH_A_TOKEN";

fn samples(folder: &str) -> BTreeMap<String, Value> {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(folder);
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| {
            let name = path
                .file_name()?
                .to_str()?
                .strip_suffix(".json")?
                .to_owned();
            name.starts_with("assign-user").then_some((name, path))
        })
        .map(|(name, path)| {
            let text = fs::read_to_string(&path).unwrap();
            (name, serde_json::from_str(&text).unwrap())
        })
        .collect()
}

/// The answer to each sample, with a real token in place of the placeholder.
async fn answers(folder: &str) -> BTreeMap<String, String> {
    let world = World::new().await;
    let token = format!("Bearer {}", Token::of("auth0|ada").rs256());
    let mut answers = BTreeMap::new();
    for (name, mut event) in samples(folder) {
        if event["headers"]["authorization"] == PLACEHOLDER {
            event["headers"]["authorization"] = json!(token);
        }
        let answer = world.send_event(event).await;
        let text = |field: &str| answer.body[field].as_str().unwrap_or_default().to_owned();
        let line = format!("{} {} {}", answer.status, text("error"), text("message"));
        testing::assert_plain(&line);
        answers.insert(name, line.trim().to_owned());
    }
    answers
}

fn expected(lines: &[(&str, &str)]) -> BTreeMap<String, String> {
    lines
        .iter()
        .map(|(name, line)| ((*name).to_owned(), (*line).to_owned()))
        .collect()
}

#[tokio::test]
async fn samples_are_answered() {
    let expected = expected(&[
        ("assign-user", "200"),
        ("assign-user-base64", "200"),
        ("assign-user-local-dev", "200"),
        ("assign-user-preflight", "204"),
        ("assign-user-wait", "200"),
    ]);
    assert_eq!(answers("events").await, expected);
}

#[tokio::test]
async fn malformed_samples_are_rejected_with_a_reason() {
    let expected = expected(&[
        (
            "assign-user-body-empty",
            "400 BAD_REQUEST the body is empty: send a JSON object",
        ),
        (
            "assign-user-body-not-an-object",
            "400 BAD_REQUEST the body must be a JSON object",
        ),
        (
            "assign-user-body-not-base64",
            "400 BAD_REQUEST the body is marked as base64, but is not valid base64",
        ),
        (
            "assign-user-body-not-json",
            "400 BAD_REQUEST the body is not valid JSON: \
             EOF while parsing a list at line 1 column 24",
        ),
        (
            "assign-user-commit-hash-not-a-string",
            "400 BAD_REQUEST field `client_commit_hash` must be a string of 1 to 128 bytes, \
             without control characters",
        ),
        (
            "assign-user-email-not-a-string",
            "400 BAD_REQUEST field `user_email` must be a string",
        ),
        (
            "assign-user-headers-a-list",
            "400 BAD_REQUEST this is not an event of a Lambda function URL (payload version 2.0): \
             invalid type: sequence, expected an object",
        ),
        (
            "assign-user-method-get",
            "405 METHOD_NOT_ALLOWED the method must be one of POST, OPTIONS",
        ),
        (
            "assign-user-path-unknown",
            "404 NOT_FOUND there is nothing at this path: send POST to /mandelbox/assign, \
             or DELETE with a session after it",
        ),
        (
            "assign-user-regions-missing",
            "400 BAD_REQUEST field `regions` is missing",
        ),
        (
            "assign-user-regions-not-a-list",
            "400 BAD_REQUEST field `regions` must be a list of 1 to 64 names, \
             the nearest first",
        ),
        (
            "assign-user-schedule-event",
            "400 BAD_REQUEST this is not an event of a Lambda function URL (payload version 2.0): \
             missing field `requestContext`",
        ),
        (
            "assign-user-session-a-fraction",
            "400 BAD_REQUEST field `session_id` must be an integer without an exponent, or a string",
        ),
        (
            "assign-user-session-missing",
            "400 BAD_REQUEST field `session_id` is missing",
        ),
        (
            "assign-user-token-alg-none",
            "401 UNAUTHORIZED the token is not a JSON Web Token that is signed with RS256 or ES256",
        ),
        (
            "assign-user-token-missing",
            "401 UNAUTHORIZED send a token: `Authorization: Bearer <JWT>`",
        ),
        (
            "assign-user-wait-too-long",
            "400 BAD_REQUEST field `wait_seconds` must be an integer from 0 to 20",
        ),
    ]);
    assert_eq!(answers("events/malformed").await, expected);
}
