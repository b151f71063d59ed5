//! The table, the topic, the functions' secrets, the key set, locks and passes.

use jiff::{SignedDuration, Timestamp};
use shared::doctor::Verdict::{Ok as Fine, Warning, Wrong};
use shared::doctor::facts::{Function, KeySet, Table, Topic};
use shared::doctor::judge;
use shared::doctor::ports::ProbeError;
use shared::function_token::TokenClaims;
use shared::history::{LockItem, RegionRecords};
use testing::NOW;

use crate::assert_check;

pub(crate) fn sound_table() -> Table {
    let key = |name: &str, part: &str| (name.to_owned(), part.to_owned(), "S".to_owned());
    Table {
        status: "ACTIVE".to_owned(),
        keys: vec![key("pk", "HASH"), key("sk", "RANGE")],
        ttl: Some("ttl".to_owned()),
    }
}

fn denied<T>() -> Result<T, ProbeError> {
    Err(ProbeError::Denied("AccessDenied".to_owned()))
}

#[test]
fn table_must_have_its_keys_and_its_time_to_live() {
    let with = |change: fn(&mut Table)| {
        let mut table = sound_table();
        change(&mut table);
        Ok(table)
    };
    for (table, verdict, says) in [
        (with(|_| {}), Fine, "are right"),
        (
            with(|it| it.keys.truncate(1)),
            Wrong,
            "its keys are pk HASH S",
        ),
        (with(|it| it.keys[1].2 = "N".into()), Wrong, "sk RANGE N"),
        (with(|it| it.ttl = None), Wrong, "AttributeName=ttl"),
        (
            with(|it| it.ttl = Some("expires".into())),
            Wrong,
            "`expires`",
        ),
        (with(|it| it.status = "DELETING".into()), Wrong, "DELETING"),
        (
            Err(ProbeError::Missing("no table".into())),
            Wrong,
            "no table",
        ),
        (denied(), Warning, "dynamodb:DescribeTimeToLive"),
    ] {
        assert_check(&judge::table(&table), verdict, says);
    }
}

#[test]
fn topic_must_exist_and_somebody_must_listen() {
    for (topic, verdict, says) in [
        (None, Warning, "AlertTopicArn"),
        (Some(Ok(Topic { subscribers: 1 })), Fine, "1 subscriptions"),
        (
            Some(Ok(Topic { subscribers: 0 })),
            Warning,
            "aws sns subscribe",
        ),
        (
            Some(Err(ProbeError::Missing("arn:… NotFound".into()))),
            Wrong,
            "AlertTopicArn",
        ),
        (Some(denied()), Warning, "sns:GetTopicAttributes"),
    ] {
        assert_check(&judge::alerts(topic.as_ref()), verdict, says);
    }
}

fn function(name: &str, version: Option<&str>) -> Function {
    Function {
        name: name.to_owned(),
        secret_version: version.map(str::to_owned),
    }
}

#[test]
fn functions_must_have_the_same_version_of_the_secret() {
    let both = |a, b| Ok(vec![function("assign-user", a), function("status", b)]);
    for (functions, verdict, says) in [
        (both(Some("v2"), Some("v2")), Fine, "all 2"),
        (both(Some("v2"), Some("v2")), Fine, "version v2"),
        (both(None, None), Fine, "no version"),
        (both(Some("v1"), Some("v2")), Wrong, "v1: assign-user"),
        (both(Some("v1"), Some("v2")), Wrong, "SecretVersion"),
        (both(Some("v1"), None), Wrong, "none: status"),
        (denied(), Warning, "lambda:ListTags"),
    ] {
        assert_check(&judge::functions(&functions), verdict, says);
    }
}

#[test]
fn token_must_be_of_the_functions_role_and_valid_for_weeks() {
    let ends_in = |days: i64| NOW + SignedDuration::from_hours(24 * days);
    let of = |role: &str, expires_at: Timestamp| TokenClaims {
        role: role.to_owned(),
        expires_at,
    };
    for (token, verdict, says) in [
        (Some(of("passes", ends_in(29))), Fine, "valid until"),
        (
            Some(of("passes", ends_in(27))),
            Warning,
            "The functions' tokens",
        ),
        (Some(of("passes", NOW)), Wrong, "ended at"),
        (
            Some(of("events", ends_in(300))),
            Wrong,
            "hasura_token_passes",
        ),
        (None, Wrong, "no token for Hasura"),
    ] {
        assert_check(&judge::tokens(token.as_ref(), NOW), verdict, says);
    }
}

#[test]
fn key_set_must_verify_tokens() {
    for (keys, verdict, says) in [
        (Some(Ok(KeySet::Usable)), Fine, "has keys"),
        (
            Some(Ok(KeySet::Unusable("it is HTML".into()))),
            Wrong,
            "jwks_uri",
        ),
        (
            Some(Err(ProbeError::Unavailable("refused".into()))),
            Wrong,
            "JwksUrl",
        ),
        (None, Warning, "JWKS_URL is not set"),
    ] {
        assert_check(&judge::keys(keys.as_ref()), verdict, says);
    }
}

const LEASE: SignedDuration = SignedDuration::from_secs(50);

fn held_until(expires_at: Timestamp) -> Result<RegionRecords, ProbeError> {
    let lock = LockItem {
        owner: "holder".into(),
        version: 7,
        since: None,
        expires_at,
    };
    Ok(RegionRecords {
        lock: Some(lock),
        ..RegionRecords::default()
    })
}

#[test]
fn lock_held_longer_than_any_lease_is_stuck() {
    let seconds = SignedDuration::from_secs;
    for (records, verdict, says) in [
        (Ok(RegionRecords::default()), Fine, "no pass has run"),
        (held_until(NOW - seconds(1)), Fine, "free, version 7"),
        (held_until(NOW + seconds(20)), Fine, "held by a pass"),
        // Clocks may differ by two seconds.
        (held_until(NOW + LEASE + seconds(2)), Fine, "held by a pass"),
        (
            held_until(NOW + LEASE + seconds(3)),
            Wrong,
            "Never delete the item",
        ),
        (denied(), Warning, "dynamodb:Query"),
    ] {
        assert_check(&judge::lock(&records, LEASE, NOW), verdict, says);
    }
}

#[test]
fn region_without_a_recent_decision_has_no_passes() {
    let ago = |seconds| Ok(Some(NOW - SignedDuration::from_secs(seconds)));
    for (decided, verdict, says) in [
        (ago(180), Fine, "newest decision"),
        (ago(181), Wrong, "ScheduleEnabled=true"),
        (Ok(None), Warning, "no pass has decided"),
        (denied(), Warning, "dynamodb:Query"),
    ] {
        assert_check(&judge::passes(&decided, NOW), verdict, says);
    }
}
