//! Serves HTTP and closes connections that are idle, as Hasura's server does after 30 seconds
//! (graphql-engine#5778). A client that keeps connections for longer finds them dead.

use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tracing::debug;

/// The pause after a connection could not be accepted: mostly there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves forever.
pub(crate) async fn serve(listener: TcpListener, router: Router, keep_alive_seconds: u64) {
    let idle = Duration::from_secs(keep_alive_seconds.max(1));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                // Counts from the end of the last answer, too.
                .header_read_timeout(idle)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                debug!(%error, "connection ended");
            }
        });
    }
}
