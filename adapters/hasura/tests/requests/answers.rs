//! What an unusable answer says in the error and in the log, and what it does not.

use shared::db::{DbError, RegionDatabase};
use testing::Log;
use tracing::Level;

use crate::server::{Reply, Server, TOKEN, error};

#[tokio::test]
async fn body_of_a_500_is_logged_without_the_token_and_bounded() {
    let body = format!(
        "<html>\nupstream died, sent {TOKEN}\n{}",
        "x".repeat(10_000)
    );
    let reply = Reply::Answer(500, body);
    let log = Log::start(Level::INFO);
    let server = Server::start([reply.clone(), reply]).await;
    let error = server.database().regions().await.unwrap_err().to_string();
    assert!(error.contains("500"), "{error}");
    let text = log.text();
    assert!(
        text.contains("<html> upstream died, sent (token)"),
        "{text}"
    );
    assert!(!text.contains(TOKEN), "{text}");
    assert!(text.len() < 3_000, "{}", text.len());
}

#[tokio::test]
async fn answer_that_is_not_hasuras_is_logged() {
    let reply = Reply::Answer(200, "<html>maintenance</html>".to_owned());
    let log = Log::start(Level::INFO);
    let server = Server::start([reply.clone(), reply]).await;
    let error = server.database().regions().await.unwrap_err().to_string();
    assert!(error.contains("the answer is not JSON, line 1"), "{error}");
    assert!(
        log.text().contains("<html>maintenance</html>"),
        "{}",
        log.text()
    );
}

#[tokio::test]
async fn value_in_an_unexpected_answer_is_not_in_the_error() {
    let reply = Reply::Answer(200, r#"{"data": {"regions": "a user's id"}}"#.to_owned());
    let server = Server::start([reply.clone(), reply]).await;
    let error = server.database().regions().await.unwrap_err().to_string();
    assert!(error.contains("not of the expected form"), "{error}");
    assert!(!error.contains("a user's id"), "{error}");
}

#[tokio::test]
async fn postgresqls_code_and_message_are_in_the_error_and_arguments_are_not() {
    let extensions = format!(
        r#"{{"path": "$", "code": "unexpected", "internal": {{
            "statement": "SELECT secret_statement", "prepared": false,
            "arguments": ["(Oid 25,Just (\"argument\",Binary))"],
            "error": {{"exec_status": "FatalError", "status_code": "40P01", "hint": "hint",
                "description": "Key (user_id)=(argument)",
                "message": "deadlock detected {TOKEN} {}"}}}}}}"#,
        "y".repeat(5_000)
    );
    let log = Log::start(Level::INFO);
    let reply = error("database query error", &extensions);
    let server = Server::start([reply.clone(), reply]).await;
    let failed = server.database().regions().await.unwrap_err();
    let text = failed.to_string() + &log.text();
    for part in ["database query error: deadlock detected (token)", "40P01"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    for part in ["argument", "secret_statement", TOKEN] {
        assert!(!text.contains(part), "{part} is in {text}");
    }
    assert!(text.len() < 2_000, "{}", text.len());
}

#[tokio::test]
async fn lost_connection_of_hasura_is_told_as_hasura_tells_it() {
    let reply = error(
        "connection error",
        r#"{"path": "$", "code": "postgres-error",
            "internal": "server closed the connection unexpectedly\n\tThis probably means…\n"}"#,
    );
    let server = Server::start([reply.clone(), reply]).await;
    let error = server.database().regions().await.unwrap_err();
    assert!(matches!(error, DbError::Unavailable { .. }));
    let error = error.to_string();
    let expected = "connection error: server closed the connection unexpectedly This probably";
    assert!(error.contains(expected), "{error}");
    assert!(error.contains("postgres-error"), "{error}");
}

#[tokio::test]
async fn refused_token_names_the_key_of_the_secret_and_where_to_read() {
    let extensions = r#"{"path": "$", "code": "invalid-jwt"}"#;
    for (message, said) in [
        ("Could not verify JWT: JWTExpired", "JWTExpired"),
        (
            "Could not verify JWT: JWSError JWSInvalidSignature",
            "JWSInvalidSignature",
        ),
    ] {
        let server = Server::start([error(message, extensions)]).await;
        let refused = server.database().regions().await.unwrap_err();
        assert!(matches!(refused, DbError::Refused { .. }), "{refused:?}");
        let text = refused.to_string();
        for part in [
            said,
            "hasura_token_passes",
            "docs/operations.md",
            "The functions' tokens",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}

#[tokio::test]
async fn document_that_is_not_in_the_allow_list_says_what_to_apply() {
    let extensions = r#"{"path": "$", "code": "validation-failed"}"#;
    let server = Server::start([error("query is not allowed", extensions)]).await;
    let text = server.database().regions().await.unwrap_err().to_string();
    assert!(text.contains("hasura metadata apply"), "{text}");
}
