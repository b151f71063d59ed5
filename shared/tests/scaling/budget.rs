//! The month's budget: when operators are told, and when it holds launches.

use shared::model::{ImageState, Spending};
use shared::scaling::{Snapshot, decide, outlook};
use testing::{NOW, at, image, instance, snapshot};

use crate::support::{assert_plan, occupied};

/// A full region with a budget of 1000, of which a part is spent, some of it today.
fn spent(month: f64, today: f64) -> Snapshot {
    let mut snapshot = snapshot([instance("i-1"), instance("i-2")]);
    snapshot.settings.budget.monthly = Some(1000);
    snapshot.spending = Some(Spending {
        currency: "USD".to_owned(),
        month,
        today,
        unpriced_seconds: 0.0,
        uncounted_hours: 0,
        until: at(86_400),
    });
    snapshot
}

const COUNTS: &str = "target 4, free 4, starting 0, waiting 0, occupied 0, live 2 of 10";
const FULL: &str = "· free 4 and starting 0 meet the target of 4";

#[track_caller]
fn assert_note(snapshot: &Snapshot, note: &str) {
    assert_plan(snapshot, &format!("{COUNTS}\n{note}\n{FULL}"));
}

#[test]
fn share_of_the_budget_is_an_alert_on_the_day_on_which_it_is_reached() {
    assert_note(&spent(799.9, 50.0), "");
    let reached = "800 USD of this month's 1000 are spent, 80 % or more (monthly_budget)";
    assert_note(&spent(800.0, 50.0), &format!("! {reached}"));
    assert_note(&spent(800.0, 0.0), &format!("· {reached}"));
    let all = "1234 USD of this month's 1000 are spent, 100 % or more (monthly_budget)";
    assert_note(&spent(1234.5, 300.0), &format!("! {all}"));
    assert_note(&spent(1234.5, 200.0), &format!("· {all}"));
}

#[test]
fn region_without_a_budget_or_without_spending_reports_nothing() {
    let mut free = spent(5000.0, 1.0);
    free.settings.budget.monthly = None;
    free.settings.budget.limits_launches = true;
    assert_note(&free, "");
}

#[test]
fn budget_without_prices_is_alerted_and_holds_nothing() {
    let mut snapshot = spent(0.0, 0.0);
    snapshot.spending = None;
    snapshot.settings.budget.limits_launches = true;
    snapshot.instances.clear();
    snapshot.machines.clear();
    assert_plan(
        &snapshot,
        "target 4, free 0, starting 0, waiting 0, occupied 0, live 0 of 10
        - launch from ami-1: 2 x c5.large in subnet-a, or 2 x c5.large in subnet-b: free 0 and starting 0 are below target 4 + waiting 0
        ! the region has a budget of 1000 and no prices: load them into table `prices`",
    );
}

#[test]
fn time_without_a_price_is_alerted_while_there_is_some() {
    let mut snapshot = spent(10.0, 0.0);
    if let Some(spending) = &mut snapshot.spending {
        spending.unpriced_seconds = 5000.0;
    }
    assert_note(
        &snapshot,
        "! 2 machine-hours of this month have no price, and the budget counts without them: load their prices into table `prices`",
    );
}

/// A region whose budget is spent, with users on one of its instances and a user in line.
fn short() -> Snapshot {
    let mut snapshot = spent(1000.0, 0.0);
    let instances = [occupied("i-1", 2), occupied("i-2", 1)];
    for instance in instances {
        snapshot.instances.insert(instance.id.clone(), instance);
    }
    snapshot.waiting = 1;
    snapshot
}

#[test]
fn spent_budget_launches_as_ever_unless_it_limits_launches() {
    assert_plan(
        &short(),
        "target 4, free 1, starting 0, waiting 1, occupied 3, live 2 of 10
        - launch from ami-1: 2 x c5.large in subnet-a, or 2 x c5.large in subnet-b: free 1 and starting 0 are below target 4 + waiting 1
        · 1000 USD of this month's 1000 are spent, 100 % or more (monthly_budget)",
    );
}

#[test]
fn spent_budget_that_limits_launches_launches_nothing_and_keeps_every_user() {
    let mut snapshot = short();
    snapshot.settings.budget.limits_launches = true;
    // Nobody could replace an instance for its age.
    snapshot.settings.endings.max_age = Some(jiff::SignedDuration::from_secs(1000));
    snapshot.images.push(image("ami-2", ImageState::Warming));
    assert_plan(
        &snapshot,
        "target 4, free 1, starting 0, waiting 1, occupied 3, live 2 of 10
        ami-2 WARMING: demand 4, free 0, starting 0
        · 1000 USD of this month's 1000 are spent, 100 % or more (monthly_budget)
        · upgrade to ami-2: free 0 of 4, starting 0
        ! 4 slots are missing, but 1000 USD of this month's 1000 are spent: nothing is launched until 2026-01-02T12:00:00Z, and users who have a slot keep it (monthly_budget, limit_to_budget)
        · 4 slots are missing, but 1000 USD of this month's 1000 are spent: nothing is launched until 2026-01-02T12:00:00Z, and users who have a slot keep it (monthly_budget, limit_to_budget)",
    );
    snapshot.settings.budget.monthly = Some(1001);
    let plan = decide(&snapshot, NOW).unwrap();
    assert!(!plan.is_empty(), "it launches below its budget");
}

/// Its users in line are demand of another region then.
#[test]
fn region_that_launches_nothing_says_so_to_other_regions() {
    let mut snapshot = short();
    snapshot.waiting = 3;
    snapshot.lines = vec![shared::model::Line {
        client_sha: "sha-of-ami-1".into(),
        users: 3,
        session_ends: 0,
        ends_since: NOW,
    }];
    for limits in [false, true] {
        snapshot.settings.budget.limits_launches = limits;
        let mut plan = decide(&snapshot, NOW).unwrap();
        // What EC2 refuses is said for another reason.
        plan.steps.clear();
        let outlook = outlook(&snapshot, &plan, 0, NOW).unwrap();
        assert_eq!(outlook.no_capacity_until.is_some(), limits);
    }
}
