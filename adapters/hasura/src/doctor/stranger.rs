//! What the token of a host agent that has no instance opens: only what is in the allow list. Where Hasura
//! does not enforce that, each table is read, and its own instance.

use futures::future::try_join_all;
use serde_json::{Value, json};
use shared::doctor::facts::{Seen, Stranger};
use shared::doctor::judge::{FOREIGN, OWN};
use shared::doctor::ports::ProbeError;

use super::{HasuraDoctor, REJECTED, send};
use crate::answer::NOT_LISTED;

/// A document that no allow list has, and that reads nothing.
const UNLISTED: &str = "query NotInTheAllowList { __typename }";

pub(super) async fn read(doctor: &HasuraDoctor, token: &str) -> Result<Stranger, ProbeError> {
    let answer = ask(doctor, token, &json!({"query": UNLISTED})).await?;
    if let Some(reason) = rejection(&answer) {
        return Ok(Stranger::Rejected(reason));
    }
    if message(&answer) == NOT_LISTED {
        return Ok(Stranger::OnlyListed);
    }
    // One request for each, because one field that the role does not have fails the request.
    let each = std::iter::once(OWN).chain(FOREIGN).map(|name| async move {
        let body = match name {
            OWN => json!({"query": OWN_INSTANCE, "variables": {"instance_id": "i-none"}}),
            table => json!({"query": format!("{{ {table} {{ __typename }} }}")}),
        };
        Ok((name, ask(doctor, token, &body).await?))
    });
    let answers: Vec<(&str, Value)> = try_join_all(each).await?;
    let seen = answers.into_iter();
    let seen = seen.map(|(table, answer)| (table.to_owned(), seen_of(table, &answer)));
    Ok(Stranger::Admitted(seen.collect()))
}

/// The document with which host agents read their instance.
const OWN_INSTANCE: &str = "\
mutation OwnInstance($instance_id: String!) {
  own_instance(args: { instance_id: $instance_id }) {
    status
    notice
    slots
  }
}";

async fn ask(doctor: &HasuraDoctor, token: &str, body: &Value) -> Result<Value, ProbeError> {
    let request = doctor.post("/v1/graphql", body);
    send(request.bearer_auth(token)).await
}

fn code(answer: &Value) -> Option<&str> {
    answer["errors"][0]["extensions"]["code"].as_str()
}

fn message(answer: &Value) -> String {
    let message = answer["errors"][0]["message"].as_str();
    message.unwrap_or("no reason").to_owned()
}

fn rejection(answer: &Value) -> Option<String> {
    let code = code(answer).filter(|code| REJECTED.contains(code))?;
    Some(format!("{} ({code})", message(answer)))
}

fn seen_of(table: &str, answer: &Value) -> Seen {
    if let Some(rows) = answer["data"][table].as_array() {
        return Seen::Rows(rows.len());
    }
    match code(answer) {
        Some("validation-failed") => Seen::NoField,
        _ => Seen::Failed(message(answer)),
    }
}
