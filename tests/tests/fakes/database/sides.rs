//! The two sides that must answer alike: PostgreSQL behind the service's own adapters, and the
//! fake.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use shared::assign::{Assigner, SessionId, UserId};
use shared::db::DbError;
use shared::ids::{ImageId, InstanceId, LaunchId, RegionName};
use shared::model::{DrainCause, ImageState, InstanceStatus};
use shared::settings::{
    ADAPTIVE, AddressSource, Endings, RegionSettings, Schedule, ScheduleKind, Timeouts,
};
use testing::Database;
use testing::{
    AgentAnswer, AgentClaims, AgentOutcome, EndCause, FakeAssigner, FakeClock, FakeDatabase,
    SlotStatus, Tables, image, schedule, settings, stored_name,
};

use super::steps::{Action, IMAGES, REGIONS, Set, Step, launch_of};

pub(crate) const USER_LIMIT: u32 = 2;
/// The app versions of the service's environment and of another one.
pub(crate) const ENVIRONMENT: &str = "dev";
pub(crate) const APPS: [(&str, &str, &str); 2] = [
    (ENVIRONMENT, "1.2.3", "sha-of-ami-1"),
    (OTHERS, "1.2.4", "sha-of-ami-2"),
];
pub(crate) const OTHERS: &str = "beta";
/// The reason with which passes move images.
pub(crate) const REASON: &str = "because";

/// What agents say of their address. The regions take it from EC2.
pub(crate) const REPORTED: &str = "10.9.9.9";

/// The actions of agents and operators, for which the service has no port.
#[allow(async_fn_in_trait, reason = "both sides are in this crate")]
pub(crate) trait Side {
    fn database(&self) -> &dyn Database;
    /// Of the function that handles EC2's events, which has permissions of its own.
    fn database_of_events(&self) -> &dyn Database {
        self.database()
    }
    fn assigner(&self) -> &dyn Assigner;
    async fn set_time(&self, now: Timestamp);
    async fn register(&self, id: &InstanceId, launch: &LaunchId) -> AgentAnswer;
    async fn heartbeat(&self, id: &InstanceId, launch: &LaunchId) -> AgentAnswer;
    /// A heartbeat with a certain token.
    async fn beat_with(&self, id: &InstanceId, claims: &AgentClaims) -> AgentAnswer;
    /// What the agent reads of its instance.
    async fn own(&self, id: &InstanceId, launch: &LaunchId) -> Option<Value>;
    async fn revoke(&self, id: &InstanceId) -> String;
    async fn claim(&self, slot: &str, user: &str, session: &str, launch: &LaunchId) -> AgentAnswer;
    async fn report(&self, slot: &str, to: SlotStatus, launch: &LaunchId) -> AgentAnswer;
    async fn replace(&self, slot: &str, launch: &LaunchId) -> AgentAnswer;
    async fn leave(&self, id: &InstanceId, reason: &str, launch: &LaunchId) -> AgentAnswer;
    async fn set_region(&self, region: &RegionName, set: Set);
    async fn set_image(&self, region: &RegionName, image: &ImageId, state: ImageState);
    /// All rows. The regions' settings are compared in the observations.
    async fn beat_idle(
        &self,
        id: &InstanceId,
        launch: &LaunchId,
        slot: &str,
        seconds: u32,
    ) -> AgentAnswer;
    /// The slots whose sessions the agent has to end, with cause and time.
    async fn ends(&self, id: &InstanceId, launch: &LaunchId) -> Vec<(String, String, Timestamp)>;
    async fn end_by_operator(&self, user: &str, session: &str) -> String;
    async fn set_endings(&self, region: &RegionName, endings: Endings);
    async fn drain_by_hand(&self, id: &InstanceId);
    async fn rows(&self) -> Tables;
}

