//! Functions that die while they hold a region's lock.

use std::fs;

use crate::deployed::Deployed;
use crate::region::Region;
use aws_sdk_dynamodb::types::AttributeValue;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Kills every process of a deployed function of this stack.
pub fn kill_function(deployed: &Deployed, function: &str) {
    let dir = deployed.stack.dir().path().display();
    let marks = [
        format!("LOCAL_STACK_DIR={dir}"),
        format!("AWS_LAMBDA_FUNCTION_NAME={function}"),
    ];
    let mut killed = 0;
    for entry in fs::read_dir("/proc").expect("processes").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|it| it.parse().ok()) else {
            continue;
        };
        // It may have ended just now, or belong to somebody else.
        let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
        let variables: Vec<_> = environ.split(|byte| *byte == 0).collect();
        if marks
            .iter()
            .all(|mark| variables.contains(&mark.as_bytes()))
        {
            kill(Pid::from_raw(pid), Signal::SIGKILL).expect("the function ran");
            killed += 1;
        }
    }
    assert!(killed > 0, "no process of {function}");
}

/// Expires the lease of a holder that died, as the passage of time would.
pub async fn expire_lease(region: &Region<'_>) {
    let deployed = region.deployed;
    deployed
        .dynamodb()
        .update_item()
        .table_name(&deployed.stack.env().scaling_table)
        .key("pk", AttributeValue::S(format!("REGION#{}", region.name)))
        .key("sk", AttributeValue::S("LOCK".to_owned()))
        .update_expression("SET expires_at = :past")
        .expression_attribute_values(":past", AttributeValue::N("1".to_owned()))
        .send()
        .await
        .expect("the lock's item is changed");
}
