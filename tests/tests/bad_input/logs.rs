//! The logs after all of this input.

use scaling_tests::deployed::Deployed;
use scaling_tests::logs::{Log, Secret, leaks_and_panics};

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
        "agent's token",
        "user data",
    ] {
        let known = secrets.iter().any(|secret| secret.what.contains(what));
        assert!(known, "no {what} is searched for");
    }
}
