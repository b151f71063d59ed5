//! HTTP servers inside this process, for what is too small for a process of its own.

use std::net::SocketAddr;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use axum::Router;
use tokio::sync::oneshot;

use crate::ports::Reserved;

/// A server in a thread and a runtime of its own, so that it goes on while the runtimes of
/// single tests come and go. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct ThreadServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ThreadServer {
    /// `name` is what the thread and its last words are called after.
    pub(crate) fn start(name: &'static str, port: Reserved, router: Router) -> Result<Self> {
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
                            eprintln!("{name} is no longer served: {error}");
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

    /// Of one of the router's paths.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for ThreadServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing left to do but to end.
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
    async fn it_serves_until_it_is_dropped() {
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
