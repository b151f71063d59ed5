//! What EC2 says of instances, by its events and otherwise (`…_notices/up.sql`, `…_running/up.sql`). It is
//! no decision of a pass, so it is not fenced.

use std::collections::BTreeMap;

use jiff::Timestamp;
use shared::db::{KnownInstance, WriteOutcome, WriteResult};
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

    /// Stores since when EC2 has run instances. The earliest time stays.
    pub fn note_running(
        &mut self,
        running: &[(InstanceId, Timestamp)],
        now: Timestamp,
    ) -> Vec<WriteResult> {
        let mut given: BTreeMap<_, Timestamp> = BTreeMap::new();
        for (id, at) in running {
            let first = given.entry(id).or_insert(now);
            *first = (*first).min(*at);
        }
        let noted = given.into_iter().map(|(id, at)| {
            let outcome = match self.instances.get_mut(id) {
                None => WriteOutcome::Unknown,
                Some(row) if row.running_at.is_some_and(|before| before <= at) => {
                    WriteOutcome::Already
                }
                Some(_) if self.held.contains(id) => WriteOutcome::Busy,
                Some(row) => {
                    row.running_at = Some(at);
                    WriteOutcome::Done
                }
            };
            let id = id.to_string();
            WriteResult { id, outcome }
        });
        noted.collect()
    }
}
