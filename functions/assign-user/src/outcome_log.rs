//! Logs each assignment in one line, with the fields that an operator searches by.

use shared::assign::{
    AppVersion, AssignRefusal, AssignRequest, Assignment, ClientBuild, LOCAL_DEV,
};
use startup::config::Stage;

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
        waited_seconds = assignment.waited.as_secs_f64(),
        "slot assigned"
    );
    // A region that is disabled could not have served the user: it is not compared with.
    if let Some(nearest) = &assignment.nearest
        && !assignment.repeated
        && *nearest != assignment.region
    {
        tracing::warn!(
            user = %request.user,
            session = %request.session,
            %nearest,
            region = %assignment.region,
            "slot assigned outside of the user's nearest enabled region"
        );
    }
}

pub(crate) fn refused(
    request: &AssignRequest,
    claims: &ClientClaims,
    reason: AssignRefusal,
    app: Option<&AppVersion>,
    stage: Stage,
) {
    let line = match reason {
        AssignRefusal::NoInstanceAvailable(line) => Some(line),
        _ => None,
    };
    tracing::warn!(
        user = %request.user,
        session = %request.session,
        claimed_email = claims.email,
        regions = request.regions.iter().map(|region| region.as_str()).collect::<Vec<_>>().join(","),
        error = reason.name(),
        place = line.map(|line| line.place),
        estimate_seconds = line.and_then(|line| line.estimate_seconds),
        "assignment refused"
    );
    match reason {
        AssignRefusal::CommitHashMismatch => log_mismatch(request, claims, app, stage),
        AssignRefusal::NoImageServed => tracing::error!(
            "no image is CURRENT in any of the requested regions: request one, or disable the regions"
        ),
        _ => {}
    }
}

/// An outdated client is normal: its user has to update it. That no image serves a client which is
/// not older than the app version is an error in production, where the operator has to act;
/// elsewhere, developers try clients before their images.
fn log_mismatch(
    request: &AssignRequest,
    claims: &ClientClaims,
    app: Option<&AppVersion>,
    stage: Stage,
) {
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
    const UNSERVED: &str = "no image serves this client, which is not known to be outdated";
    match (older, stage) {
        (Some(true), _) => tracing::info!(
            client_sha,
            client_version,
            app_version,
            app_sha,
            "client is older than the app version and must be updated"
        ),
        (_, Stage::Production) => {
            tracing::error!(
                client_sha,
                client_version,
                app_version,
                app_sha,
                "{UNSERVED}"
            );
        }
        (_, Stage::Other) => {
            tracing::warn!(
                client_sha,
                client_version,
                app_version,
                app_sha,
                "{UNSERVED}"
            );
        }
    }
}
