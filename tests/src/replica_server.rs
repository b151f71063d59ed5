//! Replicas' status APIs as bytes on a socket: what behaves, and what no HTTP library would do.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{self, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// Between two bytes of one that trickles.
const TRICKLE: Duration = Duration::from_millis(20);

/// What a replica does when it is asked.
#[derive(Clone, Debug)]
pub enum Manner {
    /// Answers with this status and body.
    Answers(u16, String),
    /// Sends these bytes and closes.
    Sends(Vec<u8>),
    /// Reads the question and never answers.
    Hangs,
    /// Sends the head of a good answer, and its body a byte at a time, without end.
    Trickles,
    /// Sends a head that ends nowhere, a byte at a time.
    TricklesItsHead,
    /// Sends a body of so many bytes, if somebody takes them.
    Floods(u64),
    /// Closes as soon as it is connected.
    Closes,
}

impl Manner {
    /// A healthy replica with so much free.
    pub fn healthy(capacity: u32) -> Self {
        Self::says(&format!(
            r#"{{"termination": false, "capacity": {capacity}}}"#
        ))
    }

    /// Answers well, with this body.
    pub fn says(body: &str) -> Self {
        Self::Answers(200, body.to_owned())
    }
}

/// Listens on one port, for one replica or, on all addresses, for many. Ends when it is dropped.
pub struct ReplicaServer {
    pub port: u16,
    heard: Arc<Heard>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Heard {
    requests: Mutex<Vec<String>>,
    sent: AtomicU64,
}

impl Heard {
    fn note(&self, request: String) {
        let requests = self.requests.lock();
        requests
            .unwrap_or_else(PoisonError::into_inner)
            .push(request);
    }
}

type MannerOf = Arc<dyn Fn(IpAddr) -> Manner + Send + Sync>;

impl ReplicaServer {
    /// One replica on 127.0.0.1.
    pub async fn one(manner: Manner) -> Self {
        Self::listen("127.0.0.1:0", None, move |_| manner.clone()).await
    }

    /// `manner_of` tells what the replica at an address does: `0.0.0.0` is one server for
    /// every address of this machine.
    pub async fn listen(
        address: &str,
        tls: Option<TlsAcceptor>,
        manner_of: impl Fn(IpAddr) -> Manner + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.expect(address);
        let port = listener.local_addr().expect("an address").port();
        let heard = Arc::new(Heard::default());
        let task = tokio::spawn(accept(listener, tls, heard.clone(), Arc::new(manner_of)));
        Self { port, heard, task }
    }

    /// The first lines of the requests so far.
    pub fn requests(&self) -> Vec<String> {
        let requests = self.heard.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Bytes of flooding bodies that the network took.
    pub fn sent(&self) -> u64 {
        self.heard.sent.load(Ordering::Relaxed)
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
    heard: Arc<Heard>,
    manner_of: MannerOf,
) {
    // Dropped, and with it every connection, when the server is.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let at = stream.local_addr().map(|address: SocketAddr| address.ip());
        let manner = manner_of(at.expect("an address of its own"));
        let (tls, heard) = (tls.clone(), heard.clone());
        connections.spawn(async move {
            // What the other side makes of it is for the test to say.
            let _ = match tls {
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => answer(stream, manner, &heard).await,
                    Err(error) => Err(error),
                },
                None => answer(stream, manner, &heard).await,
            };
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    manner: Manner,
    heard: &Heard,
) -> io::Result<()> {
    if matches!(manner, Manner::Closes) {
        return Ok(());
    }
    let request = read_head(&mut stream).await?;
    let line = request.lines().next().unwrap_or_default().to_owned();
    heard.note(line);
    match manner {
        Manner::Answers(status, body) => {
            let length = body.len();
            let head = format!("HTTP/1.1 {status} Status\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body.as_bytes()).await?;
        }
        Manner::Sends(bytes) => stream.write_all(&bytes).await?,
        Manner::Hangs => return until_closed(&mut stream).await,
        Manner::Trickles => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
                .await?;
            trickle(&mut stream, b' ').await?;
        }
        Manner::TricklesItsHead => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await?;
            trickle(&mut stream, b'x').await?;
        }
        Manner::Floods(bytes) => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            let chunk = [b' '; 4096];
            let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
            while left > 0 {
                let written = stream.write(&chunk[..left.min(chunk.len())]).await?;
                left -= written;
                heard.sent.fetch_add(written as u64, Ordering::Relaxed);
            }
        }
        Manner::Closes => {}
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
pub mod crowd {
    use std::collections::BTreeMap;
    use std::net::{IpAddr, Ipv4Addr};

    use shared::ids::InstanceId;
    use shared::model::Machine;
    use testing::{instance, machine};

    const FIRST: Ipv4Addr = Ipv4Addr::new(127, 16, 0, 0);

    /// So many that run, at places from 1 on.
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

    /// The place of the one at an address.
    pub fn place(address: IpAddr) -> u32 {
        match address {
            IpAddr::V4(address) => address.to_bits().wrapping_sub(FIRST.to_bits()),
            IpAddr::V6(_) => 0,
        }
    }
}
