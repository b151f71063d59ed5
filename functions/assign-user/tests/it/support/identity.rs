//! The fake identity provider, with its tokens and forged ones.

use std::sync::{Arc, LazyLock, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::serve;

pub const ISSUER: &str = "https://issuer.example/";
pub const AUDIENCE: &str = "https://api.example";

/// Generated once, because it takes long.
static RSA: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
static OTHER_RSA: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
static EC: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap());

fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub fn rsa_jwk(kid: &str) -> Value {
    let public = PublicKeyComponents::<Vec<u8>>::from(RSA.public_key());
    json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid,
           "n": base64url(public.n), "e": base64url(public.e)})
}

/// The modulus with a zero byte in front, in base64 with padding: as libraries with signed integers
/// write it.
pub fn signed_modulus() -> String {
    let public = PublicKeyComponents::<Vec<u8>>::from(RSA.public_key());
    STANDARD.encode([vec![0], public.n].concat())
}

pub fn other_rsa_jwk(kid: &str) -> Value {
    let public = PublicKeyComponents::<Vec<u8>>::from(OTHER_RSA.public_key());
    json!({"kty": "RSA", "kid": kid, "n": base64url(public.n), "e": base64url(public.e)})
}

pub fn ec_jwk(kid: &str) -> Value {
    let point = EC.public_key().as_ref();
    json!({"kty": "EC", "crv": "P-256", "kid": kid,
           "x": base64url(&point[1..33]), "y": base64url(&point[33..])})
}

/// The public key, which forgers know, too.
pub fn rsa_public_key() -> Vec<u8> {
    RSA.public_key().as_ref().to_vec()
}

/// A token before it is signed, with all claims of a valid one.
#[derive(Clone, Debug)]
pub struct Token {
    pub header: Value,
    pub claims: Value,
}

impl Token {
    pub fn of(user: &str) -> Self {
        let now = now();
        Self {
            header: json!({"alg": "RS256", "typ": "JWT", "kid": "rsa-1"}),
            claims: json!({"iss": ISSUER, "aud": AUDIENCE, "sub": user, "exp": now + 3600}),
        }
    }

    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims[name] = value.into();
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.claims.as_object_mut().unwrap().remove(name);
        self
    }

    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header[name] = value.into();
        self
    }

    pub fn signed_with(&self, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
        let message = format!(
            "{}.{}",
            base64url(self.header.to_string()),
            base64url(self.claims.to_string())
        );
        format!("{message}.{}", base64url(sign(message.as_bytes())))
    }

    pub fn rs256(&self) -> String {
        self.signed_with(|message| rsa_signature(&RSA, message))
    }

    pub fn rs256_by_another(&self) -> String {
        self.signed_with(|message| rsa_signature(&OTHER_RSA, message))
    }

    pub fn es256(&self) -> String {
        self.signed_with(|message| {
            EC.sign(&SystemRandom::new(), message)
                .unwrap()
                .as_ref()
                .to_vec()
        })
    }
}

fn rsa_signature(key: &RsaKeyPair, message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        message,
        &mut signature,
    )
    .unwrap();
    signature
}

/// Seconds since the epoch, by the verifier's clock.
pub fn now() -> u64 {
    jsonwebtoken::get_current_timestamp()
}

/// Serves a key set, and counts the requests.
#[derive(Clone, Debug)]
pub struct Provider {
    pub url: String,
    state: Arc<Mutex<ProviderState>>,
}

#[derive(Debug)]
struct ProviderState {
    answer: (StatusCode, HeaderMap, Vec<u8>),
    /// The `Accept-Encoding` of each request.
    fetches: Vec<String>,
}

impl Provider {
    pub async fn start() -> Self {
        let keys = json!({"keys": [rsa_jwk("rsa-1"), ec_jwk("ec-1")]});
        let answer = (StatusCode::OK, HeaderMap::new(), keys.to_string().into());
        let fetches = Vec::new();
        let state = Arc::new(Mutex::new(ProviderState { answer, fetches }));
        let answer = |State(state): State<Arc<Mutex<ProviderState>>>, headers: HeaderMap| async move {
            let mut state = state.lock().unwrap();
            let accepted = headers.get(ACCEPT_ENCODING);
            let accepted = accepted.map(|value| value.to_str().unwrap().to_owned());
            state.fetches.push(accepted.unwrap_or_default());
            state.answer.clone()
        };
        let router = Router::new()
            .route("/keys", get(answer))
            .with_state(Arc::clone(&state));
        Self {
            url: format!("{}/keys", serve(router).await),
            state,
        }
    }

    pub fn answers(&self, status: u16, body: impl Into<String>) {
        let status = StatusCode::from_u16(status).unwrap();
        self.state.lock().unwrap().answer = (status, HeaderMap::new(), body.into().into());
    }

    /// Answers with a body in a content coding, whatever was requested.
    pub fn answers_in(&self, coding: &'static str, body: Vec<u8>) {
        let headers = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static(coding))]);
        self.state.lock().unwrap().answer = (StatusCode::OK, headers, body);
    }

    pub fn has(&self, keys: &[Value]) {
        self.answers(200, json!({"keys": keys}).to_string());
    }

    pub fn fetches(&self) -> usize {
        self.state.lock().unwrap().fetches.len()
    }

    /// The content codings that each request accepted.
    pub fn accepted_codings(&self) -> Vec<String> {
        self.state.lock().unwrap().fetches.clone()
    }
}
