//! Random ids, users, slots and agents for a step, mostly existing ones.

use std::net::IpAddr;

use jiff::SignedDuration;
use shared::assign::{AssignRequest, ClientBuild, SessionId, SessionLimits, UserId};
use shared::db::Fence;
use shared::ids::{InstanceId, LaunchId, RegionName};
use shared::model::TerminateIf;
use shared::model::{InstanceAddresses, InstanceStatus, NewInstance, SpotNotice};
use testing::{SlotRow, SlotStatus, Tables};

use super::{Generator, INSTANCES};
use crate::database::steps::{Action, IMAGES, REGIONS, launch_of};

const UNKNOWN: &str = "unknown";

impl Generator {
    /// A notice from EC2, repeated for some instances.
    pub(super) fn notice(&mut self, tables: &Tables) -> Action {
        let again = noticed(tables, &self.known_region());
        let id = match again.is_empty() || self.random.chance(60) {
            true => self.agent(tables, |_| true).0,
            false => self.random.pick(&again).clone(),
        };
        let notices = [
            SpotNotice::Rebalance,
            SpotNotice::Rebalance,
            SpotNotice::Interruption,
        ];
        Action::GiveNotice(id, *self.random.pick(&notices))
    }

    pub(super) fn known_region(&mut self) -> RegionName {
        (*self.random.pick(&REGIONS)).into()
    }

    pub(super) fn region(&mut self) -> RegionName {
        if self.random.chance(4) {
            "nowhere".into()
        } else {
            self.known_region()
        }
    }

    /// Mostly the holder's fence, sometimes a newer one or one of a lost lock.
    pub(super) fn fence(&mut self) -> Fence {
        if self.random.chance(3) {
            let region = "nowhere".into();
            return Fence { region, version: 1 };
        }
        let place = self.random.below(2);
        let current = &mut self.versions[place];
        let version = match self.random.below(100) {
            0..86 => *current,
            86..93 => {
                *current += 1;
                *current
            }
            _ => *current - 1,
        };
        let region = REGIONS[place].into();
        Fence { region, version }
    }

    pub(super) fn id(&mut self) -> InstanceId {
        format!("i-{:02}", self.random.below(INSTANCES + 1)).into()
    }

    /// Up to `most` of the items in any order, possibly with repetitions.
    fn some<T: Clone>(&mut self, items: &[T], most: usize) -> Vec<T> {
        let count = self.random.below(most + 1);
        (0..count)
            .map(|_| self.random.pick(items).clone())
            .collect()
    }

    pub(super) fn any_ids(&mut self, most: usize) -> Vec<InstanceId> {
        let all: Vec<_> = (0..=INSTANCES)
            .map(|n| format!("i-{n:02}").into())
            .collect();
        self.some(&all, most)
    }

    /// Mostly ids of the region that is written to.
    pub(super) fn ids(&mut self, tables: &Tables, fence: &Fence, most: usize) -> Vec<InstanceId> {
        if self.random.chance(25) {
            return self.any_ids(most);
        }
        let rows = tables.instances.iter();
        let here = rows.filter(|(_, row)| row.region == fence.region);
        let ids: Vec<_> = here.map(|(id, _)| id.clone()).collect();
        if ids.is_empty() {
            return ids;
        }
        self.some(&ids, most)
    }

    /// The last of the ids never gets a row.
    pub(super) fn insert(&mut self) -> Action {
        let fence = self.fence();
        let mut instances: Vec<_> = self
            .any_ids(3)
            .into_iter()
            .filter(|id| *id != InstanceId::from(format!("i-{INSTANCES:02}")))
            .map(|id| self.new_instance(id))
            .collect();
        if self.random.chance(3)
            && let Some(first) = instances.first_mut()
        {
            first.capacity = 0;
        }
        if self.random.chance(90) {
            Action::Record(fence, instances)
        } else {
            Action::Adopt(fence, instances)
        }
    }

    /// Equal for the same id at the same time: of two in one call, either may be inserted.
    pub(super) fn new_instance(&self, id: InstanceId) -> NewInstance {
        let number: i64 = id.as_str()[2..].parse().unwrap();
        let image = if number % 4 == 3 {
            IMAGES[1]
        } else {
            IMAGES[0]
        };
        NewInstance {
            launch_id: launch_of(&id),
            image_id: image.into(),
            client_sha: format!("sha-of-{image}").into(),
            instance_type: "c5.large".to_owned(),
            subnet_id: Some(format!("subnet-{}", number % 2)),
            spot: number % 3 == 0,
            capacity: 1 + u32::try_from(number).unwrap() % 3,
            private_ip: Some(address(10, number)),
            // EC2 gives public addresses some time after a launch.
            public_ip: (number % 4 == 0).then(|| address(203, number)),
            launched_at: self.now - SignedDuration::from_secs(30 * number),
            id,
        }
    }

    /// What EC2 lists. The same for an instance that is listed twice.
    pub(super) fn note_addresses(&mut self, tables: &Tables) -> Action {
        let fence = self.fence();
        let ids = self.ids(tables, &fence, 3);
        let (private, public) = *self.random.pick(&[
            (Some(10), Some(203)),
            (Some(10), Some(198)),
            (Some(172), Some(198)),
            (Some(172), None),
            (None, Some(203)),
        ]);
        let addresses = ids.into_iter().map(|id| {
            let number = id.as_str()[2..].parse().unwrap();
            InstanceAddresses {
                private_ip: private.map(|network| address(network, number)),
                public_ip: public.map(|network| address(network, number)),
                id,
            }
        });
        Action::NoteAddresses(fence, addresses.collect())
    }

