//! Wrong requests: each region reports its own error, and the others continue.

use scaling_tests::deployed::Deployed;
use serde_json::{Value, json};

use crate::fleet::{Fleet, NEW, OLD};

/// The regions of earlier themes exist, each with its second image.
pub(crate) async fn wrong_requests_change_nothing(deployed: &Deployed) {
    let (west, other) = (
        Fleet::of(deployed, "us-west-1"),
        Fleet::of(deployed, "us-west-2"),
    );
    let before = (west.images().await, other.images().await);
    let current = other.image(2);
    for (image, error) in [
        (
            "ami-02000000000000099",
            "EC2 has no image ami-02000000000000099 in us-west-1",
        ),
        ("ami-020000000000000de", "EC2 has no image"),
        ("ami-020000000000000fe", "EC2 has no image"),
        (&west.image(1), "known with another client_sha"),
        ("host-2", "is not an image's id"),
    ] {
        // A region without a row, a wrong image, and an image that is already current.
        let images = json!({"mars-1": image, "us-west-1": image, "us-west-2": current});
        let order = json!({"client_sha": NEW, "images": images});
        let report = deployed.invoke(&json!({"image_upgrade": order})).await;
        let parts = report["regions"].as_array().unwrap();
        let by_name = |name: &str| parts.iter().find(|part| part["region"] == name).unwrap();
        let (mars, wrong) = (by_name("mars-1"), by_name("us-west-1"));
        assert_eq!(mars["outcome"], "failed", "{mars:#}");
        assert_eq!(wrong["outcome"], "failed", "{wrong:#}");
        assert!(text(wrong).contains(error), "{image}: {wrong:#}");
        let right = by_name("us-west-2");
        assert_eq!(right["outcome"], "done", "{right:#}");
        assert_eq!(
            right["results"][0]["result"],
            "it is warming or current already"
        );
    }
    let error = deployed
        .refused(&json!({"image_upgrade": {"client_sha": OLD}}))
        .await;
    assert!(error.contains("missing field `images`"), "{error}");
    assert_eq!((west.images().await, other.images().await), before);
}

fn text(part: &Value) -> &str {
    part["error"].as_str().unwrap_or_default()
}
