//! Policies, and whether they allow a request. Source: "Policy evaluation logic" and "IAM JSON policy
//! elements" in the IAM user guide. Only the operators of the templates are known: another one is a
//! failure, not a condition that holds.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// One question to IAM: an API call asks one for each resource that it touches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// Such as `ec2:RunInstances`.
    pub action: String,
    /// An ARN, or `*`.
    pub resource: String,
    /// The values of the condition keys. The keys are in lower case, because IAM ignores case.
    context: BTreeMap<String, Vec<String>>,
}

/// A policy document of a role.
#[derive(Clone, Debug)]
pub struct Policy {
    pub name: String,
    pub statements: Vec<Statement>,
}

#[derive(Clone, Debug)]
pub struct Statement {
    pub sid: String,
    allows: bool,
    actions: Vec<String>,
    resources: Vec<String>,
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug)]
struct Condition {
    operator: String,
    key: String,
    values: Vec<String>,
}

/// The actions and resources of statements that allowed something, by policy and statement.
#[derive(Debug, Default)]
pub struct Used(BTreeSet<(String, String, String)>);

impl Request {
    pub fn new(action: impl Into<String>, resource: impl Into<String>) -> Self {
        Self {
            action: action.into(),
            resource: resource.into(),
            context: BTreeMap::new(),
        }
    }

    /// Sets a condition key of the request.
    #[must_use]
    pub fn with(mut self, key: &str, values: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        self.context.insert(key.to_lowercase(), values);
        self
    }

    /// Adds each tag under `aws:RequestTag/` or `aws:ResourceTag/`.
    #[must_use]
    pub fn with_tags<'t>(
        self,
        prefix: &str,
        tags: impl IntoIterator<Item = (&'t String, &'t String)>,
    ) -> Self {
        let tags = tags.into_iter();
        tags.fold(self, |request, (key, value)| {
            request.with(&format!("{prefix}{key}"), [value])
        })
    }
}

/// Whether the policies of one role allow the request: an explicit denial overrides every permission.
pub fn allows(policies: &[Policy], request: &Request) -> bool {
    let statements = policies.iter().flat_map(|policy| &policy.statements);
    let applying: Vec<_> = statements.filter(|it| it.applies_to(request)).collect();
    !applying.is_empty() && applying.iter().all(|statement| statement.allows)
}

impl Policy {
    /// # Panics
    /// When the document is not one that this module understands.
    pub fn parse(name: impl Into<String>, document: &Value) -> Self {
        let statements = document["Statement"].as_array().expect("statements");
        Self {
            name: name.into(),
            statements: statements.iter().map(Statement::parse).collect(),
        }
    }
}

impl Statement {
    fn parse(value: &Value) -> Self {
        for unknown in ["NotAction", "NotResource", "Principal"] {
            assert!(value.get(unknown).is_none(), "{unknown}: {value:#}");
        }
        let conditions = value["Condition"].as_object().into_iter().flatten();
        let conditions = conditions.flat_map(|(operator, keys)| {
            let keys = keys.as_object().expect("keys of a condition");
            keys.iter().map(|(key, values)| Condition {
                operator: operator.clone(),
                key: key.to_lowercase(),
                values: texts(values),
            })
        });
        Self {
            sid: value["Sid"].as_str().expect("Sid").to_owned(),
            allows: match value["Effect"].as_str() {
                Some("Allow") => true,
                Some("Deny") => false,
                effect => panic!("{effect:?}"),
            },
            actions: texts(&value["Action"]),
            resources: texts(&value["Resource"]),
            conditions: conditions.collect(),
        }
    }

    fn applies_to(&self, request: &Request) -> bool {
        let action = request.action.to_lowercase();
        let acts = |pattern: &String| is_like(&pattern.to_lowercase(), &action);
        self.actions.iter().any(acts)
            && self
                .resources
                .iter()
                .any(|it| is_like(it, &request.resource))
            && self.conditions.iter().all(|it| it.holds(request))
    }

    /// Its actions and its resources.
    fn parts(&self) -> impl Iterator<Item = &String> {
        self.actions.iter().chain(&self.resources)
    }
}

impl Condition {
    fn holds(&self, request: &Request) -> bool {
        let actual = request.context.get(&self.key);
        let actual = actual.map_or(&[][..], Vec::as_slice);
        let any = |test: fn(&str, &str) -> bool| {
            let matches = |value: &String| self.values.iter().any(|it| test(it, value));
            actual.iter().any(matches)
        };
        match self.operator.as_str() {
            "StringEquals" => any(|expected, value| expected == value),
            "StringLike" | "ArnLike" => any(is_like),
            "Bool" => any(str::eq_ignore_ascii_case),
            "NumericLessThanEquals" => any(|limit, value| number(value) <= number(limit)),
            "Null" => {
                let is_missing = actual.is_empty();
                self.values.contains(&is_missing.to_string())
            }
            // It also holds for a request without the key.
            "ForAllValues:StringEquals" => actual.iter().all(|value| self.values.contains(value)),
            other => panic!("the operator {other} is not known here"),
        }
    }
}

impl Used {
    /// Records what allows the request.
    pub fn record(&mut self, policies: &[Policy], request: &Request) {
        for policy in policies {
            let applying = policy.statements.iter();
            for statement in applying.filter(|it| it.allows && it.applies_to(request)) {
                let action = request.action.to_lowercase();
                let used = statement.parts().filter(|part| {
                    is_like(&part.to_lowercase(), &action) || is_like(part, &request.resource)
                });
                self.0.extend(used.map(|part| {
                    let sid = statement.sid.clone();
                    (policy.name.clone(), sid, part.clone())
                }));
            }
        }
    }

