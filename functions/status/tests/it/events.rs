//! Every sample event of this function in `events/`, with its answer.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{TOKEN, World};

/// The answer to each sample, with the real token in place of the placeholder.
async fn answers(folder: &str) -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(folder);
    let mut answers = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if !name.starts_with("status") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let event: Value =
            serde_json::from_str(&text.replace("REPLACE_WITH_THE_STATUS_TOKEN", TOKEN)).unwrap();
        let answer = World::decided(10).send(event).await;
        let error = answer.body["error"].as_str().unwrap_or_default();
        let line = format!("{} {error}", answer.status);
        answers.insert(name, line.trim().to_owned());
    }
    answers
}

fn expected(lines: &[(&str, &str)]) -> BTreeMap<String, String> {
    let lines = lines.iter();
    lines
        .map(|(name, line)| ((*name).to_owned(), (*line).to_owned()))
        .collect()
}

#[tokio::test]
async fn samples_are_answered() {
    let expected = expected(&[
        ("status", "200"),
        ("status-decision", "200"),
        ("status-healthz", "200"),
        ("status-region", "200"),
    ]);
    assert_eq!(answers("events").await, expected);
}

#[tokio::test]
async fn malformed_samples_are_rejected() {
    let expected = expected(&[
        ("status-before-no-version", "400 BAD_REQUEST"),
        ("status-decision-unknown", "404 NOT_FOUND"),
        ("status-method-post", "405 METHOD_NOT_ALLOWED"),
        ("status-not-a-request", "400 BAD_REQUEST"),
        ("status-path-unknown", "404 NOT_FOUND"),
        ("status-region-unknown", "404 NOT_FOUND"),
        ("status-token-missing", "401 UNAUTHORIZED"),
        ("status-token-wrong", "401 UNAUTHORIZED"),
    ]);
    assert_eq!(answers("events/malformed").await, expected);
}
