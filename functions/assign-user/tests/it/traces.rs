//! Requests with and without a trace that is recorded.

use jiff::Timestamp;
use serde_json::{Value, json};
use shared::trace::traced;
use testing::function_process::{Run, url_event};

use crate::support::{Request, Token, World};

const ROOT: &str = "1-5759e988-bd862e3fe1be46a994272793";

fn run(trace: Option<&str>) -> Run {
    let headers = json!({"authorization": format!("Bearer {}", Token::of("auth0|ada").rs256())});
    let event = url_event("POST", "/mandelbox/assign", &headers, &[], "{}");
    Run::of(env!("CARGO_BIN_EXE_assign-user"), "info", &[event], trace)
}

/// The lines that the function wrote while it handled the event.
fn lines(run: &Run) -> Vec<Value> {
    let lines = run.log.lines();
    let own = |line: &Value| line["target"] == "assign_user";
    lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(own)
        .collect()
}

#[test]
fn recorded_trace_is_in_every_line_of_its_invocation() {
    let run = run(Some(&format!(
        "Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1"
    )));
    let lines = lines(&run);
    assert!(!lines.is_empty(), "{}", run.log);
    for line in lines {
        assert_eq!(line["xray_trace_id"], ROOT, "{line}");
    }
}

#[test]
fn nothing_is_added_without_a_recorded_trace() {
    for trace in [None, Some(format!("Root={ROOT};Sampled=0"))] {
        let run = run(trace.as_deref());
        assert!(!lines(&run).is_empty(), "{}", run.log);
        assert!(!run.log.contains("xray_trace_id"), "{}", run.log);
    }
}

#[tokio::test]
async fn request_to_hasura_names_the_recorded_trace() {
    let world = World::new().await;
    let recorded = format!("Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1");
    let other = format!("Root={ROOT};Sampled=0");
    for header in [Some(recorded.as_str()), Some(other.as_str()), None] {
        let event = Request::good().event();
        let answer = world.function.handle(event, Timestamp::MAX);
        let answer = traced(header, answer).await;
        assert_eq!(answer.status_code, 200);
    }
    let requests = world.hasura.requests();
    let traces: Vec<_> = requests.iter().map(|it| it.trace.as_deref()).collect();
    assert_eq!(traces, [Some(recorded.as_str()), None, None]);
}
