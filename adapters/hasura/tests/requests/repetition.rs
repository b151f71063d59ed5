//! Which requests are sent once more.

use std::time::{Duration, Instant};

use shared::assign::{AssignOutcome, Assigner};
use shared::db::{DbError, Fence, InstanceDatabase, RegionDatabase};
use shared::model::DrainCause;

use crate::server::{Reply, Server, error, ok, regions, request};

/// Errors as Hasura answers them while PostgreSQL is in trouble.
fn transient() -> Vec<Reply> {
    let statement = |state: &str, message: &str| {
        format!(
            r#"{{"path": "$", "code": "unexpected", "internal": {{
                "arguments": ["(Oid 25,Just (\"a user's id\",Binary))"],
                "statement": "SELECT * FROM assign_slot($1)",
                "prepared": true,
                "error": {{"exec_status": "FatalError", "hint": null, "description": null,
                    "message": "{message}", "status_code": "{state}"}}}}}}"#
        )
    };
    let code = |code: &str| format!(r#"{{"path": "$", "code": "{code}"}}"#);
    vec![
        error("connection error", &code("postgres-error")),
        error(
            "connection error",
            r#"{"path": "$", "code": "postgres-error", "internal": "server closed the connection"}"#,
        ),
        error(
            "max connections reached on postgres",
            &code("postgres-max-connections-error"),
        ),
        error(
            "serialization failure due to concurrent update",
            &code("concurrent-update"),
        ),
        error("the database is busy", &code("busy")),
        // Hasura hides the cause.
        error("database query error", &code("unexpected")),
        error(
            "database query error",
            &statement("40P01", "deadlock detected"),
        ),
        error(
            "database query error",
            &statement("57014", "canceling statement due to statement timeout"),
        ),
        error(
            "database query error",
            &statement("25006", "cannot execute UPDATE in a read-only transaction"),
        ),
    ]
}

#[tokio::test]
async fn transient_error_of_postgresql_is_asked_once_more() {
    for reply in transient() {
        let server = Server::start([reply.clone(), regions(r#"{"name": "us-east-1"}"#)]).await;
        let names = server.database().regions().await;
        assert_eq!(names.unwrap().len(), 1, "{reply:?}");
        assert_eq!(server.seen().len(), 2, "{reply:?}");
    }
}

#[tokio::test]
async fn transient_error_that_stays_is_unavailable_after_two_requests() {
    for reply in transient() {
        let server = Server::start([reply.clone(), reply.clone()]).await;
        let error = server.database().regions().await.unwrap_err();
        assert!(
            matches!(error, DbError::Unavailable { .. }),
            "{reply:?}: {error}"
        );
        assert_eq!(server.seen().len(), 2, "{reply:?}");
    }
}

#[tokio::test]
async fn refusal_that_stays_true_is_not_repeated() {
    for extensions in [
        r#"{"path": "$", "code": "validation-failed"}"#,
        r#"{"path": "$", "code": "permission-error"}"#,
        r#"{"path": "$", "code": "constraint-violation"}"#,
        r#"{"path": "$", "code": "data-exception"}"#,
        r#"{"path": "$"}"#,
        // A function that a migration has not created yet.
        r#"{"path": "$", "code": "unexpected", "internal": {"error": {"status_code": "42883"}}}"#,
    ] {
        let server = Server::start([error("refused", extensions)]).await;
        let error = server.database().regions().await.unwrap_err();
        assert!(
            matches!(error, DbError::Refused { .. }),
            "{extensions}: {error}"
        );
        assert_eq!(server.seen().len(), 1, "{extensions}");
    }
}

#[tokio::test]
async fn dead_idle_connection_is_replaced_and_the_request_sent_again() {
    let names = r#"{"name": "us-east-1"}"#;
    let server = Server::start([regions(names), Reply::Close, regions(names)]).await;
    let database = server.database();
    database.regions().await.unwrap();
    // The server has given the kept connection up, as Hasura does after 30 seconds.
    assert_eq!(database.regions().await.unwrap().len(), 1);
    assert_eq!(server.seen(), [1, 1, 2]);
}

#[tokio::test]
async fn fenced_write_is_sent_again_because_it_is_idempotent() {
    let fence = Fence {
        region: "us-east-1".into(),
        version: 7,
    };
    let drained = r#"{"data": {"drain_instances": [{"id": "i-1", "outcome": "ALREADY"}]}}"#;
    let server = Server::start([Reply::Close, ok(drained)]).await;
    let drained = server
        .database()
        .drain(&fence, &["i-1".into()], DrainCause::Surplus)
        .await;
    assert!(drained.unwrap()[0].outcome.holds());
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn pass_waits_once_for_an_answer_and_a_user_twice() {
    let timeout = Duration::from_secs(3);
    let server = Server::start([Reply::Never]).await;
    let database = server.database_within(timeout);
    let started = Instant::now();
    let error = database.regions().await.unwrap_err();
    assert!(matches!(error, DbError::Unavailable { .. }), "{error}");
    assert!(
        started.elapsed() < 2 * timeout,
        "more than the limit of one request: {:?}",
        started.elapsed()
    );
    assert_eq!(server.seen().len(), 1);

    let refused = r#"{"data": {"assign_slot": [{"outcome": "REGION_NOT_ENABLED", "slot_id": null,
        "ip_addr": null, "region": null, "instance_id": null, "app_version": null,
        "app_client_sha": null}]}}"#;
    let server = Server::start([Reply::Never, ok(refused)]).await;
    let outcome = server.assigner(timeout).assign(&request()).await.unwrap();
    assert!(
        matches!(outcome, AssignOutcome::Refused { .. }),
        "{outcome:?}"
    );
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn server_error_is_asked_once_more_and_a_client_error_is_not() {
    for (status, requests) in [(500, 2), (502, 2), (503, 2), (429, 2), (404, 1), (403, 1)] {
        let reply = Reply::Answer(status, String::new());
        let server = Server::start([reply.clone(), reply]).await;
        let error = server.database().regions().await.unwrap_err();
        assert!(error.to_string().contains(&status.to_string()), "{error}");
        assert_eq!(server.seen().len(), requests, "{status}");
    }
}
