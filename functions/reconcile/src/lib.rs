//! `reconcile` turns an invocation into a request for passes, and their reports into a response.

mod replay;
mod request;
mod upgrade;

use futures::future::join_all;
use lambda_runtime::Diagnostic;
use scaling_economics::replay::Replay;
use serde::Serialize;
use serde_json::Value;
use shared::db::DbError;
use shared::doctor::{self, Report, Verdict};
use shared::ids::RegionName;
use shared::pass::{PassRequest, Reconciler, catch_panic};
use shared::report::PassReport;
use shared::trigger::Trigger;
use thiserror::Error;
use tracing::{Instrument, error, info, info_span};

pub use replay::ReplayFailed;
pub use request::{BadRequest, ReplayRequest, Request};

/// One report per region; or doctor's report; or a replay.
#[derive(Debug, Default, Serialize)]
pub struct Response {
    pub regions: Vec<PassReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doctor: Option<Report>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replay>,
}

/// Lambda fails an invocation whose response is larger than 6 MB.
const LARGEST_ANSWER: usize = 5_000_000;

impl Response {
    fn of(regions: Vec<PassReport>) -> Self {
        Self {
            regions,
            ..Self::default()
        }
    }

    /// Shortens the lists of all regions until Lambda accepts the response.
    fn bounded(mut self) -> Self {
        let mut most = 4096;
        while most > 0 && serde_json::to_vec(&self).is_ok_and(|json| json.len() > LARGEST_ANSWER) {
            for report in &mut self.regions {
                report.shorten(most);
            }
            most /= 2;
        }
        self
    }
}

/// The invocation as a whole failed: no pass ran.
#[derive(Debug, Error)]
pub enum ReconcileError {
    #[error(transparent)]
    BadRequest(#[from] BadRequest),
    #[error("list the regions: {0}")]
    Regions(#[from] DbError),
    #[error("this process has nothing to examine with: only the deployed `reconcile` has")]
    NoDoctor,
    #[error(transparent)]
    Replay(#[from] ReplayFailed),
}

/// What the invoker reads: the error's own words, without Rust's type names.
impl From<ReconcileError> for Diagnostic {
    fn from(error: ReconcileError) -> Self {
        let error_type = match &error {
            ReconcileError::BadRequest(_) => "BadRequest",
            ReconcileError::Regions(_) => "DatabaseUnavailable",
            ReconcileError::NoDoctor => "NoDoctor",
            ReconcileError::Replay(error) => error.kind(),
        };
        Self {
            error_type: error_type.to_owned(),
            error_message: error.to_string(),
        }
    }
}

/// Handles one invocation: a pass, or a dry run, for each requested region.
///
/// # Errors
/// When the event is not understood or the regions cannot be listed. What fails in one region is
/// in that region's report and does not affect the others.
pub async fn handle(
    reconciler: &Reconciler,
    event: Value,
    request_id: &str,
) -> Result<Response, Diagnostic> {
    // The runtime logs the error of a failed invocation.
    run(reconciler, event, request_id)
        .instrument(info_span!("reconcile", request = request_id))
        .await
        .map_err(Into::into)
}

async fn run(
    reconciler: &Reconciler,
    event: Value,
    request_id: &str,
) -> Result<Response, ReconcileError> {
    let began = reconciler.clock.now();
    let request = Request::parse(event)?;
    if request.doctor {
        return examine(reconciler).await;
    }
    if let Some(asked) = request.replay {
        let replay = replay::run(reconciler, asked, began).await?;
        return Ok(Response {
            replay: Some(replay),
            ..Response::default()
        });
    }
    // A dry run changes nothing, and what is handed over was checked when its event came.
    let record = if request.dry_run || request.trigger == Trigger::HandOver {
        None
    } else {
        reconciler.check_in(&request.trigger).await
    };
    let known = reconciler.regions().await?;
    reconciler.end_outage(record.as_ref()).await;
    let pass_request = PassRequest {
        trigger: request.trigger.clone(),
        id: request.id.clone().unwrap_or_else(|| request_id.to_owned()),
        began,
        approve_mass_removal: request.approve_mass_removal,
    };
    if let Some(upgrade) = &request.image_upgrade {
        let regions = upgrade::run(reconciler, &known, upgrade, &pass_request).await;
        return Ok(Response::of(regions).bounded());
    }
    let requested = request.regions.as_ref().unwrap_or(&known);
    let (named, unknown): (Vec<_>, Vec<_>) = requested
        .iter()
        .cloned()
        .partition(|region| known.contains(region));
    let mut regions = if request.dry_run {
        dry_run_all(reconciler, &named, &pass_request).await
    } else {
        reconciler.run_all(&named, &pass_request).await
    };
    if request.trigger == Trigger::Schedule {
        reconciler.search_strays(&known, began).await;
    }
    regions.extend(unknown.iter().map(unknown_region));
    // As they were requested.
    regions.sort_by_key(|report| requested.iter().position(|name| *name == report.region));
    Ok(Response::of(regions).bounded())
}

/// What is wrong is in the report, and not alerted: somebody is looking.
async fn examine(reconciler: &Reconciler) -> Result<Response, ReconcileError> {
    let probes = reconciler.probes.as_ref();
    let probes = probes.ok_or(ReconcileError::NoDoctor)?;
    let report = doctor::examine(reconciler, probes).await;
    info!(
        verdict = %report.verdict,
        wrong = report.count(Verdict::Wrong),
        warnings = report.count(Verdict::Warning),
        "deployment examined"
    );
    Ok(Response {
        doctor: Some(report),
        ..Response::default()
    })
}

async fn dry_run_all(
    reconciler: &Reconciler,
    regions: &[RegionName],
    request: &PassRequest,
) -> Vec<PassReport> {
    let dry_runs = regions
        .iter()
        .map(|region| catch_panic(region, reconciler.dry_run(region, request)));
    join_all(dry_runs).await
}

fn unknown_region(region: &RegionName) -> PassReport {
    error!(%region, "requested region has no row");
    PassReport::failed(region, &DbError::UnknownRegion(region.clone()))
}

#[cfg(test)]
mod tests {
    use shared::report::StepResult;

    use super::*;

    #[test]
    fn response_larger_than_the_limit_is_shortened() {
        let mut report = PassReport::of(&"us-east-1".into());
        let step = "terminate i-0123456789abcdef0 at EC2".repeat(4);
        report.results = vec![StepResult::ok(step, "asked"); 100_000];
        let response = Response::of(vec![report]).bounded();
        assert!(serde_json::to_vec(&response).unwrap().len() <= LARGEST_ANSWER);
        let report = &response.regions[0];
        assert_eq!(report.results.len() + report.left_out, 100_000);
    }
}
