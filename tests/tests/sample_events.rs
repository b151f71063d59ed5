//! Every sample in `events/` works with `cargo lambda invoke --data-file` against a running stack,
//! and the malformed ones return their error.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

use std::fs;
use std::path::{Path, PathBuf};

use local_stack::project;
use local_stack::seed::CLIENT_SHA;
use scaling_tests::cargo_lambda::CargoLambda;
use scaling_tests::deployed::Deployed;
use serde_json::{Value, json};

/// The commit hash that the samples' client was built from.
const SAMPLE_SHA: &str = "3f1e9c0a7d5b4e62";

const PLACEHOLDER: &str = "Bearer REPLACE_WITH_A_TOKEN";

/// The last one, since it adds a second buffer.
const UPGRADE: (&str, &str) = ("reconcile-image-upgrade", "done");

/// It has no report of a region.
const DOCTOR: (&str, &str) = ("reconcile-doctor", "checks");

/// Nor this.
const REPLAY: (&str, &str) = ("reconcile-replay", "us-east-1");

const PASSES: [(&str, &str); 4] = [
    ("reconcile-approve-mass-removal", "done"),
    ("reconcile-dry-run", "dry_run"),
    ("reconcile-regions", "done"),
    ("reconcile-schedule", "done"),
];

const WRONG_PASSES: [(&str, &str); 7] = [
    ("reconcile-bad-region", "field `regions`: \"US EAST\""),
    (
        "reconcile-doctor-with-regions",
        "field `doctor` stands alone",
    ),
    ("reconcile-not-an-object", "must be a JSON object"),
    ("reconcile-regions-not-a-list", "field `regions`"),
    ("reconcile-unknown-field", "field `regoins`"),
    (
        "reconcile-upgrade-no-client-sha",
        "field `image_upgrade`: missing field `client_sha`",
    ),
    (
        "reconcile-upgrade-with-dry-run",
        "fields `dry_run` and `image_upgrade` exclude each other",
    ),
];

const ASSIGNS: [(&str, &str); 5] = [
    ("assign-user", "200"),
    ("assign-user-base64", "200"),
    ("assign-user-local-dev", "200"),
    ("assign-user-preflight", "204"),
    ("assign-user-wait", "200"),
];

const WRONG_ASSIGNS: [(&str, &str); 17] = [
    ("assign-user-body-empty", "400 the body is empty"),
    (
        "assign-user-body-not-an-object",
        "400 the body must be a JSON object",
    ),
    (
        "assign-user-body-not-base64",
        "400 the body is marked as base64",
    ),
    (
        "assign-user-body-not-json",
        "400 the body is not valid JSON",
    ),
    (
        "assign-user-commit-hash-not-a-string",
        "400 field `client_commit_hash`",
    ),
    ("assign-user-email-not-a-string", "400 field `user_email`"),
    (
        "assign-user-headers-a-list",
        "400 this is not an event of a Lambda function URL",
    ),
    (
        "assign-user-method-get",
        "405 the method must be one of POST, OPTIONS",
    ),
    (
        "assign-user-path-unknown",
        "404 there is nothing at this path",
    ),
    (
        "assign-user-regions-missing",
        "400 field `regions` is missing",
    ),
    (
        "assign-user-regions-not-a-list",
        "400 field `regions` must be",
    ),
    (
        "assign-user-schedule-event",
        "400 this is not an event of a Lambda function URL",
    ),
    (
        "assign-user-session-a-fraction",
        "400 field `session_id` must be",
    ),
    (
        "assign-user-session-missing",
        "400 field `session_id` is missing",
    ),
    (
        "assign-user-token-alg-none",
        "401 the token is not a JSON Web Token that is signed",
    ),
    ("assign-user-token-missing", "401 send a token"),
    ("assign-user-wait-too-long", "400 field `wait_seconds`"),
];

const EVENTS: [(&str, &str); 4] = [
    ("hasura-event-app-version", "200"),
    ("hasura-event-instance-draining", "200"),
    ("hasura-event-region-wake", "200"),
    ("hasura-event-unknown-trigger", "200"),
];

