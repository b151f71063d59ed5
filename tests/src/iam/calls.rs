//! The calls of each function, as IAM sees them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use local_stack::ministack::Ministack;
use serde::Deserialize;

use super::ec2::{self, Account};
use super::policy::Request;
use crate::ledger::Ledger;

/// The requests of each function.
pub type Calls = BTreeMap<String, BTreeSet<Request>>;

/// A line of the local AWS's record.
#[derive(Deserialize)]
struct Line {
    access_key: String,
    /// `arn:aws:sts::ACCOUNT:assumed-role/ROLE/FUNCTION`
    principal: String,
    action: String,
    resource: String,
    /// The partition keys of a request to DynamoDB.
    leading_keys: Vec<String>,
}

impl Line {
    fn function(&self) -> &str {
        self.principal.rsplit('/').next().unwrap_or_default()
    }
}

/// Whether this function has asked for this action by now. Functions may be at work: a line may not
/// be whole.
///
/// # Panics
/// When there is no record.
pub fn has_asked(aws: &Ministack, function: &str, action: &str) -> bool {
    let record = fs::read_to_string(aws.calls()).expect("the local AWS records calls");
    let mut lines = record
        .lines()
        .filter_map(|it| serde_json::from_str(it).ok());
    lines.any(|line: Line| line.function() == function && line.action == action)
}

/// What the functions asked the local AWS and EC2 for so far.
///
/// # Panics
/// When there is no record, or EC2 was called with a key that no function has.
pub fn of_functions(aws: &Ministack, ledger: &Ledger, account: &Account<'_>) -> Calls {
    let record = fs::read_to_string(aws.calls()).expect("the local AWS records calls");
    let lines = record.lines().map(serde_json::from_str);
    let lines: Vec<Line> = lines.collect::<Result<_, _>>().expect("JSON");
    let mut calls = Calls::new();
    let mut functions = BTreeMap::new();
    for line in lines {
        let function = line.function().to_owned();
        functions.insert(line.access_key, function.clone());
        let of_function = calls.entry(function).or_default();
        let request = Request::new(line.action, line.resource);
        of_function.insert(match line.leading_keys.is_empty() {
            true => request,
            false => request.with("dynamodb:LeadingKeys", line.leading_keys),
        });
    }
    for call in &ledger.calls {
        let function = functions.get(&call.access_key);
        let function = function.unwrap_or_else(|| panic!("whose key is it? {call:#?}"));
        let of_function = calls.entry(function.clone()).or_default();
        of_function.extend(ec2::requests(call, ledger, account));
    }
    calls
}
