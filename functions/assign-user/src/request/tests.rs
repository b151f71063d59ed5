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

/// A body with this text in place of the session's id.
fn parse_session(session: &str) -> Result<String, BadBody> {
    let body = with("session_id", json!("SESSION")).to_string();
    let body = body.replace("\"SESSION\"", session);
    let body = AssignBody::parse(body.as_bytes(), LocalDev::Allowed)?;
    Ok(body.session.as_str().to_owned())
}

#[test]
fn session_is_the_text_of_an_integer_or_a_string() {
    let longest = "9".repeat(255);
    for number in [
        "17",
        "-17",
        "0",
        "1660000000000",
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775809",
        "123456789012345678901234567890123456789",
        "1.0",
        "1660000000000.000",
        longest.as_str(),
    ] {
        assert_eq!(parse_session(number).unwrap(), number);
        assert_eq!(parse_session(&format!(" {number}\n")).unwrap(), number);
    }
    for (sent, kept) in [(r#""17""#, "17"), (r#""a-b""#, "a-b"), (r#""\u0041""#, "A")] {
        assert_eq!(parse_session(sent).unwrap(), kept);
    }
    // With an escaped name, and the last of two values.
    let twice = r#"7, "session\u005fid": 18446744073709551616"#;
    assert_eq!(parse_session(twice).unwrap(), "18446744073709551616");
}

#[test]
fn other_sessions_are_rejected_with_what_is_accepted() {
    for bad in [
        "1.5",
        "1e300",
        "1E3",
        "1.660000000000e12",
        "[]",
        "{}",
        "true",
    ] {
        let error = parse_session(bad).unwrap_err().to_string();
        assert!(
            error.starts_with(
                "field `session_id` must be an integer without an exponent, or a string"
            ),
            "{bad}: {error}"
        );
    }
    for bad in [r#""""#, &"9".repeat(256), r#""a\u0000""#] {
        let error = parse_session(bad).unwrap_err().to_string();
        assert!(
            error.starts_with("field `session_id` must be 1 to 255 characters"),
            "{error}"
        );
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

#[test]
fn client_waits_for_0_to_20_seconds() {
    let wait = |value| parse(&with("wait_seconds", value)).map(|body| body.wait);
    for (value, seconds) in [
        (json!(null), 0),
        (json!(0), 0),
        (json!(1), 1),
        (json!(20), 20),
    ] {
        assert_eq!(wait(value).unwrap(), Duration::from_secs(seconds));
    }
    assert_eq!(parse(&good()).unwrap().wait, Duration::ZERO);
    for bad in [
        json!(21),
        json!(-1),
        json!(0.5),
        json!(1e300),
        json!("1"),
        json!(true),
        json!([1]),
        json!({}),
    ] {
        names_the_field("wait_seconds", &with("wait_seconds", bad));
    }
}
