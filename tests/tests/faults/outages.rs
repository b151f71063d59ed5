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

pub(crate) async fn are_sat_out(deployed: &Deployed, engine: &mut Engine, table: &Proxy) {
    let settings = json!({"target_free": TARGET, "max_instances": 14});
    let region = filled(deployed, OUTAGES, CAPACITY as u32, settings).await;
    let mut crowd = Crowd { region, users: 0 };
    ec2::is_down_and_users_are_served_from_the_buffer(&mut crowd).await;
    crowd.is_provided_for().await;
    hasura::is_down_and_nobody_is_given_up(&mut crowd, engine).await;
    crowd.is_provided_for().await;
    dynamodb::is_down_and_events_wait(&mut crowd, table).await;
    crowd.is_provided_for().await;
    dynamodb::loses_answers_and_is_asked_again(&mut crowd, table).await;
    crowd.is_provided_for().await;
    dynamodb::is_lost_in_the_middle_of_a_pass(&mut crowd, table).await;
    crowd.is_provided_for().await;
    leave_alone(&region).await;
}

/// The region, and how many of its users have a slot.
struct Crowd<'a> {
    region: Region<'a>,
    users: usize,
}

impl Crowd<'_> {
    /// One user more gets a slot.
    async fn grows(&mut self) -> Answer {
        self.users += 1;
        self.region.assigned(&format!("user-{}", self.users)).await
    }

    /// So many that the buffer is low, and an event of it is on its way.
    async fn grows_until_the_buffer_is_low(&mut self) {
        while self.region.free().await >= TARGET as i64 {
            self.grows().await;
        }
    }

    /// The next user is refused with this error.
    async fn is_refused(&self, error: &str) {
        let user = format!("user-{}", self.users + 1);
        self.region.refused(&user, error).await;
    }

    /// At rest, the buffer is full; launched were as many instances as that takes, and none of
    /// them was ended.
    async fn is_provided_for(&self) {
        let needed = (TARGET + self.users).div_ceil(CAPACITY);
        let launched = self.region.launched().await.len();
        assert_eq!(launched, needed, "launched for {} users", self.users);
        let free = (needed * CAPACITY - self.users) as i64;
        assert_eq!(self.region.free().await, free);
        assert!(self.region.calls("TerminateInstances").await.is_empty());
        self.region.promises_kept().await;
    }

    /// Nothing was launched since there were so many calls.
    async fn launched_nothing_since(&self, calls: usize) {
        assert_eq!(self.launch_calls().await, calls);
    }

    async fn launch_calls(&self) -> usize {
        self.region.calls("RunInstances").await.len()
    }
}