    /// What the policies allow and no request has used, as `POLICY/STATEMENT: ACTION` or
    /// `POLICY/STATEMENT: RESOURCE`.
    pub fn spare(&self, policies: &[Policy]) -> BTreeSet<String> {
        let mut spare = BTreeSet::new();
        for policy in policies {
            for statement in policy.statements.iter().filter(|it| it.allows) {
                let unused = statement.parts().filter(|part| {
                    let (name, sid) = (policy.name.clone(), statement.sid.clone());
                    !self.0.contains(&(name, sid, (*part).clone()))
                });
                spare.extend(unused.map(|it| format!("{}/{}: {it}", policy.name, statement.sid)));
            }
        }
        spare
    }
}

/// The text, or the texts of the list.
fn texts(value: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    match value {
        Value::Array(items) => items.iter().map(text).collect(),
        value => vec![text(value)],
    }
}

fn number(text: &str) -> f64 {
    text.parse().expect("a number")
}

/// Whether a text fits a pattern in which `*` stands for any characters and `?` for one.
fn is_like(pattern: &str, text: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = rest.as_str();
            let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            let mut tails = ends.filter_map(|at| text.get(at..));
            tails.any(|tail| is_like(rest, tail))
        }
        Some(expected) => {
            let mut characters = text.chars();
            let fits = characters
                .next()
                .is_some_and(|it| expected == '?' || it == expected);
            fits && is_like(rest.as_str(), characters.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers hand over what they have just made"
    )]
    fn policy(statements: Value) -> [Policy; 1] {
        [Policy::parse("p", &json!({"Statement": statements}))]
    }

    fn launch(resource: &str) -> Request {
        Request::new("ec2:RunInstances", format!("arn:aws:ec2:r:1:{resource}"))
    }

    #[test]
    fn star_stands_for_any_characters_and_question_mark_for_one() {
        for (pattern, text) in [
            ("*", ""),
            ("a*c", "abbc"),
            ("a*c*", "abcd"),
            ("a?c", "abc"),
            ("interface/*", "interface/*"),
        ] {
            assert!(is_like(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a*c", "ab"), ("a?c", "ac"), ("", "a"), ("eni-*", "*")] {
            assert!(!is_like(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn request_needs_a_statement_with_its_action_and_its_resource() {
        let policies = policy(json!([{
            "Sid": "S", "Effect": "Allow", "Action": "ec2:Run*",
            "Resource": ["arn:aws:ec2:*:1:volume/*", "arn:aws:ec2:*:1:instance/*"],
        }]));
        assert!(allows(&policies, &launch("volume/*")));
        assert!(!allows(&policies, &launch("image/ami-1")));
        let other = Request::new("ec2:StopInstances", "arn:aws:ec2:r:1:instance/i-1");
        assert!(!allows(&policies, &other));
    }

    #[test]
    fn denial_overrides_a_permission() {
        let policies = policy(json!([
            {"Sid": "A", "Effect": "Allow", "Action": "ec2:*", "Resource": "*"},
            {"Sid": "D", "Effect": "Deny", "Action": "ec2:RunInstances", "Resource": "*/eni-*"},
        ]));
        assert!(allows(&policies, &launch("network-interface/*")));
        assert!(!allows(&policies, &launch("network-interface/eni-1")));
    }

    #[test]
    fn every_condition_must_hold_and_a_missing_key_fails_all_but_the_sets() {
        let with = |condition: Value| {
            policy(json!([{
                "Sid": "S", "Effect": "Allow", "Action": "*", "Resource": "*",
                "Condition": condition,
            }]))
        };
        let tagged = |keys: &[&str]| launch("instance/*").with("AWS:TagKeys", keys.to_vec());
        let keys = with(json!({"ForAllValues:StringEquals": {"aws:tagkeys": ["a", "b"]}}));
        assert!(allows(&keys, &tagged(&["a", "b"])));
        assert!(allows(&keys, &launch("instance/*")));
        assert!(!allows(&keys, &tagged(&["a", "c"])));
        let both = with(json!({
            "StringEquals": {"k": ["x", "y"]}, "NumericLessThanEquals": {"n": "1"}
        }));
        let request = |k: &str, n: &str| launch("instance/*").with("k", [k]).with("n", [n]);
        assert!(allows(&both, &request("y", "1")));
        assert!(!allows(&both, &request("y", "2")));
        assert!(!allows(&both, &request("z", "1")));
        assert!(!allows(&both, &launch("instance/*").with("k", ["x"])));
        let null = with(json!({"Null": {"k": "false"}}));
        assert!(allows(&null, &launch("instance/*").with("k", ["x"])));
        assert!(!allows(&null, &launch("instance/*")));
    }

    #[test]
    fn what_no_request_used_is_spare() {
        let policies = policy(json!([
            {"Sid": "A", "Effect": "Allow", "Action": ["ec2:RunInstances", "ec2:StopInstances"],
             "Resource": ["arn:aws:ec2:*:1:volume/*", "arn:aws:ec2:*:1:snapshot/*"]},
            {"Sid": "D", "Effect": "Deny", "Action": "ec2:*", "Resource": "*/eni-*"},
        ]));
        let mut used = Used::default();
        used.record(&policies, &launch("volume/*"));
        used.record(&policies, &launch("image/ami-1"));
        let spare: Vec<_> = used.spare(&policies).into_iter().collect();
        assert_eq!(
            spare,
            ["p/A: arn:aws:ec2:*:1:snapshot/*", "p/A: ec2:StopInstances"]
        );
    }
}
