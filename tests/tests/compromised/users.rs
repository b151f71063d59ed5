//! Users of the region: each asks for a session until one runs.

use std::time::{Duration, Instant};

use scaling_tests::deployed::{Deployed, client_request};
use tokio::time::sleep;

use crate::REGION;

/// How long a user asks for a session.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a user has in the end, and what it took.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) user: String,
    pub(crate) session: String,
    pub(crate) slot: String,
    /// Sessions that ended before they ran.
    pub(crate) captured: usize,
    /// Every address that the user got.
    pub(crate) addresses: Vec<String>,
    /// The longest time until an answer.
    pub(crate) slowest: Duration,
}

/// A user who comes after a delay, and asks until a session runs. Without one, the last slot or none
/// is in the result.
pub(crate) async fn arrive(deployed: &Deployed, user: &str, delay: Duration) -> Session {
    sleep(delay).await;
    let mut result = Session {
        user: user.to_owned(),
        session: String::new(),
        slot: String::new(),
        captured: 0,
        addresses: vec![],
        slowest: Duration::ZERO,
    };
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        result.session = format!("{}", result.captured + 1);
        let asked = Instant::now();
        let body = client_request(REGION, result.session.as_str());
        let answer = deployed.assign(user, &body).await;
        result.slowest = result.slowest.max(asked.elapsed());
        if answer.status != 200 {
            assert_eq!(answer.status, 503, "{user}: {answer:#?}");
            sleep(Duration::from_millis(500)).await;
            continue;
        }
        let text = |name: &str| answer.body[name].as_str().unwrap().to_owned();
        result.slot = text("mandelbox_id");
        result.addresses.push(text("ip"));
        if runs(deployed, &result, began + PATIENCE).await {
            break;
        }
        result.captured += 1;
    }
    result
}

/// Waits until the user's session runs. False if it has ended instead.
async fn runs(deployed: &Deployed, session: &Session, until: Instant) -> bool {
    let sql = "SELECT status FROM slots
               WHERE id::text = $1 AND user_id = $2 AND session_id = $3";
    while Instant::now() < until {
        let keys: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
            [&session.slot, &session.user, &session.session];
        let row = deployed.sql.query_opt(sql, &keys).await.expect(sql);
        match row.map(|row| row.get::<_, String>(0)).as_deref() {
            Some("RUNNING") => return true,
            Some("ALLOCATED" | "CONNECTING") => sleep(Duration::from_millis(100)).await,
            _ => return false,
        }
    }
    false
}
