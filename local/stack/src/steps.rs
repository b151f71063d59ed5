//! Says what is being done and how long it took.

use std::fmt::Display;
use std::time::Instant;

use anyhow::{Context as _, Result};

/// Awaits `work` and prints its name and time, or puts its name before its error.
pub(crate) async fn step<T>(
    name: impl Display + Send + Sync + 'static,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let started = Instant::now();
    let name = name.to_string();
    let done = work.await.with_context(|| name.clone())?;
    println!("{:7.1} s  {name}", started.elapsed().as_secs_f32());
    Ok(done)
}
