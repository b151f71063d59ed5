//! Steps that only write to PostgreSQL: image states, missing instances, removals, slots, drains.

use super::executor::{Executor, Stop, report_write};
use crate::db::{WriteOutcome, WriteResult};
use crate::report::StepResult;
use crate::scaling::{Action, Plan};

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

    /// Returns whether every row that the plan removes is gone.
    pub(super) async fn remove_rows(
        &self,
        plan: &Plan,
        results: &mut Vec<StepResult>,
    ) -> Result<bool, Stop> {
        let ids = plan.ids(|action| match action {
            Action::Remove { instance } => Some(instance),
            _ => None,
        });
        if ids.is_empty() {
            return Ok(true);
        }
        self.check_time()?;
        let Some(database) = self.instance_rows("remove rows", results) else {
            return Ok(false);
        };
        let answer = database.remove(&self.lease.fence(), &ids).await;
        let rows = report_write("remove the row of", answer, results)?;
        let is_gone =
            |row: &WriteResult| matches!(row.outcome, WriteOutcome::Done | WriteOutcome::Unknown);
        Ok(rows.len() == ids.len() && rows.iter().all(is_gone))
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

    pub(super) async fn drain(
        &self,
        plan: &Plan,
        results: &mut Vec<StepResult>,
    ) -> Result<(), Stop> {
        let ids = plan.ids(|action| match action {
            Action::Drain { instance } => Some(instance),
            _ => None,
        });
        if ids.is_empty() {
            return Ok(());
        }
        self.check_time()?;
        let Some(database) = self.instance_rows("drain", results) else {
            return Ok(());
        };
        let answer = database.drain(&self.lease.fence(), &ids).await;
        report_write("drain", answer, results)?;
        Ok(())
    }
}
