//! Waiting for a condition instead of a fixed time.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Between two calls of `observe`.
const POLL: Duration = Duration::from_millis(100);

/// Calls `observe` until it returns a value that satisfies `good`, and returns that value.
///
/// # Panics
/// When no value satisfies `good` within `limit`. The message shows the last value.
pub async fn eventually<T: Debug>(
    what: &str,
    limit: Duration,
    mut observe: impl AsyncFnMut() -> T,
    good: impl Fn(&T) -> bool,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        let seen = observe().await;
        if good(&seen) {
            return seen;
        }
        assert!(
            Instant::now() < deadline,
            "{what}: not within {limit:?}; last value: {seen:#?}"
        );
        tokio::time::sleep(POLL).await;
    }
}