const WRONG_EVENTS: [(&str, &str); 5] = [
    ("hasura-event-get", "405 the method must be POST"),
    ("hasura-event-no-id", "400 the body is not the payload"),
    (
        "hasura-event-no-region",
        "400 field `event.data.new.region`",
    ),
    ("hasura-event-no-secret", "401 the header x-event-secret"),
    ("hasura-event-not-json", "400 the body is not the payload"),
];

const MACHINE_EVENTS: [(&str, &str); 3] = [
    (
        "instance-state-change-interruption",
        "not an instance of ours",
    ),
    ("instance-state-change-rebalance", "not an instance of ours"),
    (
        "instance-state-change-terminated",
        "not an instance of ours",
    ),
];

const WRONG_MACHINE_EVENTS: [(&str, &str); 5] = [
    (
        "instance-state-change-no-instance",
        "field `detail.instance-id`",
    ),
    (
        "instance-state-change-not-an-event",
        "not an EventBridge event: missing field `id`",
    ),
    (
        "instance-state-change-other-detail-type",
        "field `detail-type` is \"AWS API Call via CloudTrail\"",
    ),
    (
        "instance-state-change-other-source",
        "field `source` is \"my.application\"",
    ),
    (
        "instance-state-change-unknown-state",
        "field `detail.state` is \"asleep\"",
    ),
];

const STATUSES: [(&str, &str); 4] = [
    ("status", "200"),
    ("status-decision", "200"),
    ("status-healthz", "200"),
    ("status-region", "200"),
];

const WRONG_STATUSES: [(&str, &str); 8] = [
    ("status-before-no-version", "400 query parameter `before`"),
    (
        "status-decision-unknown",
        "404 there is no decision us-east-1/999999999",
    ),
    ("status-method-post", "405 the method must be GET or HEAD"),
    (
        "status-not-a-request",
        "400 this is not an event of a Lambda function URL",
    ),
    ("status-path-unknown", "404 there is nothing at this path"),
    ("status-region-unknown", "404 there is no region us-east-9"),
    ("status-token-missing", "401 send the status token"),
    ("status-token-wrong", "401 this is not the status token"),
];

