//! Postgres' functions, in memory: the same outcomes under the same conditions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;

use super::{image, settings};
use crate::clock::Clock;
use crate::db::{
    Database, DbError, Fence, KnownInstance, Observation, TerminateIf, WriteOutcome, WriteResult,
};
use crate::ids::{InstanceId, RegionName};
use crate::model::{
    Image, ImageState, Instance, InstanceStatus, NewInstance, Notice, RegionSettings, SlotCounts,
};

#[derive(Debug)]
pub struct FakeDatabase {
    state: Mutex<Rows>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
pub struct Rows {
    pub settings: RegionSettings,
    pub images: Vec<Image>,
    pub instances: BTreeMap<InstanceId, Instance>,
    pub waiting: u32,
    /// As if passes had always looked, unless a test says otherwise.
    pub watched_since: Timestamp,
    pub fence: i64,
    /// The names of the calls, in order.
    pub calls: Vec<&'static str>,
    /// The next call fails with this, before it does anything.
    pub next_error: Option<DbError>,
    /// The next write is done, but its answer is lost.
    pub lose_next_answer: bool,
}

impl FakeDatabase {
    pub(super) fn with(instances: Vec<Instance>, clock: Arc<dyn Clock>) -> Self {
        let rows = Rows {
            settings: settings(),
            images: vec![image("ami-1", ImageState::Current)],
            instances: instances.into_iter().map(|i| (i.id.clone(), i)).collect(),
            waiting: 0,
            watched_since: Timestamp::UNIX_EPOCH,
            fence: 0,
            calls: vec![],
            next_error: None,
            lose_next_answer: false,
        };
        Self {
            state: Mutex::new(rows),
            clock,
        }
    }

    /// The rows, to look at and to change as an operator or a host agent would.
    pub fn rows(&self) -> MutexGuard<'_, Rows> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the host agent of a booted instance does: `ACTIVE`, with all its slots.
    pub fn register(&self, id: &InstanceId) -> bool {
        let now = self.clock.now();
        let mut rows = self.rows();
        let Some(row) = rows.instances.get_mut(id) else {
            return false;
        };
        if row.status != InstanceStatus::PreConnection {
            return false;
        }
        row.status = InstanceStatus::Active;
        row.active_at = Some(now);
        row.beat_at = Some(now);
        row.slots = SlotCounts {
            waiting: row.capacity,
            occupied: 0,
            unclaimed: 0,
        };
        true
    }

