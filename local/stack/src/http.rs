//! Asking the stack's own servers whether they are there.

use std::time::Duration;

/// A server that accepts but never answers must not hold up the wait for it.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether a `GET` of `url` is answered with success.
pub(crate) async fn answers(url: &str) -> bool {
    let Ok(client) = reqwest::Client::builder().timeout(PROBE_TIMEOUT).build() else {
        return false;
    };
    client
        .get(url)
        .send()
        .await
        .is_ok_and(|response| response.status().is_success())
}
