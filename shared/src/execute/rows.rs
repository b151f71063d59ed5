//! Steps that only write to PostgreSQL: image states, missing instances, addresses, removals, slots,
//! drains. And the forecast, and what the history needs.

use std::collections::BTreeMap;

use super::executor::{Executor, Stop, report_write};
use crate::db::{WriteOutcome, WriteResult};
use crate::ids::InstanceId;
use crate::model::{DrainCause, MachineState};
use crate::report::StepResult;
use crate::scaling::{Action, Plan, Step, outlook};

impl Executor<'_> {
    /// Returns whether an image changed its state.
    pub(super) async fn move_images(
        &self,
        plan: &Plan,
        results: &mut Vec<StepResult>,
    ) -> Result<bool, Stop> {
        let mut moved = false;
        for step in &plan.steps {
            let Action::MoveImage { image, from, to } = &step.action else {
                continue;
            };
            self.check_time()?;
            let reason = step.reason.to_string();
            let Some(database) = self.instance_rows("move images", results) else {
                continue;
            };
            let answer = database
                .move_image(&self.lease.fence(), image, (*from, *to), &reason)
                .await;
            let rows = report_write(&format!("move from {from} to {to}"), answer, results)?;
            moved |= rows.iter().any(|row| row.outcome == WriteOutcome::Done);
        }
        Ok(moved)
    }

    pub(super) async fn note_missing(
        &self,
        plan: &Plan,
        results: &mut Vec<StepResult>,
    ) -> Result<(), Stop> {
        let missing = plan.ids(|action| match action {
            Action::NoteMissing { instance } => Some(instance),
            _ => None,
        });
        let present = plan.ids(|action| match action {
            Action::NotePresent { instance } => Some(instance),
            _ => None,
        });
        if missing.is_empty() && present.is_empty() {
            return Ok(());
        }
        self.check_time()?;
        let Some(database) = self.instance_rows("update missing_since", results) else {
            return Ok(());
        };
        let answer = database
            .note_missing(&self.lease.fence(), &missing, &present)
            .await;
        report_write("update missing_since of", answer, results)?;
        Ok(())
    }

    /// Tells the history which instances EC2 runs, where its events have not said since when. Once an
    /// instance has registered, that is known well enough.
    pub(super) async fn note_running(&self, results: &mut Vec<StepResult>) -> Result<(), Stop> {
        let is_running = |id| {
            let machine = self.snapshot.machines.get(id);
            machine.is_some_and(|machine| machine.state == MachineState::Running)
        };
        let rows = self.snapshot.instances.values();
        let running: Vec<_> = rows
            .filter(|row| row.running_at.or(row.active_at).is_none() && is_running(&row.id))
            .map(|row| (row.id.clone(), self.now))
            .collect();
        if running.is_empty() {
            return Ok(());
        }
        self.check_time()?;
        let verb = "note the start of";
        let Some(database) = self.instance_rows(verb, results) else {
            return Ok(());
        };
        match database.note_running(&running).await {
            // Nobody asked for it: it is no result of the plan.
            Ok(_) => Ok(()),
            failed => report_write(verb, failed, results).map(|_| ()),
        }
    }

    pub(super) async fn note_addresses(
        &self,
        plan: &Plan,
        results: &mut Vec<StepResult>,
    ) -> Result<(), Stop> {
        let addresses: Vec<_> = plan
            .steps
            .iter()
            .filter_map(|step| match &step.action {
                Action::NoteAddresses { addresses } => Some(addresses.clone()),
                _ => None,
            })
            .collect();
        if addresses.is_empty() {
            return Ok(());
        }
        self.check_time()?;
        let Some(database) = self.instance_rows("note addresses", results) else {
            return Ok(());
        };
        let answer = database
            .note_addresses(&self.lease.fence(), &addresses)
            .await;
        report_write("note addresses of", answer, results)?;
        Ok(())
    }

    /// Returns how many of the rows that the plan removes are left.
    pub(super) async fn remove_rows(
        &self,
        plan: &Plan,
        results: &mut Vec<StepResult>,
    ) -> Result<usize, Stop> {
        let ids = plan.ids(|action| match action {
            Action::Remove { instance } => Some(instance),
            _ => None,
        });
        if ids.is_empty() {
            return Ok(0);
        }
        self.check_time()?;
        let Some(database) = self.instance_rows("remove rows", results) else {
            return Ok(ids.len());
        };
        let answer = database.remove(&self.lease.fence(), &ids).await;
        let rows = report_write("remove the row of", answer, results)?;
        let is_gone =
            |row: &WriteResult| matches!(row.outcome, WriteOutcome::Done | WriteOutcome::Unknown);
        let gone = rows.into_iter().filter(is_gone).count();
        Ok(ids.len().saturating_sub(gone))
    }

    pub(super) async fn release_unclaimed(
        &self,
        plan: &Plan,
        results: &mut Vec<StepResult>,
    ) -> Result<(), Stop> {
        if !plan
            .steps
            .iter()
            .any(|step| matches!(step.action, Action::ReleaseUnclaimed { .. }))
        {
            return Ok(());
        }
        self.check_time()?;
        let Some(database) = self.instance_rows("release slots", results) else {
            return Ok(());
        };
        let answer = database.release_unclaimed(&self.lease.fence()).await;
        report_write("release slot", answer, results)?;
        Ok(())
    }

    pub(super) async fn mark_ends(
        &self,
        plan: &Plan,
        results: &mut Vec<StepResult>,
    ) -> Result<(), Stop> {
        let is_mark = |step: &Step| matches!(step.action, Action::MarkEnds { .. });
        if !plan.steps.iter().any(is_mark) {
            return Ok(());
        }
        self.check_time()?;
        let Some(database) = self.instance_rows("tell agents of ends", results) else {
            return Ok(());
        };
        let answer = database.mark_ends(&self.lease.fence()).await;
        report_write("tell of ends on", answer, results)?;
        Ok(())
    }

    /// Tells users in line when slots will be free, and other regions whether this one can launch. It
    /// comes last, so that EC2's answers to the plan's launches are in it.
    pub(super) async fn note_forecast(
        &self,
        plan: &Plan,
        results: &mut Vec<StepResult>,
    ) -> Result<(), Stop> {
        let launched = self.tally(|_| {}).launched(self.now);
        let launched = launched.saturating_sub(self.snapshot.launches.launched(self.now));
        let Some(outlook) = outlook(self.snapshot, plan, launched, self.now) else {
            return Ok(());
        };
        self.check_time()?;
        let verb = "note the forecast of";
        let Some(database) = self.instance_rows(verb, results) else {
            return Ok(());
        };
        match database.note_forecast(&self.lease.fence(), &outlook).await {
            // Nobody asked for it: it is no result of the plan.
            Ok(_) => Ok(()),
            failed => report_write(verb, failed, results).map(|_| ()),
        }
    }

    pub(super) async fn drain(
        &self,
        plan: &Plan,
        results: &mut Vec<StepResult>,
    ) -> Result<(), Stop> {
        let mut by_cause: BTreeMap<DrainCause, Vec<InstanceId>> = BTreeMap::new();
        for step in &plan.steps {
            if let Action::Drain { instance, cause } = &step.action {
                by_cause.entry(*cause).or_default().push(instance.clone());
            }
        }
        for (cause, ids) in by_cause {
            self.check_time()?;
            let Some(database) = self.instance_rows("drain", results) else {
                return Ok(());
            };
            let answer = database.drain(&self.lease.fence(), &ids, cause).await;
            report_write("drain", answer, results)?;
        }
        Ok(())
    }

    pub(super) async fn reopen(
        &self,
        plan: &Plan,
        results: &mut Vec<StepResult>,
    ) -> Result<(), Stop> {
        let ids = plan.ids(|action| match action {
            Action::Reopen { instance } => Some(instance),
            _ => None,
        });
        if ids.is_empty() {
            return Ok(());
        }
        self.check_time()?;
        let Some(database) = self.instance_rows("reopen", results) else {
            return Ok(());
        };
        let answer = database.reopen(&self.lease.fence(), &ids).await;
        report_write("take back the drain of", answer, results)?;
        Ok(())
    }
}