    fn call(&self, name: &'static str) -> Result<MutexGuard<'_, Rows>, DbError> {
        let mut rows = self.rows();
        rows.calls.push(name);
        match rows.next_error.take() {
            Some(error) => Err(error),
            None => Ok(rows),
        }
    }

    fn write(&self, name: &'static str, fence: &Fence) -> Result<MutexGuard<'_, Rows>, DbError> {
        let rows = self.call(name)?;
        if fence.version < rows.fence {
            return Err(DbError::Fenced {
                region: fence.region.clone(),
                version: fence.version,
            });
        }
        Ok(rows)
    }

    fn observe(&self, rows: &Rows) -> Observation {
        Observation {
            settings: rows.settings.clone(),
            now: self.clock.now(),
            waiting: rows.waiting,
            watched_since: rows.watched_since,
            images: rows.images.clone(),
            instances: rows.instances.values().cloned().collect(),
        }
    }
}

impl Rows {
    fn insert(&mut self, new: &NewInstance, status: InstanceStatus) -> WriteOutcome {
        if self.instances.contains_key(&new.id) {
            return WriteOutcome::Already;
        }
        let row = Instance {
            id: new.id.clone(),
            launch_id: new.launch_id.clone(),
            image_id: new.image_id.clone(),
            client_sha: new.client_sha.clone(),
            capacity: new.capacity,
            status,
            launched_at: new.launched_at,
            active_at: None,
            draining_since: None,
            missing_since: None,
            beat_at: None,
            resumed_at: None,
            notice: None,
            slots: SlotCounts::default(),
        };
        self.instances.insert(new.id.clone(), row);
        WriteOutcome::Done
    }
}

/// An answer, unless it was to be lost.
fn answer(
    mut rows: MutexGuard<'_, Rows>,
    results: Vec<WriteResult>,
) -> Result<Vec<WriteResult>, DbError> {
    if std::mem::take(&mut rows.lose_next_answer) {
        return Err(DbError::Unavailable {
            operation: "write",
            reason: "answer lost".to_owned(),
        });
    }
    Ok(results)
}

fn result(id: &InstanceId, outcome: WriteOutcome) -> WriteResult {
    WriteResult {
        id: id.to_string(),
        outcome,
    }
}

#[async_trait]
impl Database for FakeDatabase {
    async fn regions(&self) -> Result<Vec<RegionName>, DbError> {
        Ok(vec![self.call("regions")?.settings.name.clone()])
    }

    async fn begin_pass(&self, fence: &Fence) -> Result<Observation, DbError> {
        let mut rows = self.call("begin_pass")?;
        if fence.version < rows.fence {
            return Err(DbError::BehindFence {
                region: fence.region.clone(),
                version: fence.version,
                in_force: rows.fence,
            });
        }
        rows.fence = fence.version;
        Ok(self.observe(&rows))
    }

    async fn look(&self, _region: &RegionName) -> Result<Observation, DbError> {
        let rows = self.call("look")?;
        Ok(self.observe(&rows))
    }

    async fn record_instances(
        &self,
        fence: &Fence,
        instances: &[NewInstance],
    ) -> Result<Vec<WriteResult>, DbError> {
        let mut rows = self.write("record_instances", fence)?;
        let results = instances
            .iter()
            .map(|new| result(&new.id, rows.insert(new, InstanceStatus::PreConnection)))
            .collect();
        answer(rows, results)
    }

    async fn adopt_orphans(
        &self,
        fence: &Fence,
        orphans: &[NewInstance],
    ) -> Result<Vec<WriteResult>, DbError> {
        let mut rows = self.write("adopt_orphans", fence)?;
        let results = orphans
            .iter()
            .map(|new| result(&new.id, rows.insert(new, InstanceStatus::Terminating)))
            .collect();
        answer(rows, results)
    }

    async fn drain(&self, fence: &Fence, ids: &[InstanceId]) -> Result<Vec<WriteResult>, DbError> {
        let mut rows = self.write("drain", fence)?;
        let now = self.clock.now();
        let drain = |row: &mut Instance| match row.status {
            InstanceStatus::Draining => WriteOutcome::Already,
            InstanceStatus::Terminating => WriteOutcome::WrongState,
            _ if !row.is_empty() && row.notice.is_none() => WriteOutcome::Occupied,
            _ => {
                row.status = InstanceStatus::Draining;
                row.draining_since = Some(now);
                WriteOutcome::Done
            }
        };
        let results = each(&mut rows, ids, drain);
        answer(rows, results)
    }

    async fn terminate(
        &self,
        fence: &Fence,
        ids: &[InstanceId],
        condition: TerminateIf,
    ) -> Result<Vec<WriteResult>, DbError> {
        let mut rows = self.write("terminate", fence)?;
        let (now, lost) = (self.clock.now(), rows.settings.waits.lost);
        let (watched_since, heartbeat) = (rows.watched_since, rows.settings.waits.heartbeat);
        let terminate = |row: &mut Instance| {
            if row.status == InstanceStatus::Terminating {
                return WriteOutcome::Already;
            }
            match condition {
                TerminateIf::Empty if !row.is_empty() => return WriteOutcome::Occupied,
                TerminateIf::Empty if row.status == InstanceStatus::Active => {
                    return WriteOutcome::WrongState;
                }
                TerminateIf::Missing
                    if row
                        .beat_at
                        .is_some_and(|at| now.duration_since(at) < heartbeat) =>
                {
                    return WriteOutcome::Alive;
                }
                TerminateIf::Lost
                    if now.duration_since(row.heard_at().max(watched_since)) < lost =>
                {
                    return WriteOutcome::Alive;
                }
                _ => {}
            }
            row.status = InstanceStatus::Terminating;
            WriteOutcome::Done
        };
        let results = each(&mut rows, ids, terminate);
        answer(rows, results)
    }

    async fn remove(&self, fence: &Fence, ids: &[InstanceId]) -> Result<Vec<WriteResult>, DbError> {
        let mut rows = self.write("remove", fence)?;
        let results = ids
            .iter()
            .map(|id| {
                let outcome = match rows.instances.get(id).map(|row| row.status) {
                    None => WriteOutcome::Unknown,
                    Some(InstanceStatus::Terminating) => {
                        rows.instances.remove(id);
                        WriteOutcome::Done
                    }
                    Some(_) => WriteOutcome::WrongState,
                };
                result(id, outcome)
            })
            .collect();
        answer(rows, results)
    }

    async fn note_missing(
        &self,
        fence: &Fence,
        missing: &[InstanceId],
        present: &[InstanceId],
    ) -> Result<Vec<WriteResult>, DbError> {
        let mut rows = self.write("note_missing", fence)?;
        let now = self.clock.now();
        let mut results = each(&mut rows, missing, |row| {
            row.missing_since.get_or_insert(now);
            WriteOutcome::Done
        });
        results.extend(each(&mut rows, present, |row| {
            row.missing_since = None;
            WriteOutcome::Done
        }));
        answer(rows, results)
    }

    async fn release_unclaimed(&self, fence: &Fence) -> Result<Vec<WriteResult>, DbError> {
        let mut rows = self.write("release_unclaimed", fence)?;
        let mut results = vec![];
        for row in rows.instances.values_mut() {
            let unclaimed = std::mem::take(&mut row.slots.unclaimed);
            row.slots.occupied -= unclaimed;
            row.slots.waiting += unclaimed;
            results.extend((0..unclaimed).map(|n| WriteResult {
                id: format!("slot {n} of {}", row.id),
                outcome: WriteOutcome::Done,
            }));
        }
        answer(rows, results)
    }

    async fn find_instance(&self, id: &InstanceId) -> Result<Option<KnownInstance>, DbError> {
        let rows = self.call("find_instance")?;
        Ok(rows.instances.get(id).map(|row| KnownInstance {
            region: rows.settings.name.clone(),
            status: row.status,
        }))
    }

    async fn give_notice(&self, id: &InstanceId, notice: Notice) -> Result<WriteOutcome, DbError> {
        let mut rows = self.call("give_notice")?;
        Ok(match rows.instances.get_mut(id) {
            None => WriteOutcome::Unknown,
            Some(row) if row.status == InstanceStatus::Terminating => WriteOutcome::WrongState,
            Some(row) if row.notice >= Some(notice) => WriteOutcome::Already,
            Some(row) => {
                row.notice = Some(notice);
                WriteOutcome::Done
            }
        })
    }
}

fn each(
    rows: &mut Rows,
    ids: &[InstanceId],
    change: impl Fn(&mut Instance) -> WriteOutcome,
) -> Vec<WriteResult> {
    ids.iter()
        .map(|id| {
            result(
                id,
                rows.instances
                    .get_mut(id)
                    .map_or(WriteOutcome::Unknown, &change),
            )
        })
        .collect()
}