#[tokio::test]
async fn every_sample_works_with_cargo_lambda_invoke() {
    all_samples_are_known(
        "",
        PASSES
            .iter()
            .chain([&UPGRADE, &DOCTOR, &REPLAY])
            .chain(&ASSIGNS)
            .chain(&EVENTS)
            .chain(&MACHINE_EVENTS)
            .chain(&STATUSES),
    );
    let wrong = WRONG_PASSES
        .iter()
        .chain(&WRONG_ASSIGNS)
        .chain(&WRONG_EVENTS)
        .chain(&WRONG_MACHINE_EVENTS)
        .chain(&WRONG_STATUSES);
    all_samples_are_known("malformed", wrong);
    let deployed = Deployed::start("sample-events", |options| {
        options.ec2.pending_ms = Some(300);
        options.ec2.agent_boot_ms = Some(100);
        // No session ends by itself.
        options.ec2.agent_session_ms = Some(3_600_000);
    })
    .await;
    set_up(&deployed).await;
    let env = deployed.stack.env().clone();
    let mut cargo_lambda = CargoLambda::start(&deployed).await;
    cargo_lambda.run("reconcile", &env.reconcile_function).await;
    cargo_lambda
        .run("assign-user", &env.assign_user_function)
        .await;

    for pass in PASSES {
        reconciles(&cargo_lambda, pass).await;
    }
    let (name, field) = DOCTOR;
    let answer = cargo_lambda.invoke("reconcile", &sample(name)).await;
    let answer = answer.expect(name);
    assert!(answer["doctor"][field].is_array(), "{name}: {answer:#}");
    let (name, region) = REPLAY;
    let answer = cargo_lambda.invoke("reconcile", &sample(name)).await;
    let answer = answer.expect(name);
    assert_eq!(answer["replay"]["region"], region, "{name}: {answer:#}");
    for (name, says) in WRONG_PASSES {
        let answer = cargo_lambda.invoke("reconcile", &malformed(name)).await;
        let error = answer.expect_err(name);
        assert!(error.contains(says), "{name}: {error}");
    }
    deployed.filled_to(4).await;
    deployed_functions_are_invoked_alike(&cargo_lambda, &env.reconcile_function).await;
    placeholder_is_rejected(&cargo_lambda).await;
    for (name, expected) in ASSIGNS {
        let answer = assign(&cargo_lambda, &deployed, &sample(name)).await;
        assert_eq!(answer, expected, "{name}");
    }
    for (name, expected) in WRONG_ASSIGNS {
        let answer = assign(&cargo_lambda, &deployed, &malformed(name)).await;
        assert!(answer.starts_with(expected), "{name}: {answer}");
    }
    assert_eq!(deployed.free().await, 2, "two sessions of one user");
    let hasura_event = format!("{}-hasura-event", env.stack_name);
    cargo_lambda.run("hasura-event", &hasura_event).await;
    for (name, expected) in EVENTS {
        let answer = event(&cargo_lambda, &deployed, &sample(name)).await;
        assert!(answer.starts_with(expected), "{name}: {answer}");
    }
    for (name, expected) in WRONG_EVENTS {
        let answer = event(&cargo_lambda, &deployed, &malformed(name)).await;
        assert!(answer.starts_with(expected), "{name}: {answer}");
    }
    machine_events(&mut cargo_lambda, &env.stack_name).await;
    cargo_lambda.run("status", &env.status_function).await;
    for (name, expected) in STATUSES {
        let answer = status(&cargo_lambda, &deployed, &sample(name)).await;
        assert_eq!(answer, expected, "{name}");
    }
    for (name, expected) in WRONG_STATUSES {
        let answer = status(&cargo_lambda, &deployed, &malformed(name)).await;
        assert!(answer.starts_with(expected), "{name}: {answer}");
    }
    deployed.filled_to(4).await;
    reconciles(&cargo_lambda, UPGRADE).await;
    deployed.filled_to(8).await;
    drop(cargo_lambda);
    deployed.stack.stop();
}

async fn reconciles(cargo_lambda: &CargoLambda<'_>, (name, outcome): (&str, &str)) {
    let answer = cargo_lambda.invoke("reconcile", &sample(name)).await;
    let answer = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
    let part = &answer["regions"][0];
    assert_eq!(part["outcome"], outcome, "{name}: {answer:#}");
}

async fn machine_events(cargo_lambda: &mut CargoLambda<'_>, stack_name: &str) {
    const FUNCTION: &str = "instance-state-change";
    let deployed_as = format!("{stack_name}-{FUNCTION}");
    cargo_lambda.run(FUNCTION, &deployed_as).await;
    for (name, why) in MACHINE_EVENTS {
        let answer = cargo_lambda.invoke(FUNCTION, &sample(name)).await;
        let answer = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(answer["ignored"], why, "{name}: {answer:#}");
    }
    for (name, says) in WRONG_MACHINE_EVENTS {
        let answer = cargo_lambda.invoke(FUNCTION, &malformed(name)).await;
        let error = answer.expect_err(name);
        let plain = error.replace('\\', "");
        assert!(plain.contains(says), "{name}: {error}");
    }
}

/// A region that serves the samples' client.
async fn set_up(deployed: &Deployed) {
    deployed.set_up("us-east-1", 10).await;
    let document = "mutation($old: String!, $sha: String!) {
        update_images(where: {client_sha: {_eq: $old}}, _set: {client_sha: $sha}) { affected_rows }
    }";
    let variables = json!({"old": CLIENT_SHA, "sha": SAMPLE_SHA});
    let answer = deployed.operator().query(document, variables).await;
    answer.expect("the image is another build's");
}

fn sample(name: &str) -> PathBuf {
    project::root().join("events").join(format!("{name}.json"))
}

fn malformed(name: &str) -> PathBuf {
    sample(&format!("malformed/{name}"))
}