/// Executes a step and returns the answer as text. Errors are reduced to their kind.
pub(crate) async fn take(side: &impl Side, step: &Step) -> String {
    side.set_time(step.at).await;
    let database = side.database();
    match &step.action {
        Action::Regions => to_text(database.regions().await),
        Action::BeginPass(fence) => to_text(database.begin_pass(fence).await),
        Action::Observe(region) => to_text(database.observe(region).await),
        Action::Record(fence, new) => to_text(database.record_instances(fence, new).await),
        Action::Adopt(fence, new) => to_text(database.adopt_orphans(fence, new).await),
        Action::Drain(fence, ids, cause) => to_text(database.drain(fence, ids, *cause).await),
        Action::Reopen(fence, ids) => to_text(database.reopen(fence, ids).await),
        Action::Terminate(fence, ids, condition) => {
            to_text(database.terminate(fence, ids, *condition).await)
        }
        Action::Remove(fence, ids) => to_text(database.remove(fence, ids).await),
        Action::NoteMissing(fence, missing, present) => {
            to_text(database.note_missing(fence, missing, present).await)
        }
        Action::NoteAddresses(fence, addresses) => {
            to_text(database.note_addresses(fence, addresses).await)
        }
        Action::MarkEnds(fence) => to_text(database.mark_ends(fence).await),
        Action::Idle(id, launch, slot, seconds) => {
            format!("{:?}", side.beat_idle(id, launch, slot, *seconds).await)
        }
        Action::Ends(id, launch) => format!("{:?}", side.ends(id, launch).await),
        Action::End {
            user,
            session,
            by_operator: true,
        } => side.end_by_operator(user, session).await,
        Action::End { user, session, .. } => {
            let user = UserId::parse(user).unwrap();
            let session = SessionId::parse(session).unwrap();
            match side.assigner().end_session(&user, &session).await {
                Ok(end) => format!("{end:?}").to_uppercase(),
                Err(error) => format!("{error:?}"),
            }
        }
        Action::SetEndings(region, endings) => {
            side.set_endings(region, *endings).await;
            String::new()
        }
        Action::DrainByHand(id) => {
            side.drain_by_hand(id).await;
            String::new()
        }
        Action::Release(fence) => to_text(database.release_unclaimed(fence).await),
        Action::MoveImage(fence, image, from, to) => to_text(
            database
                .move_image(fence, image, (*from, *to), REASON)
                .await,
        ),
        Action::Upgrade(region, image, sha) => {
            to_text(database.request_upgrade(region, image, sha).await)
        }
        Action::Find(id) => to_text(side.database_of_events().find_instance(id).await),
        Action::GiveNotice(id, notice) => {
            let database = side.database_of_events();
            to_text(database.record_spot_notice(id, *notice).await)
        }
        Action::NoteRunning(running) => to_text(database.note_running(running).await),
        Action::Assign(request) => to_text(side.assigner().assign(request).await),
        Action::Register(id, launch) => format!("{:?}", side.register(id, launch).await),
        Action::Heartbeat(id, launch) => format!("{:?}", side.heartbeat(id, launch).await),
        Action::Renew(fence, tokens) => to_text(database.renew_tokens(fence, tokens).await),
        Action::BeatWith(id, claims) => format!("{:?}", side.beat_with(id, claims).await),
        Action::Own(id, launch) => format!("{:?}", side.own(id, launch).await),
        Action::Revoke(id) => side.revoke(id).await,
        Action::Beats(ids) => {
            let mut answers = vec![];
            for id in ids {
                answers.push(side.heartbeat(id, &launch_of(id)).await);
            }
            format!("{answers:?}")
        }
        Action::Claim {
            slot,
            user,
            session,
            launch,
        } => format!("{:?}", side.claim(slot, user, session, launch).await),
        Action::Report(slot, to, launch) => format!("{:?}", side.report(slot, *to, launch).await),
        Action::Replace(slot, launch) => format!("{:?}", side.replace(slot, launch).await),
        Action::Leave(id, reason, launch) => {
            format!("{:?}", side.leave(id, reason, launch).await)
        }
        Action::Forecast(fence, outlook) => to_text(database.note_forecast(fence, outlook).await),
        Action::SetRegion(region, set) => {
            side.set_region(region, *set).await;
            String::new()
        }
        Action::SetImage(region, image, state) => {
            side.set_image(region, image, *state).await;
            String::new()
        }
    }
}

