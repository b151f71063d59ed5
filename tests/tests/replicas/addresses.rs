//! External addresses: three Elastic IPs for five replicas, which die, hang and are deleted, under
//! functions that die and answers that are lost. At the end, EC2's history of each address shows
//! which replica lost it and when.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use scaling_tests::crashes::{expire_lease, kill_function};
use scaling_tests::deployed::{Deployed, SOON};
use scaling_tests::ledger::{Address, Machine};
use scaling_tests::wait::eventually;
use serde_json::{Value, json};

use crate::fleet::{Fleet, deleted, steps, views};
use crate::world::{ADDRESSES, POOL};

const POOLED: usize = 3;

/// The region, the replicas that became unfit to carry an address, and how often each did.
struct Story<'a> {
    fleet: Fleet<'a>,
    unfit: BTreeSet<String>,
    times: BTreeMap<String, usize>,
}

pub(crate) async fn stay_on_healthy_replicas(deployed: &Deployed) {
    let fleet = Fleet::filled(deployed, ADDRESSES, 15).await;
    let mut story = Story {
        fleet,
        unfit: BTreeSet::new(),
        times: BTreeMap::new(),
    };
    story.is_off_by_default().await;
    story.free_addresses_go_to_the_oldest().await;
    story.deleted_replica_hands_over_first().await;
    story.address_of_a_dead_replica_is_moved().await;
    story.address_of_a_hung_replica_is_moved_for_good().await;
    story.lost_answer_causes_no_second_move().await;
    story.refused_move_does_not_keep_a_replica().await;
    story.function_dying_in_a_pass_loses_no_address().await;
    story.concurrent_schedulers_move_an_address_once().await;
    story.assert_only_unfit_replicas_lost_addresses().await;
    story.fleet.assert_invariants().await;
}

