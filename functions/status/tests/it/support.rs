//! The function with its fakes, and requests to it.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde_json::{Value, json};
use shared::ids::Owner;
use shared::lock::{LockError, RegionLock};
use shared::overview::RegionOverview;
use shared::report::{Decision, PassOutcome};
use shared::scaling::{Counts, Plan};
use shared::trigger::Trigger;
use status::StatusPage;
use status::auth::Access;
use status::gather::Gatherer;
use status::health::LastHealth;
use testing::{FakeClock, FakeOverview, FakeStore, FakeUsage, region_overview};

pub const TOKEN: &str = "the status token has 32 bytes or more";
pub const STALE_SECONDS: i64 = 180;

pub struct World {
    pub overview: Arc<FakeOverview>,
    pub store: Arc<FakeStore>,
    pub usage: Arc<FakeUsage>,
    pub clock: Arc<FakeClock>,
    pub function: StatusPage,
}

#[derive(Debug)]
pub struct Answer {
    pub status: i64,
    pub headers: HeaderMap,
    /// Null if there is none or it is not JSON.
    pub body: Value,
    pub page: String,
    pub cookies: Vec<String>,
}

impl World {
    pub fn of(regions: impl IntoIterator<Item = RegionOverview>) -> Self {
        let overview = Arc::new(FakeOverview::of(regions));
        let store = Arc::new(FakeStore::default());
        let usage = Arc::new(FakeUsage::default());
        let clock = Arc::new(FakeClock::default());
        let gatherer = Gatherer {
            overview: overview.clone(),
            history: store.clone(),
            reports: store.clone(),
            stale_after: SignedDuration::from_secs(STALE_SECONDS),
        };
        let function = StatusPage {
            access: Access::Token(SecretString::from(TOKEN)),
            gatherer,
            health: LastHealth::default(),
            usage: Some(usage.clone()),
            recordings: None,
            sessions: store.clone(),
            environment: "test".to_owned(),
            clock: clock.clone(),
        };
        Self {
            overview,
            store,
            usage,
            clock,
            function,
        }
    }

    /// One region, with a decision of this age.
    pub fn decided(seconds_ago: i64) -> Self {
        let region = region_overview("us-east-1");
        let at = region.now - SignedDuration::from_secs(seconds_ago);
        let world = Self::of([region]);
        world.decide("us-east-1", 1, at);
        world
    }

    pub fn decide(&self, region: &str, version: i64, at: Timestamp) {
        self.record(decision(region, version, at));
    }

    pub fn record(&self, decision: Decision) {
        let mut items = self.store.items();
        let decisions = &mut items.of(&decision.region).decisions;
        decisions.insert(decision.version, decision);
    }

    /// Takes the region's lock.
    pub async fn hold(&self, region: &str, at: Timestamp) {
        let (lease, owner) = (std::time::Duration::from_secs(50), Owner::new("holder"));
        let taken = self.store.acquire(&region.into(), &owner, at, lease).await;
        taken.unwrap();
    }

    /// Makes the next call with this name fail.
    pub fn fail(&self, call: &'static str) {
        let error = LockError::Unavailable {
            operation: "read",
            reason: "the table's secret name".to_owned(),
        };
        self.store.items().next_error = Some((call, error));
    }

    /// The number of requests to the database and to DynamoDB so far.
    pub fn requests(&self) -> (usize, usize) {
        (self.overview.state().calls, self.store.items().calls.len())
    }

    /// Logs in as a browser does, and returns its cookie.
    pub async fn session(&self) -> String {
        let mut form = request("POST", "/login", None);
        let encoded = TOKEN.replace(' ', "+");
        form["body"] = json!(format!("next=%2F&token={encoded}"));
        let answer = self.send(form).await;
        let [cookie] = answer.cookies.as_slice() else {
            panic!("{answer:#?}")
        };
        cookie.split(';').next().unwrap().to_owned()
    }

    /// `GET` with the token; the query may follow the path.
    pub async fn get(&self, path: &str) -> Answer {
        let token = format!("Bearer {TOKEN}");
        self.send(request("GET", path, Some(&token))).await
    }

    pub async fn send(&self, event: Value) -> Answer {
        let answer = self.function.handle(event).await;
        let is_json = answer.headers["content-type"] == "application/json";
        let page = answer.body.unwrap_or_default();
        Answer {
            status: answer.status_code,
            headers: answer.headers,
            body: if is_json && !page.is_empty() {
                serde_json::from_str(&page).unwrap()
            } else {
                Value::Null
            },
            page,
            cookies: answer.cookies,
        }
    }
}

pub fn decision(region: &str, version: i64, at: Timestamp) -> Decision {
    Decision {
        region: region.into(),
        version,
        at,
        id: format!("event-{version}"),
        trigger: Trigger::Schedule,
        plan: Plan {
            counts: Counts {
                target: 4,
                free: 3,
                ..Counts::default()
            },
            ..Plan::default()
        },
        results: vec![],
        outcome: PassOutcome::Done,
        duration_ms: 250,
    }
}

pub fn request(method: &str, path: &str, authorization: Option<&str>) -> Value {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut headers = json!({ "accept": "*/*" });
    if let Some(authorization) = authorization {
        headers["authorization"] = json!(authorization);
    }
    json!({
        "version": "2.0", "rawPath": path, "rawQueryString": query, "headers": headers,
        "requestContext": {"http": {"method": method, "path": path}, "timeEpoch": 0},
        "isBase64Encoded": false,
    })
}

pub fn basic(credentials: &str) -> String {
    format!("Basic {}", STANDARD.encode(credentials))
}
