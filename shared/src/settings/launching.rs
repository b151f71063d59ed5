//! The columns that only launches need. One that cannot work is a [`BadSetting`] of the region, not
//! an error of its row: draining, removing and everything else goes on without it.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::columns::BadSetting;
use super::launch_choices::{self, LaunchChoice, Selector};
use super::shapes;
use crate::user_data;
use crate::words::plain;

/// Wrong items of one column that its error describes; the others are counted.
const MOST_NAMED: usize = 5;

pub(super) const LAUNCH_CHOICES: &str = "launch_choices";

/// The values that can be used, and what is wrong with the others.
#[derive(Debug, Default)]
pub(super) struct LaunchColumns {
    pub(super) choices: Vec<LaunchChoice>,
    pub(super) security_groups: Vec<Selector>,
    pub(super) instance_profile: Option<String>,
    pub(super) user_data_template: Option<String>,
    pub(super) problems: Vec<BadSetting>,
}

impl LaunchColumns {
    /// `has_agents` is false for replicas, whose user data has no token.
    pub(super) fn read(row: &Value, has_agents: bool) -> Self {
        let mut read = Self::default();
        read.choices = read.items(row, LAUNCH_CHOICES, |value| {
            each(value, launch_choices::MOST_CHOICES, |choice, kept| {
                launch_choices::check_choice(choice, kept)
            })
        });
        read.security_groups = read.items(row, "security_groups", |value| {
            each(value, launch_choices::MOST_GROUPS, |group, _| {
                launch_choices::check_group(group)
            })
        });
        read.instance_profile = read.text(row, "instance_profile", shapes::instance_profile);
        read.user_data_template = read.text(row, "user_data_template", |template| {
            user_data::check(template, has_agents).map_err(|error| error.to_string())
        });
        read
    }

    fn items<T>(
        &mut self,
        row: &Value,
        column: &'static str,
        read: impl FnOnce(&Value) -> (Vec<T>, Vec<String>),
    ) -> Vec<T> {
        let (items, problems) = read(row.get(column).unwrap_or(&Value::Null));
        let others = problems.len().saturating_sub(MOST_NAMED);
        let mut named = problems;
        named.truncate(MOST_NAMED);
        if others > 0 {
            named.push(format!("{others} other items are wrong, too"));
        }
        if !named.is_empty() {
            self.problems.push(BadSetting {
                column,
                problem: named.join("; "),
            });
        }
        items
    }

    /// An empty text counts as not set: web forms leave one behind.
    fn text(
        &mut self,
        row: &Value,
        column: &'static str,
        check: impl FnOnce(&str) -> Result<(), String>,
    ) -> Option<String> {
        let checked = match row.get(column) {
            None | Some(Value::Null) => return None,
            Some(Value::String(text)) if text.is_empty() => return None,
            Some(Value::String(text)) => check(text).map(|()| text.clone()),
            Some(_) => Err("must be a text".to_owned()),
        };
        checked
            .map_err(|problem| self.problems.push(BadSetting { column, problem }))
            .ok()
    }
}

/// Reads a JSON array item by item, and returns the valid items, and what is wrong with the others.
/// `check` gets an item and the valid ones before it.
fn each<T: DeserializeOwned>(
    value: &Value,
    most: usize,
    check: impl Fn(&T, &[T]) -> Result<(), String>,
) -> (Vec<T>, Vec<String>) {
    let Value::Array(items) = value else {
        return (Vec::new(), vec!["must be a JSON array".to_owned()]);
    };
    if items.len() > most {
        let problem = format!("has {} items: at most {most} are useful", items.len());
        return (Vec::new(), vec![problem]);
    }
    let mut valid = Vec::new();
    let mut problems = Vec::new();
    for (place, item) in items.iter().enumerate() {
        let read = serde_json::from_value(item.clone()).map_err(|error| plain(&error));
        match read.and_then(|item| check(&item, &valid).map(|()| item)) {
            Ok(item) => valid.push(item),
            Err(problem) => {
                let item = shapes::shortened(&item.to_string());
                problems.push(format!("item {place} ({item}): {problem}"));
            }
        }
    }
    (valid, problems)
}
