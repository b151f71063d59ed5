//! Requests of EC2's events (`…_notices/up.sql`). They are not a pass's writes, so they are not
//! fenced.

use shared::db::{KnownInstance, WriteOutcome};
use shared::ids::InstanceId;
use shared::model::{InstanceStatus, SpotNotice};

use super::tables::Tables;

impl Tables {
    /// The region and status of an instance.
    pub fn find_instance(&self, id: &InstanceId) -> Option<KnownInstance> {
        self.instances.get(id).map(|row| KnownInstance {
            region: row.region.clone(),
            status: row.status,
        })
    }

    /// Stores what EC2 has announced. An interruption is not replaced by a lesser notice.
    pub fn record_spot_notice(&mut self, id: &InstanceId, notice: SpotNotice) -> WriteOutcome {
        match self.instances.get_mut(id) {
            None => WriteOutcome::Unknown,
            Some(_) if self.held.contains(id) => WriteOutcome::Busy,
            Some(row) if row.status == InstanceStatus::Terminating => WriteOutcome::WrongState,
            Some(row) if row.notice >= Some(notice) => WriteOutcome::Already,
            Some(row) => {
                row.notice = Some(notice);
                WriteOutcome::Done
            }
        }
    }
}
