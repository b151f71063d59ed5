//! What EC2 says of its machines, by way of EventBridge: best effort, twice perhaps, late.

use jiff::SignedDuration;
use serde_json::{Value, json};
use shared::ids::{InstanceId, RegionName};

use crate::faults::Fault;
use crate::simulation::{Due, Happening, Purpose, Simulation};

/// As the template says: Lambda sends a failed event twice more.
const RETRIES: u32 = 2;
const INTERVAL: SignedDuration = SignedDuration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
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
    pub says: Says,
    pub attempts: u32,
}

impl Ec2Event {
    fn envelope(&self) -> Value {
        const CHANGE: &str = "EC2 Instance State-change Notification";
        let (detail_type, state) = match self.says {
            Says::Running => (CHANGE, "running"),
            Says::ShuttingDown => (CHANGE, "shutting-down"),
            Says::Terminated => (CHANGE, "terminated"),
            Says::Interruption => ("EC2 Spot Instance Interruption Warning", ""),
            Says::Rebalance => ("EC2 Instance Rebalance Recommendation", ""),
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

impl Simulation {
    /// EC2 says something of a machine, so long from now.
    pub(crate) fn announce(
        &mut self,
        region: &RegionName,
        instance: &InstanceId,
        says: Says,
        after: SignedDuration,
    ) {
        if self.faults.strikes(Fault::EventLost) {
            return;
        }
        self.said += 1;
        let event = Ec2Event {
            id: format!("ec2-event-{}", self.said),
            region: region.clone(),
            instance: instance.clone(),
            says,
            attempts: 0,
        };
        let copies = 1 + u32::from(self.faults.strikes(Fault::EventTwice));
        for _ in 0..copies {
            let delay = if self.faults.strikes(Fault::EventDelayed) {
                self.dice.between(1000..=120_000)
            } else {
                self.dice.between(100..=2000)
            };
            let delay = SignedDuration::from_millis(i64::try_from(delay).unwrap_or(0));
            self.happens_in(after + delay, Happening::Ec2Says(event.clone()));
        }
    }

    /// The two states that a machine ends by.
    pub(crate) fn announce_end(&mut self, region: &RegionName, id: &InstanceId) {
        let takes = self.world.host(region).state().ec2.delays.shut_down;
        self.announce(region, id, Says::ShuttingDown, SignedDuration::ZERO);
        self.announce(region, id, Says::Terminated, takes);
    }

    pub(crate) fn ec2_says(&mut self, event: Ec2Event) {
        let (skew, envelope) = (self.skew(), event.envelope());
        let name = format!("instance-state-change {}", event.id);
        self.spawn(name, Purpose::InstanceEvent(event), |world, id| {
            let passes = world.reconciler(id, skew);
            Box::pin(async move {
                instance_state_change::handle(&passes, envelope, &id.to_string()).await
            })
        });
    }

    /// It failed, and Lambda sends it again.
    pub(crate) fn ec2_says_again(&mut self, mut event: Ec2Event) {
        if event.attempts < RETRIES {
            event.attempts += 1;
            let at = self.now() + INTERVAL;
            self.queue
                .add(at, Due::Happening(Happening::Ec2Says(event)));
        }
    }
}
