//! Users in line on the deployed stack, as their clients see it: places, when to ask again, and
//! requests that wait for a slot.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "helpers of tests fail like tests"
)]

use std::time::{Duration, Instant};

use scaling_tests::deployed::{Answer, Deployed, client_request, set_fast_ec2};
use scaling_tests::settings;
use serde_json::json;

const REGION: &str = "us-east-1";

/// Longer than the test: a user leaves the line only when the test says so, and nobody claims a slot
/// or ends a session.
const HOUR: u64 = 3_600_000;

/// A full region in which no pass runs: slots become free only by [`free_slot_of`].
async fn full() -> Deployed {
    let deployed = Deployed::start("line", |options| {
        set_fast_ec2(options);
        options.ec2.agent_connect_ms = Some(HOUR);
    })
    .await;
    deployed.set_up(REGION, 2).await;
    let sql = "UPDATE regions SET line_seconds = 300, claim_seconds = 3600";
    deployed.sql.batch_execute(sql).await.expect(sql);
    deployed.reconcile().await;
    deployed.filled_to(4).await;
    for holder in HOLDERS {
        let answer = ask(&deployed, holder).await;
        assert_eq!(answer.status, 200, "{answer:#?}");
    }
    deployed
}

const HOLDERS: [&str; 4] = ["holder-1", "holder-2", "holder-3", "holder-4"];

async fn ask(deployed: &Deployed, user: &str) -> Answer {
    deployed.assign(user, &client_request(REGION, 1)).await
}

/// Like [`ask`], with `wait_seconds`, and the time that the answer took.
async fn ask_waiting(deployed: &Deployed, user: &str, seconds: u64) -> (Answer, Duration) {
    let mut body = client_request(REGION, 1);
    body["wait_seconds"] = json!(seconds);
    let began = Instant::now();
    let answer = deployed.assign(user, &body).await;
    (answer, began.elapsed())
}

async fn free_slot_of(deployed: &Deployed, user: &str) {
    let sql = "UPDATE slots SET status = 'WAITING', user_id = NULL, session_id = NULL,
                   allocated_at = NULL, first_allocated_at = NULL, free_from = NULL
               WHERE user_id = $1";
    assert_eq!(deployed.sql.execute(sql, &[&user]).await.expect(sql), 1);
}

#[track_caller]
fn assert_place(answer: &Answer, place: u64) {
    let refusal = (
        answer.status,
        answer.body["error"].as_str(),
        answer.body["place"].as_u64(),
    );
    let expected = (503, Some("NO_INSTANCE_AVAILABLE"), Some(place));
    assert_eq!(refusal, expected, "{answer:#?}");
    let seconds = answer.body["retry_after_seconds"].as_u64();
    assert!(
        seconds.is_some_and(|seconds| (1..=2).contains(&seconds)),
        "{answer:#?}"
    );
    let header = answer.headers["retry-after"].to_str();
    assert_eq!(header.ok(), seconds.map(|s| s.to_string()).as_deref());
    let estimate = answer.body.get("estimate_seconds");
    assert!(
        estimate.is_some_and(|estimate| estimate.is_null() || estimate.as_u64() >= Some(1)),
        "{answer:#?}"
    );
}

#[tokio::test]
async fn users_in_line_are_served_in_their_order() {
    let deployed = full().await;
    for (user, place) in [("ann", 1), ("bob", 2), ("cid", 3), ("bob", 2), ("ann", 1)] {
        assert_place(&ask(&deployed, user).await, place);
    }

    free_slot_of(&deployed, HOLDERS[0]).await;
    // A newcomer, and those further back, ask before the first in line.
    assert_place(&ask(&deployed, "dan").await, 4);
    assert_place(&ask(&deployed, "bob").await, 2);
    let answer = ask(&deployed, "ann").await;
    assert_eq!(answer.status, 200, "{answer:#?}");
    for (user, place) in [("dan", 3), ("cid", 2), ("bob", 1)] {
        assert_place(&ask(&deployed, user).await, place);
    }
    let waited = "SELECT user_id FROM slots WHERE waited_seconds > 0";
    let waited = deployed.sql.query(waited, &[]).await.expect(waited);
    let waited: Vec<String> = waited.iter().map(|row| row.get(0)).collect();
    assert_eq!(waited, ["ann"]);

    waiting_user_is_answered_at_the_slot(&deployed).await;
    wait_has_bounds(&deployed).await;
    operator_bounds_the_wait(&deployed).await;
}

/// Bob is next.
async fn waiting_user_is_answered_at_the_slot(deployed: &Deployed) {
    let bob = async {
        let answer = ask_waiting(deployed, "bob", 20).await;
        (answer, Instant::now())
    };
    let release = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        free_slot_of(deployed, HOLDERS[1]).await;
        Instant::now()
    };
    let (((answer, took), answered), released) = tokio::join!(bob, release);
    assert_eq!(answer.status, 200, "{answer:#?}");
    assert!(took >= Duration::from_secs(3), "{took:?}");
    // Not at the end of the wait: the pause of a second, and the time of the machine.
    let late = answered.duration_since(released);
    assert!(late < Duration::from_secs(12), "{late:?} after the slot");
}

async fn wait_has_bounds(deployed: &Deployed) {
    for wrong in [json!(21), json!(-1), json!(0.5), json!("20"), json!(true)] {
        let mut body = client_request(REGION, 1);
        body["wait_seconds"] = wrong.clone();
        let answer = deployed.assign("cid", &body).await;
        assert_eq!(answer.status, 400, "{wrong}: {answer:#?}");
        let message = answer.body["message"].as_str().unwrap_or_default();
        assert!(message.contains("`wait_seconds`"), "{wrong}: {message}");
    }
    let (answer, took) = ask_waiting(deployed, "cid", 3).await;
    assert_place(&answer, 1);
    // Less than a second is left after the last question.
    assert!(took >= Duration::from_secs(2), "{took:?}");
    assert!(took < Duration::from_secs(17), "{took:?}");
}

async fn operator_bounds_the_wait(deployed: &Deployed) {
    let function = &deployed.stack.env().assign_user_function;
    let off = [("MAX_WAIT_SECONDS", "0")];
    settings::set(&deployed.stack, function, &off)
        .await
        .unwrap();
    let (answer, took) = ask_waiting(deployed, "cid", 20).await;
    assert_place(&answer, 1);
    assert!(took < Duration::from_secs(17), "{took:?}");
}
