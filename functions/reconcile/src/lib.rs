//! Turns an invocation into an order, and the passes' reports into an answer.

mod request;
mod upgrade;

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use futures::future::join_all;
use lambda_runtime::Diagnostic;
use serde::Serialize;
use serde_json::Value;
use shared::db::DbError;
use shared::ids::RegionName;
use shared::pass::{Order, Passes};
use shared::report::PassReport;
use thiserror::Error;
use tracing::{Instrument, error, info_span};

pub use request::{BadRequest, Request};

/// One report per region.
#[derive(Debug, Serialize)]
pub struct Response {
    pub regions: Vec<PassReport>,
}

/// Lambda refuses an answer of more than 6 MB, and calls the invocation failed.
const LARGEST_ANSWER: usize = 5_000_000;

impl Response {
    /// Shortens the lists of all regions until the answer can be given.
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

/// The invocation as a whole failed: no region was looked at.
#[derive(Debug, Error)]
pub enum ReconcileError {
    #[error(transparent)]
    BadRequest(#[from] BadRequest),
    #[error("list the regions: {0}")]
    Regions(#[from] DbError),
}

/// What the invoker reads: the error's own words, without Rust's type names.
impl From<ReconcileError> for Diagnostic {
    fn from(error: ReconcileError) -> Self {
        let error_type = match &error {
            ReconcileError::BadRequest(_) => "BadRequest",
            ReconcileError::Regions(_) => "DatabaseUnavailable",
        };
        Self {
            error_type: error_type.to_owned(),
            error_message: error.to_string(),
        }
    }
}

/// One invocation: a pass, or a dry run, for each region that was asked for.
///
/// # Errors
/// When the event cannot be understood or the regions cannot be listed. What fails in one
/// region is in that region's report and does not keep the others from being looked at.
pub async fn handle(
    passes: &Passes,
    event: Value,
    request_id: &str,
) -> Result<Response, Diagnostic> {
    // The runtime logs the error of a failed invocation.
    answer(passes, event, request_id)
        .instrument(info_span!("reconcile", request = request_id))
        .await
        .map_err(Into::into)
}

async fn answer(
    passes: &Passes,
    event: Value,
    request_id: &str,
) -> Result<Response, ReconcileError> {
    let began = passes.clock.now();
    let request = Request::parse(event)?;
    let known = passes.regions().await?;
    let order = Order {
        trigger: request.trigger.clone(),
        id: request.id.clone().unwrap_or_else(|| request_id.to_owned()),
        began,
        approve_mass_removal: request.approve_mass_removal,
    };
    if let Some(upgrade) = &request.image_upgrade {
        let regions = upgrade::run(passes, &known, upgrade, &order).await;
        return Ok(Response { regions }.bounded());
    }
    let asked = request.regions.as_ref().unwrap_or(&known);
    let regions = join_all(asked.iter().map(|region| async {
        if !known.contains(region) {
            return unknown(region);
        }
        let pass = async {
            if request.dry_run {
                passes.dry_run(region, &order).await
            } else {
                passes.run(region, &order).await
            }
        };
        guarded(region, pass).await
    }))
    .await;
    Ok(Response { regions }.bounded())
}

/// A fault of ours in one region must not take the others with it.
async fn guarded(region: &RegionName, pass: impl Future<Output = PassReport>) -> PassReport {
    let fault = "a fault of the service itself: see the panic in the log";
    AssertUnwindSafe(pass)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| PassReport::failed(region, fault))
}

fn unknown(region: &RegionName) -> PassReport {
    error!(%region, "asked for a region that has no row");
    PassReport::failed(region, &DbError::UnknownRegion(region.clone()))
}

#[cfg(test)]
mod tests {
    use shared::report::StepResult;

    use super::*;

    #[test]
    fn an_answer_that_lambda_would_refuse_is_shortened_and_says_so() {
        let mut report = PassReport::of(&"us-east-1".into());
        let step = "terminate i-0123456789abcdef0 at EC2".repeat(4);
        report.results = vec![StepResult::ok(step, "asked"); 100_000];
        let response = Response {
            regions: vec![report],
        }
        .bounded();
        assert!(serde_json::to_vec(&response).unwrap().len() <= LARGEST_ANSWER);
        let report = &response.regions[0];
        assert_eq!(report.results.len() + report.left_out, 100_000);
    }
}
