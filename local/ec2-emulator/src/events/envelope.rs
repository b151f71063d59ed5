//! EC2's events in `EventBridge`'s envelope.
//!
//! - <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instance-state-changes.html>
//! - <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html>
//! - <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/rebalance-recommendations.html>

use serde::Serialize;
use uuid::Uuid;

use crate::faults::InterruptAction;
use crate::world::{Change, ChangeKind, World};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Event {
    pub version: &'static str,
    pub id: Uuid,
    pub detail_type: &'static str,
    pub source: &'static str,
    pub account: String,
    pub time: String,
    pub region: String,
    pub resources: Vec<String>,
    pub detail: Detail,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Detail {
    pub instance_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_action: Option<InterruptAction>,
}

impl Event {
    /// The event of a change; `None` for a change that EC2 does not notice.
    pub(super) fn of(change: &Change, world: &World) -> Option<Self> {
        let Change {
            region,
            instance_id,
            ..
        } = change;
        let account = world.account_id();
        let mut arn = format!("arn:aws:ec2:{region}:{account}:instance/{instance_id}");
        let mut detail = Detail {
            instance_id: instance_id.clone(),
            state: None,
            instance_action: None,
        };
        let detail_type = match change.kind {
            ChangeKind::StateChanged(state) => {
                detail.state = Some(state.as_str());
                "EC2 Instance State-change Notification"
            }
            ChangeKind::InterruptionWarning(action) => {
                // Unlike in other events, the ARN has the zone, and no account.
                let instance = world.region(region)?.instance(instance_id)?;
                arn = format!(
                    "arn:aws:ec2:{}:instance/{instance_id}",
                    instance.subnet.zone
                );
                detail.instance_action = Some(action);
                "EC2 Spot Instance Interruption Warning"
            }
            ChangeKind::RebalanceRecommendation => "EC2 Instance Rebalance Recommendation",
            ChangeKind::AgentKilled => return None,
        };
        Some(Self {
            version: "0",
            id: Uuid::new_v4(),
            detail_type,
            source: "aws.ec2",
            account: account.to_owned(),
            time: change.at.to_iso(),
            region: region.clone(),
            resources: vec![arn],
            detail,
        })
    }
}
