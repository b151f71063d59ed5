//! The fakes of one region, and the real passes on them.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use shared::agent_token::AgentTokens;
use shared::clock::Clock;
use shared::execute::LaunchSettings;
use shared::ids::RegionName;
use shared::model::ImageState;
use shared::pass::{PassLimits, PassRequest, Reconciler};
use shared::report::{PassOutcome, PassReport};
use shared::settings::RegionSettings;
use shared::trigger::Trigger;
use testing::{
    CountedIds, Discarded, FakeClock, FakeDatabase, FakeHost, FakeHosts, FakeReplicas, FakeStore,
    NOW, image,
};
use tokio::runtime::{Builder, Runtime};

use crate::Millis;
use crate::run::RunError;

/// No agent's token is renewed while a run lasts: that costs nothing, and is tested elsewhere.
const TOKENS_VALID: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);

/// What passes read of the history is younger.
const HISTORY: SignedDuration = SignedDuration::from_hours(2);

pub(crate) struct World {
    pub(crate) region: RegionName,
    pub(crate) database: Arc<FakeDatabase>,
    pub(crate) host: Arc<FakeHost>,
    clock: Arc<FakeClock>,
    store: Arc<FakeStore>,
    reconciler: Reconciler,
    /// It drives nothing: a pass that sets a timeout needs one to create it. The timeout never fires.
    timers: Runtime,
}

impl World {
    /// An enabled region without instances, whose one image is current.
    pub(crate) fn new(settings: RegionSettings) -> Result<Self, RunError> {
        let region = settings.name.clone();
        let clock = Arc::new(FakeClock::default());
        let database = Arc::new(FakeDatabase::new(clock.clone()));
        {
            let tables = &mut database.rows().tables;
            tables.add_region(settings);
            tables.add_image(&region, image("ami-1", ImageState::Current));
        }
        let store = Arc::new(FakeStore::default());
        let hosts = Arc::new(FakeHosts::new(clock.clone()));
        let timers = Builder::new_current_thread().enable_time().build();
        let timers = timers.map_err(|error| RunError::SetUp(error.to_string()))?;
        let key = SecretString::from("0123456789abcdef0123456789abcdef");
        let tokens = AgentTokens::new(key, TOKENS_VALID)
            .map_err(|error| RunError::SetUp(error.to_string()))?;
        let reconciler = Reconciler {
            regions: database.clone(),
            instances: Some(database.clone()),
            lock: store.clone(),
            store: store.clone(),
            service: store.clone(),
            hosts: hosts.clone(),
            account: None,
            replicas: Arc::new(FakeReplicas::default()),
            alerts: Arc::new(Discarded),
            metrics: Arc::new(Discarded),
            invoker: Arc::new(Discarded),
            clock: clock.clone(),
            ids: Arc::new(CountedIds::default()),
            launches: LaunchSettings {
                stack_id: "economics".to_owned(),
                agent_hasura_url: "http://hasura".to_owned(),
                tokens: Some(tokens),
            },
            // As in production. A pass takes no time here.
            limits: PassLimits {
                budget: Duration::from_secs(40),
                lease: Duration::from_secs(50),
                ec2_call: Duration::from_secs(8),
            },
            probes: None,
            recordings: None,
        };
        Ok(Self {
            host: hosts.of(&region),
            region,
            database,
            clock,
            store,
            reconciler,
            timers,
        })
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Sets the clock, which never goes back.
    pub(crate) fn advance_to(&self, at: Millis) {
        let by = (NOW + SignedDuration::from_millis(at)).duration_since(self.now());
        if by.is_positive() {
            self.clock.advance(by);
        }
    }

    /// Runs one pass to its end.
    ///
    /// # Errors
    /// When the pass fails as a whole: nothing that is measured after it would mean anything.
    pub(crate) fn pass(&self, trigger: Trigger) -> Result<PassReport, RunError> {
        let request = PassRequest {
            trigger,
            id: "economics".to_owned(),
            began: self.now(),
            approve_mass_removal: false,
        };
        let _entered = self.timers.enter();
        // The fakes answer at once, so that a pass is over after one poll.
        let report = self.reconciler.run(&self.region, &request).now_or_never();
        let report = report.ok_or_else(|| RunError::Pass("it waited for a fake".to_owned()))?;
        if let PassOutcome::Failed { error } = &report.outcome {
            return Err(RunError::Pass(error.clone()));
        }
        self.forget();
        Ok(report)
    }

    /// Drops what the fakes keep for tests to read: weeks of it do not fit into memory.
    fn forget(&self) {
        let now = self.now();
        let mut rows = self.database.rows();
        rows.calls.clear();
        let last_wake = rows.tables.wakeups.pop_last();
        rows.tables.wakeups.clear();
        rows.tables.wakeups.extend(last_wake);
        let unserved = &mut rows.tables.unserved_users;
        unserved.retain(|it| it.left_at >= now - HISTORY);
        drop_old(&mut rows.tables.session_history, |row| row.ended_at, now);
        drop_old(
            &mut rows.tables.instance_history,
            |row| Some(row.gone_at),
            now,
        );
        drop(rows);
        let mut items = self.store.items();
        items.calls.clear();
        let region = items.of(&self.region);
        region.closed.clear();
        region.decisions.clear();
        drop(items);
        let mut host = self.host.state();
        host.launches.clear();
        host.ec2.drop_forgotten(now);
    }
}

/// Drops the first rows of a history, which are in the order of their ends, when many are old.
fn drop_old<T>(rows: &mut Vec<T>, ended_at: fn(&T) -> Option<Timestamp>, now: Timestamp) {
    let before = now - HISTORY;
    let old = rows.partition_point(|row| ended_at(row) < Some(before));
    if old > rows.len() / 2 {
        rows.drain(..old);
    }
}
