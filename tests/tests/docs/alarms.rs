//! The alarms of both templates, and the dashboards: they use metrics that exist, alarms go off when they
//! should and not otherwise, and each has its heading in the runbook.

use std::collections::BTreeSet;
use std::fs;

use local_stack::project;
use scaling_tests::alarm::Alarm;
use scaling_tests::markdown::Page;
use serde_json::{Value, json};
use shared::metrics::{Kind, METRICS, Metric, NAMESPACE, PROMETHEUS_PREFIX, STACK};

use crate::expanded::{Expanded, templates};

fn service() -> &'static Expanded {
    templates()[0]
}

fn alarms(template: &'static Expanded) -> Vec<(&'static str, &'static Value)> {
    let alarms = template.properties("AWS::CloudWatch::Alarm");
    assert!(alarms.len() > 8, "{}: {}", template.file, alarms.len());
    alarms
}

/// The alarms of both templates.
fn all_alarms() -> impl Iterator<Item = (&'static Expanded, &'static str, &'static Value)> {
    let of = |template| {
        alarms(template)
            .into_iter()
            .map(move |(name, alarm)| (template, name, alarm))
    };
    templates().into_iter().flat_map(of)
}

fn metric(name: &str) -> &'static Metric {
    let mut all = METRICS.iter();
    all.find(|metric| metric.name == name)
        .unwrap_or_else(|| panic!("there is no metric {name}"))
}

/// A metric of the service's own, with the dimension that alarms can know.
fn assert_is_of_the_stack(name: &str, alarm: &Value) {
    let metric = metric(alarm["MetricName"].as_str().expect(name));
    let dimensions = json!([{"Name": STACK, "Value": {"Ref": "AWS::StackName"}}]);
    assert_eq!(alarm["Dimensions"], dimensions, "{name}");
    assert!(metric.of_stack, "{name}: {}", metric.name);
    let statistic = match metric.kind {
        Kind::Counter => "Sum",
        Kind::Gauge | Kind::Distribution => "Maximum",
    };
    assert_eq!(alarm["Statistic"], statistic, "{name}");
}

