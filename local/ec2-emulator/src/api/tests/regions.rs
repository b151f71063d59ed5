//! `DescribeRegions`.

use crate::testing::TestEc2;

#[tokio::test]
async fn regions_of_the_world_file_are_listed_and_filtered() {
    let ec2 = TestEc2::new();
    let names = async |params: &[(&str, &str)]| {
        let answer = ec2.call("DescribeRegions", params).await;
        let texts = answer.texts("regionName").into_iter();
        texts.map(str::to_owned).collect::<Vec<_>>()
    };
    let all = names(&[]).await;
    assert!(all.len() >= 3, "{all:?}");
    assert_eq!(names(&[("AllRegions", "true")]).await, all);
    let one = [all[1].clone()];
    assert_eq!(names(&[("RegionName.1", &all[1])]).await, one);
    let filter = [
        ("Filter.1.Name", "region-name"),
        ("Filter.1.Value.1", all[1].as_str()),
    ];
    assert_eq!(names(&filter).await, one);
    let unknown = ec2
        .call("DescribeRegions", &[("RegionName.1", "mars-1")])
        .await;
    assert_eq!(unknown.error().0, "InvalidParameterValue");
}
