//! Delivers the events of the EC2 emulator by the rules that are deployed on the local AWS.
//!
//! The local AWS itself rejects events whose source is EC2. This server therefore receives them in
//! place of `EventBridge`, and reads the deployed rules:
//!
//! - An event goes to the default bus of its region.
//! - Each enabled rule whose pattern matches sends it to the rule's targets.
//! - A function is invoked asynchronously, as `EventBridge` does.
//! - A bus is processed in the same way. A bus in another region needs a target with a role.
//!
//! The response is 204 when no rule leads to a function; the emulator's ledger then records
//! `unwanted`.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use aws_config::{Region, SdkConfig};
use aws_sdk_eventbridge::Client as EventBridge;
use aws_sdk_eventbridge::types::{Rule, RuleState, Target};
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::{Value, json};

use crate::ministack::sdk_config;
use crate::ports::ReservedPort;
use crate::thread_server::ThreadServer;

const PATH: &str = "/ec2-events";

/// How often an event may go from one bus to another, so that a loop of rules ends.
const MAX_HOPS: u8 = 3;

/// The receiver. It is independent of the runtimes of single tests. Dropping it stops it.
#[derive(Debug)]
pub struct Ec2Events(ThreadServer);

impl Ec2Events {
    /// Starts the receiver. `aws_endpoint` is first used by the first event.
    ///
    /// # Errors
    /// When the server's thread cannot be started.
    pub fn start(port: ReservedPort, aws_endpoint: &str) -> Result<Self> {
        let buses = Arc::new(Buses(sdk_config(aws_endpoint)));
        let router = Router::new().route(PATH, post(receive)).with_state(buses);
        ThreadServer::start("ec2-events", port, router).map(Self)
    }

    /// The URL to which the emulator posts events.
    pub fn url(&self) -> String {
        self.0.url(PATH)
    }
}

/// A function that was invoked, and the rule that named it.
#[derive(Debug, Serialize)]
struct Invocation {
    rule: String,
    function: String,
}

async fn receive(State(buses): State<Arc<Buses>>, Json(event): Json<Value>) -> Response {
    match buses.deliver(&event).await {
        Ok(invoked) if invoked.is_empty() => StatusCode::NO_CONTENT.into_response(),
        Ok(invoked) => Json(json!({"invoked": invoked})).into_response(),
        // The emulator sends the event again, and functions may get it twice: delivery is at least
        // once.
        Err(error) => {
            let error = json!({"error": format!("{error:#}")});
            (StatusCode::INTERNAL_SERVER_ERROR, Json(error)).into_response()
        }
    }
}

/// A bus that an event has reached.
struct BusVisit {
    region: String,
    bus: String,
    hops: u8,
}

/// The event buses of all regions of the local AWS.
struct Buses(SdkConfig);

impl Buses {
    /// Sends the event to every function that a rule leads to, and returns the invocations.
    async fn deliver(&self, event: &Value) -> Result<Vec<Invocation>> {
        let region = event["region"]
            .as_str()
            .context("the event has no field `region`")?;
        let mut invoked = Vec::new();
        let mut route = VecDeque::from([BusVisit {
            region: region.to_owned(),
            bus: "default".to_owned(),
            hops: 0,
        }]);
        while let Some(visit) = route.pop_front() {
            let eventbridge = EventBridge::new(&self.in_region(&visit.region));
            for rule in matching_rules(&eventbridge, &visit.bus, event).await? {
                let rule_arn = rule.arn().unwrap_or_default();
                for target in targets(&eventbridge, &visit.bus, &rule).await? {
                    let target = destination(&target, &visit.region)
                        .with_context(|| format!("read a target of the rule {rule_arn}"))?;
                    match target {
                        Destination::Function { arn, region } => {
                            self.invoke(&region, &arn, event).await?;
                            invoked.push(Invocation {
                                rule: rule_arn.to_owned(),
                                function: arn,
                            });
                        }
                        Destination::Bus { name, region } if visit.hops < MAX_HOPS => {
                            route.push_back(BusVisit {
                                region,
                                bus: name,
                                hops: visit.hops + 1,
                            });
                        }
                        Destination::Bus { .. } => {
                            bail!(
                                "the rule {rule_arn} is part of a loop: \
                                 an event passed more than {MAX_HOPS} buses"
                            );
                        }
                    }
                }
            }
        }
        Ok(invoked)
    }

    async fn invoke(&self, region: &str, function: &str, event: &Value) -> Result<()> {
        aws_sdk_lambda::Client::new(&self.in_region(region))
            .invoke()
            .function_name(function)
            .invocation_type(InvocationType::Event)
            .payload(Blob::new(event.to_string()))
            .send()
            .await
            .with_context(|| format!("invoke {function}"))?;
        Ok(())
    }

