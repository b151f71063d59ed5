//! The logs after all of this input.

use local_stack::token::Token;
use reqwest::Method;
use scaling_tests::deployed::{Answer, Deployed, SOON};
use scaling_tests::logs::{Log, Secret, leaks_and_panics};
use scaling_tests::wait::eventually;
use shared::words::is_hidden;

use crate::ask_with;

/// Characters of a user's texts that reorder, hide or end what is beside them.
pub(crate) async fn hidden_characters_are_visible(deployed: &Deployed) {
    let evil = "\u{202e}\u{2066}\u{200b}\u{2028}\u{2029}\u{e0041}\u{ad}";
    let token = deployed.sign(&Token::new(&format!("user{evil}")));
    let mut body = ask_with("session_id", format!("session{evil}"));
    // Of no region: it takes no slot.
    body["regions"] = serde_json::json!(["xx-none-1"]);
    body["user_email"] = format!("email{evil}").into();
    let assign = async || {
        let request = deployed.request(Method::POST, "mandelbox/assign");
        let answer = Answer::of(request.bearer_auth(&token).json(&body)).await;
        assert_eq!(answer.status, 503, "{answer:#?}");
        let function = &deployed.stack.env().assign_user_function;
        deployed.function_log(function).await.text
    };
    let shown = r"session\\u{202e}\\u{2066}\\u{200b}\\u{2028}\\u{2029}\\u{e0041}\\u{ad}";
    let log = eventually("the refusal in the log", SOON, assign, |log: &String| {
        log.contains(shown)
    })
    .await;
    assert!(log.contains(&shown.replace("session", "user")), "{log}");
    // Lambda's own lines have tabs.
    let hidden = log
        .chars()
        .find(|c| is_hidden(*c) && !['\n', '\t'].contains(c));
    assert_eq!(hidden, None);
}

pub(crate) async fn assert_no_secret_and_no_panic(deployed: &Deployed) {
    let (logs, secrets) = (deployed.logs().await, deployed.secrets().await);
    assert_logs_are_complete(&logs, &secrets);
    let found = leaks_and_panics(&logs, &secrets);
    assert!(found.is_empty(), "{found:#?}");
}

/// A search in the wrong place would find nothing either.
fn assert_logs_are_complete(logs: &[Log], secrets: &[Secret]) {
    let logged = |name: &str, text: &str| {
        let mut logs = logs.iter().filter(|log| log.name.contains(name));
        assert!(logs.any(|log| log.text.contains(text)), "{name}: {text}");
    };
    logged("-assign-user", r#""user":"greedy""#);
    logged("-assign-user", r#""error":"UNAUTHORIZED""#);
    logged("-reconcile", "`launch_choices`");
    logged("ministack.log", "`launch_choices`");
    logged("agents/i-", "registered");
    logged("postgres.log", "regions_target_free_not_negative");
    for what in [
        "admin secret",
        "JWT key",
        "user's token",
        "the token of",
        "agent's token",
        "user data",
    ] {
        let known = secrets.iter().any(|secret| secret.what.contains(what));
        assert!(known, "no {what} is searched for");
    }
}
