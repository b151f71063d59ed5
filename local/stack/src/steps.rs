//! Prints the steps of a start with the time that each took.

use std::fmt::Display;
use std::time::Instant;

use anyhow::{Context as _, Result};

/// Awaits `work` and prints `name` with the seconds that it took. `name` is a verb phrase, such as
/// "start PostgreSQL".
///
/// # Errors
/// Those of `work`, with `name` in front.
pub(crate) async fn step<T>(
    name: impl Display + Send + Sync + 'static,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let started = Instant::now();
    let name = name.to_string();
    let result = work.await.with_context(|| name.clone())?;
    println!("{:7.1} s  {name}", started.elapsed().as_secs_f32());
    Ok(result)
}
