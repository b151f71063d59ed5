//! The month's budget: when it is nearly spent or spent, and whether that holds launches.

use jiff::Timestamp;

use super::plan::Plan;
use super::reason::Reason;
use super::snapshot::Snapshot;
use crate::model::Spending;

/// The shares of a budget, in percent, at which operators are told.
const SHARES: [u32; 2] = [100, 80];

impl Snapshot {
    /// The end of the month, if its budget is spent and the region launches nothing beyond it. Users who
    /// have a slot keep it: a spent budget drains no instance and ends no session.
    pub(super) fn launches_held_until(&self) -> Option<Timestamp> {
        let budget = self.settings.budget.monthly?;
        let spending = self.spending.as_ref()?;
        let is_spent = spending.month >= f64::from(budget);
        (self.settings.budget.limits_launches && is_spent).then_some(spending.until)
    }
}

/// Reports the highest share that is reached. It is an alert on the day on which that happens, and a note on
/// the days after: a lasting alert would repeat itself until the end of the month. Time without a price is
/// an alert as long as there is some: nobody can say what the budget is worth then.
pub(super) fn report(snapshot: &Snapshot, plan: &mut Plan) {
    let Some(budget) = snapshot.settings.budget.monthly else {
        return;
    };
    let Some(spending) = &snapshot.spending else {
        plan.alert(None, Reason::BudgetWithoutPrices { budget });
        return;
    };
    if spending.unpriced_seconds > 0.0 {
        let hours = whole((spending.unpriced_seconds / 3600.0).ceil());
        plan.alert(None, Reason::TimeWithoutPrice { hours });
    }
    let share_of = |cost: f64| {
        let is_reached = |share: &u32| cost * 100.0 >= f64::from(*share) * f64::from(budget);
        SHARES.into_iter().find(is_reached)
    };
    let Some(percent) = share_of(spending.month) else {
        return;
    };
    let reason = Reason::BudgetUsed {
        percent,
        spent: whole(spending.month),
        budget,
        currency: spending.currency.clone(),
    };
    if share_of(before_today(spending)) == Some(percent) {
        plan.note(None, reason);
    } else {
        plan.alert(None, reason);
    }
}

fn before_today(spending: &Spending) -> f64 {
    spending.month - spending.today
}

/// Why an image's buffer is not filled, if the budget does not allow it.
pub(super) fn why_held(snapshot: &Snapshot, missing_slots: u32) -> Option<Reason> {
    let until = snapshot.launches_held_until()?;
    let spending = snapshot.spending.as_ref()?;
    Some(Reason::BudgetHoldsLaunch {
        missing_slots,
        spent: whole(spending.month),
        budget: snapshot.settings.budget.monthly?,
        currency: spending.currency.clone(),
        until,
    })
}

/// A sum without its fraction, for people.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the conversion saturates, and no sum is negative"
)]
fn whole(sum: f64) -> u64 {
    sum as u64
}
