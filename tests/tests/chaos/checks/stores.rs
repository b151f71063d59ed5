//! EC2, Postgres and DynamoDB, compared when all is at rest.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use aws_sdk_dynamodb::types::AttributeValue;
use scaling_tests::deployed::{Deployed, SOON};
use scaling_tests::wait::eventually;
use serde_json::{Value, json};

use crate::evidence::Evidence;
use crate::regions::REGIONS;
use crate::settle::has_note_about_an_instance;

type Item = HashMap<String, AttributeValue>;

/// What DynamoDB remembers.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Of each region's lock: how often it was taken.
    pub(crate) versions: BTreeMap<String, i64>,
    /// Launches whose intents are closed.
    pub(crate) closed: BTreeSet<String>,
    /// When the last of EC2's refusals for want of room is forgotten, in seconds since 1970.
    pub(crate) refused_until: i64,
    violations: Vec<String>,
}

impl Memory {
    pub(crate) async fn read(deployed: &Deployed) -> Self {
        let mut memory = Self::default();
        let mut items = aws_sdk_dynamodb::Client::new(&deployed.stack.sdk_config())
            .scan()
            .table_name(&deployed.stack.env().scaling_table)
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        while let Some(item) = items.next().await {
            memory.take(&item.expect("the table is read"));
        }
        memory
    }

    /// Refusals and seen events are memories, not tasks.
    fn take(&mut self, item: &Item) {
        let (pk, sk) = (text(item, "pk"), text(item, "sk"));
        if let Some(region) = pk.strip_prefix("REGION#") {
            if sk == "LOCK" {
                let version = number(item, "version");
                self.versions.insert(region.to_owned(), version);
                if number(item, "expires_at") != 0 {
                    self.violations
                        .push(format!("the lock of {region} is held: {item:?}"));
                }
            } else if sk.starts_with("REFUSAL#") {
                self.refused_until = self.refused_until.max(number(item, "ttl"));
            } else {
                self.violations.push(format!("{pk} still has {sk}"));
            }
        } else if pk.starts_with("CLOSED#")
            && let Some(launch) = sk.strip_prefix("INTENT#")
        {
            self.closed.insert(launch.to_owned());
        }
    }

    /// `least` is how often each lock should have been taken.
    pub(crate) fn violations(&self, evidence: &Evidence, least: i64) -> Vec<String> {
        let mut found = self.violations.clone();
        for region in REGIONS {
            let version = self.versions.get(region).copied().unwrap_or_default();
            if version < least {
                found.push(format!("the lock of {region} was taken {version} times"));
            }
            let fences = evidence
                .fences
                .iter()
                .filter(|fence| fence.region == region);
            let mut in_force = None;
            for fence in fences {
                if fence.was != in_force
                    || Some(fence.version) <= in_force
                    || fence.version > version
                {
                    found.push(format!(
                        "the fence went from {in_force:?} at {version}: {fence:?}"
                    ));
                }
                in_force = Some(fence.version);
            }
        }
        found
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passes: i64 = self.versions.values().sum();
        write!(f, "{passes} passes, {} launches", self.closed.len())
    }
}

/// Rows are what EC2 has, and all of it is wanted.
pub(crate) async fn violations(deployed: &Deployed, evidence: &Evidence) -> Vec<String> {
    let mut found = Vec::new();
    let rows = "SELECT id FROM instances WHERE status = 'ACTIVE'";
    let rows = deployed.sql.query(rows, &[]).await.expect(rows);
    let rows: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    let living = evidence.machines.iter();
    let living: BTreeSet<String> = living
        .filter(|machine| machine.state.as_deref() != Some("terminated"))
        .map(|machine| machine.id.clone())
        .collect();
    if rows != living {
        found.push(format!(
            "rows {:?}, machines {:?}",
            &rows - &living,
            &living - &rows
        ));
    }
    let dry_run = async || deployed.invoke(&json!({"dry_run": true})).await;
    let all_agents_send_heartbeats = |report: &Value| {
        let regions = report["regions"].as_array();
        regions.is_some_and(|all| {
            !all.iter()
                .any(|region| has_note_about_an_instance(&region["plan"]))
        })
    };
    let report = eventually(
        "all agents are heard of",
        SOON,
        dry_run,
        all_agents_send_heartbeats,
    )
    .await;
    let regions = report["regions"].as_array().expect("regions");
    assert_eq!(regions.len(), REGIONS.len());
    for region in regions {
        if region["outcome"] != "dry_run" || region["plan"]["steps"] != json!([]) {
            found.push(format!("a plan that is not empty: {region}"));
        }
    }
    found
}

fn text<'i>(item: &'i Item, name: &str) -> &'i str {
    let value = item.get(name).and_then(|value| value.as_s().ok());
    value.map_or("", String::as_str)
}

fn number(item: &Item, name: &str) -> i64 {
    let value = item.get(name).and_then(|value| value.as_n().ok());
    value.and_then(|value| value.parse().ok()).unwrap_or(-1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::FenceChange;

    fn item(pk: &str, sk: &str, expires_at: i64) -> Item {
        let text = |value: &str| AttributeValue::S(value.to_owned());
        let number = |value: i64| AttributeValue::N(value.to_string());
        [
            ("pk", text(pk)),
            ("sk", text(sk)),
            ("version", number(7)),
            ("expires_at", number(expires_at)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    fn at_rest() -> Memory {
        let mut memory = Memory::default();
        for region in REGIONS {
            memory.take(&item(&format!("REGION#{region}"), "LOCK", 0));
        }
        memory
    }

    fn fences(versions: &[i64]) -> Evidence {
        let mut was = None;
        let fence = |version: &i64| {
            let region = REGIONS[0].to_owned();
            let version = *version;
            let was = was.replace(version);
            FenceChange {
                region,
                was,
                version,
            }
        };
        Evidence {
            fences: versions.iter().map(fence).collect(),
            ..Evidence::default()
        }
    }

    #[test]
    fn what_is_left_to_do_is_seen() {
        let mut memory = at_rest();
        assert_eq!(memory.violations(&fences(&[1, 5, 7]), 7), [""; 0]);
        for ttl in [30, 20] {
            let mut refusal = item("REGION#a", "REFUSAL#m6i.large#subnet-1", 0);
            refusal.insert("ttl".to_owned(), AttributeValue::N(ttl.to_string()));
            memory.take(&refusal);
        }
        assert_eq!(memory.refused_until, 30);
        memory.take(&item("CLOSED#a", "INTENT#l", 0));
        assert_eq!(memory.violations(&fences(&[]), 7), [""; 0]);
        assert!(memory.closed.contains("l"));
        memory.take(&item("REGION#a", "WAKE", 0));
        memory.take(&item("REGION#a", "INTENT#l", 0));
        memory.take(&item("REGION#a", "LOCK", 1));
        assert_eq!(memory.violations(&fences(&[]), 7).len(), 3);
    }

    #[test]
    fn a_version_that_does_not_grow_is_seen() {
        let memory = at_rest();
        assert_eq!(memory.violations(&fences(&[]), 8).len(), REGIONS.len());
        for wrong in [&[5, 4][..], &[8]] {
            assert_eq!(memory.violations(&fences(wrong), 7).len(), 1, "{wrong:?}");
        }
    }
}
