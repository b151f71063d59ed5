//! What Hasura does and postrust does not, around postrust's router:
//!
//! - [`allow_list`]: which documents a role may send;
//! - [`operation`]: which fields a request has at its root;
//! - [`transaction`]: all fields of a mutation in one transaction;
//! - [`errors`]: PostgreSQL's errors under Hasura's codes;
//! - [`faults`]: errors that a test requests;
//! - [`schema`]: no aggregates of functions at the root of mutations.

mod allow_list;
mod errors;
mod faults;
mod operation;
mod schema;
mod transaction;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tower::ServiceExt;

pub(crate) use self::allow_list::AllowList;
use self::errors::Internal;
use self::faults::{Faults, When};
use self::operation::Operation;
pub(crate) use self::transaction::Lanes;

/// The largest answer of postrust that is read.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// The largest request: ten times the largest of the service, the rows of a thousand instances.
/// Hasura itself has no limit.
const MAX_REQUEST_BYTES: usize = 8 * 1024 * 1024;

/// The path of the faults, which Hasura does not have.
const FAULTS: &str = "/_faults";

/// Settings that Hasura has, too.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) admin_secret: String,
    /// `HASURA_GRAPHQL_DEV_MODE`: everybody sees the internal part of an error.
    pub(crate) dev_mode: bool,
    /// `HASURA_GRAPHQL_ADMIN_INTERNAL_ERRORS`: administrators see it.
    pub(crate) admin_internal_errors: bool,
    /// With `HASURA_GRAPHQL_ENABLE_ALLOWLIST`.
    pub(crate) allow_list: Option<AllowList>,
    /// Fields of queries that roles do not have: `(role, field)`.
    pub(crate) hidden_fields: BTreeSet<(String, String)>,
}

/// Serves GraphQL as Hasura does.
pub(crate) struct Hasura {
    settings: Settings,
    /// postrust, with a pool of connections.
    engine: Router,
    lanes: Lanes,
    /// Names of the functions that are fields of mutations.
    functions: Vec<String>,
    faults: Mutex<Faults>,
}

impl Hasura {
    pub(crate) fn new(
        settings: Settings,
        engine: Router,
        lanes: Lanes,
        functions: Vec<String>,
    ) -> Self {
        Self {
            settings,
            engine,
            lanes,
            functions,
            faults: Mutex::default(),
        }
    }

    /// The routes of Hasura that the stand-in has, and `/_faults`.
    pub(crate) fn router(self) -> Router {
        let engine = self.engine.clone();
        Router::new()
            .route("/v1/graphql", post(graphql))
            .route(FAULTS, get(show_faults).put(set_faults))
            .with_state(Arc::new(self))
            .fallback_service(engine)
    }

    /// Whether the request is the administrator's, and not made in another role.
    fn is_admin(&self, headers: &HeaderMap) -> bool {
        let is = |name: &str, value: &str| headers.get(name).is_some_and(|it| it == value);
        is("x-hasura-admin-secret", &self.settings.admin_secret)
            && (!headers.contains_key("x-hasura-role") || is("x-hasura-role", "admin"))
    }

    /// The role of a request, as far as its headers say so: whether they are right is checked later.
    fn role(&self, headers: &HeaderMap) -> Option<String> {
        let text = |name: &str| headers.get(name)?.to_str().ok();
        if let Some(role) = text("x-hasura-role") {
            return Some(role.to_owned());
        }
        let token = text("authorization")?.strip_prefix("Bearer ")?;
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
        let claims: Value = serde_json::from_slice(&claims).ok()?;
        let role = &claims["https://hasura.io/jwt/claims"]["x-hasura-default-role"];
        role.as_str().map(str::to_owned)
    }

