//! What EC2, the operator and bad luck do.

use jiff::SignedDuration;
use shared::host::HostErrorKind;
use shared::ids::{InstanceId, RegionName};
use shared::model::LaunchRequest;
use shared::settings::Selector;
use testing::Delays;

use crate::ec2_events::Says;
use crate::faults::Fault;
use crate::simulation::{Happening, Simulation};

fn seconds(seconds: u64) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX))
}

impl Simulation {
    /// What EC2 can and cannot do in a region, until the weather changes again.
    pub(crate) fn weather(&mut self, region: RegionName) {
        self.clear_weather(&region);
        if self.over {
            return;
        }
        let host = self.world.host(&region);
        if self.faults.strikes(Fault::NoCapacity) {
            self.fill_up(&region);
        }
        let mut state = host.state();
        if self.faults.strikes(Fault::PartialCapacity) {
            state.ec2.at_most_next = Some(1);
        }
        if self.faults.strikes(Fault::LaunchRefused) {
            let kind = *self.dice.pick(&[
                HostErrorKind::Denied,
                HostErrorKind::Invalid,
                HostErrorKind::Unclear,
            ]);
            state.refuse_launches.push_back(kind);
        }
        if self.faults.strikes(Fault::Throttled) {
            self.checks.fault(Fault::Throttled);
            state.throttled = true;
        }
        if self.faults.strikes(Fault::ListingLags) {
            state.ec2.delays.listing_lag = seconds(self.dice.between(1..=50));
            state.ec2.delays.lookup_lag = seconds(self.dice.between(0..=8));
        }
        drop(state);
        if self.faults.strikes(Fault::ListingEmpty) {
            self.world.blind.set(&region, true);
        }
        let wait = self.dice.between(15..=90);
        self.happens_in(seconds(wait), Happening::Weather(region));
    }

    pub(crate) fn clear_weather(&mut self, region: &RegionName) {
        let host = self.world.host(region);
        let mut state = host.state();
        state.ec2.room.clear();
        state.ec2.at_most_next = None;
        state.ec2.delays = Delays::default();
        state.refuse_launches.clear();
        state.throttled = false;
        self.world.blind.set(region, false);
    }

    /// No room in some of the places that the region's choices name.
    fn fill_up(&mut self, region: &RegionName) {
        let choices = self.world.settings(region).launch_choices;
        let host = self.world.host(region);
        let mut state = host.state();
        for choice in choices {
            let subnets = match &choice.subnet {
                Selector::Id(id) => vec![id.clone()],
                Selector::Tag { value, .. } => vec![format!("{value}-1"), format!("{value}-2")],
            };
            for subnet in subnets {
                if self.dice.chance(600) {
                    let room = u32::try_from(self.dice.below(2)).unwrap_or(0);
                    state
                        .ec2
                        .room
                        .insert((choice.instance_type.clone(), subnet), room);
                }
            }
        }
    }

    pub(crate) fn misfortune(&mut self) {
        if self.over {
            return;
        }
        let now = self.now();
        if self.faults.strikes(Fault::MachineDies)
            && let Some(id) = self.some_agent()
            && let Some(region) = self.agents.get(&id).map(|agent| agent.region.clone())
        {
            self.world.host(&region).state().ec2.terminate(&id, now);
            self.announce_end(&region, &id);
        }
        if self.faults.strikes(Fault::Interruption) {
            self.notice(Says::Interruption);
        }
        if self.faults.strikes(Fault::Rebalance) {
            self.notice(Says::Rebalance);
        }
        if self.faults.strikes(Fault::AgentDies)
            && let Some(id) = self.some_agent()
            && let Some(agent) = self.agents.get_mut(&id)
        {
            agent.alive = false;
        }
        if self.faults.strikes(Fault::AgentSilent)
            && let Some(id) = self.some_agent()
        {
            let silence = seconds(self.dice.between(20..=300));
            if let Some(agent) = self.agents.get_mut(&id) {
                agent.silent_until = Some(now + silence);
            }
        }
        if self.faults.strikes(Fault::StrayMachine) {
            self.stray();
        }
        let wait = self.dice.between(5..=40);
        self.happens_in(seconds(wait), Happening::Misfortune);
    }

    /// EC2 says that it takes a machine in two minutes, or that it may.
    fn notice(&mut self, says: Says) {
        let Some(id) = self.some_agent() else {
            return;
        };
        let Some(region) = self.agents.get(&id).map(|agent| agent.region.clone()) else {
            return;
        };
        self.announce(&region, &id, says, SignedDuration::ZERO);
        if says == Says::Interruption {
            self.happens_in(SignedDuration::from_mins(2), Happening::IsTaken(id));
        }
    }

    /// What EC2 said that it would take, it takes.
    pub(crate) fn is_taken(&mut self, id: &InstanceId) {
        let now = self.now();
        let Some(region) = self.agents.get(id).map(|agent| agent.region.clone()) else {
            return;
        };
        self.world.host(&region).state().ec2.terminate(id, now);
        self.announce_end(&region, id);
    }

    /// A machine of ours by its tags, of which nothing is written anywhere.
    fn stray(&mut self) {
        let now = self.now();
        let regions = self.scenario.names();
        let region = self.dice.pick(&regions).clone();
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
            tags: vec![(shared::host::tags::LAUNCH.to_owned(), name.clone())],
            count: 1,
            capacity: 1,
        };
        let host = self.world.host(&region);
        // There is room elsewhere; if there is none, nobody strays.
        let _ = host
            .state()
            .ec2
            .launch(&name.as_str().into(), &request, now);
        self.expect_boots();
    }

    /// Somebody changes the settings, or asks for a pass by hand.
    pub(crate) fn operator(&mut self) {
        if self.over {
            return;
        }
        let regions = self.scenario.names();
        let region = self.dice.pick(&regions).clone();
        let number = u32::try_from(self.dice.below(9)).unwrap_or(0);
        let turn = self.dice.below(8);
        if let Some(settings) = self.world.database.rows().tables.settings_mut(&region) {
            match turn {
                0 => settings.target_free = number,
                1 => settings.max_instances = number,
                2 => settings.paused = !settings.paused,
                3 => settings.enabled = !settings.enabled,
                4 => settings.scale_up_step = number / 3,
                _ => {}
            }
        }
        if turn == 5 {
            let event = serde_json::json!({"regions": [region]});
            self.reconcile("by hand", event);
        }
        if turn == 6 {
            let event = serde_json::json!({"dry_run": true});
            self.reconcile("dry run", event);
        }
        let wait = self.dice.between(20..=120);
        self.happens_in(seconds(wait), Happening::Operator);
    }
}