/// A metric of AWS, of a resource of the stack.
fn assert_is_of_a_resource(template: &Expanded, name: &str, alarm: &Value) {
    let [dimension] = alarm["Dimensions"].as_array().expect(name).as_slice() else {
        panic!("{name}: {alarm:#}")
    };
    let (dimension, value) = (dimension["Name"].as_str(), &dimension["Value"]);
    let (namespace, metric) = (alarm["Namespace"].as_str(), alarm["MetricName"].as_str());
    match (namespace, metric, dimension) {
        (Some("AWS/Lambda"), Some("Errors" | "Throttles"), Some("FunctionName")) => {
            let function = value["Ref"].as_str().expect(name);
            let functions = template.functions();
            assert!(
                functions.iter().any(|(known, _)| *known == function),
                "{name}"
            );
        }
        (Some("AWS/Events"), Some("Invocations"), Some("RuleName")) => {
            let rules = template.properties("AWS::Events::Rule");
            let rule = value["Ref"].as_str().expect(name);
            assert!(rules.iter().any(|(known, _)| *known == rule), "{name}");
        }
        (Some("AWS/SQS"), Some("ApproximateNumberOfMessagesVisible"), Some("QueueName")) => {
            let queue = json!({"Fn::GetAtt": ["InvocationFailures", "QueueName"]});
            assert_eq!(*value, queue, "{name}");
        }
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn each_alarm_uses_a_metric_that_exists_with_its_dimensions() {
    for (template, name, alarm) in all_alarms() {
        if alarm["Namespace"] == NAMESPACE {
            assert_is_of_the_stack(name, alarm);
        } else {
            assert_is_of_a_resource(template, name, alarm);
        }
    }
}

#[test]
fn every_function_has_an_alarm_for_its_errors_and_one_for_its_throttles() {
    for template in templates() {
        for (function, _) in template.functions() {
            for metric in ["Errors", "Throttles"] {
                let is_of = |alarm: &Value| {
                    let of = &alarm["Dimensions"][0]["Value"]["Ref"];
                    alarm["MetricName"] == metric && of == function
                };
                let alarms = alarms(template);
                let count = alarms.iter().filter(|(_, alarm)| is_of(alarm)).count();
                assert_eq!(count, 1, "{} {function} {metric}", template.file);
            }
        }
    }
}

#[test]
fn parameter_switches_every_alarm_and_all_of_them_use_the_topic() {
    let switch = json!({"Fn::Equals": [{"Ref": "Alarms"}, "true"]});
    let all = json!({"Fn::And": [{"Condition": "HasAlarms"}, {"Condition": "HasSchedule"}]});
    let topic =
        json!({"Fn::If": ["HasAlertTopic", [{"Ref": "AlertTopicArn"}], {"Ref": "AWS::NoValue"}]});
    for template in templates() {
        assert_eq!(template.condition("HasAlarms"), &switch);
        assert_eq!(template.condition("HasScheduleAlarms"), &all);
    }
    for (template, name, alarm) in all_alarms() {
        let condition = template.condition_of(name);
        assert!(
            matches!(condition, Some("HasAlarms" | "HasScheduleAlarms")),
            "{name}: {condition:?}"
        );
        for actions in ["AlarmActions", "OKActions"] {
            assert_eq!(alarm[actions], topic, "{name}");
        }
    }
}

#[test]
fn each_alarm_links_to_its_heading_in_the_runbook() {
    for (template, name, alarm) in all_alarms() {
        let default = template.parameter("RunbookUrl").expect("RunbookUrl");
        let page = default["Default"].as_str().expect("a default");
        let anchors = Page::read(page).anchors();
        let text = alarm["AlarmDescription"]["Fn::Sub"].as_str().expect(name);
        let link = text.rsplit(' ').next().unwrap_or_default();
        let anchor = link.strip_prefix("${RunbookUrl}#");
        let anchor = anchor.unwrap_or_else(|| panic!("{name}: {text}"));
        assert!(anchors.iter().any(|it| it == anchor), "{name}: {anchor}");
    }
}

/// A minute without values, and one with these.
const NOTHING: &[f64] = &[];

/// What each alarm must not go off for, and what it must go off for, by the minute.
type Case = (&'static str, Vec<&'static [f64]>, Vec<&'static [f64]>);

/// The values of one minute in a row.
fn minutes(count: usize, values: &'static [f64]) -> Vec<&'static [f64]> {
    vec![values; count]
}

/// One minute with other values than all others.
fn but(mut minutes: Vec<&'static [f64]>, at: usize, values: &'static [f64]) -> Vec<&'static [f64]> {
    minutes[at] = values;
    minutes
}

fn cases() -> Vec<Case> {
    let quiet = || minutes(30, NOTHING);
    let zeros = || minutes(30, &[0.0, 0.0]);
    let mut cases: Vec<Case> = vec![
        ("ScheduleStopped", minutes(30, &[1.0]), quiet()),
        // A user or two at a bad moment, and nobody at night; then users without an end.
        (
            "UsersRefused",
            but(but(quiet(), 3, &[1.0; 2]), 4, &[1.0]),
            minutes(5, &[1.0; 5]),
        ),
        // Two regions; one is empty for some minutes of a rush, then for longer.
        (
            "NoFreeSlot",
            but(but(zeros(), 7, &[0.0, 1.0]), 8, &[0.0, 1.0]),
            minutes(5, &[0.0, 1.0]),
        ),
        // One pass failed; then a region is locked for minutes, while the other has its passes.
        (
            "RegionStale",
            but(minutes(30, &[60.2, 59.8]), 9, &[120.1, 60.0]),
            vec![
                &[60.0, 60.0],
                &[60.0, 120.0],
                &[60.0, 180.0],
                &[60.0, 240.0],
                &[60.0, 300.0],
            ],
        ),
        // No pass begins at all.
        ("RegionStale", minutes(30, &[60.0]), quiet()),
        (
            "LaunchesFailing",
            but(but(zeros(), 7, &[1.0, 0.0]), 12, &[1.0, 0.0]),
            minutes(5, &[1.0, 0.0]),
        ),
        // An upgrade fails in one pass.
        ("UpgradeStuck", zeros(), but(zeros(), 13, &[0.0, 1.0])),
        ("DrainStuck", zeros(), but(zeros(), 13, &[0.0, 2.0])),
        ("InvocationsFailed", zeros(), but(zeros(), 13, &[1.0])),
    ];
    for (fails, throttled) in [
        ("AssignUserFails", "AssignUserThrottled"),
        ("HasuraEventFails", "HasuraEventThrottled"),
        ("InstanceStateChangeFails", "InstanceStateChangeThrottled"),
        ("ReconcileFails", "ReconcileThrottled"),
        ("StatusFails", "StatusThrottled"),
    ] {
        // One failure, as when a function was ended while it started; then one each minute.
        cases.push((fails, but(zeros(), 4, &[0.0, 1.0]), minutes(5, &[1.0, 0.0])));
        let burst = || but(but(zeros(), 5, &[9.0]), 6, &[9.0]);
        cases.push((throttled, burst(), minutes(5, &[0.0, 1.0])));
    }
    cases
}

#[test]
fn alarms_go_off_for_what_is_wrong_and_for_nothing_else() {
    let owned = |series: &[&[f64]]| series.iter().map(|it| it.to_vec()).collect::<Vec<_>>();
    let cases = cases();
    let tested: BTreeSet<_> = cases.iter().map(|(name, ..)| *name).collect();
    let all: BTreeSet<_> = all_alarms().map(|(_, name, _)| name).collect();
    assert_eq!(tested, all);
    for (template, name, properties) in all_alarms() {
        let number = |value: &Value| {
            let referred = value["Ref"].as_str().map(|name| {
                assert_eq!(name, "StaleSeconds");
                &template.parameter(name).expect(name)["Default"]
            });
            referred.unwrap_or(value).as_f64().expect("a number")
        };
        let alarm = Alarm::of(properties, number);
        let of_it = cases.iter().filter(|(known, ..)| *known == name);
        for (_, healthy, bad) in of_it {
            assert!(!alarm.fires(&owned(healthy)), "{name} is a false alarm");
            assert!(alarm.fires(&owned(bad)), "{name} does not go off");
        }
    }
}

/// The metrics that a widget shows, with their dimensions.
fn shown(widget: &Value) -> Vec<(String, Vec<String>)> {
    let metrics = widget["properties"]["metrics"].as_array().expect("metrics");
    let shown = metrics.iter().map(|metric| {
        let metric = metric.as_array().expect("a list");
        if let Some(search) = metric[0]["expression"].as_str() {
            return searched(search);
        }
        let texts: Vec<_> = metric.iter().filter_map(Value::as_str).collect();
        let [namespace, name, dimensions @ ..] = texts.as_slice() else {
            panic!("{metric:?}")
        };
        assert_eq!(*namespace, NAMESPACE);
        let names = dimensions.iter().step_by(2).map(|it| (*it).to_owned());
        ((*name).to_owned(), names.collect())
    });
    shown.collect()
}

/// `SEARCH('{scaling,stack,region} MetricName="NAME" stack="…"', 'Sum', 60)`.
fn searched(expression: &str) -> (String, Vec<String>) {
    let inner = expression.strip_prefix("SEARCH('{").expect(expression);
    let (schema, rest) = inner.split_once("} MetricName=\"").expect(expression);
    let (name, rest) = rest.split_once('"').expect(expression);
    assert!(rest.starts_with(" stack=\"STACK\"'"), "{expression}");
    let mut schema = schema.split(',').map(str::to_owned);
    assert_eq!(schema.next().as_deref(), Some(NAMESPACE));
    (name.to_owned(), schema.collect())
}

#[test]
fn dashboard_shows_every_metric_with_its_dimensions() {
    let dashboards = service().properties("AWS::CloudWatch::Dashboard");
    let [(name, dashboard)] = dashboards.as_slice() else {
        panic!("{dashboards:#?}")
    };
    assert_eq!(service().condition_of(name), Some("HasDashboard"));
    let body = dashboard["DashboardBody"]["Fn::Sub"]
        .as_str()
        .expect("a text");
    let body = body
        .replace("${AWS::StackName}", "STACK")
        .replace("${AWS::Region}", "REGION")
        .replace("${!", "${");
    let body: Value = serde_json::from_str(&body).expect("the dashboard's JSON");
    let mut seen = BTreeSet::new();
    for widget in body["widgets"].as_array().expect("widgets") {
        for (name, dimensions) in shown(widget) {
            let metric = metric(&name);
            let own: Vec<_> = [STACK].iter().chain(metric.dimensions).copied().collect();
            let of_stack = metric.of_stack && dimensions == [STACK];
            assert!(of_stack || dimensions == own, "{name}: {dimensions:?}");
            seen.insert(metric.name);
        }
    }
    let all: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(seen, all);
}

#[test]
fn grafana_dashboard_reads_every_metric_of_prometheus_and_no_other() {
    let path = project::root().join("monitoring/grafana-dashboard.json");
    let text = fs::read_to_string(path).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let mut seen = BTreeSet::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().expect("targets") {
            let expression = target["expr"].as_str().expect("expr");
            let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            let names = words.filter_map(|word| word.strip_prefix(PROMETHEUS_PREFIX));
            let names: Vec<_> = names.map(|name| metric(name).name).collect();
            assert!(!names.is_empty(), "{expression}");
            seen.extend(names);
        }
    }
    let scraped = METRICS.iter().filter(|metric| metric.is_scraped);
    let scraped: BTreeSet<_> = scraped.map(|metric| metric.name).collect();
    assert_eq!(seen, scraped);
}
