//! Connections that a handler can abort, and that end when they are idle for too long.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep_until};

/// What happens to a connection that waits for its next request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdleLimits {
    /// The connection is closed after this time.
    pub close: Option<Duration>,
    /// The connection is reset if the next request comes after this time.
    pub stale: Option<Duration>,
}

/// A request's handle of its connection.
#[derive(Clone, Debug, Default)]
pub struct ConnectionHandle(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    is_aborted: AtomicBool,
    idle_limits: Mutex<IdleLimits>,
}

impl ConnectionHandle {
    /// Makes the next write fail, which closes the connection.
    pub fn abort(&self) {
        self.0.is_aborted.store(true, Ordering::Relaxed);
    }

    pub fn is_aborted(&self) -> bool {
        self.0.is_aborted.load(Ordering::Relaxed)
    }

    /// Sets the limits that apply after the response. Without a call, there are none.
    pub fn limit_idling(&self, limits: IdleLimits) {
        *self.idle_limits() = limits;
    }

    fn idle_limits(&self) -> MutexGuard<'_, IdleLimits> {
        let limits = &self.0.idle_limits;
        limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listener whose connections can be aborted.
#[derive(Debug)]
pub struct AbortableListener<L>(pub L);

/// A connection of an [`AbortableListener`].
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    handle: ConnectionHandle,
    /// Since when the connection has been idle. `None` from a request until its response.
    idle_since: Option<Instant>,
    /// Wakes the task when the idle connection is to be closed.
    close: Option<Pin<Box<Sleep>>>,
    /// Whether the connection ends without the usual shutdown.
    is_reset: bool,
}

impl Connection {
    /// Whether it is time to close the connection. If not, the task is woken when it is.
    fn poll_idle_close(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let (Some(since), Some(limit)) = (self.idle_since, self.handle.idle_limits().close) else {
            return Poll::Pending;
        };
        let due = since + limit;
        let close = match &mut self.close {
            Some(close) => close,
            None => self.close.insert(Box::pin(sleep_until(due))),
        };
        if close.deadline() != due {
            close.as_mut().reset(due);
        }
        close.as_mut().poll(context)
    }

    fn is_stale(&self) -> bool {
        let limit = self.handle.idle_limits().stale;
        match (self.idle_since, limit) {
            (Some(since), Some(limit)) => since.elapsed() >= limit,
            _ => false,
        }
    }
}

impl Listener for AbortableListener<TcpListener> {
    type Io = Connection;
    type Addr = <TcpListener as Listener>::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        let connection = Connection {
            stream,
            handle: ConnectionHandle::default(),
            idle_since: None,
            close: None,
            is_reset: false,
        };
        (connection, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Listener::local_addr(&self.0)
    }
}

impl Connected<IncomingStream<'_, AbortableListener<TcpListener>>> for ConnectionHandle {
    fn connect_info(stream: IncomingStream<'_, AbortableListener<TcpListener>>) -> Self {
        stream.io().handle.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // The request is left unread: the kernel resets a connection that is closed with unread data.
        if self.is_stale() && self.stream.poll_read_ready(context).is_ready() {
            self.is_reset = true;
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(context, buffer) {
            self.idle_since = None;
            return Poll::Ready(read);
        }
        // An empty read means the end of the requests.
        self.poll_idle_close(context).map(Ok)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.handle.is_aborted() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        self.idle_since = Some(Instant::now());
        // The server may be waiting for a read already, so this must start the timer.
        let _ = self.poll_idle_close(context);
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_reset {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
