//! Status APIs of replicas as bytes on a socket: valid answers, and answers that no HTTP library
//! would send.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{self, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// Between two bytes of an answer that trickles.
const TRICKLE: Duration = Duration::from_millis(20);

/// How a replica answers a request.
#[derive(Clone, Debug)]
pub enum Behavior {
    /// Answers with this status and body.
    Answers(u16, String),
    /// Sends these bytes and closes.
    Sends(Vec<u8>),
    /// Reads the request and never answers.
    Hangs,
    /// Sends the head of a valid answer, and its body a byte at a time, without end.
    Trickles,
    /// Sends a head without an end, a byte at a time.
    TricklesHead,
    /// Sends a body of this many bytes, as far as the client reads it.
    Floods(u64),
    /// Closes the connection as soon as it is open.
    Closes,
}

impl Behavior {
    /// A healthy replica with this many free slots.
    pub fn healthy(capacity: u32) -> Self {
        Self::with_body(&format!(
            r#"{{"termination": false, "capacity": {capacity}}}"#
        ))
    }

    /// Answers with status 200 and this body.
    pub fn with_body(body: &str) -> Self {
        Self::Answers(200, body.to_owned())
    }
}

/// Listens on one port, for one replica, or on all addresses for many. Ends when it is dropped.
pub struct ReplicaServer {
    pub port: u16,
    received: Arc<Received>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Received {
    requests: Mutex<Vec<String>>,
    sent: AtomicU64,
}

impl Received {
    fn record(&self, request: String) {
        let requests = self.requests.lock();
        requests
            .unwrap_or_else(PoisonError::into_inner)
            .push(request);
    }
}

type BehaviorOf = Arc<dyn Fn(IpAddr) -> Behavior + Send + Sync>;

impl ReplicaServer {
    /// One replica on 127.0.0.1.
    pub async fn one(behavior: Behavior) -> Self {
        Self::listen("127.0.0.1:0", None, move |_| behavior.clone()).await
    }

    /// `behavior_of` decides how the replica at an address answers. `0.0.0.0` is one server for every
    /// address of this machine.
    pub async fn listen(
        address: &str,
        tls: Option<TlsAcceptor>,
        behavior_of: impl Fn(IpAddr) -> Behavior + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.expect(address);
        let port = listener.local_addr().expect("an address").port();
        let received = Arc::new(Received::default());
        let task = tokio::spawn(accept(
            listener,
            tls,
            received.clone(),
            Arc::new(behavior_of),
        ));
        Self {
            port,
            received,
            task,
        }
    }

    /// The first lines of the requests so far.
    pub fn requests(&self) -> Vec<String> {
        let requests = self.received.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The bytes of flooding bodies that the network accepted.
    pub fn sent(&self) -> u64 {
        self.received.sent.load(Ordering::Relaxed)
    }
}

impl Drop for ReplicaServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for ReplicaServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicaServer")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    received: Arc<Received>,
    behavior_of: BehaviorOf,
) {
    // Dropped with the server, which closes every connection.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let at = stream.local_addr().map(|address: SocketAddr| address.ip());
        let behavior = behavior_of(at.expect("an address of its own"));
        let (tls, received) = (tls.clone(), received.clone());
        connections.spawn(async move {
            // The test asserts on what the client makes of it.
            let _ = match tls {
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => answer(stream, behavior, &received).await,
                    Err(error) => Err(error),
                },
                None => answer(stream, behavior, &received).await,
            };
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    behavior: Behavior,
    received: &Received,
) -> io::Result<()> {
    if matches!(behavior, Behavior::Closes) {
        return Ok(());
    }
    let request = read_head(&mut stream).await?;
    let line = request.lines().next().unwrap_or_default().to_owned();
    received.record(line);
    match behavior {
        Behavior::Answers(status, body) => {
            let length = body.len();
            let head = format!("HTTP/1.1 {status} Status\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body.as_bytes()).await?;
        }
        Behavior::Sends(bytes) => stream.write_all(&bytes).await?,
        Behavior::Hangs => return until_closed(&mut stream).await,
        Behavior::Trickles => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
                .await?;
            trickle(&mut stream, b' ').await?;
        }
        Behavior::TricklesHead => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await?;
            trickle(&mut stream, b'x').await?;
        }
        Behavior::Floods(bytes) => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            let chunk = [b' '; 4096];
            let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
            while left > 0 {
                let written = stream.write(&chunk[..left.min(chunk.len())]).await?;
                left -= written;
                received.sent.fetch_add(written as u64, Ordering::Relaxed);
            }
        }
        Behavior::Closes => {}
    }
    stream.shutdown().await
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).await?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

async fn trickle(stream: &mut (impl AsyncWrite + Unpin), byte: u8) -> io::Result<()> {
    loop {
        stream.write_all(&[byte]).await?;
        stream.flush().await?;
        tokio::time::sleep(TRICKLE).await;
    }
}

async fn until_closed(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut byte = [0];
    while stream.read(&mut byte).await? > 0 {}
    Ok(())
}

/// Machines on loopback addresses of their own, for a server that listens on all of them.
pub mod loopback {
    use std::collections::BTreeMap;
    use std::net::{IpAddr, Ipv4Addr};

    use shared::ids::InstanceId;
    use shared::model::Machine;
    use testing::{instance, machine};

    const FIRST: Ipv4Addr = Ipv4Addr::new(127, 16, 0, 0);

    /// Running machines with the numbers 1 to `count`.
    pub fn machines(count: u32) -> BTreeMap<InstanceId, Machine> {
        let machines = (1..=count).map(|place| {
            let address = Ipv4Addr::from_bits(FIRST.to_bits() + place);
            let machine = Machine {
                address: Some(IpAddr::V4(address)),
                ..machine(&instance(&format!("i-{place:05}")))
            };
            (machine.id.clone(), machine)
        });
        machines.collect()
    }

    /// The number of the machine at an address.
    pub fn place(address: IpAddr) -> u32 {
        match address {
            IpAddr::V4(address) => address.to_bits().wrapping_sub(FIRST.to_bits()),
            IpAddr::V6(_) => 0,
        }
    }
}
