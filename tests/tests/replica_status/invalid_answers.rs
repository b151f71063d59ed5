//! Invalid answers: each makes the replica unknown_reason, with the reason.

use scaling_tests::replica_server::Behavior;

use crate::unknown_reason;
use crate::valid_answers::{gzip, in_coding};

#[tokio::test]
async fn body_that_is_not_a_json_object_is_rejected() {
    for (body, problem) in [
        ("", "not JSON"),
        ("healthy", "not JSON"),
        (r#"{"termination": false, "capacity": 3"#, "not JSON"),
        (r#"{"termination": false, "capacity": 3} {}"#, "not JSON"),
        ("null", "not a JSON object"),
        ("3", "not a JSON object"),
        (
            r#"[{"termination": false, "capacity": 3}]"#,
            "not a JSON object",
        ),
    ] {
        let why = unknown_reason(Behavior::with_body(body)).await;
        assert!(why.contains(problem), "{body}: {why}");
    }
    let deep = "[".repeat(50_000);
    let why = unknown_reason(Behavior::with_body(&deep)).await;
    assert!(why.contains("not JSON"), "{why}");
}

#[tokio::test]
async fn missing_field_is_named() {
    for (body, field) in [
        ("{}", "termination"),
        (r#"{"capacity": 3}"#, "termination"),
        (r#"{"termination": false}"#, "capacity"),
        (r#"{"termination": false, "CAPACITY": 3}"#, "capacity"),
    ] {
        let why = unknown_reason(Behavior::with_body(body)).await;
        assert_eq!(why, format!("the answer has no field `{field}`"), "{body}");
    }
}

#[tokio::test]
async fn capacity_that_is_not_a_natural_number_is_rejected() {
    for capacity in [
        "-1",
        "1.5",
        "3.0",
        "3e0",
        "\"3\"",
        "null",
        "true",
        "[3]",
        "4294967296",
        "99999999999999999999999999",
    ] {
        let body = format!(r#"{{"termination": false, "capacity": {capacity}}}"#);
        let why = unknown_reason(Behavior::with_body(&body)).await;
        assert!(why.contains("field `capacity` is not"), "{body}: {why}");
    }
}

#[tokio::test]
async fn termination_that_is_not_a_boolean_is_rejected() {
    for termination in ["\"true\"", "1", "0", "null", "{}", "\"\""] {
        let body = format!(r#"{{"termination": {termination}, "capacity": 3}}"#);
        let why = unknown_reason(Behavior::with_body(&body)).await;
        let expected = "the field `termination` is neither true nor false";
        assert_eq!(why, expected, "{body}");
    }
}

#[tokio::test]
async fn one_invalid_field_invalidates_the_answer() {
    for body in [
        r#"{"termination": true, "capacity": -1}"#,
        r#"{"termination": true}"#,
        r#"{"termination": "yes", "capacity": "many"}"#,
    ] {
        unknown_reason(Behavior::with_body(body)).await;
    }
}

#[tokio::test]
async fn content_coding_that_cannot_be_decoded_is_named() {
    for (coding, body, words) in [
        ("br", &b"\x0b\x02\x80{}\x03"[..], "content coding `br`"),
        (
            "gzip",
            br#"{"termination": false, "capacity": 3}"#,
            "content coding is gzip",
        ),
        ("gzip, gzip", b"", "content coding `gzip, gzip`"),
    ] {
        let why = unknown_reason(in_coding(coding, body)).await;
        assert!(why.contains(words), "{coding}: {why}");
    }
}

/// A body that decodes to more than a status may have.
#[tokio::test]
async fn limit_holds_for_the_decoded_answer() {
    let body = gzip(
        &[
            &vec![b' '; 10_000_000][..],
            br#"{"termination": false, "capacity": 3}"#,
        ]
        .concat(),
    );
    assert!(body.len() < 64 * 1024);
    let why = unknown_reason(in_coding("gzip", &body)).await;
    assert!(why.contains("larger than 65536 bytes"), "{why}");
}