fn all_samples_are_known<'n>(folder: &str, known: impl Iterator<Item = &'n (&'n str, &'n str)>) {
    let folder = project::root().join("events").join(folder);
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|path| path.is_file())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    files.sort();
    let mut known: Vec<_> = known.map(|(name, _)| (*name).to_owned()).collect();
    known.sort();
    assert_eq!(files, known, "each has its expectation");
}

async fn deployed_functions_are_invoked_alike(cargo_lambda: &CargoLambda<'_>, reconcile: &str) {
    let (name, outcome) = PASSES[1];
    let answer = cargo_lambda.invoke_deployed(reconcile, &sample(name)).await;
    let answer = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(answer["regions"][0]["outcome"], outcome, "{answer:#}");
    let (name, says) = WRONG_PASSES[0];
    let answer = cargo_lambda
        .invoke_deployed(reconcile, &malformed(name))
        .await;
    let error = answer.expect_err(name);
    assert!(error.contains(says), "{name}: {error}");
}

async fn placeholder_is_rejected(cargo_lambda: &CargoLambda<'_>) {
    for name in [
        "assign-user",
        "assign-user-base64",
        "assign-user-local-dev",
        "assign-user-wait",
    ] {
        let answer = cargo_lambda.invoke("assign-user", &sample(name)).await;
        let line = line_of(&answer.expect(name));
        assert!(line.starts_with("401 "), "{name}: {line}");
    }
}

/// The answer to a sample with a real token in place of the placeholder.
async fn assign(cargo_lambda: &CargoLambda<'_>, deployed: &Deployed, sample: &Path) -> String {
    let mut event: Value = serde_json::from_slice(&fs::read(sample).unwrap()).unwrap();
    if event["headers"]["authorization"] == PLACEHOLDER {
        event["headers"]["authorization"] = json!(format!("Bearer {}", deployed.token("ada")));
    }
    let file = deployed.stack.dir().tmp().join(sample.file_name().unwrap());
    fs::write(&file, event.to_string()).unwrap();
    let answer = cargo_lambda.invoke("assign-user", &file).await;
    line_of(&answer.unwrap_or_else(|error| panic!("{}: {error}", sample.display())))
}

/// The answer to a sample with the real secret in place of the placeholder.
async fn event(cargo_lambda: &CargoLambda<'_>, deployed: &Deployed, sample: &Path) -> String {
    let secret = &deployed.stack.env().hasura_event_secret;
    let filled_in = with(deployed, sample, "REPLACE_WITH_THE_SECRET", secret);
    let answer = cargo_lambda.invoke("hasura-event", &filled_in).await;
    line_of(&answer.unwrap_or_else(|error| panic!("{}: {error}", sample.display())))
}

/// The answer to a sample with the status token in place of the placeholder.
async fn status(cargo_lambda: &CargoLambda<'_>, deployed: &Deployed, sample: &Path) -> String {
    let token = &deployed.stack.env().status_token;
    let filled_in = with(deployed, sample, "REPLACE_WITH_THE_STATUS_TOKEN", token);
    let answer = cargo_lambda.invoke("status", &filled_in).await;
    line_of(&answer.unwrap_or_else(|error| panic!("{}: {error}", sample.display())))
}

/// A copy of a sample with a secret in place of the placeholder.
fn with(deployed: &Deployed, sample: &Path, placeholder: &str, secret: &str) -> PathBuf {
    let text = fs::read_to_string(sample).unwrap();
    let file = deployed.stack.dir().tmp().join(sample.file_name().unwrap());
    fs::write(&file, text.replace(placeholder, secret)).unwrap();
    file
}

/// Its status and the message of its body.
fn line_of(answer: &Value) -> String {
    let body = answer["body"].as_str().unwrap_or("{}");
    let body: Value = serde_json::from_str(body).unwrap();
    let message = body["message"]
        .as_str()
        .or(body["error"].as_str())
        .unwrap_or_default();
    let line = format!("{} {message}", answer["statusCode"]);
    line.trim_end().to_owned()
}
