//! What EC2's events say (`…_notices/up.sql`): not a pass's, and so without a fence.

use super::tables::Tables;
use shared::db::{KnownInstance, WriteOutcome};
use shared::ids::InstanceId;
use shared::model::{InstanceStatus, SpotNotice};

impl Tables {
    /// Where an instance is and how it stands.
    pub fn find_instance(&self, id: &InstanceId) -> Option<KnownInstance> {
        self.instances.get(id).map(|row| KnownInstance {
            region: row.region.clone(),
            status: row.status,
        })
    }

    /// Notes what EC2 is about to do; an interruption is the last word.
    pub fn record_spot_notice(&mut self, id: &InstanceId, notice: SpotNotice) -> WriteOutcome {
        match self.instances.get_mut(id) {
            None => WriteOutcome::Unknown,
            Some(row) if row.status == InstanceStatus::Terminating => WriteOutcome::WrongState,
            Some(row) if row.notice >= Some(notice) => WriteOutcome::Already,
            Some(row) => {
                row.notice = Some(notice);
                WriteOutcome::Done
            }
        }
    }
}
