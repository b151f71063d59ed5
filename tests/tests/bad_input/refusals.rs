//! The four refusals, their precedence, and how the log distinguishes them.

use local_stack::seed::CLIENT_SHA;
use reqwest::Method;
use scaling_tests::deployed::{Deployed, SOON};
use scaling_tests::wait::eventually;
use serde_json::json;

use crate::{SOUND, ask, ask_with, assert_refused};
use scaling_tests::region::Region;

/// A disabled region without an image or an instance, in which no pass runs.
const CLOSED: &str = "us-west-1";
const NOWHERE: &str = "atlantis-1";
const OTHER_SHA: &str = "0000000";

pub(crate) async fn refusals_come_in_their_precedence(deployed: &Deployed) {
    let closed = Region {
        deployed,
        name: CLOSED,
    };
    closed
        .insert(json!({"enabled": false, "launch_choices": []}))
        .await;
    for session in 1..=3 {
        let answer = deployed.assign("greedy", &ask(session)).await;
        assert_eq!(answer.status, 200, "{answer:#?}");
    }
    assert_eq!(deployed.free().await, 0);

    // When several apply, the first in the precedence is answered.
    let refused = [
        ("greedy", [SOUND, SOUND], CLIENT_SHA, "USER_ALREADY_ACTIVE"),
        (
            "greedy",
            [NOWHERE, CLOSED],
            OTHER_SHA,
            "USER_ALREADY_ACTIVE",
        ),
        (
            "modest",
            [NOWHERE, NOWHERE],
            CLIENT_SHA,
            "REGION_NOT_ENABLED",
        ),
        ("modest", [CLOSED, NOWHERE], OTHER_SHA, "REGION_NOT_ENABLED"),
        ("modest", [CLOSED, SOUND], OTHER_SHA, "COMMIT_HASH_MISMATCH"),
        (
            "modest",
            [NOWHERE, SOUND],
            CLIENT_SHA,
            "NO_INSTANCE_AVAILABLE",
        ),
    ];
    for (user, regions, sha, error) in refused {
        let mut body = ask(4);
        body["regions"] = json!(regions);
        body["client_commit_hash"] = json!(sha);
        let answer = deployed.assign(user, &body).await;
        assert_refused(error, &answer, 503, error, "");
    }

    // A user who retries with another session waits once.
    for session in 5..=15 {
        deployed.assign("impatient", &ask(session)).await;
    }
    // No assigned slot is lost by any of this, and a waiting user is served in the end.
    let again = deployed.assign("greedy", &ask(1)).await;
    assert_eq!(again.status, 200, "{again:#?}");
    let report = deployed.reconcile().await;
    let figures = &report["regions"][0]["plan"]["figures"];
    assert_eq!(figures["waiting"], 2, "{report:#}");
    let free = async || deployed.free().await;
    eventually("free slots", SOON, free, |free| *free > 0).await;
    let mut asked_again = ask(4);
    asked_again["regions"] = json!([NOWHERE, SOUND]);
    let answer = deployed.assign("modest", &asked_again).await;
    assert_eq!(answer.status, 200, "{answer:#?}");
    let waiting = "SELECT count(*) FROM waiting_users WHERE user_id = 'modest'";
    assert_eq!(deployed.count(waiting).await, 0, "and does not wait");
}

pub(crate) async fn log_distinguishes_refusals(deployed: &Deployed) {
    for version in ["0.9.9", "1.0.0"] {
        let mut body = ask_with("client_commit_hash", OTHER_SHA);
        body["version"] = json!(version);
        body["user_email"] = json!("x@example.com\n{\"level\":\"FORGED\"}\u{202e}");
        let answer = deployed.assign("outdated", &body).await;
        assert_refused(version, &answer, 503, "COMMIT_HASH_MISMATCH", "");
    }
    let function = &deployed.stack.env().assign_user_function;
    let log = async || {
        // The last lines may come with the next invocation: see `scaling_tests::logs`.
        deployed.request(Method::GET, "").send().await.expect("405");
        deployed.function_log(function).await.text
    };
    let text = eventually("the log", SOON, log, |text| {
        [
            "client is older than the app version",
            "no image serves this client, which is not known to be outdated",
        ]
        .iter()
        .all(|line| text.contains(line))
    })
    .await;
    // The regions before it have no row or are disabled: nobody could have been served there.
    assert!(!text.contains("outside of the user's nearest"), "{text}");
    let forged = text
        .lines()
        .any(|line| line.starts_with(r#"{"level":"FORGED""#));
    assert!(!forged, "an e-mail address has made a line of its own");
    assert!(!text.contains('\u{202e}'), "nor turns the text around");
}
