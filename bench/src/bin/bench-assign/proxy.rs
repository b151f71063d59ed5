//! A proxy that lets each request arrive later, as a network between service and engine does.
//!
//! Bytes are held back, not requests: what is sent at once arrives at once, however long it is. So
//! nothing has to be parsed, and the proxy itself costs little.

use std::io;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

const CHUNK: usize = 64 * 1024;

/// Starts a proxy before the server at `upstream`, and returns its address. It runs until the program
/// ends.
pub(crate) async fn start(upstream: &str, delay: Duration) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .context("bind a proxy")?;
    let address = listener.local_addr()?.to_string();
    let upstream = upstream.to_owned();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(&upstream).await else {
                // The client sees that its connection is closed.
                continue;
            };
            // Without these, the kernel holds small packets back, too. The errors are those of
            // connections that are closed.
            client.set_nodelay(true).ok();
            server.set_nodelay(true).ok();
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::spawn(forward(from_client, to_server, delay));
            tokio::spawn(forward(from_server, to_client, Duration::ZERO));
        }
    });
    Ok(address)
}

/// Forwards until one side closes. Reading goes on while earlier bytes are held back.
async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    delay: Duration,
) -> io::Result<()> {
    let (held, mut due) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let read = async {
        let mut buffer = vec![0; CHUNK];
        loop {
            let length = from.read(&mut buffer).await?;
            let bytes = buffer.get(..length).unwrap_or_default().to_vec();
            if bytes.is_empty() || held.send((Instant::now() + delay, bytes)).is_err() {
                drop(held);
                return Ok(());
            }
        }
    };
    let write = async {
        while let Some((at, bytes)) = due.recv().await {
            if !delay.is_zero() {
                tokio::time::sleep_until(at).await;
            }
            to.write_all(&bytes).await?;
        }
        Ok(())
    };
    tokio::try_join!(read, write).map(|((), ())| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn request_is_held_back_once_however_long_it_is_and_the_answer_is_not() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = server.local_addr().unwrap().to_string();
        let length = 10 * CHUNK;
        tokio::spawn(async move {
            let (mut stream, _) = server.accept().await.unwrap();
            let mut request = vec![0; length];
            stream.read_exact(&mut request).await.unwrap();
            stream.write_all(b"answer").await.unwrap();
        });
        let delay = Duration::from_millis(200);
        let address = start(&upstream, delay).await.unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        let started = Instant::now();
        client.write_all(&vec![1; length]).await.unwrap();
        let mut answer = [0; 6];
        client.read_exact(&mut answer).await.unwrap();
        let took = started.elapsed();
        assert_eq!(&answer, b"answer");
        // Each of its ten parts held back by itself would take ten times as long.
        assert!(took >= delay && took < 5 * delay, "{took:?}");
    }
}
