//! The logs of a stack's programs, and what must not be in them.
//!
//! On a busy machine the local AWS misses the last lines of an invocation, and finds them when the
//! same process is invoked again. A test that waits for a line therefore invokes each process of
//! the function with an event that is rejected at once.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::deployed::Deployed;

/// The most events that CloudWatch Logs returns in one answer.
const MOST_EVENTS: usize = 10_000;

/// The log of one program.
#[derive(Debug)]
pub struct Log {
    pub name: String,
    pub text: String,
}

/// A text that no log may show.
#[derive(Debug)]
pub struct Secret {
    pub what: String,
    pub value: String,
}

impl Deployed {
    /// A function's log, from CloudWatch Logs. The local AWS writes the log of a function that is
    /// invoked by its URL nowhere else.
    pub async fn function_log(&self, function: &str) -> Log {
        let env = self.stack.env();
        let name = format!("/aws/lambda/{function}");
        // Of the signature, the local AWS only reads the account, so this needs no SDK.
        let signature = format!(
            "AWS4-HMAC-SHA256 Credential={}/20260101/{}/logs/aws4_request, \
             SignedHeaders=host, Signature=none",
            env.aws_access_key_id, env.aws_region
        );
        let answer = self
            .http
            .post(&env.aws_endpoint_url)
            .header("x-amz-target", "Logs_20140328.FilterLogEvents")
            .header("content-type", "application/x-amz-json-1.1")
            .header("authorization", signature)
            .body(json!({"logGroupName": name, "limit": MOST_EVENTS}).to_string())
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            .expect("the local AWS gives a log");
        let answer: Value = answer.json().await.expect("JSON");
        let events = answer["events"].as_array().expect("events");
        assert!(events.len() < MOST_EVENTS, "{name} has more than one page");
        let lines = events.iter().filter_map(|event| event["message"].as_str());
        let text = lines.flat_map(|line| [line, "\n"]).collect();
        Log { name, text }
    }

    /// The errors that `reconcile` logged for a region, in lines that contain `text`.
    pub async fn errors(&self, region: &str, text: &str) -> Vec<Value> {
        self.complete_reconcile_log().await;
        let log = self
            .function_log(&self.stack.env().reconcile_function)
            .await;
        errors_in(&log, region, text)
    }

    /// Lets the last lines of `reconcile` into its log: they come when its processes are invoked again.
    pub async fn complete_reconcile_log(&self) {
        let invalid = json!({"nothing": true});
        let refused = || Box::pin(self.refused(&invalid));
        tokio::join!(refused(), refused());
    }

    /// Like [`Self::errors`], from the log of `hasura-event`.
    pub async fn event_errors(&self, region: &str, text: &str) -> Vec<Value> {
        let url = self.stack.env().hasura_event_url.as_deref();
        let empty_request = || self.http.get(url.expect("its URL")).send();
        let rejected = tokio::try_join!(empty_request(), empty_request(), empty_request());
        rejected.expect("hasura-event answers");
        let log = self.function_log(&self.hasura_event_function()).await;
        errors_in(&log, region, text)
    }

    /// The logs of the functions, of the stack's programs and of the host agents.
    pub async fn logs(&self) -> Vec<Log> {
        let (env, dir) = (self.stack.env(), self.stack.dir());
        let mut logs = vec![
            self.function_log(&env.assign_user_function).await,
            self.function_log(&env.reconcile_function).await,
            self.function_log(&self.hasura_event_function()).await,
            self.function_log(&env.status_function).await,
        ];
        for folder in [dir.path().join("logs"), dir.data("ec2").join("agents")] {
            logs.extend(log_files(&folder));
        }
        logs
    }

    /// The deployed functions.
    fn functions(&self) -> Vec<String> {
        let env = self.stack.env();
        let mut functions = vec![
            env.assign_user_function.clone(),
            env.reconcile_function.clone(),
            env.status_function.clone(),
            self.hasura_event_function(),
        ];
        functions.extend(env.instance_state_change_function.clone());
        functions
    }