    /// Why the caller may not send this, if postrust does not know why.
    async fn refusal(&self, operation: Option<&Operation>, head: &Parts) -> Option<Answer> {
        if self.is_admin(&head.headers) {
            return None;
        }
        let refusal = match (&self.settings.allow_list, operation) {
            // Nor does Hasura compare what is not one document. Its batches are not served here.
            (Some(_), None) => Answer::refused("not a valid graphql query"),
            (Some(list), Some(operation)) if !list.allows(operation.document()) => {
                let internal = json!({"message": "query is not in any of the allowlists"});
                let extensions =
                    json!({"path": "$", "code": "validation-failed", "internal": internal});
                Answer::error("query is not allowed", &extensions)
            }
            (_, None) => return None,
            (_, Some(operation)) => {
                let role = self.role(&head.headers)?;
                let field = operation.hidden_from(&role, &self.settings.hidden_fields)?;
                Answer::refused(&format!("field '{field}' not found in type: 'query_root'"))
            }
        };
        // Hasura first looks who asks.
        let harmless = Bytes::from_static(br#"{"query": "{ __typename }"}"#);
        let mut head = head.clone();
        head.headers.remove(CONTENT_LENGTH);
        let known = Answer::read(run(self.engine.clone(), copy(&head, &harmless)).await).await;
        Some(if known.has_errors() { known } else { refusal })
    }

    fn shows_internal(&self, headers: &HeaderMap) -> Internal {
        let shown = self.settings.dev_mode
            || (self.settings.admin_internal_errors && self.is_admin(headers));
        if shown {
            Internal::Shown
        } else {
            Internal::Hidden
        }
    }

    fn with_faults<T>(&self, with: impl FnOnce(&mut Faults) -> T) -> T {
        with(&mut self.faults.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Carries the operation out, unless a fault is requested for it.
    async fn answer(&self, operation: &Operation, head: &Parts, body: &Bytes) -> Answer {
        match self.with_faults(|faults| faults.choose(operation)) {
            Some((trouble, When::Before)) => trouble.answer(),
            Some((trouble, When::After)) => {
                self.execute(operation, head, body).await;
                trouble.answer()
            }
            None => self.execute(operation, head, body).await,
        }
    }

    /// Carries the operation out, and returns postrust's answer.
    async fn execute(&self, operation: &Operation, head: &Parts, body: &Bytes) -> Answer {
        if let Some(field) = operation.aggregate_of_a_function(&self.functions) {
            return Answer::refused(&format!(
                "field '{field}' not found in type: 'mutation_root'"
            ));
        }
        let request = || copy(head, body);
        match operation.shares_a_transaction(&self.functions) {
            Ok(false) => Answer::read(run(self.engine.clone(), request()).await).await,
            Ok(true) => self.lanes.run(request).await,
            Err(unsupported) => Answer::refused(unsupported),
        }
    }
}

/// An answer of postrust.
pub(crate) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    /// Only if the answer has errors or describes the schema.
    changed: Option<Value>,
}

impl Answer {
    async fn read(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, MAX_ANSWER_BYTES).await.unwrap_or_default();
        // An answer with data has no need to be read.
        let is_special = |text: &[u8]| {
            text.starts_with(br#"{"errors""#) || text.windows(8).any(|part| part == b"__schema")
        };
        let changed = is_special(&body)
            .then(|| serde_json::from_slice(&body).ok())
            .flatten();
        Self {
            status: parts.status,
            headers: parts.headers,
            body,
            changed,
        }
    }

    /// A refusal by Hasura itself.
    fn refused(message: &str) -> Self {
        Self::error(message, &json!({"path": "$", "code": "validation-failed"}))
    }

    fn error(message: &str, extensions: &Value) -> Self {
        let errors = json!([{"message": message, "extensions": extensions}]);
        Self {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            changed: Some(json!({"errors": errors})),
        }
    }

    fn has_errors(&self) -> bool {
        !self.status.is_success()
            || self
                .changed
                .as_ref()
                .is_some_and(|answer| answer.get("errors").is_some())
    }
}

async fn graphql(State(hasura): State<Arc<Hasura>>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_REQUEST_BYTES).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let operation = Operation::parse(&body);
    let refusal = hasura.refusal(operation.as_ref(), &head).await;
    let mut answer = match (refusal, operation) {
        (Some(refusal), _) => refusal,
        (None, Some(operation)) => hasura.answer(&operation, &head, &body).await,
        // A body that is not one operation is postrust's to refuse.
        (None, None) => return run(hasura.engine.clone(), copy(&head, &body)).await,
    };
    let internal = hasura.shows_internal(&head.headers);
    let Some(mut changed) = answer.changed.take() else {
        return (answer.status, answer.headers, answer.body).into_response();
    };
    errors::translate(&mut changed, internal);
    schema::without_aggregates(&mut changed, &hasura.functions);
    // The body has another length, and sets its own type.
    answer.headers.remove(CONTENT_LENGTH);
    answer.headers.remove(CONTENT_TYPE);
    (answer.status, answer.headers, Json(changed)).into_response()
}

async fn show_faults(State(hasura): State<Arc<Hasura>>, headers: HeaderMap) -> Response {
    if !hasura.is_admin(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    Json(hasura.with_faults(|faults| faults.clone())).into_response()
}

async fn set_faults(
    State(hasura): State<Arc<Hasura>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !hasura.is_admin(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match serde_json::from_slice::<Faults>(&body) {
        Ok(faults) => {
            hasura.with_faults(|current| *current = faults.clone());
            Json(faults).into_response()
        }
        Err(error) => {
            let error = json!({"error": error.to_string()});
            (StatusCode::BAD_REQUEST, Json(error)).into_response()
        }
    }
}

async fn run(engine: Router, request: Request<Body>) -> Response {
    match engine.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// A request can be sent once, and this one may be sent to another router.
fn copy(head: &Parts, body: &Bytes) -> Request<Body> {
    let mut request = Request::new(Body::from(body.clone()));
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = head.uri.clone();
    *request.headers_mut() = head.headers.clone();
    request
}
