//! Runs a command until Ctrl-C.

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

/// Runs `run` until it returns, or until this process gets SIGINT, SIGTERM or SIGHUP. After a
/// signal, drops what `run` has started and prints that it is stopped.
///
/// # Errors
/// Those of `run`.
pub(crate) async fn run_until_signal(run: impl Future<Output = Result<()>>) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut running = Box::pin(run);
    tokio::select! {
        result = &mut running => return result,
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    println!("\nstopping the local stack");
    drop(running);
    println!("local stack stopped: no process is left running");
    Ok(())
}