    /// A variable of a deployed function.
    async fn variable(&self, function: &str, name: &str) -> String {
        let lambda = aws_sdk_lambda::Client::new(&self.stack.sdk_config());
        let found = lambda.get_function_configuration().function_name(function);
        let found = found.send().await.expect("the function is there");
        let variables = found.environment.and_then(|it| it.variables);
        let value = variables.and_then(|mut it| it.remove(name));
        value.unwrap_or_else(|| panic!("{function} has no {name}"))
    }

    /// The secrets of the stack, and the tokens of its functions, users and agents.
    pub async fn secrets(&self) -> Vec<Secret> {
        let env = self.stack.env();
        let secret = |what: &str, value: &str| Secret {
            what: what.to_owned(),
            value: value.to_owned(),
        };
        let mut secrets = vec![
            secret("the admin secret", &env.hasura_admin_secret),
            secret("the agents' JWT key", &env.hasura_jwt_key),
            secret("the events' secret", &env.hasura_event_secret),
            secret("the status token", &env.status_token),
        ];
        for token in self.tokens() {
            secrets.extend(parts_of("a user's token", &token));
        }
        for function in self.functions() {
            let token = self.variable(&function, "HASURA_TOKEN").await;
            secrets.extend(parts_of(&format!("the token of {function}"), &token));
        }
        for machine in self.ledger().await.instances {
            let what = format!("the agent's token of {}", machine.id);
            let token = machine.agent_token();
            secrets.extend(token.into_iter().flat_map(|token| parts_of(&what, token)));
            let user_data = machine.user_data.unwrap_or_default();
            let what = format!("the user data of {}", machine.id);
            secrets.push(secret(&what, &STANDARD.encode(&user_data)));
        }
        // Every text contains an empty one.
        secrets.retain(|secret| !secret.value.is_empty());
        secrets
    }
}

fn errors_in(log: &Log, region: &str, text: &str) -> Vec<Value> {
    let lines = log.text.lines().filter(|line| line.contains(text));
    lines
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["level"] == "ERROR" && line["span"]["region"] == region)
        .collect()
}

/// A token's claims are public; its signature is not.
fn parts_of(what: &str, token: &str) -> [Secret; 2] {
    let signature = token.rsplit('.').next().unwrap_or_default();
    [
        Secret {
            what: what.to_owned(),
            value: token.to_owned(),
        },
        Secret {
            what: format!("the signature of {what}"),
            value: signature.to_owned(),
        },
    ]
}

fn log_files(folder: &Path) -> Vec<Log> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    entries
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .map(|path| {
            let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
            Log {
                name: path.display().to_string(),
                text: String::from_utf8_lossy(&bytes).into_owned(),
            }
        })
        .collect()
}

/// Every secret that a log shows, and every panic. Empty when there are none.
pub fn leaks_and_panics(logs: &[Log], secrets: &[Secret]) -> Vec<String> {
    let mut found = Vec::new();
    for Log { name, text } in logs {
        let shown = secrets.iter().filter(|secret| text.contains(&secret.value));
        found.extend(shown.map(|secret| format!("{name} shows {}", secret.what)));
        let panics = text.lines().filter(|line| line.contains("panicked at"));
        found.extend(panics.map(|line| format!("{name}: {line}")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(text: &str) -> Log {
        Log {
            name: "a.log".to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn token_is_found_whole_or_by_its_signature() {
        let secrets = parts_of("a token", "head.claims.c2lnbmF0dXJl");
        let found = |text| leaks_and_panics(&[log(text)], &secrets);
        assert_eq!(
            found("bearer head.claims.c2lnbmF0dXJl"),
            [
                "a.log shows a token",
                "a.log shows the signature of a token"
            ]
        );
        assert_eq!(
            found("…c2lnbmF0dXJl"),
            ["a.log shows the signature of a token"]
        );
        assert!(found("head.claims").is_empty());
    }

    #[test]
    fn panic_is_found_and_the_name_of_the_panic_layer_is_not() {
        let panic = "thread 'main' panicked at shared/src/pass.rs:1:1:";
        assert_eq!(
            leaks_and_panics(&[log(panic)], &[]),
            [format!("a.log: {panic}")]
        );
        let line = r#"{"target":"lambda_runtime::layers::panic"}"#;
        assert!(leaks_and_panics(&[log(line)], &[]).is_empty());
    }
}
