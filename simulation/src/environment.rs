//! Random changes from outside: EC2's conditions, failures of machines and agents, operators.

use jiff::SignedDuration;
use shared::host::HostErrorKind;
use shared::ids::{InstanceId, RegionName};
use shared::model::{InstanceStatus, LaunchRequest};
use shared::settings::Selector;
use testing::{Delays, SlotStatus};

use crate::ec2_events::Ec2EventKind;
use crate::faults::Fault;
use crate::random::Random;
use crate::scenario::random_schedule;
use crate::scheduled::Event;
use crate::simulation::Simulation;

/// EC2 terminates a spot instance this long after its interruption notice.
const INTERRUPTION_NOTICE: SignedDuration = SignedDuration::from_mins(2);

fn seconds(seconds: u64) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX))
}

impl Simulation {
    /// Draws what EC2 can and cannot do in a region until the next change.
    pub(crate) fn change_ec2_conditions(&mut self, region: RegionName) {
        self.reset_ec2_conditions(&region);
        if self.winding_down {
            return;
        }
        let host = self.world.host(&region);
        if self.faults.occurs(Fault::NoCapacity) {
            self.exhaust_pools(&region);
        }
        if self.faults.occurs(Fault::PartialCapacity) {
            self.fill_pools(&region);
        }
        let mut state = host.state();
        if self.faults.occurs(Fault::LaunchRefused) {
            let kind = *self.random.pick(&[
                HostErrorKind::Denied,
                HostErrorKind::Invalid,
                HostErrorKind::Unclear,
            ]);
            state.refuse_launches.push_back(kind);
        }
        if self.faults.occurs(Fault::Throttled) {
            self.checks.note_fault(Fault::Throttled);
            state.throttled = true;
        }
        if self.faults.occurs(Fault::ListingLags) {
            state.ec2.delays.listing_lag = seconds(self.random.between(1..=50));
            state.ec2.delays.lookup_lag = seconds(self.random.between(0..=8));
        }
        if self.faults.occurs(Fault::TagsVanish) {
            state.ec2.delays.untag = seconds(self.random.between(0..=60));
        }
        drop(state);
        if self.faults.occurs(Fault::ListingEmpty) {
            self.world.empty_listings.set(&region, true);
        }
        let wait = self.random.between(15..=90);
        self.schedule_in(seconds(wait), Event::Ec2ConditionsChange(region));
    }

    /// Removes all restrictions on EC2 in a region.
    pub(crate) fn reset_ec2_conditions(&mut self, region: &RegionName) {
        let host = self.world.host(region);
        let mut state = host.state();
        state.ec2.room.clear();
        state.ec2.delays = Delays::default();
        state.refuse_launches.clear();
        state.throttled = false;
        self.world.empty_listings.set(region, false);
    }

    /// Takes the capacity away from some of the pools that the region's launch choices name.
    fn exhaust_pools(&mut self, region: &RegionName) {
        for pool in self.pools(region) {
            if self.random.chance(600) {
                let room = u32::try_from(self.random.below(2)).unwrap_or(0);
                let host = self.world.host(region);
                host.state().ec2.room.insert(pool, room);
            }
        }
    }

    /// Leaves room for one more machine in each pool.
    fn fill_pools(&self, region: &RegionName) {
        let host = self.world.host(region);
        for pool in self.pools(region) {
            let mut state = host.state();
            let room = state.ec2.count_in(&pool, self.now()) + 1;
            state.ec2.room.insert(pool, room);
        }
    }

    /// The instance types and subnets that the region's launch choices name.
    fn pools(&self, region: &RegionName) -> Vec<(String, String)> {
        let mut pools = vec![];
        for choice in self.world.settings(region).launch_choices {
            let subnets = match &choice.subnet {
                Selector::Id(id) => vec![id.clone()],
                Selector::Tag { value, .. } => vec![format!("{value}-1"), format!("{value}-2")],
            };
            let of_choice = subnets.into_iter();
            pools.extend(of_choice.map(|subnet| (choice.instance_type.clone(), subnet)));
        }
        pools
    }

    /// Draws failures of machines and agents.
    pub(crate) fn inject_failure(&mut self) {
        if self.winding_down {
            return;
        }
        let now = self.now();
        if self.faults.occurs(Fault::MachineDies)
            && let Some(id) = self.random_agent()
            && let Some(region) = self.agents.get(&id).map(|agent| agent.region.clone())
        {
            self.world.host(&region).state().ec2.terminate(&id, now);
            self.send_end_events(&region, &id);
        }
        if self.faults.occurs(Fault::Interruption) {
            self.send_spot_notice(Ec2EventKind::Interruption);
        }
        if self.faults.occurs(Fault::Rebalance) {
            self.send_spot_notice(Ec2EventKind::Rebalance);
        }
        if self.faults.occurs(Fault::AgentDies)
            && let Some(id) = self.random_agent()
            && let Some(agent) = self.agents.get_mut(&id)
        {
            agent.alive = false;
        }
        if self.faults.occurs(Fault::AgentSilent)
            && let Some(id) = self.random_agent()
        {
            let silence = seconds(self.random.between(20..=300));
            if let Some(agent) = self.agents.get_mut(&id) {
                agent.silent_until = Some(now + silence);
            }
        }
        if self.faults.occurs(Fault::RowHeld) {
            self.hold_row();
        }
        if self.faults.occurs(Fault::StrayMachine) {
            self.launch_stray();
        }
        let wait = self.random.between(5..=40);
        self.schedule_in(seconds(wait), Event::RandomFailure);
    }