pub(crate) fn to_text<T: Debug>(answer: Result<T, DbError>) -> String {
    match answer {
        Ok(answer) => format!("{answer:?}"),
        Err(DbError::Refused { .. }) => "Refused".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}

/// The regions of every history. Their timeouts, their lines and the addresses of their users differ, and the
/// second's gap is the smallest.
pub(crate) fn regions() -> Vec<RegionSettings> {
    let seconds = jiff::SignedDuration::from_secs;
    let of = |name: &str, addresses, heartbeat, lost, line| RegionSettings {
        name: name.into(),
        target_free: 2,
        launch_choices: vec![],
        timeouts: Timeouts {
            heartbeat: seconds(heartbeat),
            lost: seconds(lost),
            ..Timeouts::default()
        },
        launches_per_hour: None,
        line_seconds: line,
        addresses,
        ..settings()
    };
    let scheduled = RegionSettings {
        schedules: vec![Schedule {
            note: "it's a class".to_owned(),
            ..schedule(1, ScheduleKind::Floor, 3, ("09:30", "17:00"))
        }],
        ..of(REGIONS[0], AddressSource::Private, 90, 600, 15)
    };
    vec![
        scheduled,
        RegionSettings {
            algorithm: ADAPTIVE.to_owned(),
            stock_out_goal: 200,
            pass_seconds: 20,
            ..of(REGIONS[1], AddressSource::Public, 60, 120, 30)
        },
    ]
}

/// The initial state of an image: each region has a different current image, and the other one
/// bakes.
pub(crate) fn first_state(region: &RegionName, image: &str) -> ImageState {
    if (region.as_str() == REGIONS[0]) == (image == IMAGES[0]) {
        ImageState::Current
    } else {
        ImageState::Baking
    }
}

/// The fake's side.
#[derive(Debug)]
pub(crate) struct FakeSide {
    clock: Arc<FakeClock>,
    pub(crate) fake: Arc<FakeDatabase>,
    assigner: FakeAssigner,
}

impl FakeSide {
    pub(crate) fn new() -> Self {
        let clock = Arc::new(FakeClock::default());
        let fake = Arc::new(FakeDatabase::new(clock.clone()));
        {
            let tables = &mut fake.rows().tables;
            for settings in regions() {
                let region = settings.name.clone();
                tables.add_region(settings);
                for id in IMAGES {
                    tables.add_image(&region, image(id, first_state(&region, id)));
                }
            }
            for (environment, version, client_sha) in APPS {
                let app = shared::assign::AppVersion {
                    version: version.to_owned(),
                    client_sha: client_sha.into(),
                };
                tables.app_versions.insert(environment.to_owned(), app);
            }
        }
        let assigner = FakeAssigner {
            database: fake.clone(),
            user_limit: USER_LIMIT,
            environment: ENVIRONMENT.to_owned(),
        };
        Self {
            clock,
            fake,
            assigner,
        }
    }

    fn now(&self) -> Timestamp {
        use shared::clock::Clock as _;
        self.clock.now()
    }
}

impl Side for FakeSide {
    fn database(&self) -> &dyn Database {
        &*self.fake
    }

    fn assigner(&self) -> &dyn Assigner {
        &self.assigner
    }

    async fn set_time(&self, now: Timestamp) {
        self.clock.advance(now.duration_since(self.now()));
    }

    async fn register(&self, id: &InstanceId, launch: &LaunchId) -> AgentAnswer {
        let tables = &mut self.fake.rows().tables;
        tables.register_host(id, REPORTED, launch, self.now())
    }

    async fn heartbeat(&self, id: &InstanceId, launch: &LaunchId) -> AgentAnswer {
        let tables = &mut self.fake.rows().tables;
        tables.heartbeat(id, launch, self.now())
    }

    async fn beat_with(&self, id: &InstanceId, claims: &AgentClaims) -> AgentAnswer {
        let tables = &mut self.fake.rows().tables;
        tables.heartbeat(id, claims.clone(), self.now())
    }

    async fn own(&self, id: &InstanceId, launch: &LaunchId) -> Option<Value> {
        let now = self.now();
        let tables = &mut self.fake.rows().tables;
        let (status, slots) = tables.own_instance(id, launch, now)?;
        let slots = slots.iter().map(|(id, slot)| {
            let (user, session) = slot.user.clone().unzip();
            let (cause, by) = slot.end.unzip();
            let left = by.map(|by| {
                let left = by.duration_since(now).as_millis();
                u64::try_from(left).unwrap_or(0).div_ceil(1000)
            });
            json!({"id": id, "status": slot.status, "user_id": user, "session_id": session,
                "end_cause": cause, "end_by": by, "seconds_left": left})
        });
        Some(json!({"status": status, "slots": slots.collect::<Vec<_>>()}))
    }

    async fn revoke(&self, id: &InstanceId) -> String {
        let outcome = self.fake.rows().tables.revoke_agent(id, self.now());
        format!("{outcome:?}").to_uppercase()
    }

    async fn claim(&self, slot: &str, user: &str, session: &str, launch: &LaunchId) -> AgentAnswer {
        let tables = &mut self.fake.rows().tables;
        tables.claim_slot(slot, user, session, launch, self.now())
    }

    async fn report(&self, slot: &str, to: SlotStatus, launch: &LaunchId) -> AgentAnswer {
        let tables = &mut self.fake.rows().tables;
        tables.report_slot(slot, to, launch, self.now())
    }

    async fn replace(&self, slot: &str, launch: &LaunchId) -> AgentAnswer {
        let tables = &mut self.fake.rows().tables;
        tables.replace_slot(slot, launch, self.now())
    }

    async fn leave(&self, id: &InstanceId, reason: &str, launch: &LaunchId) -> AgentAnswer {
        let tables = &mut self.fake.rows().tables;
        tables.leave_host(id, reason, launch, self.now())
    }

    async fn set_region(&self, region: &RegionName, set: Set) {
        let tables = &mut self.fake.rows().tables;
        let settings = tables.settings_mut(region).unwrap();
        settings.enabled = set.enabled;
        settings.target_free = set.target_free;
        settings.upgrades.swap_when_warm = set.swap_when_warm;
    }

    async fn set_image(&self, region: &RegionName, image: &ImageId, state: ImageState) {
        let now = self.now();
        let tables = &mut self.fake.rows().tables;
        if state == ImageState::Current {
            tables.make_current(region, image, now);
        } else {
            tables.set_image_state(&(region.clone(), image.clone()), state, now);
        }
    }

    async fn beat_idle(
        &self,
        id: &InstanceId,
        launch: &LaunchId,
        slot: &str,
        seconds: u32,
    ) -> AgentAnswer {
        let tables = &mut self.fake.rows().tables;
        let idle = BTreeMap::from([(slot.to_owned(), seconds)]);
        tables.heartbeat_with(id, launch, &idle, self.now())
    }

    async fn ends(&self, id: &InstanceId, launch: &LaunchId) -> Vec<(String, String, Timestamp)> {
        let tables = &mut self.fake.rows().tables;
        if tables.heartbeat(id, launch, self.now()).outcome != AgentOutcome::Ok {
            return vec![];
        }
        let ends = tables.ends_of(id).into_iter();
        ends.map(|(slot, (cause, by))| (slot, stored_name(cause), by))
            .collect()
    }

    async fn end_by_operator(&self, user: &str, session: &str) -> String {
        let tables = &mut self.fake.rows().tables;
        let end = tables.end_session(user, session, EndCause::Operator, self.now());
        format!("{end:?}").to_uppercase()
    }

    async fn set_endings(&self, region: &RegionName, endings: Endings) {
        let tables = &mut self.fake.rows().tables;
        tables.settings_mut(region).unwrap().endings = endings;
    }

    async fn drain_by_hand(&self, id: &InstanceId) {
        let now = self.now();
        let tables = &mut self.fake.rows().tables;
        let row = tables.instances.get_mut(id);
        if let Some(row) = row.filter(|row| row.status.is_in_service()) {
            row.status = InstanceStatus::Draining;
            row.draining_since = Some(now);
            row.drain_cause = Some(DrainCause::Operator);
        }
    }

    async fn rows(&self) -> Tables {
        without_settings(&self.fake.rows().tables)
    }
}

/// The tables without what only the fake has.
pub(crate) fn without_settings(tables: &Tables) -> Tables {
    Tables {
        regions: BTreeMap::default(),
        slots_made: 0,
        host_leaves: BTreeMap::default(),
        session_ends: BTreeMap::default(),
        failed_sessions: vec![],
        ..tables.clone()
    }
    .with_sorted_history()
}
