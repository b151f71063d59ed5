//! What Lambda allows, and what the templates say about it.

use crate::fixture::{Fixture, Parameters, parameters, required};

/// Repeats a text to so many characters.
fn filled(text: &str, length: usize) -> String {
    text.chars().cycle().take(length).collect()
}

fn replicas(user_data: &str) -> Parameters {
    let choice = r#"{"instance_type":"m6i.large","subnet_id":"subnet-0123456789abcdef0"},"#;
    let mut all = parameters(&[
        ("Region", "us-east-1"),
        ("Image", "ami-0123456789abcdef0"),
        ("StatusAuth", "none"),
        ("ScheduleEnabled", "false"),
        ("UserData", user_data),
    ]);
    let choices = format!("[{}]", choice.repeat(10).trim_end_matches(','));
    all.push(("LaunchChoices".to_owned(), choices));
    all
}

#[tokio::test]
async fn stack_name_may_be_as_long_as_the_longest_function_name_allows() {
    let fixture = Fixture::start().await;
    // `docs/deploy.md` and the template's description have this number; a test compares.
    let [longest, longer] = [42, 43].map(|length| filled("s", length));
    let deploy = async |name| fixture.deploy("template.yaml", name, &required()).await;
    deploy(&longest).await.unwrap();
    deploy(&longer).await.unwrap_err();
    let reasons = fixture.reasons(&longer).await;
    assert!(reasons.contains("'functionName'"), "{reasons}");
}

#[tokio::test]
async fn user_data_is_bounded_before_lambda_refuses_it() {
    let fixture = Fixture::start().await;
    let deploy = async |user_data: &str| {
        let parameters = replicas(user_data);
        fixture
            .deploy("replicas.yaml", "bounded", &parameters)
            .await
    };
    let line = "echo \"SCALING_REGION=${REGION}\" >>/etc/environment # of this replica\n";
    let longest = filled(line, 1270);
    deploy(&longest).await.unwrap();
    let variables = fixture.variables("bounded-reconcile").await;
    assert_eq!(variables["REPLICA_USER_DATA"], longest);
    let status = fixture.variables("bounded-status").await;
    assert!(status.contains_key("REPLICA_REGION"), "{status:?}");
    assert!(!status.contains_key("REPLICA_USER_DATA"), "{status:?}");

    for refused in [&filled(line, 1281), "\u{e9}"] {
        let error = deploy(refused).await.unwrap_err();
        assert!(error.contains("at most 1270 characters"), "{error}");
    }
}
