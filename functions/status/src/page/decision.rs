//! The page of one decision, in full.

use askama::Template;
use serde_json::{Map, Value};
use shared::history::StoredDecision;

use super::view::DecisionView;
use super::{Figure, Layout, Visit};
use crate::model::DecisionStatus;

#[derive(Template)]
#[template(path = "decision.html")]
struct DecisionHtml {
    layout: Layout,
    region: String,
    version: i64,
    id: String,
    decision: DecisionView,
    counts: Vec<Figure>,
    left_out: usize,
    replicas: Vec<ReplicaRow>,
    lists: Vec<List>,
}

struct List {
    title: &'static str,
    lines: Vec<String>,
}

pub(crate) fn decision(visit: &Visit, status: &DecisionStatus) -> Result<String, askama::Error> {
    let past = &status.past;
    let title = format!("Decision {} · Scaling service", status.decision);
    let steps = past.plan.steps.iter().map(|step| {
        let instance = step.details.get("instance").and_then(Value::as_str);
        let action = step.action.replace('_', " ");
        let space = if instance.is_some() { " " } else { "" };
        format!(
            "{action}{space}{}: {}",
            instance.unwrap_or_default(),
            step.reason.text
        )
    });
    let results = past.results.iter().map(|result| {
        let word = if result.ok { "" } else { "failed: " };
        format!("{}: {word}{}", result.step, result.result)
    });
    let notes = past.plan.notes.iter().map(|note| match &note.instance {
        Some(instance) => format!("{instance}: {}", note.reason.text),
        None => note.reason.text.clone(),
    });
    let lists = [
        ("Steps of the plan", steps.collect::<Vec<_>>()),
        ("Results", results.collect()),
        ("Notes: what was not done, and why", notes.collect()),
    ];
    let html = DecisionHtml {
        layout: Layout::of(visit, title, None).static_page(),
        region: past.region.to_string(),
        version: past.version,
        id: past.id.clone(),
        decision: DecisionView::of(visit, status),
        counts: past
            .plan
            .counts
            .iter()
            .map(|(name, value)| Figure::new(name.clone(), value))
            .collect(),
        left_out: past.left_out,
        replicas: replicas(past),
        lists: lists
            .into_iter()
            .filter(|(_, lines)| !lines.is_empty())
            .map(|(title, lines)| List { title, lines })
            .collect(),
    };
    html.render()
}

pub(super) struct ReplicaRow {
    pub(super) id: String,
    pub(super) status: String,
    pub(super) decided: String,
    /// Its external addresses, and what was decided for them.
    pub(super) address: String,
}

/// The replicas of a decision, each with its status and what was decided for it.
pub(super) fn replicas(past: &StoredDecision) -> Vec<ReplicaRow> {
    let text = |replica: &Map<String, Value>, key: &str| match replica.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    let row = |replica: &Map<String, Value>| {
        let mut status = text(replica, "status").replace('_', " ");
        for (key, what) in [("capacity", "capacity "), ("why", ""), ("state", "at EC2 ")] {
            let value = text(replica, key);
            if !value.is_empty() {
                status += &format!(", {what}{value}");
            }
        }
        ReplicaRow {
            id: text(replica, "instance"),
            status,
            decided: text(replica, "decided"),
            address: address(replica),
        }
    };
    past.plan.replicas.iter().map(row).collect()
}

/// Empty where replicas have no external addresses.
fn address(replica: &Map<String, Value>) -> String {
    let Some(Value::Object(address)) = replica.get("address") else {
        return String::new();
    };
    let carries = address.get("carries").and_then(Value::as_array);
    let ips = carries.into_iter().flatten().filter_map(Value::as_str);
    let ips: Vec<_> = ips.collect();
    let decided = address.get("decided").and_then(Value::as_str);
    let parts = [ips.join(", "), decided.unwrap_or_default().to_owned()];
    let parts: Vec<_> = parts.into_iter().filter(|text| !text.is_empty()).collect();
    parts.join(": ")
}