    fn in_region(&self, region: &str) -> SdkConfig {
        let region = Region::new(region.to_owned());
        self.0.to_builder().region(region).build()
    }
}

/// The enabled rules of a bus whose patterns match the event.
async fn matching_rules(eventbridge: &EventBridge, bus: &str, event: &Value) -> Result<Vec<Rule>> {
    let mut matching = Vec::new();
    let mut next = None;
    loop {
        let page = eventbridge
            .list_rules()
            .event_bus_name(bus)
            .set_next_token(next)
            .send()
            .await
            .with_context(|| format!("list the rules of the event bus {bus}"))?;
        for rule in page.rules.unwrap_or_default() {
            if rule.state() == Some(&RuleState::Enabled)
                && let Some(pattern) = rule.event_pattern()
                && matches(eventbridge, pattern, event).await?
            {
                matching.push(rule);
            }
        }
        next = page.next_token;
        if next.is_none() {
            return Ok(matching);
        }
    }
}

async fn matches(eventbridge: &EventBridge, pattern: &str, event: &Value) -> Result<bool> {
    let tested = eventbridge
        .test_event_pattern()
        .event_pattern(pattern)
        .event(event.to_string())
        .send()
        .await
        .with_context(|| format!("test the event pattern {pattern}"))?;
    Ok(tested.result())
}

async fn targets(eventbridge: &EventBridge, bus: &str, rule: &Rule) -> Result<Vec<Target>> {
    let name = rule.name().unwrap_or_default();
    let listed = eventbridge
        .list_targets_by_rule()
        .event_bus_name(bus)
        .rule(name)
        .send()
        .await
        .with_context(|| format!("list the targets of the rule {name}"))?;
    // A rule has at most five targets, and a page has a hundred.
    Ok(listed.targets.unwrap_or_default())
}

#[derive(Debug, PartialEq, Eq)]
enum Destination {
    Function { arn: String, region: String },
    Bus { name: String, region: String },
}

/// Parses the target of a rule in the region `here`.
fn destination(target: &Target, here: &str) -> Result<Destination> {
    if target.input().is_some()
        || target.input_path().is_some()
        || target.input_transformer().is_some()
    {
        bail!("the local stack delivers events unchanged: remove the target's input settings");
    }
    let arn = target.arn();
    // arn:aws:lambda:us-east-1:000000000000:function:NAME
    let parts: Vec<_> = arn.splitn(6, ':').collect();
    match parts[..] {
        ["arn", _, "lambda", at, _, resource] if resource.starts_with("function:") => {
            Ok(Destination::Function {
                arn: arn.to_owned(),
                region: at.to_owned(),
            })
        }
        ["arn", _, "events", at, _, resource] => match resource.strip_prefix("event-bus/") {
            Some(_) if at != here && target.role_arn().is_none() => {
                bail!("the target {arn} is in another region than {here} and has no role")
            }
            Some(name) => Ok(Destination::Bus {
                name: name.to_owned(),
                region: at.to_owned(),
            }),
            None => bail!("{arn} is not an event bus"),
        },
        _ => {
            bail!("the local stack delivers events to functions and event buses only, not to {arn}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The destination of a target of a rule in the home region.
    fn parse(arn: &str, role: Option<&str>) -> Result<Destination> {
        let target = Target::builder().id("1").arn(arn);
        let target = target.set_role_arn(role.map(str::to_owned)).build()?;
        destination(&target, "us-east-1")
    }

    #[test]
    fn functions_and_buses_are_parsed_and_other_targets_rejected() {
        let function = "arn:aws:lambda:us-east-1:000000000000:function:f:live";
        assert_eq!(
            parse(function, None).unwrap(),
            Destination::Function {
                arn: function.to_owned(),
                region: "us-east-1".to_owned()
            }
        );
        assert_eq!(
            parse(
                "arn:aws:events:us-east-1:000000000000:event-bus/default",
                None
            )
            .unwrap(),
            Destination::Bus {
                name: "default".to_owned(),
                region: "us-east-1".to_owned()
            }
        );
        for other in ["arn:aws:sqs:us-east-1:000000000000:q", "f"] {
            let error = parse(other, None).unwrap_err().to_string();
            assert!(error.contains(other), "{error}");
        }
    }

    #[test]
    fn bus_in_another_region_without_a_role_is_rejected() {
        let bus = "arn:aws:events:eu-west-1:000000000000:event-bus/default";
        let error = parse(bus, None).unwrap_err().to_string();
        assert!(error.contains("has no role"), "{error}");
        assert_eq!(
            parse(bus, Some("arn:aws:iam::000000000000:role/r")).unwrap(),
            Destination::Bus {
                name: "default".to_owned(),
                region: "eu-west-1".to_owned()
            }
        );
    }
}
