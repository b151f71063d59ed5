//! One of the two servers and its names for resources.

use std::collections::BTreeMap;

use super::xml;

/// Elements with random values, by the end of their path.
const TIMES: [&str; 4] = ["launchTime", "attachTime", "creationDate", "reason"];
const PUBLIC_ADDRESSES: [&str; 4] = ["ipAddress", "dnsName", "publicIp", "publicDnsName"];

/// The prefixes of the ids that a launch creates.
const MADE: [(&str, &str); 4] = [
    ("i-", "instance"),
    ("r-", "reservation"),
    ("eni-attach-", "attachment"),
    ("eni-", "interface"),
];

pub(crate) struct Side {
    url: String,
    http: reqwest::Client,
    /// The ids that this side created, with the names that both sides share.
    names: BTreeMap<String, String>,
}

impl Side {
    pub(crate) fn new(url: String) -> Self {
        Self {
            url,
            http: reqwest::Client::new(),
            names: BTreeMap::new(),
        }
    }

    /// Sends a request. Returns the answer flattened: every leaf element by its path below the
    /// root.
    pub(crate) async fn ask(
        &mut self,
        action: &str,
        params: &[(String, String)],
    ) -> BTreeMap<String, String> {
        let mut form = vec![
            ("Action".to_owned(), action.to_owned()),
            ("Version".to_owned(), "2016-11-15".to_owned()),
        ];
        form.extend(
            params
                .iter()
                .map(|(name, value)| (name.clone(), self.with_ids(value))),
        );
        let credential = "AWS4-HMAC-SHA256 Credential=AKID/20261121/us-east-1/ec2/aws4_request, \
                          SignedHeaders=host, Signature=none";
        let request = self
            .http
            .post(&self.url)
            .header("authorization", credential)
            .form(&form);
        let response = request.send().await.expect("an answer");
        let status = response.status();
        let body = response.text().await.expect("a body");
        let mut answer = xml::flatten(&body)
            .unwrap_or_else(|error| panic!("{action} at {}: {error}: {body}", self.url));
        answer.retain(|path, _| path != "requestId" && path != "RequestID");
        self.give_names(&answer);
        let mut named: BTreeMap<_, _> = answer
            .iter()
            .map(|(path, value)| self.neutral(path, value))
            .collect();
        named.insert("(status)".to_owned(), status.as_u16().to_string());
        named
    }

    /// Names the ids that appear first in this answer.
    fn give_names(&mut self, answer: &BTreeMap<String, String>) {
        for value in answer.values() {
            let Some((_, noun)) = MADE.iter().find(|(prefix, _)| value.starts_with(prefix)) else {
                continue;
            };
            if !self.names.contains_key(value) {
                let number = self
                    .names
                    .values()
                    .filter(|name| name.contains(noun))
                    .count()
                    + 1;
                self.names
                    .insert(value.clone(), format!("{{{noun}-{number}}}"));
            }
        }
    }

    /// Path and value with the shared names.
    fn neutral(&self, path: &str, value: &str) -> (String, String) {
        let element = path.rsplit('/').next().unwrap_or_default();
        let with_names = |text: &str| {
            self.names
                .iter()
                .fold(text.to_owned(), |text, (id, name)| text.replace(id, name))
        };
        let neutral = if TIMES.contains(&element) && !value.is_empty() {
            "(time)".to_owned()
        } else if PUBLIC_ADDRESSES.contains(&element) {
            "(public address)".to_owned()
        } else {
            with_names(value)
        };
        (with_names(path), neutral)
    }

    /// The text with `{instance-1}` and the like replaced by this side's ids.
    fn with_ids(&self, text: &str) -> String {
        self.names
            .iter()
            .fold(text.to_owned(), |text, (id, name)| text.replace(name, id))
    }
}
