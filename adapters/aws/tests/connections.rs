//! Connections that end or hang without the client's knowledge, against a stand-in on sockets: of
//! the AWS SDK and of the HTTP client.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use axum::Router;
use axum::extract::connect_info::ConnectInfo;
use ec2_emulator::connection::{AbortableListener, ConnectionHandle, IdleLimits};
use futures::future::join_all;
use tokio::net::TcpListener;
use tokio::sync::Barrier;
use tokio::time::sleep;

/// Connections that were idle for this time are dead.
const STALE: Duration = Duration::from_secs(16);

/// Shorter than the minute between two passes.
const PAUSE: Duration = Duration::from_secs(17);

/// As many connections as the SDK makes attempts: if all are dead, its retries do not help.
const CONNECTIONS: usize = 3;

/// A server for every request of SNS and of HTTP clients.
struct StandIn {
    endpoint: String,
    requests: Arc<AtomicUsize>,
}

impl StandIn {
    /// Its connections die when they are idle. The first requests are answered together, so that
    /// each has a connection of its own.
    async fn with_dying_connections() -> Self {
        let together = Arc::new(Barrier::new(CONNECTIONS));
        Self::start(move |number| {
            let together = together.clone();
            async move {
                if number < CONNECTIONS {
                    together.wait().await;
                }
            }
        })
        .await
    }

    /// The first request is never answered.
    async fn with_hanging_connection() -> Self {
        Self::start(async |number| {
            if number == 0 {
                std::future::pending::<()>().await;
            }
        })
        .await
    }

    /// `wait` gets the number of each request, and delays its answer.
    async fn start<F>(wait: impl Fn(usize) -> F + Clone + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let count = requests.clone();
        let answer = move |ConnectInfo(connection): ConnectInfo<ConnectionHandle>| {
            connection.limit_idling(IdleLimits {
                close: None,
                stale: Some(STALE),
            });
            let waited = wait(count.fetch_add(1, Ordering::SeqCst));
            async move {
                waited.await;
                "<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult>\
                 </PublishResponse>"
            }
        };
        let service = Router::new()
            .fallback(answer)
            .into_make_service_with_connect_info::<ConnectionHandle>();
        let listener = AbortableListener(listener);
        tokio::spawn(async move { axum::serve(listener, service).await });
        Self { endpoint, requests }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// A client whose calls take at most `limit`.
    async fn sdk(&self, limit: Duration) -> aws_sdk_sns::Client {
        let credentials = Credentials::new("test", "test", None, None, "test");
        let loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(credentials)
            .endpoint_url(&self.endpoint);
        aws_sdk_sns::Client::new(&aws_settings::with_limits(loader, limit).load().await)
    }
}

async fn publish(client: &aws_sdk_sns::Client) {
    let publish = client.publish().topic_arn("topic").message("message");
    publish.send().await.unwrap();
}

#[tokio::test]
async fn sdk_does_not_use_connections_that_were_idle_between_two_passes() {
    let stand_in = StandIn::with_dying_connections().await;
    let client = stand_in.sdk(Duration::from_secs(30)).await;
    join_all((0..CONNECTIONS).map(|_| publish(&client))).await;
    sleep(PAUSE).await;
    publish(&client).await;
    assert_eq!(stand_in.requests(), CONNECTIONS + 1);
}

#[tokio::test]
async fn http_client_does_not_use_connections_that_were_idle_between_two_passes() {
    let stand_in = StandIn::with_dying_connections().await;
    let client = http_client::client().unwrap();
    let get = async || {
        let answer = client.get(&stand_in.endpoint).send().await.unwrap();
        answer.text().await.unwrap();
    };
    join_all((0..CONNECTIONS).map(|_| get())).await;
    sleep(PAUSE).await;
    get().await;
    assert_eq!(stand_in.requests(), CONNECTIONS + 1);
}

#[tokio::test]
async fn attempt_that_hangs_leaves_time_for_another_one() {
    let stand_in = StandIn::with_hanging_connection().await;
    let limit = Duration::from_secs(9);
    let client = stand_in.sdk(limit).await;
    let start = Instant::now();
    publish(&client).await;
    assert!(start.elapsed() < limit);
    assert_eq!(stand_in.requests(), 2);
}