    pub(super) fn terminate(&mut self, tables: &Tables) -> Action {
        let conditions = [
            TerminateIf::Empty,
            TerminateIf::Empty,
            TerminateIf::Lost,
            TerminateIf::Lost,
            TerminateIf::Missing,
            TerminateIf::Gone,
        ];
        let condition = *self.random.pick(&conditions);
        let most = if condition == TerminateIf::Gone { 1 } else { 3 };
        let fence = self.fence();
        let ids = self.ids(tables, &fence, most);
        Action::Terminate(fence, ids, condition)
    }

    pub(super) fn request(&mut self, tables: &Tables) -> AssignRequest {
        let known: Vec<_> = tables
            .slots
            .values()
            .filter_map(|s| s.user.clone())
            .collect();
        let mut user = (*self.random.pick(&["alice", "bob", "carol"])).to_owned();
        let mut session = (*self.random.pick(&["1", "2", "3"])).to_owned();
        if !known.is_empty() && self.random.chance(40) {
            let (of, same) = self.random.pick(&known).clone();
            user = of;
            if self.random.chance(50) {
                session = same;
            }
        }
        let mut regions = REGIONS.map(RegionName::from).to_vec();
        match self.random.below(10) {
            0..4 => {}
            4..8 => regions.reverse(),
            _ => {
                regions.push("nowhere".into());
                regions = self.some(&regions, 4);
            }
        }
        let client = match self.random.below(20) {
            0..8 => ClientBuild::Sha("sha-of-ami-1".into()),
            8..13 => ClientBuild::Sha("sha-of-ami-2".into()),
            13 => ClientBuild::Sha(UNKNOWN.into()),
            _ => ClientBuild::CurrentImage,
        };
        AssignRequest {
            user: UserId::parse(&user).unwrap(),
            session: SessionId::parse(&session).unwrap(),
            regions,
            client,
            limits: SessionLimits::default(),
        }
    }

    /// An agent, sometimes with another launch's token.
    pub(super) fn agent(
        &mut self,
        tables: &Tables,
        wanted: impl Fn(InstanceStatus) -> bool,
    ) -> (InstanceId, LaunchId) {
        let known: Vec<_> = tables
            .instances
            .iter()
            .filter(|(_, row)| wanted(row.status))
            .map(|(id, _)| id.clone())
            .collect();
        let id = if known.is_empty() || self.random.chance(10) {
            self.id()
        } else {
            self.random.pick(&known).clone()
        };
        let launch = self.launch(&id);
        (id, launch)
    }

    pub(super) fn launch(&mut self, id: &InstanceId) -> LaunchId {
        if self.random.chance(20) {
            UNKNOWN.into()
        } else {
            launch_of(id)
        }
    }

    pub(super) fn register(&mut self, tables: &Tables) -> Action {
        let only_new = self.random.chance(70);
        let wanted = |status| !only_new || status == InstanceStatus::PreConnection;
        let (id, launch) = self.agent(tables, wanted);
        Action::Register(id, launch)
    }

    /// Heartbeats of most agents.
    pub(super) fn beats(&mut self, tables: &Tables) -> Action {
        let ids = tables.instances.keys().cloned();
        Action::Beats(ids.filter(|_| self.random.chance(80)).collect())
    }

    pub(super) fn of_slot(&mut self, tables: &Tables) -> Action {
        let taken = |row: &SlotRow| row.status != SlotStatus::Waiting;
        let any = self.random.chance(10);
        let slots: Vec<_> = tables
            .slots
            .iter()
            .filter(|(_, row)| any || taken(row))
            .collect();
        if slots.is_empty() {
            return Action::Assign(self.request(tables));
        }
        let (slot, row) = *self.random.pick(&slots);
        let launch = self.launch(&row.instance_id);
        let slot = if self.random.chance(3) {
            uuid::Uuid::nil().to_string()
        } else {
            slot.clone()
        };
        // Mostly the next status in a slot's life.
        let next = match row.status {
            _ if self.random.chance(20) => self.random.below(3),
            SlotStatus::Allocated if self.random.chance(30) => 1,
            SlotStatus::Waiting | SlotStatus::Allocated => 0,
            SlotStatus::Connecting | SlotStatus::Running => 1,
            SlotStatus::Dying => 2,
        };
        match next {
            0 => {
                let (user, session) = row.user.clone().unwrap_or_default();
                let session = if self.random.chance(20) {
                    UNKNOWN.to_owned()
                } else {
                    session
                };
                Action::Claim {
                    slot,
                    user,
                    session,
                    launch,
                }
            }
            1 => {
                let states = [
                    SlotStatus::Running,
                    SlotStatus::Dying,
                    SlotStatus::Connecting,
                ];
                let place = self.random.below(10).saturating_sub(7);
                let to = match place {
                    0 => *self.random.pick(&states[..2]),
                    _ => *self.random.pick(&states),
                };
                Action::Report(slot, to, launch)
            }
            _ => Action::Replace(slot, launch),
        }
    }
}

/// The address of the numbered instance in a network.
fn address(network: u8, number: i64) -> IpAddr {
    IpAddr::from([network, 0, 113, u8::try_from(number).unwrap()])
}

/// A region's instances with an interruption notice.
pub(super) fn noticed(tables: &Tables, region: &RegionName) -> Vec<InstanceId> {
    let rows = tables.instances.iter();
    rows.filter(|(_, row)| row.region == *region && row.notice.is_some())
        .map(|(id, _)| id.clone())
        .collect()
}