    /// Lets an agent hold its own instance, perhaps for longer than a pass lasts.
    fn hold_row(&mut self) {
        if let Some(id) = self.random_agent() {
            self.world.database.rows().tables.held.insert(id.clone());
            let time = seconds(self.random.between(1..=150));
            self.schedule_in(time, Event::RowFree(id));
        }
    }

    pub(crate) fn free_row(&mut self, id: &InstanceId) {
        self.world.database.rows().tables.held.remove(id);
    }

    /// Sends a spot interruption notice (two minutes before the end) or a rebalance recommendation.
    fn send_spot_notice(&mut self, kind: Ec2EventKind) {
        let Some(id) = self.random_agent() else {
            return;
        };
        let Some(region) = self.agents.get(&id).map(|agent| agent.region.clone()) else {
            return;
        };
        self.send_ec2_event(&region, &id, kind, SignedDuration::ZERO);
        if kind == Ec2EventKind::Interruption {
            self.schedule_in(INTERRUPTION_NOTICE, Event::InstanceReclaimed(id));
        }
    }

    /// EC2 terminates a machine at the end of its interruption notice.
    pub(crate) fn reclaim_instance(&mut self, id: &InstanceId) {
        let now = self.now();
        let Some(region) = self.agents.get(id).map(|agent| agent.region.clone()) else {
            return;
        };
        self.world.host(&region).state().ec2.terminate(id, now);
        self.send_end_events(&region, id);
    }

    /// Draws whether EC2 ends a machine that was just launched, or announces that it may.
    pub(crate) fn fail_launch(&mut self, region: &RegionName, id: &InstanceId) {
        if self.winding_down {
            return;
        }
        if self.faults.occurs(Fault::LaunchDies) {
            let after = seconds(self.random.between(1..=60));
            self.schedule_in(after, Event::LaunchFails(id.clone()));
        } else if self.faults.occurs(Fault::EarlyRebalance) {
            let after = seconds(self.random.between(16..=90));
            self.send_ec2_event(region, id, Ec2EventKind::Rebalance, after);
        }
    }

    /// EC2 ends a machine that it cannot or need not keep.
    pub(crate) fn end_launch(&mut self, id: &InstanceId) {
        let now = self.now();
        let Some(region) = self.agents.get(id).map(|agent| agent.region.clone()) else {
            return;
        };
        let code = *self.random.pick(&[
            "Server.InsufficientInstanceCapacity",
            "Server.InternalError",
            "Client.InternalError",
        ]);
        self.world.host(&region).state().ec2.fail(id, code, now);
        self.send_end_events(&region, id);
    }

    /// Launches a machine with this stack's tags that is recorded nowhere.
    fn launch_stray(&mut self) {
        let now = self.now();
        let regions = self.scenario.region_names();
        let region = self.random.pick(&regions).clone();
        let name = format!("stray-{}", now.as_millisecond());
        let image = self.scenario.first_image(&region);
        let request = LaunchRequest {
            image_id: image.id,
            client_sha: image.client_sha,
            instance_type: "type-1".to_owned(),
            subnet_id: "elsewhere".to_owned(),
            security_group_ids: vec![],
            instance_profile: None,
            user_data: String::new(),
            spot: false,
            imds_hop_limit: None,
            ebs_optimized: false,
            tags: vec![(shared::host::tags::LAUNCH.to_owned(), name.clone())],
            count: 1,
            capacity: 1,
        };
        let host = self.world.host(&region);
        // A launch that finds no capacity is ignored: then there is no stray machine.
        let _ = host
            .state()
            .ec2
            .launch(&name.as_str().into(), &request, now);
        self.schedule_boots();
    }

    /// An operator changes settings, invokes `reconcile`, or deletes slots.
    pub(crate) fn act_as_operator(&mut self) {
        if self.winding_down {
            return;
        }
        let regions = self.scenario.region_names();
        let region = self.random.pick(&regions).clone();
        let number = u32::try_from(self.random.below(9)).unwrap_or(0);
        let choice = self.random.below(8);
        let now = self.now();
        // Of a stream of their own, so that the other choices of a seed stay the same.
        let mut own = self.random.clone().fork();
        if own.chance(120) {
            self.delete_free_slots(&region, &mut own);
        }
        if let Some(settings) = self.world.database.rows().tables.settings_mut(&region) {
            match choice {
                0 => settings.target_free = number,
                1 => settings.max_instances = number,
                2 => settings.paused = !settings.paused,
                3 => settings.enabled = !settings.enabled,
                4 => settings.scale_up_step = number / 3,
                7 => {
                    settings.schedules.clear();
                    let schedule = random_schedule(now, &mut own);
                    settings.schedules.extend(schedule);
                }
                _ => {}
            }
        }
        if choice == 5 {
            let event = serde_json::json!({"regions": [region]});
            self.reconcile("by hand", event);
        }
        if choice == 6 {
            let event = serde_json::json!({"dry_run": true});
            self.reconcile("dry run", event);
        }
        let wait = self.random.between(20..=120);
        self.schedule_in(seconds(wait), Event::OperatorActs);
    }

    /// Deletes the rows of an instance's free slots, by mistake. Its agent does not know.
    fn delete_free_slots(&mut self, region: &RegionName, random: &mut Random) {
        let mut rows = self.world.database.rows();
        let tables = &mut rows.tables;
        let instances = tables.instances.iter();
        let instances: Vec<_> = instances
            .filter(|(_, row)| row.region == *region && row.status == InstanceStatus::Active)
            .map(|(id, _)| id.clone())
            .collect();
        if instances.is_empty() {
            return;
        }
        let instance = random.pick(&instances);
        tables
            .slots
            .retain(|_, slot| slot.instance_id != *instance || slot.status != SlotStatus::Waiting);
        self.trace
            .line(|| format!("* an operator deletes the free slots of {instance}"));
    }
}
