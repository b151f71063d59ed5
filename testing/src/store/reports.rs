//! Doctor's last report.

use async_trait::async_trait;
use shared::doctor::Report;
use shared::doctor::ports::{ProbeError, Reports};
use shared::lock::LockError;

use super::table::FakeStore;

#[async_trait]
impl Reports for FakeStore {
    async fn store(&self, report: &Report) -> Result<(), ProbeError> {
        self.call("store report").map_err(unavailable)?.report = Some(report.clone());
        Ok(())
    }

    async fn newest(&self) -> Result<Option<Report>, ProbeError> {
        Ok(self
            .call("newest report")
            .map_err(unavailable)?
            .report
            .clone())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn unavailable(error: LockError) -> ProbeError {
    ProbeError::Unavailable(error.to_string())
}
