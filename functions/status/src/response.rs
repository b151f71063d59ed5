//! The answers: a model as JSON or as a page, or an error.

use aws_lambda_events::lambda_function_urls::LambdaFunctionUrlResponse;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LINK,
    LOCATION, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, VARY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use shared::db::DbError;
use shared::ids::RegionName;
use shared::recording::RecordingError;
use shared::words::visible;
use startup::function_url::{BadEvent, ErrorBody, error_name, json_response, response};
use thiserror::Error;

use crate::auth::{AuthError, CHALLENGE_OF_A_PAGE, CHALLENGES};
use crate::gather::GatherError;
use crate::page::{self, Visit};
use crate::replay::{BadQuery, ReplayProblem};
use crate::route::NoRoute;

/// The content policy of JSON answers: they load nothing.
const POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD");

/// Every answer is for one caller at one moment, and must not be used as a script.
const COMMON_HEADERS: [(HeaderName, &str); 5] = [
    (CACHE_CONTROL, "no-store"),
    // One path answers programs with JSON and browsers with a page.
    (VARY, "accept"),
    (REFERRER_POLICY, "no-referrer"),
    (STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

/// Why a request is not answered with a model.
#[derive(Debug, Error)]
pub(crate) enum Rejection {
    #[error(transparent)]
    Event(#[from] BadEvent),
    #[error(
        "there is nothing at this path: GET /, /healthz, /metrics, /doctor, /regions/NAME, \
         /decisions/REGION/VERSION, /usage, /replay or /history.csv"
    )]
    Path,
    #[error("the method must be GET or HEAD: this function changes nothing")]
    Method,
    #[error("query parameter `before` must be a decision's version, a whole number from 1")]
    Before,
    #[error("query parameter `after` must be an instance's id, such as i-0123456789abcdef0")]
    After,
    #[error(
        "query parameter `{0}` must be a time, such as 2026-01-31T09:00:00Z, or a date: its beginning in UTC"
    )]
    Time(&'static str),
    #[error("query parameter `from` must be before `to`")]
    Order,
    #[error("query parameter `after` must be the one of the link to the next page")]
    Place,
    #[error("query parameter `period` must be hour, day or week")]
    Period,
    #[error("query parameter `region` must be a region's name, such as us-east-1")]
    RegionName,
    #[error("the history names users: it needs a token, and this service has STATUS_AUTH=none")]
    OpenAccess,
    #[error(
        "a replay takes seconds of a processor: it needs a token, and this service has STATUS_AUTH=none"
    )]
    ReplayOpen,
    #[error("query parameter `since` must be a time from 1h to 31d, such as 7d")]
    Since,
    #[error("query parameter `{0}` must be {1}")]
    Setting(&'static str, &'static str),
    #[error("{0}")]
    Replay(ReplayProblem),
    #[error("there is no history: this service has no database")]
    NoHistory,
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error("there is no region {0} in table `regions`: GET / lists all regions")]
    Region(RegionName),
    #[error(
        "there is no decision {region}/{version}: decisions are kept for seven days, and a pass that \
         failed before it decided has none; GET /regions/{region} lists the newest"
    )]
    Decision { region: RegionName, version: i64 },
    #[error("Hasura or DynamoDB could not be read a moment ago")]
    HealthUnknown,
    /// Its cause is in the log only.
    #[error(transparent)]
    Unavailable(#[from] GatherError),
}

impl From<ReplayProblem> for Rejection {
    fn from(problem: ReplayProblem) -> Self {
        match problem {
            ReplayProblem::Recording(RecordingError::Database(DbError::UnknownRegion(region))) => {
                Self::Region(region)
            }
            ReplayProblem::Recording(RecordingError::Database(error)) => {
                Self::Unavailable(error.into())
            }
            other => Self::Replay(other),
        }
    }
}

impl From<NoRoute> for Rejection {
    fn from(no: NoRoute) -> Self {
        match no {
            NoRoute::Path => Self::Path,
            NoRoute::Before => Self::Before,
            NoRoute::After => Self::After,
            NoRoute::Time(name) => Self::Time(name),
            NoRoute::Order => Self::Order,
            NoRoute::Place => Self::Place,
            NoRoute::Period => Self::Period,
            NoRoute::Region | NoRoute::Replay(BadQuery::Region) => Self::RegionName,
            NoRoute::Replay(BadQuery::Since) => Self::Since,
            NoRoute::Replay(BadQuery::Setting(column, expected)) => Self::Setting(column, expected),
        }
    }
}

