//! Waiting for a condition, never for a time.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Between two looks.
const POLL: Duration = Duration::from_millis(100);

/// Looks until `look` gives a value that satisfies `good`, and gives that value.
///
/// # Panics
/// When it has not done so after `limit`; the message shows the last value seen.
pub async fn eventually<T: Debug>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> T,
    good: impl Fn(&T) -> bool,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        let seen = look().await;
        if good(&seen) {
            return seen;
        }
        assert!(
            Instant::now() < deadline,
            "{what}: not so after {limit:?}; last seen: {seen:#?}"
        );
        tokio::time::sleep(POLL).await;
    }
}
