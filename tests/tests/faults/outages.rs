//! EC2, Hasura and DynamoDB go down, one after the other, and come back.

mod dynamodb;
mod ec2;
mod engine;
mod hasura;

pub(crate) use engine::Engine;

use scaling_tests::deployed::{Answer, Deployed};
use scaling_tests::proxy::Proxy;
use scaling_tests::region::Region;
use serde_json::json;

use crate::agents::leave_alone;
use crate::world::{OUTAGES, filled};

const TARGET: usize = 4;
const CAPACITY: usize = 2;

pub(crate) async fn are_survived(deployed: &Deployed, engine: &mut Engine, table: &Proxy) {
    let settings = json!({"target_free": TARGET, "max_instances": 14});
    let region = filled(deployed, OUTAGES, CAPACITY as u32, settings).await;
    let mut crowd = Crowd { region, users: 0 };
    ec2::users_are_served_from_the_buffer_while_it_is_down(&mut crowd).await;
    crowd.assert_at_rest_with_a_full_buffer().await;
    hasura::no_instance_is_lost_while_it_is_down(&mut crowd, engine).await;
    crowd.assert_at_rest_with_a_full_buffer().await;
    dynamodb::events_wait_while_it_is_down(&mut crowd, table).await;
    crowd.assert_at_rest_with_a_full_buffer().await;
    dynamodb::lost_answers_are_requested_again(&mut crowd, table).await;
    crowd.assert_at_rest_with_a_full_buffer().await;
    dynamodb::is_lost_during_a_pass(&mut crowd, table).await;
    crowd.assert_at_rest_with_a_full_buffer().await;
    leave_alone(&region).await;
}

/// The region and the number of its users that have a slot.
struct Crowd<'a> {
    region: Region<'a>,
    users: usize,
}

impl Crowd<'_> {
    /// Assigns a slot to one more user.
    async fn grows(&mut self) -> Answer {
        self.users += 1;
        self.region.assigned(&format!("user-{}", self.users)).await
    }

    /// Assigns slots until the buffer is low, which makes an event.
    async fn assign_until_the_buffer_is_low(&mut self) {
        while self.region.free().await >= TARGET as i64 {
            self.grows().await;
        }
    }

    /// The next user is refused with this error.
    async fn is_refused(&self, error: &str) {
        let user = format!("user-{}", self.users + 1);
        self.region.refused(&user, error).await;
    }

    /// Asserts that the region is at rest with a full buffer, that only the needed instances were
    /// launched, and that none of them ended.
    async fn assert_at_rest_with_a_full_buffer(&self) {
        let needed = (TARGET + self.users).div_ceil(CAPACITY);
        let launched = self.region.launched().await.len();
        assert_eq!(launched, needed, "launched for {} users", self.users);
        let free = (needed * CAPACITY - self.users) as i64;
        assert_eq!(self.region.free().await, free);
        assert!(self.region.calls("TerminateInstances").await.is_empty());
        self.region.assert_invariants().await;
    }

    /// Asserts that nothing was launched since there were this many calls.
    async fn launched_nothing_since(&self, calls: usize) {
        assert_eq!(self.launch_calls().await, calls);
    }

    async fn launch_calls(&self) -> usize {
        self.region.calls("RunInstances").await.len()
    }
}
