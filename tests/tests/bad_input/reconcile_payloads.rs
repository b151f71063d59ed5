//! Payloads of `reconcile`.

use scaling_tests::deployed::Deployed;
use serde_json::json;

use crate::SOUND;

pub(crate) async fn wrong_payloads_are_answered_with_the_field(deployed: &Deployed) {
    let calls = deployed.ledger().await.calls.len();
    let wrong = [
        (json!(null), "JSON object"),
        (json!([SOUND]), "JSON object"),
        (json!("dry_run"), "JSON object"),
        (json!({"regions": SOUND}), "`regions`"),
        (json!({"regions": [7]}), "`regions`"),
        (json!({"regions": []}), "`regions`"),
        (json!({"regions": ["US EAST"]}), "`regions`"),
        (json!({"regions": ["../us-east-1"]}), "`regions`"),
        (json!({"dry_run": "yes"}), "`dry_run`"),
        (json!({"approve_mass_removal": 1}), "`approve_mass_removal`"),
        (json!({"regoins": [SOUND]}), "`regoins`"),
        (
            json!({"source": "aws.ec2", "detail-type": "x"}),
            "`detail-type`",
        ),
    ];
    for (payload, field) in wrong {
        let error = deployed.refused(&payload).await;
        assert!(error.contains("BadRequest"), "{payload}: {error}");
        assert!(error.contains(field), "{payload}: {error}");
    }
    let after = deployed.ledger().await.calls.len();
    assert_eq!(calls, after, "no call to EC2");

    let both = json!({"regions": [SOUND, "atlantis-1"], "dry_run": true});
    let report = deployed.invoke(&both).await;
    let outcomes = [
        &report["regions"][0]["outcome"],
        &report["regions"][1]["outcome"],
    ];
    assert_eq!(outcomes, ["dry_run", "failed"], "{report:#}");
    let error = report["regions"][1]["error"].as_str().unwrap_or_default();
    assert!(
        error.contains("atlantis-1") && error.contains("`regions`"),
        "{error}"
    );
}
