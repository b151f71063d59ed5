//! A server that answers like Hasura, as the test tells it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hasura_adapter::{HasuraAssigner, HasuraClient, HasuraDatabase, HasuraSettings};
use shared::assign::{AssignRequest, ClientBuild, SessionId, SessionLimits, UserId};
use shared::settings::Columns;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};

/// Of the role `passes`, until the year 2100.
pub(crate) const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOiA0MTAyNDQ0ODAwLCAiaHR0cHM6Ly9oYXN1cmEuaW8vand0L2NsYWltcyI6IHsieC1oYXN1cmEtZGVmYXVsdC1yb2xlIjogInBhc3NlcyJ9fQ.c2lnbmF0dXJlIG9mIDMyIGJ5dGVzLCBub3QgY2hlY2tlZA";

/// What the server does with one request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Answers with this status and this body.
    Answer(u16, String),
    /// Closes the connection without an answer.
    Close,
    /// Keeps the connection open and never answers.
    Never,
}

/// An answer with status 200.
pub(crate) fn ok(body: &str) -> Reply {
    Reply::Answer(200, body.to_owned())
}

/// An error of Hasura, which comes with status 200.
pub(crate) fn error(message: &str, extensions: &str) -> Reply {
    ok(&format!(
        r#"{{"errors": [{{"message": "{message}", "extensions": {extensions}}}]}}"#
    ))
}

/// The regions' names, as `RegionDatabase::regions` reads them.
pub(crate) fn regions(names: &str) -> Reply {
    ok(&format!(r#"{{"data": {{"regions": [{names}]}}}}"#))
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Server {
    url: String,
    script: Arc<Mutex<VecDeque<Reply>>>,
    /// The number of the connection of each request.
    seen: Arc<Mutex<Vec<usize>>>,
}

impl Server {
    /// Starts a server that gives the replies in order.
    pub(crate) async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            script: Arc::new(Mutex::new(replies.into_iter().collect())),
            seen: Arc::default(),
        };
        let accepting = server.clone();
        tokio::spawn(async move {
            let mut connection = 0;
            while let Ok((stream, _)) = listener.accept().await {
                connection += 1;
                tokio::spawn(accepting.clone().serve(stream, connection));
            }
        });
        server
    }

    pub(crate) fn database(&self) -> HasuraDatabase {
        self.database_within(Duration::from_secs(5))
    }

    pub(crate) fn database_within(&self, timeout: Duration) -> HasuraDatabase {
        HasuraDatabase {
            client: self.client(timeout),
            environment: "dev".to_owned(),
            defaults: Columns::default(),
        }
    }

    pub(crate) fn assigner(&self, timeout: Duration) -> HasuraAssigner {
        HasuraAssigner::new(self.client(timeout), 1, "dev")
    }

    fn client(&self, timeout: Duration) -> HasuraClient {
        let settings = HasuraSettings {
            url: self.url.clone(),
            token: TOKEN.to_owned().into(),
            timeout,
        };
        HasuraClient::new(http_client::client().unwrap(), &settings).unwrap()
    }

    /// The number of the connection of each request, from 1.
    pub(crate) fn seen(&self) -> Vec<usize> {
        self.seen.lock().unwrap().clone()
    }

    async fn serve(self, stream: TcpStream, connection: usize) {
        let mut stream = BufStream::new(stream);
        while read_request(&mut stream).await.is_some() {
            self.seen.lock().unwrap().push(connection);
            let next = self.script.lock().unwrap().pop_front();
            match next.expect("a reply for each request") {
                Reply::Close => return,
                Reply::Never => std::future::pending().await,
                Reply::Answer(status, body) => {
                    let answer = format!(
                        "HTTP/1.1 {status} Reason\r\ncontent-length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    stream.flush().await.unwrap();
                }
            }
        }
    }
}

/// Reads one request, or nothing if the connection is closed.
async fn read_request(stream: &mut BufStream<TcpStream>) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await.ok()?;
    Some(())
}

pub(crate) fn request() -> AssignRequest {
    AssignRequest {
        user: UserId::parse("user").unwrap(),
        session: SessionId::parse("session").unwrap(),
        regions: vec!["us-east-1".into()],
        client: ClientBuild::CurrentImage,
        limits: SessionLimits::default(),
    }
}
