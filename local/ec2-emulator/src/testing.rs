//! An emulator for unit tests. Requests go through the router, and the test controls the clock.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};
use serde_json::Value;
use tower::ServiceExt;

use crate::clock::{Clock, UnixMillis};
use crate::connection::ConnectionHandle;
use crate::emulator::Emulator;
use crate::server;
use crate::settings::Settings;
use crate::world::{DEFAULT_WORLD, World, WorldFile};

/// The time at which a test starts: 2026-11-21 18:00:00 GMT.
pub(crate) const START: UnixMillis = UnixMillis(1_795_284_000_000);

/// Resources of us-east-1 in the default world: an image, two subnets in two zones of one network, a
/// security group of that network.
pub(crate) const IMAGE: &str = "ami-01000000000000001";
pub(crate) const SUBNET_A: &str = "subnet-01a0000000000000a";
pub(crate) const SUBNET_B: &str = "subnet-01b0000000000000b";
pub(crate) const GROUP: &str = "sg-0100000000000000a";

#[derive(Debug)]
pub(crate) struct TestEc2 {
    pub(crate) clock: Clock,
    pub(crate) emulator: Emulator,
    router: Router,
}

/// A response of the API.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: String,
    /// Whether the connection was aborted instead.
    pub(crate) is_lost: bool,
}

impl TestEc2 {
    /// An emulator with easily distinguished delays: 10 s until running, 20 s until terminated, no
    /// lag, an hour until removed from listings.
    pub(crate) fn new() -> Self {
        Self::with_lag(Duration::ZERO)
    }

    pub(crate) fn with_lag(lag: Duration) -> Self {
        let settings = Settings {
            pending_ms: 10_000,
            shutting_down_ms: 20_000,
            listing_lag_ms: u64::try_from(lag.as_millis()).unwrap(),
            ..Settings::default()
        };
        Self::with_world(DEFAULT_WORLD.parse().unwrap(), settings)
    }

    pub(crate) fn with_world(world: WorldFile, settings: Settings) -> Self {
        let clock = Clock::manual(START);
        let emulator = Emulator::new(World::new(world, settings, 7), clock.clone());
        Self {
            clock,
            router: server::router(emulator.clone()),
            emulator,
        }
    }

    pub(crate) fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Sends a request in us-east-1.
    pub(crate) async fn call(&self, action: &str, params: &[(&str, &str)]) -> Reply {
        self.call_in("us-east-1", action, params).await
    }

    pub(crate) async fn call_in(
        &self,
        region: &str,
        action: &str,
        params: &[(&str, &str)],
    ) -> Reply {
        let credential = format!(
            "AWS4-HMAC-SHA256 Credential=AKID/20261121/{region}/ec2/aws4_request, Signature=x"
        );
        let mut pairs = vec![("Action", action), ("Version", "2016-11-15")];
        pairs.extend(params);
        let request = Request::post("/")
            .header("authorization", credential)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(form(&pairs)))
            .unwrap();
        self.send(request).await
    }

    pub(crate) async fn send(&self, mut request: Request<Body>) -> Reply {
        let connection = ConnectionHandle::default();
        request
            .extensions_mut()
            .insert(ConnectInfo(connection.clone()));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        Reply {
            status,
            body: String::from_utf8(body.to_vec()).unwrap(),
            is_lost: connection.is_aborted(),
        }
    }

    /// Launches `count` instances (`"2"`, or `"1-3"` for a minimum and a maximum). `extra` parameters
    /// are added, and replace defaults of the same name.
    pub(crate) async fn launch(&self, count: &str, extra: &[(&str, &str)]) -> Reply {
        let (min, max) = count.split_once('-').unwrap_or((count, count));
        let defaults = [
            ("ImageId", IMAGE),
            ("InstanceType", "g4dn.xlarge"),
            ("SubnetId", SUBNET_A),
            ("MinCount", min),
            ("MaxCount", max),
        ];
        let mut params: Vec<_> = defaults
            .into_iter()
            .filter(|(name, _)| extra.iter().all(|(other, _)| other != name))
            .collect();
        params.extend(extra);
        self.call("RunInstances", &params).await
    }

    /// Sets the faults, and returns those that are left.
    pub(crate) async fn faults(&self, faults: &Value) -> Value {
        let reply = self.send_control("PUT", "faults", faults).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
        serde_json::from_str(&reply.body).unwrap()
    }

    /// Returns the response of `GET /_emulator/{path}`.
    pub(crate) async fn control(&self, path: &str) -> Value {
        let request = Request::get(format!("/_emulator/{path}"))
            .body(Body::empty())
            .unwrap();
        serde_json::from_str(&self.send(request).await.body).unwrap()
    }

    pub(crate) async fn send_control(&self, method: &str, path: &str, body: &Value) -> Reply {
        let request = Request::builder()
            .method(method)
            .uri(format!("/_emulator/{path}"))
            .body(Body::from(body.to_string()))
            .unwrap();
        self.send(request).await
    }
}

impl Reply {
    /// The texts of all elements of this name, in document order.
    pub(crate) fn texts(&self, element: &str) -> Vec<&str> {
        let (open, close) = (format!("<{element}>"), format!("</{element}>"));
        self.body
            .split(&open)
            .skip(1)
            .filter_map(|rest| rest.split(&close).next())
            .collect()
    }

    pub(crate) fn text(&self, element: &str) -> &str {
        self.texts(element).first().copied().unwrap_or_default()
    }

    /// The ids of the instances in a successful response.
    #[track_caller]
    pub(crate) fn ids(&self) -> Vec<String> {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        assert!(!self.is_lost, "the response was lost");
        self.texts("instanceId")
            .into_iter()
            .map(str::to_owned)
            .collect()
    }

    /// The code and the message of an error response.
    #[track_caller]
    pub(crate) fn error(&self) -> (&str, &str) {
        assert_ne!(self.status, StatusCode::OK, "{}", self.body);
        assert!(!self.is_lost, "the response was lost");
        (self.text("Code"), self.text("Message"))
    }
}

fn form(pairs: &[(&str, &str)]) -> String {
    let encode = |text: &str| -> String {
        text.bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' => {
                    char::from(byte).to_string()
                }
                _ => format!("%{byte:02X}"),
            })
            .collect()
    };
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    pairs.join("&")
}
