//! The items of the scaling table, as the invariants view them.

use testing::invariants::rest::StoreView;

use crate::deployed::Deployed;
use crate::table::Item;

impl Deployed {
    /// Deletes the refusals, as an operator does who does not want to wait: instances that died under
    /// faults let their pools rest for minutes.
    pub async fn forget_refusals(&self) {
        for item in self.all_items().await {
            if text(&item, "sk").starts_with("REFUSAL#") {
                let key = ["pk", "sk"].map(|name| (name.to_owned(), item[name].clone()));
                let delete = self.dynamodb().delete_item();
                let delete = delete.table_name(&self.stack.env().scaling_table);
                let deleted = delete.set_key(Some(key.into())).send().await;
                deleted.expect("a refusal is deleted");
            }
        }
    }

    /// Every item of the scaling table.
    pub async fn all_items(&self) -> Vec<Item> {
        let items = self
            .dynamodb()
            .scan()
            .table_name(&self.stack.env().scaling_table)
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let items: Result<_, _> = items.collect().await;
        items.expect("the table is read")
    }

    /// The items of a region, without what is recorded per pass.
    pub async fn store_view(&self, region: &str) -> StoreView {
        let mut view = StoreView::default();
        for item in self.items(&format!("REGION#{region}")).await {
            add(&mut view, &item);
        }
        view
    }
}

/// Adds one of a region's items to its view.
pub fn add(view: &mut StoreView, item: &Item) {
    let sk = text(item, "sk");
    if sk == "LOCK" {
        view.lock_is_held = number(item, "expires_at") != 0;
    } else if sk == "WAKE" {
        view.has_wake_mark = true;
    } else if let Some(launch) = sk.strip_prefix("INTENT#") {
        view.open_intents.push(launch.to_owned());
    } else if !sk.starts_with("REFUSAL#") && sk != "LAUNCHES" && sk != "REPLICAS" {
        view.other.push(sk.to_owned());
    }
}

/// A text attribute, empty if the item has none.
pub fn text<'i>(item: &'i Item, name: &str) -> &'i str {
    let value = item.get(name).and_then(|value| value.as_s().ok());
    value.map_or("", String::as_str)
}

/// A number attribute, -1 if the item has none.
pub fn number(item: &Item, name: &str) -> i64 {
    let value = item.get(name).and_then(|value| value.as_n().ok());
    value.and_then(|value| value.parse().ok()).unwrap_or(-1)
}
