//! Answers that no replica should give: each makes it unknown, and says what is wrong.

use scaling_tests::replica_server::Manner;

use crate::unknown;

#[tokio::test]
async fn what_is_no_json_object_is_no_answer() {
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
        let why = unknown(Manner::says(body)).await;
        assert!(why.contains(problem), "{body}: {why}");
    }
    let deep = "[".repeat(50_000);
    let why = unknown(Manner::says(&deep)).await;
    assert!(why.contains("not JSON"), "{why}");
}

#[tokio::test]
async fn a_field_that_is_missing_is_named() {
    for (body, field) in [
        ("{}", "termination"),
        (r#"{"capacity": 3}"#, "termination"),
        (r#"{"termination": false}"#, "capacity"),
        (r#"{"termination": false, "CAPACITY": 3}"#, "capacity"),
    ] {
        let why = unknown(Manner::says(body)).await;
        assert_eq!(why, format!("the answer has no field {field:?}"), "{body}");
    }
}

#[tokio::test]
async fn a_capacity_is_a_whole_number_from_0_on() {
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
        let why = unknown(Manner::says(&body)).await;
        assert!(why.contains(r#"field "capacity" is not"#), "{body}: {why}");
    }
}

#[tokio::test]
async fn a_termination_is_true_or_false() {
    for termination in ["\"true\"", "1", "0", "null", "{}", "\"\""] {
        let body = format!(r#"{{"termination": {termination}, "capacity": 3}}"#);
        let why = unknown(Manner::says(&body)).await;
        let expected = "the field \"termination\" is neither true nor false";
        assert_eq!(why, expected, "{body}");
    }
}

#[tokio::test]
async fn one_that_lies_about_one_thing_is_not_believed_in_the_other() {
    for body in [
        r#"{"termination": true, "capacity": -1}"#,
        r#"{"termination": true}"#,
        r#"{"termination": "yes", "capacity": "many"}"#,
    ] {
        unknown(Manner::says(body)).await;
    }
}
