//! How events reach the functions: from Hasura's event triggers by HTTP, and from EC2 by
//! EventBridge. Either may deliver an event late, twice or never, and retries a failed delivery.

use hasura_event::HasuraEvents;
use jiff::SignedDuration;
use secrecy::SecretString;
use shared::ids::{InstanceId, RegionName};

use crate::ec2_events::{Ec2Event, Ec2EventKind};
use crate::faults::Fault;
use crate::hasura_events::{DatabaseEvent, SECRET};
use crate::scheduled::{Event, ProcessKind};
use crate::simulation::Simulation;
use crate::world::ENVIRONMENT;

/// Retries and their interval, as in the `retry_conf` of the event triggers.
const HASURA_RETRIES: u32 = 5;
const HASURA_INTERVAL: SignedDuration = SignedDuration::from_secs(10);

/// As in the template: Lambda retries a failed asynchronous invocation twice.
const EC2_RETRIES: u32 = 2;
const EC2_INTERVAL: SignedDuration = SignedDuration::from_secs(60);

impl Simulation {
    /// Sends an event from Hasura: at once or late, once or twice, or not at all.
    pub(crate) fn send_hasura_event(&mut self, event: &DatabaseEvent) {
        if self.faults.occurs(Fault::EventLost) {
            return;
        }
        let copies = 1 + u32::from(self.faults.occurs(Fault::EventTwice));
        for _ in 0..copies {
            let after = if self.faults.occurs(Fault::EventDelayed) {
                self.random.between(1000..=90_000)
            } else {
                self.random.between(5..=300)
            };
            let after = SignedDuration::from_millis(i64::try_from(after).unwrap_or(0));
            self.schedule_in(after, Event::HasuraEventDelivered(event.clone()));
        }
    }

    pub(crate) fn deliver_hasura_event(&mut self, event: DatabaseEvent) {
        let (skew, request) = (self.random_skew(), event.request());
        let name = format!("hasura-event {}", event.id);
        self.spawn(name, ProcessKind::HasuraEvent(event), |world, id| {
            let function = HasuraEvents {
                reconciler: world.reconciler(id, skew),
                secret: SecretString::from(SECRET),
                environment: ENVIRONMENT.to_owned(),
            };
            Box::pin(async move { function.handle(request, &id.to_string()).await })
        });
    }

    /// The delivery failed, and Hasura retries it.
    pub(crate) fn retry_hasura_event(&mut self, mut event: DatabaseEvent) {
        if event.attempts < HASURA_RETRIES {
            event.attempts += 1;
            self.schedule_in(HASURA_INTERVAL, Event::HasuraEventDelivered(event));
        }
    }

    /// Schedules an event about an instance, `after` from now.
    pub(crate) fn send_ec2_event(
        &mut self,
        region: &RegionName,
        instance: &InstanceId,
        kind: Ec2EventKind,
        after: SignedDuration,
    ) {
        if self.faults.occurs(Fault::EventLost) {
            return;
        }
        self.ec2_events += 1;
        let event = Ec2Event {
            id: format!("ec2-event-{}", self.ec2_events),
            region: region.clone(),
            instance: instance.clone(),
            kind,
            attempts: 0,
        };
        let copies = 1 + u32::from(self.faults.occurs(Fault::EventTwice));
        for _ in 0..copies {
            let delay = if self.faults.occurs(Fault::EventDelayed) {
                self.random.between(1000..=120_000)
            } else {
                self.random.between(100..=2000)
            };
            let delay = SignedDuration::from_millis(i64::try_from(delay).unwrap_or(0));
            self.schedule_in(after + delay, Event::Ec2EventDelivered(event.clone()));
        }
    }

    /// Schedules the two state changes with which an instance ends.
    pub(crate) fn send_end_events(&mut self, region: &RegionName, id: &InstanceId) {
        let shut_down = self.world.host(region).state().ec2.delays.shut_down;
        self.send_ec2_event(region, id, Ec2EventKind::ShuttingDown, SignedDuration::ZERO);
        self.send_ec2_event(region, id, Ec2EventKind::Terminated, shut_down);
    }

    pub(crate) fn deliver_ec2_event(&mut self, event: Ec2Event) {
        let (skew, envelope) = (self.random_skew(), event.envelope());
        let name = format!("instance-state-change {}", event.id);
        self.spawn(name, ProcessKind::Ec2Event(event), |world, id| {
            let reconciler = world.reconciler(id, skew);
            Box::pin(async move {
                instance_state_change::handle(&reconciler, envelope, &id.to_string()).await
            })
        });
    }

    /// The invocation failed, and Lambda retries it.
    pub(crate) fn retry_ec2_event(&mut self, mut event: Ec2Event) {
        if event.attempts < EC2_RETRIES {
            event.attempts += 1;
            self.schedule_in(EC2_INTERVAL, Event::Ec2EventDelivered(event));
        }
    }
}
