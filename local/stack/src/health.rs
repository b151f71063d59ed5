//! Readiness checks of the stack's own HTTP servers.

use std::time::Duration;

/// A server that accepts a connection but never answers must not block the wait for it.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether a `GET` of `url` is answered with a success status.
pub(crate) async fn responds(url: &str) -> bool {
    let Ok(client) = reqwest::Client::builder().timeout(PROBE_TIMEOUT).build() else {
        return false;
    };
    client
        .get(url)
        .send()
        .await
        .is_ok_and(|response| response.status().is_success())
}
