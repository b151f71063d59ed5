//! Logs each assignment in one line, with the fields that an operator searches by.

use shared::assign::{
    AppVersion, AssignRefusal, AssignRequest, Assignment, ClientBuild, LOCAL_DEV,
};

use crate::request::ClientClaims;

pub(crate) fn assigned(request: &AssignRequest, claims: &ClientClaims, assignment: &Assignment) {
    tracing::info!(
        user = %request.user,
        session = %request.session,
        claimed_email = claims.email,
        region = %assignment.region,
        instance = %assignment.instance_id,
        slot = assignment.slot_id,
        repeated = assignment.repeated,
        "slot assigned"
    );
    if let Some(nearest) = request
        .regions
        .first()
        .filter(|nearest| **nearest != assignment.region)
    {
        tracing::warn!(
            user = %request.user,
            session = %request.session,
            %nearest,
            region = %assignment.region,
            "slot assigned outside of the user's nearest region"
        );
    }
}

pub(crate) fn refused(
    request: &AssignRequest,
    claims: &ClientClaims,
    reason: AssignRefusal,
    app: Option<&AppVersion>,
) {
    tracing::warn!(
        user = %request.user,
        session = %request.session,
        claimed_email = claims.email,
        regions = request.regions.iter().map(|region| region.as_str()).collect::<Vec<_>>().join(","),
        error = reason.name(),
        "assignment refused"
    );
    if reason == AssignRefusal::CommitHashMismatch {
        log_mismatch(request, claims, app);
    }
}

/// An outdated client is normal: its user has to update it. A current client that no image serves
/// is an error: the operator has to act.
fn log_mismatch(request: &AssignRequest, claims: &ClientClaims, app: Option<&AppVersion>) {
    let client_sha = match &request.client {
        ClientBuild::Sha(sha) => sha.as_str(),
        ClientBuild::CurrentImage => LOCAL_DEV,
    };
    let older = app
        .zip(claims.version.as_deref())
        .and_then(|(app, own)| app.is_newer_than(own));
    let client_version = claims.version.as_deref();
    let app_version = app.map(|app| app.version.as_str());
    let app_sha = app.map(|app| app.client_sha.as_str());
    match older {
        Some(true) => tracing::info!(
            client_sha,
            client_version,
            app_version,
            app_sha,
            "client is older than the app version and must be updated"
        ),
        _ => tracing::error!(
            client_sha,
            client_version,
            app_version,
            app_sha,
            "no image serves this client, which is not known to be outdated"
        ),
    }
}
