//! `DescribeInstanceTypes`, and launches of a type that cannot run the image.

use crate::testing::TestEc2;

#[tokio::test]
async fn type_of_a_filter_is_described_and_an_unknown_one_is_left_out() {
    let ec2 = TestEc2::new();
    let params = [
        ("Filter.1.Name", "instance-type"),
        ("Filter.1.Value.1", "m7g.2xlarge"),
        ("Filter.1.Value.2", "q9.huge"),
    ];
    let answer = ec2.call("DescribeInstanceTypes", &params).await;
    assert_eq!(answer.texts("instanceType"), ["m7g.2xlarge"]);
    assert_eq!(answer.texts("item").last(), Some(&"arm64"));
    assert_eq!(answer.texts("defaultVCpus"), ["8"]);
}

#[tokio::test]
async fn unknown_type_that_is_named_fails_the_request() {
    let ec2 = TestEc2::new();
    let params = [
        ("InstanceType.1", "m6i.large"),
        ("InstanceType.2", "q9.huge"),
    ];
    let answer = ec2.call("DescribeInstanceTypes", &params).await;
    assert_eq!(answer.error().0, "InvalidInstanceType");
}

#[tokio::test]
async fn type_of_another_architecture_than_the_image_is_refused() {
    let ec2 = TestEc2::new();
    let answer = ec2.launch("1", &[("InstanceType", "m7g.large")]).await;
    assert_eq!(answer.error().0, "InvalidParameterValue");
}
