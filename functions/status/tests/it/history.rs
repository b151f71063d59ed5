//! The history of sessions as CSV.

use jiff::{SignedDuration, Timestamp};
use shared::db::DbError;
use shared::usage::{EndReason, SessionRecord};
use status::auth::Access;
use testing::NOW;

use crate::support::{World, request};

const PAGE: usize = 2000;
const DAY: &str = "/history.csv?from=2026-01-01&to=2026-01-02";

/// The n-th session of the day.
fn session(n: i64) -> SessionRecord {
    let day: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let at = |seconds| day + SignedDuration::from_secs(n + seconds);
    SessionRecord {
        user: format!("user {n}"),
        session: "1".to_owned(),
        region: "us-east-1".into(),
        instance_id: "i-1".into(),
        image_id: "ami-1".into(),
        instance_type: Some("t3.large".to_owned()),
        slot_id: format!("00000000-0000-0000-0000-{n:012}"),
        requested_at: at(0),
        assigned_at: at(1),
        connected_at: Some(at(2)),
        running_at: None,
        ended_at: None,
        end_reason: None,
        end_detail: None,
        waited: SignedDuration::from_secs(1),
    }
}

#[tokio::test]
async fn sessions_of_a_time_are_rows_of_csv() {
    let world = World::decided(10);
    let ended = SessionRecord {
        user: "=HYPERLINK(\"http://evil\"),x".to_owned(),
        ended_at: Some(NOW),
        end_reason: Some(EndReason::Limit),
        end_detail: Some("IDLE".to_owned()),
        waited: SignedDuration::from_millis(1500),
        ..session(2)
    };
    let other_day = SessionRecord {
        assigned_at: "2026-01-02T00:00:00Z".parse().unwrap(),
        ..session(3)
    };
    world.usage.set([session(1), ended, other_day]);
    let answer = world.get(DAY).await;
    assert_eq!(answer.status, 200, "{answer:#?}");
    assert_eq!(
        answer.headers["content-type"],
        "text/csv; charset=utf-8; header=present"
    );
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.headers.get("link"), None);
    let lines: Vec<_> = answer.page.split("\r\n").collect();
    let expected = [
        "user_id,session_id,region,instance_id,image_id,instance_type,slot_id,requested_at,\
         assigned_at,connected_at,running_at,ended_at,end_reason,end_detail,waited_seconds",
        "user 1,1,us-east-1,i-1,ami-1,t3.large,00000000-0000-0000-0000-000000000001,\
         2026-01-01T00:00:01Z,2026-01-01T00:00:02Z,2026-01-01T00:00:03Z,,,,,1",
        &format!(
            "\"'=HYPERLINK(\"\"http://evil\"\"),x\",1,us-east-1,i-1,ami-1,t3.large,\
             00000000-0000-0000-0000-000000000002,2026-01-01T00:00:02Z,2026-01-01T00:00:03Z,\
             2026-01-01T00:00:04Z,,{NOW},LIMIT,IDLE,1.5"
        ),
        "",
    ];
    assert_eq!(lines, expected);
    let head = world.send(head(DAY)).await;
    assert_eq!((head.status, head.page.as_str()), (200, ""));
}

fn head(path: &str) -> serde_json::Value {
    let token = format!("Bearer {}", crate::support::TOKEN);
    request("HEAD", path, Some(&token))
}

#[tokio::test]
async fn link_leads_to_the_next_page_until_the_last() {
    let world = World::decided(10);
    let all = i64::try_from(2 * PAGE + 1).unwrap();
    world.usage.set((0..all).map(session));
    let (mut path, mut rows, mut pages) = (DAY.to_owned(), vec![], 0);
    loop {
        let answer = world.get(&path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:#?}");
        rows.extend(answer.page.lines().skip(1).map(str::to_owned));
        pages += 1;
        let Some(link) = answer.headers.get("link") else {
            break;
        };
        let link = link.to_str().unwrap();
        let next = link.strip_prefix('<').unwrap();
        let next = next.strip_suffix(">; rel=\"next\"").unwrap();
        path = format!("/{next}");
    }
    assert_eq!((pages, rows.len()), (3, 2 * PAGE + 1));
    rows.sort();
    rows.dedup();
    assert_eq!(rows.len(), 2 * PAGE + 1, "each once");
}

#[tokio::test]
async fn wrong_parameter_is_named_and_nothing_is_read() {
    let cases = [
        ("/history.csv", "`from`"),
        ("/history.csv?from=2026-01-01", "`to`"),
        ("/history.csv?from=soon&to=2026-01-01", "`from`"),
        ("/history.csv?from=2026-01-01&to=2026-01-40", "`to`"),
        (
            "/history.csv?from=2026-01-02&to=2026-01-01",
            "`from` must be before `to`",
        ),
        (
            "/history.csv?from=2026-01-01&to=2026-01-02&after=7",
            "`after`",
        ),
    ];
    for (path, named) in cases {
        let world = World::decided(10);
        let answer = world.get(path).await;
        assert_eq!(answer.status, 400, "{path}: {answer:#?}");
        let message = answer.body["message"].as_str().unwrap();
        assert!(message.contains(named), "{path}: {message}");
        assert_eq!(world.usage.calls(), 0);
    }
}

#[tokio::test]
async fn history_needs_the_token_even_if_the_rest_does_not() {
    let mut world = World::decided(10);
    let without = world.send(request("GET", DAY, None)).await;
    assert_eq!(without.status, 401, "{without:#?}");
    world.function.access = Access::Open;
    for event in [request("GET", DAY, None), head(DAY)] {
        let answer = world.send(event).await;
        assert_eq!(answer.status, 403, "{answer:#?}");
    }
    assert_eq!(world.usage.calls(), 0);
}

#[tokio::test]
async fn history_without_a_database_is_not_found() {
    let mut world = World::decided(10);
    world.function.usage = None;
    let answer = world.get(DAY).await;
    assert_eq!(answer.status, 404, "{answer:#?}");
}

#[tokio::test]
async fn unreadable_history_is_a_503_without_details() {
    let world = World::decided(10);
    world.usage.fail(DbError::Unavailable {
        operation: "read",
        reason: "hasura.internal refused".to_owned(),
    });
    let answer = world.get(DAY).await;
    assert_eq!(answer.status, 503, "{answer:#?}");
    assert!(!answer.page.contains("hasura"), "{answer:#?}");
}
