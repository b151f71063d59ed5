//! What a region's machine time has cost: the month beside its budget, and each day. Time without a price
//! is said to be unknown.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use shared::model::{DayCost, UnpricedTime};

pub(super) struct Costs {
    /// Of the calendar month.
    pub(super) month: String,
    pub(super) days: Vec<DayRow>,
}

pub(super) struct DayRow {
    pub(super) day: String,
    pub(super) cost: String,
    /// Machine-hours.
    pub(super) hours: String,
    /// What has no price.
    pub(super) unknown: String,
}

impl Costs {
    /// From days, newest first. Without machine time and prices there is nothing to show.
    pub(super) fn of(costs: &[DayCost], budget: Option<u32>, now: Timestamp) -> Self {
        let is_empty = |day: &DayCost| {
            day.machine_seconds <= 0.0 && day.currency.is_none() && day.uncounted_hours == 0
        };
        if costs.iter().all(is_empty) {
            return Self {
                month: String::new(),
                days: Vec::new(),
            };
        }
        let today = now.to_zoned(TimeZone::UTC).date();
        let of_month = costs.iter().filter(|it| it.day >= today.first_of_month());
        Self {
            month: month(&of_month.collect::<Vec<_>>(), budget),
            days: costs.iter().map(row).collect(),
        }
    }
}

fn month(days: &[&DayCost], budget: Option<u32>) -> String {
    let sum: f64 = days.iter().filter_map(|day| day.cost).sum();
    let has_prices = days.iter().any(|day| day.cost.is_some());
    let is_partial = days.iter().any(|day| is_partial(day));
    let currency = days.iter().find_map(|day| day.currency.as_deref());
    let Some(currency) = currency.filter(|_| has_prices) else {
        return "This month: unknown, because there are no prices.".to_owned();
    };
    let least = if is_partial { "at least " } else { "" };
    let of_budget = budget.map_or(String::new(), |budget| {
        let percent = sum * 100.0 / f64::from(budget);
        format!(" of {budget} {currency} ({percent:.0} %)")
    });
    format!("This month: {least}{sum:.2} {currency}{of_budget}.")
}

/// Whether a part of the day's cost is unknown.
fn is_partial(day: &DayCost) -> bool {
    day.unpriced_seconds > 0.0 || day.uncounted_hours > 0
}

fn row(day: &DayCost) -> DayRow {
    let currency = day.currency.as_deref().unwrap_or_default();
    let least = if is_partial(day) { "at least " } else { "" };
    let kinds: BTreeSet<_> = day.unpriced.iter().map(kind).collect();
    let mut unknown: Vec<_> = kinds.into_iter().collect();
    if day.uncounted_hours > 0 {
        unknown.push(format!(
            "{} h that no pass has counted",
            day.uncounted_hours
        ));
    }
    DayRow {
        day: day.day.to_string(),
        cost: match day.cost {
            Some(cost) if day.currency.is_some() => format!("{least}{cost:.2} {currency}"),
            _ => "unknown".to_owned(),
        },
        hours: format!("{:.1}", day.machine_seconds / 3600.0),
        unknown: unknown.join(", "),
    }
}

fn kind(time: &UnpricedTime) -> String {
    let market = match time.market.as_str() {
        "SPOT" => " (spot)",
        "ON_DEMAND" => "",
        _ => " (bought unknown)",
    };
    let hours = time.seconds / 3600.0;
    format!("{hours:.1} h of {}{market}", time.instance_type)
}