impl Story<'_> {
    async fn pool(&self) -> Vec<Address> {
        let mut addresses = self.fleet.region.deployed.ledger().await.addresses;
        addresses.retain(|address| address.region == ADDRESSES);
        addresses
    }

    /// The carrier of each address of the pool.
    async fn carriers(&self) -> BTreeMap<String, String> {
        let pool = self.pool().await;
        let carriers = pool.iter().filter_map(|address| {
            let carrier = address.now()?.instance_id.clone()?;
            Some((address.public_ip.clone(), carrier))
        });
        carriers.collect()
    }

    /// A replica that carries the most recently associated address.
    async fn carrier(&self) -> (String, Machine) {
        let carriers = self.carriers().await;
        let (ip, id) = carriers.into_iter().next_back().expect("one is carried");
        let up = self.fleet.up().await.into_iter();
        let machine = up.into_iter().find(|machine| machine.id == id);
        (ip, machine.expect("it is up"))
    }

    /// Waits until fit replicas carry all addresses of the pool and passes have nothing to do.
    async fn settled(&self) -> BTreeMap<String, String> {
        let observe = async || {
            self.fleet.at_rest().await;
            self.carriers().await
        };
        let all = |carriers: &BTreeMap<String, String>| {
            carriers.len() == POOLED && carriers.values().all(|id| !self.unfit.contains(id))
        };
        eventually("all are carried", SOON, observe, all).await
    }

    fn make_unfit(&mut self, machine: &Machine) {
        self.unfit.insert(machine.id.clone());
        *self.times.entry(machine.id.clone()).or_default() += 1;
    }

    async fn terminate(&mut self, machine: &Machine) {
        self.make_unfit(machine);
        self.fleet
            .set_answer(machine, json!({"termination": true}))
            .await;
    }

    fn on_moves(effect: &Value, times: u32) -> Value {
        let on = json!({"region": ADDRESSES, "action": "AssociateAddress"});
        json!({"calls": [{"on": on, "effect": effect, "times": times}]})
    }

    async fn is_off_by_default(&self) {
        assert!(self.carriers().await.is_empty());
        let calls = self.fleet.region.calls("DescribeAddresses").await;
        assert_eq!(calls.len(), 0, "the setting is off");
    }

    async fn free_addresses_go_to_the_oldest(&self) {
        let fleet = &self.fleet;
        fleet
            .region
            .set(&json!({"replica_address_tag": POOL}))
            .await;
        let plan = fleet.region.plan().await;
        assert_eq!(steps(&plan, "move_address").count(), POOLED, "{plan:#}");
        assert!(self.carriers().await.is_empty(), "a dry run");
        let report = fleet.pass().await;
        let first = &report["plan"]["steps"][0];
        assert_eq!(first["because"]["reason"], "address_free", "{report:#}");
        assert_eq!(first["from"], Value::Null, "{report:#}");
        let carriers = self.settled().await;
        let plan = fleet.region.plan().await;
        let shown = views(&plan);
        for (ip, id) in &carriers {
            let address = &shown[id.as_str()]["address"];
            assert_eq!(address, &json!({"carries": [ip], "decided": "kept"}));
        }
        let notes = plan["notes"].as_array().expect("notes");
        let elsewhere = |note: &&Value| note["reason"] == "address_elsewhere";
        let elsewhere: Vec<_> = notes.iter().filter(elsewhere).collect();
        assert_eq!(elsewhere.len(), 1, "the gateway's: {plan:#}");
        assert_eq!(elsewhere[0]["ip"], "203.0.113.4", "{plan:#}");
    }

    async fn deleted_replica_hands_over_first(&mut self) {
        let before = self.settled().await;
        let (ip, machine) = self.carrier().await;
        self.terminate(&machine).await;
        let report = self.fleet.pass().await;
        let plan = &report["plan"];
        assert_eq!(plan["steps"][0]["do"], "move_address", "{plan:#}");
        assert_eq!(plan["steps"][0]["ip"], ip.as_str(), "{plan:#}");
        assert_eq!(plan["steps"][0]["from"], machine.id.as_str(), "{plan:#}");
        assert_eq!(deleted(plan).len(), 1, "{plan:#}");
        let after = self.settled().await;
        let same = before.iter().filter(|(ip, id)| after.get(*ip) == Some(id));
        assert_eq!(same.count(), POOLED - 1, "{before:?} {after:?}");
        let pool = self.pool().await;
        let mut history = pool.iter().flat_map(|address| &address.associations);
        let its = history.find(|it| it.instance_id.as_ref() == Some(&machine.id));
        let ended_by = its.and_then(|it| it.ended_by.as_deref());
        assert_eq!(ended_by, Some("reassociation"), "before it was terminated");
    }

    async fn address_of_a_dead_replica_is_moved(&mut self) {
        let (_, machine) = self.carrier().await;
        self.make_unfit(&machine);
        let dies = json!({
            "on": {"instance_id": machine.id},
            "effect": {"interrupt": {"warning_ms": 0, "action": "terminate"}},
        });
        let deployed = self.fleet.region.deployed;
        deployed.set_faults(&json!({"instances": [dies]})).await;
        self.settled().await;
        deployed.set_faults(&json!({})).await;
    }

    async fn address_of_a_hung_replica_is_moved_for_good(&mut self) {
        let (ip, machine) = self.carrier().await;
        self.make_unfit(&machine);
        self.fleet
            .set_answer(&machine, json!({"status": 503}))
            .await;
        let after = self.settled().await;
        assert_ne!(after[&ip], machine.id);
        self.fleet
            .set_answer(&machine, json!({"status": 200}))
            .await;
        self.unfit.remove(&machine.id);
        let report = self.fleet.pass().await;
        let moves = steps(&report["plan"], "move_address").count();
        assert_eq!(moves, 0, "it is not taken back: {report:#}");
        assert_eq!(self.carriers().await, after);
    }

    async fn lost_answer_causes_no_second_move(&mut self) {
        let (ip, machine) = self.carrier().await;
        self.terminate(&machine).await;
        let deployed = self.fleet.region.deployed;
        // The client tries three times; all three take effect and lose their answer.
        deployed
            .set_faults(&Self::on_moves(&json!("lost"), 3))
            .await;
        let report = self.fleet.region.reconcile().await;
        assert_eq!(report["outcome"], "incomplete", "{report:#}");
        deployed.set_faults(&json!({})).await;
        let given = self.carriers().await[&ip].clone();
        assert_ne!(given, machine.id, "moved anyway");
        assert_eq!(self.settled().await[&ip], given);
    }

    /// The deletion does not wait: the address is free once its replica is gone.
    async fn refused_move_does_not_keep_a_replica(&mut self) {
        let (ip, machine) = self.carrier().await;
        self.terminate(&machine).await;
        let deployed = self.fleet.region.deployed;
        let denied = json!({"error": "UnauthorizedOperation"});
        deployed.set_faults(&Self::on_moves(&denied, 1)).await;
        let report = self.fleet.region.reconcile().await;
        assert_eq!(report["outcome"], "incomplete", "{report:#}");
        deployed.set_faults(&json!({})).await;
        self.settled().await;
        let pool = self.pool().await;
        let address = pool.iter().find(|address| address.public_ip == ip);
        let mut history = address.expect("it is there").associations.iter();
        let its = history.find(|it| it.instance_id.as_ref() == Some(&machine.id));
        assert!(its.expect("it had it").until_ms.is_some());
    }

    async fn function_dying_in_a_pass_loses_no_address(&mut self) {
        let (_, machine) = self.carrier().await;
        self.terminate(&machine).await;
        let region = &self.fleet.region;
        let deployed = region.deployed;
        let before = region.calls("AssociateAddress").await.len();
        let late = json!({"delay_ms": 20_000});
        // The SDK repeats a call that takes too long.
        deployed.set_faults(&Self::on_moves(&late, 20)).await;
        let death = async {
            let calls = async || region.calls("AssociateAddress").await.len();
            eventually("AssociateAddress", SOON, calls, |calls| *calls > before).await;
            kill_function(deployed, &deployed.stack.env().reconcile_function);
        };
        let only = json!({"regions": [ADDRESSES]});
        let (died, ()) = tokio::join!(deployed.refused(&only), death);
        assert!(died.contains("Runtime.ExitError"), "{died}");
        deployed.set_faults(&json!({})).await;
        assert_eq!(self.carriers().await.len(), POOLED, "each is somewhere");
        expire_lease(region).await;
        self.settled().await;
    }

    async fn concurrent_schedulers_move_an_address_once(&mut self) {
        let (ip, machine) = self.carrier().await;
        self.terminate(&machine).await;
        let moves = async || {
            let pool = self.pool().await;
            let address = pool.into_iter().find(|address| address.public_ip == ip);
            address.expect("it is there").associations.len()
        };
        let before = moves().await;
        join_all((0..6).map(|_| self.fleet.region.reconcile())).await;
        self.settled().await;
        assert_eq!(moves().await, before + 1);
    }

    /// Checks EC2's own history of each address.
    async fn assert_only_unfit_replicas_lost_addresses(&self) {
        let pool = self.pool().await;
        let mut spans: BTreeMap<&str, Vec<(i64, i64)>> = BTreeMap::new();
        let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
        for address in &pool {
            for association in &address.associations {
                let Some(id) = association.instance_id.as_deref() else {
                    continue;
                };
                let until = association.until_ms.unwrap_or(i64::MAX);
                spans
                    .entry(id)
                    .or_default()
                    .push((association.at_ms, until));
                let by = association.ended_by.as_deref();
                assert!(matches!(by, None | Some("reassociation" | "termination")));
                if by.is_some() {
                    let times = taken.entry(id).or_default();
                    *times += 1;
                    let unfit = self.times.get(id).copied().unwrap_or_default();
                    assert!(*times <= unfit, "taken from {id}: {address:#?}");
                }
            }
        }
        assert_eq!(taken.values().sum::<usize>(), 7, "the story: {taken:?}");
        for (id, spans) in &mut spans {
            spans.sort_unstable();
            let apart = spans.windows(2).all(|pair| pair[0].1 <= pair[1].0);
            assert!(apart, "{id} had two at once: {spans:?}");
        }
        let untouched = |ip: &str| {
            let address = pool.iter().find(|address| address.public_ip == ip);
            address.expect(ip).associations.len()
        };
        assert_eq!((untouched("203.0.113.4"), untouched("203.0.113.5")), (1, 0));
    }
}
