//! The fakes, and the function that uses them.

mod hasura;
mod identity;

use std::sync::Arc;
use std::time::Duration;

use assign_user::AssignUser;
use assign_user::auth::TokenVerifier;
use assign_user::cors::AllowedOrigins;
use assign_user::key_cache::KeyCache;
use assign_user::request::LocalDev;
use aws_lambda_events::lambda_function_urls::LambdaFunctionUrlResponse;
use axum::Router;
use axum::http::HeaderMap;
use hasura_adapter::{HasuraAssigner, HasuraClient, HasuraSettings};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde_json::{Value, json};
use startup::config::Stage;
use testing::{FakeClock, Recorded};
use tokio::net::TcpListener;

pub use hasura::{Hasura, Reply, SLOT, TOKEN};
pub use identity::{
    AUDIENCE, ISSUER, Provider, Token, ec_jwk, now, other_rsa_jwk, rsa_jwk, rsa_public_key,
    signed_modulus,
};

/// Long enough for loopback on a busy machine.
const PATIENT: Duration = Duration::from_secs(30);

/// How long keys are used after their fetch.
pub const KEYS_KEPT: SignedDuration = SignedDuration::from_mins(40);

/// The function with its fakes.
#[derive(Debug)]
pub struct World {
    pub provider: Provider,
    pub hasura: Hasura,
    pub function: AssignUser<HasuraAssigner>,
    pub clock: Arc<FakeClock>,
    pub metrics: Arc<Recorded>,
}

impl World {
    pub async fn new() -> Self {
        Self::waiting(PATIENT).await
    }

    /// With another time limit for a request to Hasura.
    pub async fn waiting(timeout: Duration) -> Self {
        let provider = Provider::start().await;
        let hasura = Hasura::start().await;
        let clock = Arc::new(FakeClock::default());
        let metrics = Arc::new(Recorded::default());
        let http = http_client::client().unwrap();
        let settings = HasuraSettings {
            url: hasura.url.clone(),
            token: SecretString::from(TOKEN),
            timeout,
        };
        let client = HasuraClient::new(http.clone(), &settings).unwrap();
        let url = provider.url.parse().unwrap();
        let keys = KeyCache::new(http, url, KEYS_KEPT, clock.clone());
        let function = AssignUser {
            assigner: HasuraAssigner::new(client, 3, "dev"),
            tokens: TokenVerifier::new(keys, ISSUER, AUDIENCE),
            origins: AllowedOrigins::Any,
            local_dev: LocalDev::Allowed,
            stage: Stage::Production,
            max_wait: Duration::ZERO,
            clock: clock.clone(),
            metrics: metrics.clone(),
        };
        Self {
            provider,
            hasura,
            function,
            clock,
            metrics,
        }
    }

    /// Advances the clock of the key cache.
    pub fn pass(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
    }

    pub async fn send(&self, request: &Request) -> Answer {
        self.send_event(request.event()).await
    }

    pub async fn send_event(&self, event: Value) -> Answer {
        Answer::read(&self.function.handle(event, Timestamp::MAX).await)
    }

    /// A valid request with this token.
    pub async fn send_token(&self, token: &str) -> Answer {
        self.send(&Request::good().header("authorization", &format!("Bearer {token}")))
            .await
    }
}

/// A request, to be turned into a function URL event.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: &'static str,
    pub path: &'static str,
    pub headers: serde_json::Map<String, Value>,
    pub body: String,
    pub is_base64: bool,
}

impl Request {
    pub fn good() -> Self {
        let body = json!({
            "regions": ["us-east-1", "us-west-2"],
            "client_commit_hash": "abc",
            "user_email": "ada@example.com",
            "version": "3.0.9",
            "session_id": 1_660_000_000_000_u64,
        });
        Self {
            method: "POST",
            path: "/mandelbox/assign",
            headers: serde_json::Map::new(),
            body: body.to_string(),
            is_base64: false,
        }
        .header(
            "authorization",
            &format!("Bearer {}", Token::of("auth0|ada").rs256()),
        )
        .header("content-type", "application/json")
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), value.into());
        self
    }

    pub fn without_header(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    /// Replaces a field of the body.
    pub fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        let mut body: Value = serde_json::from_str(&self.body).unwrap();
        body[name] = value.into();
        self.body = body.to_string();
        self
    }

    pub fn event(&self) -> Value {
        json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": self.path,
            "rawQueryString": "",
            "headers": self.headers,
            "requestContext": {
                "accountId": "anonymous",
                "apiId": "abc",
                "domainName": "abc.lambda-url.us-east-1.on.aws",
                "domainPrefix": "abc",
                "http": {
                    "method": self.method,
                    "path": self.path,
                    "protocol": "HTTP/1.1",
                    "sourceIp": "203.0.113.9",
                    "userAgent": "test",
                },
                "requestId": "r-1",
                "routeKey": "$default",
                "stage": "$default",
                "time": "20/Nov/2026:10:00:00 +0000",
                "timeEpoch": 1_795_168_800_000_u64,
            },
            "body": self.body,
            "isBase64Encoded": self.is_base64,
        })
    }
}

/// The answer, parsed.
#[derive(Debug)]
pub struct Answer {
    pub status: i64,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn read(response: &LambdaFunctionUrlResponse) -> Self {
        let body = match &response.body {
            Some(body) => serde_json::from_str(body).unwrap(),
            None => Value::Null,
        };
        Self {
            status: response.status_code,
            headers: response.headers.clone(),
            body,
        }
    }

    #[track_caller]
    pub fn is(&self, status: i64, error: &str) -> &Self {
        assert_eq!(
            (self.status, self.body["error"].as_str()),
            (status, Some(error)),
            "{self:?}"
        );
        self
    }

    #[track_caller]
    pub fn says(&self, words: &str) -> &Self {
        let message = self.body["message"].as_str().unwrap_or_default();
        assert!(
            message.contains(words),
            "`{message}` does not say `{words}`"
        );
        self
    }
}

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}
