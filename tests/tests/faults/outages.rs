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
    let mut users = RegionUsers { region, count: 0 };
    ec2::users_are_served_from_the_buffer_while_it_is_down(&mut users).await;
    users.assert_at_rest_with_a_full_buffer().await;
    hasura::transient_errors_are_asked_once_more(&mut users).await;
    users.assert_at_rest_with_a_full_buffer().await;
    hasura::no_instance_is_lost_while_it_is_down(&mut users, engine).await;
    users.assert_at_rest_with_a_full_buffer().await;
    dynamodb::events_wait_while_it_is_down(&mut users, table).await;
    users.assert_at_rest_with_a_full_buffer().await;
    dynamodb::lost_answers_are_requested_again(&mut users, table).await;
    users.assert_at_rest_with_a_full_buffer().await;
    dynamodb::is_lost_during_a_pass(&mut users, table).await;
    users.assert_at_rest_with_a_full_buffer().await;
    leave_alone(&region).await;
}

/// The region and the number of its users that have a slot.
struct RegionUsers<'a> {
    region: Region<'a>,
    count: usize,
}

impl RegionUsers<'_> {
    /// Assigns a slot to one more user.
    async fn assign_one(&mut self) -> Answer {
        self.count += 1;
        self.region.assigned(&format!("user-{}", self.count)).await
    }

    /// Assigns slots until the buffer is low, which makes an event.
    async fn assign_until_the_buffer_is_low(&mut self) {
        while self.region.free().await >= TARGET as i64 {
            self.assign_one().await;
        }
    }

    /// The next user is refused with this error.
    async fn assert_refused(&self, error: &str) {
        let user = format!("user-{}", self.count + 1);
        self.region.refused(&user, error).await;
    }

    /// Asserts that the region is at rest with a full buffer, that only the needed instances were
    /// launched, and that none of them ended.
    async fn assert_at_rest_with_a_full_buffer(&self) {
        let needed = (TARGET + self.count).div_ceil(CAPACITY);
        let launched = self.region.launched().await.len();
        assert_eq!(launched, needed, "launched for {} users", self.count);
        let free = (needed * CAPACITY - self.count) as i64;
        assert_eq!(self.region.free().await, free);
        assert!(self.region.calls("TerminateInstances").await.is_empty());
        self.region.assert_invariants().await;
    }

    /// Asserts that nothing was launched since there were this many calls.
    async fn assert_no_launch_since(&self, calls: usize) {
        assert_eq!(self.launch_calls().await, calls);
    }

    async fn launch_calls(&self) -> usize {
        self.region.calls("RunInstances").await.len()
    }
}
