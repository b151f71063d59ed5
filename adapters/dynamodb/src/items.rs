//! Keys, attribute values and items.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use shared::history::Point;
use shared::ids::{LaunchId, RegionName};
use shared::lock::LockError;
use shared::model::Refusal;
use shared::words::plain;

pub(crate) type Item = HashMap<String, AttributeValue>;

pub(crate) fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

pub(crate) fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

pub(crate) fn key(pk: &str, sk: &str) -> Item {
    Item::from([("pk".to_owned(), text(pk)), ("sk".to_owned(), text(sk))])
}

pub(crate) fn region_pk(region: &RegionName) -> String {
    format!("REGION#{region}")
}

pub(crate) fn region_key(region: &RegionName, sk: &str) -> Item {
    key(&region_pk(region), sk)
}

pub(crate) fn decisions_pk(region: &RegionName) -> String {
    format!("DECISIONS#{region}")
}

/// With all digits that a version can have, so that the keys sort as numbers do.
pub(crate) fn decision_sk(version: i64) -> String {
    format!("{version:020}")
}

pub(crate) fn points_pk(region: &RegionName) -> String {
    format!("POINTS#{region}")
}

/// In UTC and to the second, so that the keys sort as times do. Decisions within one interval have
/// the same key, and the last one overwrites the others.
pub(crate) fn point_sk(at: Timestamp) -> String {
    Point::slot(at).to_string()
}

pub(crate) fn intent_sk(launch: &LaunchId) -> String {
    format!("INTENT#{launch}")
}

pub(crate) fn refusal_sk(refusal: &Refusal) -> String {
    format!("REFUSAL#{}", refusal.key())
}

pub(crate) fn read_text<'i>(item: &'i Item, name: &str) -> Option<&'i str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

pub(crate) fn read_number(item: &Item, name: &str) -> Option<i64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// A value as the text of the attribute `body`.
pub(crate) fn to_body<T: Serialize>(value: &T) -> AttributeValue {
    // Plain structs of texts and numbers, whose serialisation cannot fail.
    text(&serde_json::to_string(value).unwrap_or_default())
}

pub(crate) fn read_body<T: DeserializeOwned>(item: &Item) -> Result<T, LockError> {
    let body = read_text(item, "body").ok_or_else(|| bad_item(item, "`body` is not a text"))?;
    serde_json::from_str(body)
        .map_err(|error| bad_item(item, &format!("`body`: {}", plain(&error))))
}

pub(crate) fn bad_item(item: &Item, problem: &str) -> LockError {
    LockError::BadItem {
        key: format!(
            "{}/{}",
            read_text(item, "pk").unwrap_or_default(),
            read_text(item, "sk").unwrap_or_default()
        ),
        problem: problem.to_owned(),
    }
}