impl Rejection {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Event(BadEvent::TooLarge(_)) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Event(_)
            | Self::Before
            | Self::After
            | Self::Time(_)
            | Self::Order
            | Self::Place
            | Self::Period
            | Self::RegionName
            | Self::Since
            | Self::Setting(..)
            | Self::Replay(_) => StatusCode::BAD_REQUEST,
            Self::Path | Self::Region(_) | Self::Decision { .. } | Self::NoHistory => {
                StatusCode::NOT_FOUND
            }
            Self::OpenAccess | Self::ReplayOpen => StatusCode::FORBIDDEN,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Auth(_) => StatusCode::UNAUTHORIZED,
            Self::HealthUnknown | Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        error_name(self.status())
    }

    pub(crate) fn as_json(&self) -> LambdaFunctionUrlResponse {
        #[derive(Serialize)]
        struct Body {
            /// SimpleScaleVM's callers read it.
            #[serde(skip_serializing_if = "Option::is_none")]
            status: Option<u8>,
            #[serde(flatten)]
            error: ErrorBody,
        }
        let status = self.status();
        let body = Body {
            status: status.is_server_error().then_some(0),
            error: ErrorBody::new(status, self),
        };
        self.with_its_headers(as_json(status, &body), CHALLENGES)
    }

    pub(crate) fn as_page(&self, visit: &Visit) -> LambdaFunctionUrlResponse {
        let page = match self {
            Self::Auth(error) => {
                let problem = (*error != AuthError::Missing).then(|| error.to_string());
                page::login(visit, &visit.here, problem)
            }
            Self::HealthUnknown | Self::Unavailable(_) => {
                let message = "Hasura or DynamoDB could not be read: see the log of the function \
                               `status`. This page tries again by itself.";
                page::problem(visit, "The status is not available now", message, true)
            }
            Self::Path => page::problem(visit, "There is nothing here", "", false),
            other => page::problem(visit, "There is nothing to show", &other.to_string(), false),
        };
        self.with_its_headers(as_page(self.status(), page), CHALLENGE_OF_A_PAGE)
    }

    fn with_its_headers(
        &self,
        mut response: LambdaFunctionUrlResponse,
        challenge: HeaderValue,
    ) -> LambdaFunctionUrlResponse {
        match self {
            Self::Method => {
                response.headers.insert(ALLOW, METHODS);
            }
            Self::Auth(_) => {
                response.headers.insert(WWW_AUTHENTICATE, challenge);
            }
            _ => {}
        }
        response
    }
}

pub(crate) fn as_json(status: StatusCode, model: &impl Serialize) -> LambdaFunctionUrlResponse {
    with_common_headers(json_response(status, model), POLICY)
}

/// The answer with a rendered page. Rendering fails only for lack of memory.
pub(crate) fn as_page(
    status: StatusCode,
    page: Result<String, askama::Error>,
) -> LambdaFunctionUrlResponse {
    with_common_headers(
        text_response(
            status,
            "text/html; charset=utf-8",
            page.ok().map(|html| visible_html(&html)),
        ),
        &page::POLICY,
    )
}

/// An answer that is a text for programs.
pub(crate) fn as_text(content_type: &'static str, text: String) -> LambdaFunctionUrlResponse {
    with_common_headers(
        text_response(StatusCode::OK, content_type, Some(text)),
        POLICY,
    )
}

/// The answer with a page of sessions, and the link to the next one if there may be more.
pub(crate) fn as_csv(csv: String, next: Option<&str>) -> LambdaFunctionUrlResponse {
    let response = text_response(
        StatusCode::OK,
        "text/csv; charset=utf-8; header=present",
        Some(csv),
    );
    let mut response = with_common_headers(response, POLICY);
    let file = HeaderValue::from_static("attachment; filename=\"history.csv\"");
    response.headers.insert(CONTENT_DISPOSITION, file);
    let next = next.and_then(|next| HeaderValue::from_str(&format!("<{next}>; rel=\"next\"")).ok());
    response.headers.extend(next.map(|next| (LINK, next)));
    response
}

/// The page with its hidden characters escaped: texts of users and agents must not reorder what is
/// beside them. The page's own are line breaks only.
fn visible_html(html: &str) -> String {
    let lines: Vec<_> = html.lines().map(|line| visible(line).to_string()).collect();
    lines.join("\n")
}

/// Redirects to a path of this service, and sets the session cookie if there is one.
pub(crate) fn redirect(path: &str, session: Option<String>) -> LambdaFunctionUrlResponse {
    let response = text_response(StatusCode::SEE_OTHER, "text/plain", None);
    let mut response = with_common_headers(response, POLICY);
    // The dot makes it a path of this service: without it `//host/` would be another host.
    let location = HeaderValue::from_str(&format!(".{path}"));
    let location = location.ok().filter(|_| path.starts_with('/'));
    let location = location.unwrap_or(HeaderValue::from_static("./"));
    response.headers.insert(LOCATION, location);
    response.cookies.extend(session.filter(|it| !it.is_empty()));
    response
}

fn text_response(
    status: StatusCode,
    content_type: &'static str,
    body: Option<String>,
) -> LambdaFunctionUrlResponse {
    let content_type = HeaderValue::from_static(content_type);
    response(
        status,
        HeaderMap::from_iter([(CONTENT_TYPE, content_type)]),
        body,
    )
}

fn with_common_headers(
    mut response: LambdaFunctionUrlResponse,
    policy: &str,
) -> LambdaFunctionUrlResponse {
    let common = COMMON_HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value)));
    response.headers.extend(common);
    if let Ok(policy) = HeaderValue::from_str(policy) {
        response.headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}
