//! Waits until a region has its free slots.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::project;
use crate::seed::RegionSeed;
use crate::stack::Stack;

/// Longer than any instance takes to boot with the emulator's default delays.
const FILL_TIMEOUT: Duration = Duration::from_secs(90);

/// Pause between two counts of the free slots.
const FILL_POLL: Duration = Duration::from_millis(200);

/// Waits until the seeded region has its target number of free slots.
///
/// # Errors
/// When GraphQL does not answer, or slots are still missing after [`FILL_TIMEOUT`].
pub(crate) async fn wait_for_free_slots(stack: &Stack, seed: &RegionSeed) -> Result<()> {
    let operator = stack.operator();
    let target = usize::try_from(seed.target_free)?;
    let deadline = Instant::now() + FILL_TIMEOUT;
    loop {
        let free = operator.free_slots(&seed.region).await?;
        if free >= target {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "{} has {free} of {target} free slots after {FILL_TIMEOUT:?}: see the logs in {}",
                seed.region,
                project::relative(&stack.dir().path().join("logs")),
            );
        }
        tokio::time::sleep(FILL_POLL).await;
    }
}
