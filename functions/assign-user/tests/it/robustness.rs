//! Every input is answered with a slot or a client error, never with a server error.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use assign_user::AssignUser;
use assign_user::auth::TokenVerifier;
use assign_user::cors::AllowedOrigins;
use assign_user::key_cache::KeyCache;
use assign_user::request::LocalDev;
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use shared::assign::{
    AssignOutcome, AssignRequest, Assigner, Assignment, SessionEnd, SessionId, UserId,
};
use shared::db::DbError;
use startup::SystemClock;
use startup::config::Stage;
use tokio::runtime::Runtime;

use crate::support::{AUDIENCE, Answer, ISSUER, KEYS_KEPT, Provider, Request};

/// Assigns a slot, and panics at values that Postgres would reject.
struct EverFree;

#[async_trait]
impl Assigner for EverFree {
    async fn assign(&self, request: &AssignRequest) -> Result<AssignOutcome, DbError> {
        let texts = [request.user.as_str(), request.session.as_str()];
        let regions = request.regions.iter().map(|region| region.as_str());
        for text in texts.into_iter().chain(regions) {
            assert!(!text.is_empty() && !text.contains('\0'), "{request:?}");
        }
        Ok(AssignOutcome::Assigned(Assignment {
            slot_id: "6f1c2b9e-3d0a-4f0e-9a70-2f5d3a1b7c11".into(),
            ip: "198.51.100.7".into(),
            region: request.regions[0].clone(),
            instance_id: "i-1".into(),
            repeated: false,
            nearest: None,
            waited: SignedDuration::ZERO,
        }))
    }

    async fn end_session(&self, user: &UserId, session: &SessionId) -> Result<SessionEnd, DbError> {
        for text in [user.as_str(), session.as_str()] {
            assert!(!text.is_empty() && !text.contains('\0'), "{text:?}");
        }
        Ok(SessionEnd::Ended)
    }
}

/// One function for all cases, with the provider on a thread of its own.
static FUNCTION: LazyLock<(Runtime, AssignUser<EverFree>)> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let provider = runtime.block_on(Provider::start());
    let http = http_client::client().unwrap();
    let url = provider.url.parse().unwrap();
    let keys = KeyCache::new(http, url, KEYS_KEPT, Arc::new(SystemClock));
    let function = AssignUser {
        assigner: EverFree,
        tokens: TokenVerifier::new(keys, ISSUER, AUDIENCE),
        origins: AllowedOrigins::parse("https://app.example").unwrap(),
        local_dev: LocalDev::Allowed,
        stage: Stage::Production,
        max_wait: Duration::from_secs(20),
        clock: Arc::new(SystemClock),
        metrics: Arc::<testing::Recorded>::default(),
    };
    (runtime, function)
});

fn handle(event: Value) -> Answer {
    let (runtime, function) = &*FUNCTION;
    Answer::read(&runtime.block_on(function.handle(event, Timestamp::MAX)))
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            btree_map(any::<String>(), inner, 0..6)
                .prop_map(|map| Value::Object(Map::from_iter(map))),
        ]
    })
}

/// A valid body with random values in some of its fields.
fn almost_good_body() -> impl Strategy<Value = Value> {
    let field = prop_oneof![
        Just("regions"),
        Just("client_commit_hash"),
        Just("user_email"),
        Just("version"),
        Just("session_id"),
        Just("wait_seconds"),
    ];
    let texts = vec(any::<String>(), 0..4).prop_map(Value::from);
    let value = prop_oneof![any_json(), texts, any::<String>().prop_map(Value::from)];
    btree_map(field, value, 0..3).prop_map(|changes| {
        let mut body: Value = serde_json::from_str(&Request::good().body).unwrap();
        for (field, value) in changes {
            body[field] = value;
        }
        body
    })
}

proptest! {
    #[test]
    fn any_bytes_as_body_are_answered(bytes in vec(any::<u8>(), 0..512)) {
        let mut request = Request::good();
        request.body = STANDARD.encode(&bytes);
        request.is_base64 = true;
        let answer = handle(request.event());
        prop_assert!([200, 400].contains(&answer.status), "{answer:?}");
        request.body = String::from_utf8_lossy(&bytes).into_owned();
        let answer = handle(request.event());
        prop_assert!([200, 400].contains(&answer.status), "{answer:?}");
    }

    #[test]
    fn any_fields_are_answered(body in almost_good_body()) {
        let mut request = Request::good();
        request.body = body.to_string();
        let answer = handle(request.event());
        prop_assert!([200, 400].contains(&answer.status), "{answer:?}");
    }

    #[test]
    fn any_headers_are_answered(headers in btree_map("[!-~]{1,12}", "[\\PC\t]{0,40}", 0..6), token in ".{0,80}") {
        let mut request = Request::good().header("authorization", &format!("Bearer {token}"));
        request.headers.extend(headers.into_iter().map(|(name, value)| (name, json!(value))));
        let answer = handle(request.event());
        prop_assert!((400..500).contains(&answer.status), "{answer:?}");
    }

    #[test]
    fn any_token_is_answered(header in any_json(), claims in any_json(), signature in vec(any::<u8>(), 0..300)) {
        let token = crate::support::Token { header, claims }.signed_with(|_| signature);
        let request = Request::good().header("authorization", &format!("Bearer {token}"));
        handle(request.event()).is(401, "UNAUTHORIZED");
    }

    #[test]
    fn any_event_is_answered(event in any_json()) {
        handle(event).is(400, "BAD_REQUEST");
    }
}
