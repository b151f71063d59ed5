//! Log lines, and what they must not contain.

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{ADMIN_SECRET, Reply, Request, Token, World};

/// Everything that is logged on this thread, at every level.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn start() -> (Self, DefaultGuard) {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(log.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    #[track_caller]
    fn says(&self, words: &[&str]) {
        let text = self.text();
        let found = text
            .lines()
            .any(|line| words.iter().all(|word| line.contains(word)));
        assert!(found, "no line with {words:?} in\n{text}");
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn slot_outside_of_the_nearest_region_is_logged() {
    let world = World::new().await;
    let (log, _guard) = Log::start();
    world.send(&Request::good()).await;
    assert!(!log.text().contains("outside of the user's nearest region"));
    world.hasura.then(Reply::assigned("us-west-2"));
    world.send(&Request::good()).await;
    log.says(&[
        "outside of the user's nearest region",
        "us-east-1",
        "us-west-2",
    ]);
}

#[tokio::test]
async fn outdated_client_is_distinguished_from_a_mismatch() {
    let world = World::new().await;
    for (version, level, words) in [
        (json!("3.0.9"), "INFO", "must be updated"),
        (json!("3.1.0"), "ERROR", "no image serves this client"),
        (json!("4"), "ERROR", "no image serves this client"),
        (json!("?"), "ERROR", "no image serves this client"),
        (json!(null), "ERROR", "no image serves this client"),
    ] {
        let (log, _guard) = Log::start();
        world.hasura.then(Reply::refused("COMMIT_HASH_MISMATCH"));
        world.send(&Request::good().field("version", version)).await;
        log.says(&[level, words]);
    }
}

#[tokio::test]
async fn claims_of_the_client_cannot_forge_a_log_line() {
    let world = World::new().await;
    let (log, _guard) = Log::start();
    let forged = "ada@example.com\n2026-11-20T10:00:00Z ERROR assign_user: all is lost";
    world
        .send(
            &Request::good()
                .field("user_email", forged)
                .field("version", "1\r\n2"),
        )
        .await;
    log.says(&["assigned", "claimed_email=\"ada@example.com?2026"]);
    assert!(
        !log.text()
            .lines()
            .any(|line| line.starts_with("2026-11-20T10:00:00Z ERROR"))
    );
}

#[tokio::test]
async fn secrets_and_tokens_are_not_logged() {
    let world = World::new().await;
    let (log, _guard) = Log::start();
    let good = Token::of("auth0|ada");
    let tokens = [
        good.rs256(),
        good.rs256_by_another(),
        good.clone().claim("exp", 1).rs256(),
        good.clone().claim("sub", "").rs256(),
        good.clone().header("alg", "none").rs256(),
        good.clone().header("kid", "unknown").rs256(),
    ];
    for token in &tokens {
        world.send_token(token).await;
    }
    world.hasura.then(Reply::Status(500, "broken".into()));
    world.hasura.then(Reply::Status(500, "broken".into()));
    world.send_token(&tokens[0]).await;
    world.provider.answers(500, "");

    let log = log.text();
    assert!(
        log.contains("assigned") && log.contains("assignment failed"),
        "{log}"
    );
    assert!(!log.contains(ADMIN_SECRET), "{log}");
    for part in tokens.iter().flat_map(|token| token.split('.')) {
        assert!(!log.contains(part), "`{part}` in\n{log}");
    }
}
