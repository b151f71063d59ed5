//! EC2, PostgreSQL and DynamoDB, compared at rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use futures::StreamExt as _;
use futures::stream::iter;
use scaling_tests::deployed::{Deployed, SOON};
use scaling_tests::store_view::{self, number, text};
use scaling_tests::table::Item;
use scaling_tests::wait::eventually;
use serde_json::{Value, json};
use testing::invariants::fences;
use testing::invariants::rest::{StoreView, rows_differ};

use crate::evidence::Evidence;
use crate::regions::REGIONS;
use crate::settle::{has_note_about_an_instance, report};

/// The contents of DynamoDB.
#[derive(Debug, Default)]
pub(crate) struct Store {
    /// By region: how often its lock was acquired.
    pub(crate) versions: BTreeMap<String, i64>,
    /// Launches whose intents are closed.
    pub(crate) closed: BTreeSet<String>,
    regions: BTreeMap<String, StoreView>,
}

impl Store {
    pub(crate) async fn read(deployed: &Deployed) -> Self {
        let mut store = Self::default();
        for item in deployed.all_items().await {
            store.add(&item);
        }
        store
    }

    fn add(&mut self, item: &Item) {
        let (pk, sk) = (text(item, "pk"), text(item, "sk"));
        if let Some(region) = pk.strip_prefix("REGION#") {
            if sk == "LOCK" {
                let version = number(item, "version");
                self.versions.insert(region.to_owned(), version);
            }
            store_view::add(self.regions.entry(region.to_owned()).or_default(), item);
        } else if pk.starts_with("CLOSED#")
            && let Some(launch) = sk.strip_prefix("INTENT#")
        {
            self.closed.insert(launch.to_owned());
        }
    }

    /// `least` is how often each lock must have been acquired.
    pub(crate) fn violations(&self, evidence: &Evidence, least: i64) -> Vec<String> {
        let mut found = Vec::new();
        for (region, view) in &self.regions {
            let left = view.work_left();
            found.extend(left.iter().map(|text| format!("{region}: {text}")));
        }
        for region in REGIONS {
            let version = self.versions.get(region).copied().unwrap_or_default();
            if version < least {
                found.push(format!("the lock of {region} was acquired {version} times"));
            }
            let changes = evidence.fences.get(region).map_or(&[][..], Vec::as_slice);
            let broken = fences::violations(changes, version);
            found.extend(broken.iter().map(|text| format!("{region}: {text}")));
        }
        found
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passes: i64 = self.versions.values().sum();
        write!(f, "{passes} passes, {} launches", self.closed.len())
    }
}

/// The rows are the machines that EC2 has, and passes have nothing to do.
pub(crate) async fn violations(deployed: &Deployed, evidence: &Evidence) -> Vec<String> {
    let rows = "SELECT id FROM instances WHERE status = 'ACTIVE'";
    let rows = deployed.sql.query(rows, &[]).await.expect(rows);
    let rows: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    let machines = evidence.machines.iter();
    let machines: BTreeSet<String> = machines
        .filter(|machine| machine.entered("terminated").is_none())
        .map(|machine| machine.id.clone())
        .collect();
    let mut found: Vec<_> = rows_differ(&rows, &machines).into_iter().collect();
    found.extend(
        iter(REGIONS)
            .filter_map(|region| plan_left(deployed, region))
            .collect::<Vec<_>>()
            .await,
    );
    found
}

/// The plan of a region that is not empty, once all its agents are heard.
async fn plan_left(deployed: &Deployed, region: &str) -> Option<String> {
    let payload = json!({"regions": [region], "dry_run": true});
    let dry_run = async || report(deployed, &payload).await;
    let is_decided = |report: &Value| {
        report["outcome"] == "dry_run" && !has_note_about_an_instance(&report["plan"])
    };
    let report = eventually("a dry run of a region at rest", SOON, dry_run, is_decided).await;
    (report["plan"]["steps"] != json!([])).then(|| format!("a plan that is not empty: {report}"))
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::AttributeValue;

    use super::*;

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

    fn at_rest() -> Store {
        let mut store = Store::default();
        for region in REGIONS {
            store.add(&item(&format!("REGION#{region}"), "LOCK", 0));
        }
        store
    }

    fn violations(store: &Store, least: i64) -> usize {
        store.violations(&Evidence::default(), least).len()
    }

    #[test]
    fn work_that_is_left_is_found() {
        let mut store = at_rest();
        for kept in ["REFUSAL#m6i.large#subnet-1", "LAUNCHES"] {
            store.add(&item("REGION#a", kept, 0));
        }
        store.add(&item("CLOSED#a", "INTENT#l", 0));
        assert_eq!(violations(&store, 7), 0);
        assert!(store.closed.contains("l"));
        store.add(&item("REGION#a", "WAKE", 0));
        store.add(&item("REGION#a", "INTENT#l", 0));
        store.add(&item("REGION#a", "LOCK", 1));
        assert_eq!(violations(&store, 7), 3);
    }

    #[test]
    fn lock_that_was_acquired_too_rarely_is_found() {
        assert_eq!(violations(&at_rest(), 8), REGIONS.len());
    }
}
