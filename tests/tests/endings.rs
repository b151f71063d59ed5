//! Ends of sessions on the deployed stack: by the user, by a limit, and by the deadline of a drain. The
//! agent of the instance ends each of them, and the history says why.
#![allow(clippy::expect_used, reason = "helpers of tests fail like tests")]

use reqwest::Method;
use scaling_tests::deployed::{Answer, Deployed, SOON, client_request, set_fast_ec2};
use scaling_tests::wait::eventually;
use serde_json::json;

const REGION: &str = "us-east-1";

/// Longer than the test.
const HOUR: u64 = 3_600_000;

async fn end(deployed: &Deployed, user: &str, session: &str) -> Answer {
    let path = format!("mandelbox/assign/{session}");
    let request = deployed.request(Method::DELETE, &path);
    Answer::of(request.bearer_auth(deployed.token(user))).await
}

/// A user with a session that runs. Returns its instance.
async fn running(deployed: &Deployed, user: &str) -> String {
    let answer = deployed.assign(user, &client_request(REGION, 1)).await;
    assert_eq!(answer.status, 200, "{answer:#?}");
    let query = "SELECT instance_id FROM slots WHERE user_id = $1 AND status = 'RUNNING'";
    let rows = eventually(
        "a session that runs",
        SOON,
        async || deployed.sql.query(query, &[&user]).await.expect(query),
        |rows| rows.len() == 1,
    );
    rows.await[0].get(0)
}

/// Runs passes until the session has ended. Returns why.
async fn ended(deployed: &Deployed, user: &str) -> (String, Option<String>) {
    let query = "SELECT end_reason, end_detail FROM session_history WHERE user_id = $1";
    let rows = eventually(
        "a session in the history",
        SOON,
        async || {
            deployed.reconcile().await;
            deployed.sql.query(query, &[&user]).await.expect(query)
        },
        |rows| !rows.is_empty(),
    )
    .await;
    assert_eq!(rows.len(), 1, "{user}");
    (rows[0].get(0), rows[0].get(1))
}

async fn set(deployed: &Deployed, assignments: &str) {
    let sql = format!("UPDATE regions SET {assignments}");
    deployed.sql.batch_execute(&sql).await.expect(&sql);
}

#[tokio::test]
async fn sessions_end_by_users_limits_and_deadlines_of_drains() {
    let deployed = Deployed::start("endings", |options| {
        set_fast_ec2(options);
        options.ec2.agent_session_ms = Some(HOUR);
        options.ec2.agent_heartbeat_ms = Some(300);
        options.ec2.agent_poll_ms = Some(300);
    })
    .await;
    deployed.set_up(REGION, 4).await;
    set(&deployed, "quick_end_seconds = 0, end_warning_seconds = 1").await;
    deployed.reconcile().await;
    deployed.filled_to(4).await;

    // By the user, and nobody else.
    running(&deployed, "ann").await;
    for (user, session) in [("bob", "1"), ("ann", "2")] {
        let answer = end(&deployed, user, session).await;
        assert_eq!(answer.status, 404, "{user}, {session}: {answer:#?}");
    }
    let answer = end(&deployed, "ann", "1").await;
    assert_eq!(answer.status, 200, "{answer:#?}");
    let expected = json!({"session_id": "1", "state": "ending", "error": ""});
    assert_eq!(answer.body, expected);
    let by_user = ("USER".to_owned(), None);
    assert_eq!(ended(&deployed, "ann").await, by_user);
    assert_eq!(end(&deployed, "ann", "1").await.status, 404);

    // By a limit.
    running(&deployed, "cid").await;
    set(&deployed, "max_session_seconds = 1").await;
    let by_limit = ("LIMIT".to_owned(), Some("LONGEST".to_owned()));
    assert_eq!(ended(&deployed, "cid").await, by_limit);
    set(&deployed, "max_session_seconds = NULL").await;

    // By the deadline of an operator's drain. The instance leaves empty.
    let instance = running(&deployed, "dan").await;
    set(&deployed, "drain_deadline_seconds = 1").await;
    let drain = "UPDATE instances SET status = 'DRAINING' WHERE id = $1";
    let drained = deployed.sql.execute(drain, &[&instance]).await;
    assert_eq!(drained.expect(drain), 1);
    let by_drain = ("LIMIT".to_owned(), Some("DRAIN".to_owned()));
    assert_eq!(ended(&deployed, "dan").await, by_drain);
    let query = "SELECT end_reason FROM instance_history WHERE instance_id = $1";
    let rows = eventually(
        "an instance in the history",
        SOON,
        async || {
            deployed.reconcile().await;
            deployed.sql.query(query, &[&instance]).await.expect(query)
        },
        |rows| !rows.is_empty(),
    )
    .await;
    let reason: String = rows[0].get(0);
    assert_eq!(reason, "DRAINED");
}
