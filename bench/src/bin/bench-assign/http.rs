//! GraphQL over one connection that is kept, as a service that is warm has it.
//!
//! A client with a pool would decide by itself when to open connections, and the delay is per request.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    /// Of every request.
    header: String,
}

impl Connection {
    /// `authorization` is a whole header without its end of line.
    pub(crate) async fn open(address: &str, authorization: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
            header: format!(
                "POST /v1/graphql HTTP/1.1\r\nhost: {address}\r\n{authorization}\r\n\
                 content-type: application/json\r\ncontent-length: "
            ),
        })
    }

    /// Returns the `data` of the answer, or none if the engine answered with an error.
    pub(crate) async fn send(
        &mut self,
        document: &str,
        variables: &Value,
    ) -> Result<Option<Value>> {
        let body = json!({"query": document, "variables": variables}).to_string();
        let request = format!("{}{}\r\n\r\n{body}", self.header, body.len());
        self.stream.write_all(request.as_bytes()).await?;
        let mut answer: Value = serde_json::from_slice(&self.read().await?)
            .context("the engine's answer is not JSON")?;
        let is_error = answer.get("errors").is_some();
        Ok((!is_error).then(|| answer["data"].take()))
    }

    /// Reads the body of an answer, which has its length in a header.
    async fn read(&mut self) -> Result<Vec<u8>> {
        let mut length = None;
        loop {
            let mut line = String::new();
            let read = self.stream.read_line(&mut line).await?;
            ensure!(read > 0, "the engine closed the connection");
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = Some(value.trim().parse::<usize>()?);
            }
        }
        let mut body = vec![0; length.context("the engine's answer has no content-length")?];
        self.stream.read_exact(&mut body).await?;
        Ok(body)
    }
}
