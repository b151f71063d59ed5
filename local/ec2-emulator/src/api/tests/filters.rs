//! Wildcards in filters, and the filter `client-token`.

use serde_json::json;

use crate::testing::{SUBNET_A, SUBNET_B, TestEc2};

async fn find(ec2: &TestEc2, name: &str, values: &[&str]) -> Vec<String> {
    let names: Vec<_> = (1..=values.len())
        .map(|n| format!("Filter.1.Value.{n}"))
        .collect();
    let mut params = vec![("Filter.1.Name", name)];
    params.extend(names.iter().map(String::as_str).zip(values.iter().copied()));
    ec2.call("DescribeInstances", &params).await.ids()
}

async fn tagged(ec2: &TestEc2, value: &str) -> String {
    let tags = [
        ("TagSpecification.1.ResourceType", "instance"),
        ("TagSpecification.1.Tag.1.Key", "stack"),
        ("TagSpecification.1.Tag.1.Value", value),
    ];
    ec2.launch("1", &tags).await.ids().remove(0)
}

#[tokio::test]
async fn star_in_tag_filter_finds_other_tags_too_unless_escaped() {
    let ec2 = TestEc2::new();
    let star = tagged(&ec2, "dev*").await;
    let other = tagged(&ec2, "dev-2").await;
    let both = [star.clone(), other.clone()];
    assert_eq!(find(&ec2, "tag:stack", &["dev*"]).await, both);
    assert_eq!(find(&ec2, "tag:stack", &["dev\\*"]).await, [star.as_str()]);
    assert_eq!(find(&ec2, "tag:stack", &["dev?2"]).await, [other.as_str()]);
    assert_eq!(find(&ec2, "tag:stack", &["dev?"]).await, [star.as_str()]);
    assert_eq!(find(&ec2, "tag:stack", &["x", "*"]).await, both);
    assert!(
        find(&ec2, "tag:stack", &["DEV*"]).await.is_empty(),
        "case matters"
    );
    assert_eq!(find(&ec2, "tag-key", &["st?ck"]).await, both);
}

#[tokio::test]
async fn wildcards_apply_to_ids_states_and_names() {
    let ec2 = TestEc2::new();
    let old = ec2.launch("1", &[]).await.ids().remove(0);
    ec2.wait(10);
    let new = ec2
        .launch("1", &[("InstanceType", "g5.xlarge")])
        .await
        .ids();
    let start = format!("{}*", &old[..10]);
    assert_eq!(find(&ec2, "instance-id", &[&start]).await, [old.as_str()]);
    let but_last = format!("{}?", &old[..old.len() - 1]);
    assert_eq!(
        find(&ec2, "instance-id", &[&but_last]).await,
        [old.as_str()]
    );
    assert_eq!(find(&ec2, "instance-state-name", &["p*"]).await, new);
    assert_eq!(
        find(&ec2, "instance-state-name", &["?unning"]).await,
        [old.as_str()]
    );
    assert_eq!(find(&ec2, "instance-type", &["g?.xlarge"]).await, new);

    let subnets = |name, value| {
        let filter = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
        let ec2 = &ec2;
        async move {
            let reply = ec2.call("DescribeSubnets", &filter).await;
            let ids = reply.texts("subnetId").into_iter();
            ids.map(str::to_owned).collect::<Vec<_>>()
        }
    };
    assert_eq!(subnets("tag:scaling", "h*s").await, [SUBNET_A, SUBNET_B]);
    assert_eq!(subnets("subnet-id", "*b").await, [SUBNET_B]);
}

#[tokio::test]
async fn client_token_finds_spot_instances_unless_hidden() {
    let ec2 = TestEc2::new();
    let spot = ("InstanceMarketOptions.MarketType", "spot");
    let on_demand = ec2.launch("1", &[("ClientToken", "t-1")]).await.ids();
    let spot = ec2.launch("1", &[spot, ("ClientToken", "t-2")]).await.ids();
    assert_eq!(find(&ec2, "client-token", &["t-1"]).await, on_demand);
    assert_eq!(find(&ec2, "client-token", &["t-2"]).await, spot);
    let hide = json!({"hide_spot_client_tokens": true});
    ec2.send_control("PATCH", "settings", &hide).await;
    assert_eq!(find(&ec2, "client-token", &["t-1"]).await, on_demand);
    assert!(find(&ec2, "client-token", &["t-2"]).await.is_empty());
    assert_eq!(find(&ec2, "instance-lifecycle", &["spot"]).await, spot);
}
