//! HTTP servers inside this process, for components that are too small for a process of their own.

use std::net::SocketAddr;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use axum::Router;
use tokio::sync::oneshot;

use crate::ports::ReservedPort;

/// A server with a thread and a runtime of its own, because the runtimes of single tests end before
/// the stack does. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct ThreadServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ThreadServer {
    /// `name` names the thread, and the server in messages.
    ///
    /// # Errors
    /// When the runtime or the thread cannot be started.
    pub(crate) fn start(name: &'static str, port: ReservedPort, router: Router) -> Result<Self> {
        let listener = port.into_listener();
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .with_context(|| format!("start the runtime of {name}"))?;
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let server = async {
                        let listener = tokio::net::TcpListener::from_std(listener)?;
                        axum::serve(listener, router).await
                    };
                    tokio::select! {
                        result = server => if let Err(error) = result {
                            eprintln!("HTTP server {name} failed: {error}");
                        },
                        _ = stopped => {}
                    }
                });
            })?;
        Ok(Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The URL of one of the router's paths.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for ThreadServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The thread ends by itself after the stop signal.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use axum::routing::get;

    use super::*;
    use crate::ports::Ports;

    #[tokio::test]
    async fn server_releases_its_port_when_dropped() {
        let port = Ports::free().reserve("hello").unwrap();
        let number = port.port();
        let router = Router::new().route("/hello", get(|| async { "hello" }));
        let server = ThreadServer::start("hello", port, router).unwrap();
        let answer = reqwest::get(server.url("/hello")).await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "hello");
        drop(server);
        TcpListener::bind(("127.0.0.1", number)).unwrap();
    }
}
