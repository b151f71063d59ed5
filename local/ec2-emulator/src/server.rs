//! The HTTP server: EC2's API at `/`, the control API under `/_emulator/`.

use axum::Router;
use axum::extract::rejection::FormRejection;
use axum::extract::{ConnectInfo, Extension, Form, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;

use crate::connection::ConnectionHandle;
use crate::control;
use crate::emulator::{ApiRequest, Emulator};
use crate::error::ApiError;
use crate::params::Params;
use crate::xml::Xml;

pub fn router(emulator: Emulator) -> Router {
    Router::new()
        .route("/", any(query))
        .nest("/_emulator", control::router())
        .with_state(emulator)
}

type Pairs = Vec<(String, String)>;

async fn query(
    State(emulator): State<Emulator>,
    connection: Option<Extension<ConnectInfo<ConnectionHandle>>>,
    headers: HeaderMap,
    form: Result<Form<Pairs>, FormRejection>,
) -> Response {
    let request_id = uuid::Uuid::new_v4().to_string();
    let connection = connection.map(|Extension(ConnectInfo(connection))| connection);
    if let Some(connection) = &connection {
        connection.limit_idling(emulator.with(|state, _| state.world.settings.idle_limits()));
    }
    let request = read_request(&headers, form, &request_id);
    let action = request
        .as_ref()
        .map(|request| request.action.clone())
        .unwrap_or_default();
    let result = match request {
        Ok(request) => {
            let reply = emulator.call(request);
            if reply.hangs {
                // Ends when the client closes the connection.
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(reply.delay).await;
            if reply.is_lost
                && let Some(connection) = connection
            {
                connection.abort();
            }
            reply.result
        }
        Err(error) => Err(error),
    };
    let (status, body) = match result {
        Ok(body) => (StatusCode::OK, Xml::response(&action, &request_id, &body)),
        Err(error) => (error.status, Xml::error(&error, &request_id)),
    };
    let headers = [
        (header::CONTENT_TYPE.as_str(), "text/xml;charset=UTF-8"),
        ("x-amzn-requestid", request_id.as_str()),
    ];
    (status, headers, body).into_response()
}

fn read_request(
    headers: &HeaderMap,
    form: Result<Form<Pairs>, FormRejection>,
    request_id: &str,
) -> Result<ApiRequest, ApiError> {
    let Form(pairs) =
        form.map_err(|rejection| ApiError::client("MalformedQueryString", rejection.body_text()))?;
    let (access_key, region) = signed_scope(headers)?;
    let mut params = Params::new(pairs)?;
    let action = params.optional("Action").ok_or_else(|| {
        ApiError::client(
            "MissingAction",
            "The request must contain the parameter Action",
        )
    })?;
    Ok(ApiRequest {
        request_id: request_id.to_owned(),
        access_key,
        region,
        action,
        params,
    })
}

/// The access key and the region in the scope of the request's signature. The region allows one
/// endpoint to serve all regions. The signature is not verified: all credentials are accepted.
fn signed_scope(headers: &HeaderMap) -> Result<(String, String), ApiError> {
    let authorization = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| ApiError::auth_failure("the Authorization header is missing"))?;
    let scope = authorization
        .strip_prefix("AWS4-HMAC-SHA256 ")
        .and_then(|rest| {
            rest.split(',')
                .find_map(|part| part.trim().strip_prefix("Credential="))
        })
        .ok_or_else(|| ApiError::auth_failure("the Authorization header has no credential"))?;
    // AKID/20261121/us-east-1/ec2/aws4_request
    match scope.split('/').collect::<Vec<_>>()[..] {
        [key, _, region, "ec2", "aws4_request"] => Ok((key.to_owned(), region.to_owned())),
        _ => Err(ApiError::auth_failure(format!(
            "the credential should be KEY/DATE/REGION/ec2/aws4_request, not {scope}"
        ))),
    }
}
