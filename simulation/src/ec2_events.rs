//! EC2's events about its instances, as EventBridge sends them.

use serde_json::{Value, json};
use shared::ids::{InstanceId, RegionName};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ec2EventKind {
    Running,
    ShuttingDown,
    Terminated,
    Interruption,
    Rebalance,
}

#[derive(Clone, Debug)]
pub(crate) struct Ec2Event {
    pub id: String,
    pub region: RegionName,
    pub instance: InstanceId,
    pub kind: Ec2EventKind,
    pub attempts: u32,
}

impl Ec2Event {
    /// The event that the function receives.
    pub(crate) fn envelope(&self) -> Value {
        const CHANGE: &str = "EC2 Instance State-change Notification";
        let (detail_type, state) = match self.kind {
            Ec2EventKind::Running => (CHANGE, "running"),
            Ec2EventKind::ShuttingDown => (CHANGE, "shutting-down"),
            Ec2EventKind::Terminated => (CHANGE, "terminated"),
            Ec2EventKind::Interruption => ("EC2 Spot Instance Interruption Warning", ""),
            Ec2EventKind::Rebalance => ("EC2 Instance Rebalance Recommendation", ""),
        };
        json!({
            "version": "0",
            "id": self.id,
            "detail-type": detail_type,
            "source": "aws.ec2",
            "account": "123456789012",
            "time": "2026-01-01T12:00:00Z",
            "region": self.region,
            "resources": [],
            "detail": {"instance-id": self.instance, "state": state},
        })
    }
}
