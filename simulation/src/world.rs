//! Everything that is not a function: the database, the lock table, EC2, the clock. A run has one
//! world, in which processes start and end.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use shared::agent_token::AgentTokens;
use shared::alerts::Alerts;
use shared::assign::Assigner;
use shared::clock::Clock;
use shared::execute::LaunchSettings;
use shared::host::HostHandlers;
use shared::ids::{RegionName, UniqueIds};
use shared::lock::RegionLock;
use shared::pass::{PassLimits, ReconcileInvoker, Reconciler};
use shared::settings::RegionSettings;
use shared::store::StateStore;
use testing::{
    CountedIds, Database, Discarded, FakeAssigner, FakeClock, FakeDatabase, FakeHost, FakeHosts,
    FakeStore,
};

use crate::effects::EffectLog;
use crate::empty_listing::EmptyListings;
use crate::hand_overs::HandOvers;
use crate::ports::{CallContext, Intercepted, SkewedClock};
use crate::yield_points::{ProcessId, YieldPoints};

/// The same limits of a pass as in production.
pub const LIMITS: PassLimits = PassLimits {
    budget: Duration::from_secs(40),
    lease: Duration::from_secs(50),
    ec2_call: Duration::from_secs(8),
};

/// Lambda's timeout of a function.
pub const FUNCTION_TIMEOUT: SignedDuration = SignedDuration::from_secs(60);

/// Slots that one user may hold.
pub const USER_LIMIT: u32 = 2;

pub use testing::ENVIRONMENT;

/// What the ports call, behind their yield points. The tests of the checks put broken variants
/// here.
#[derive(Clone)]
pub struct Backends {
    pub database: Arc<dyn Database>,
    pub lock: Arc<dyn RegionLock>,
    pub store: Arc<dyn StateStore>,
    pub hosts: Arc<dyn HostHandlers>,
    pub assigner: Arc<dyn Assigner>,
    pub ids: Arc<dyn UniqueIds>,
}

impl fmt::Debug for Backends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backends").finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
pub struct World {
    pub clock: Arc<FakeClock>,
    pub database: Arc<FakeDatabase>,
    pub store: Arc<FakeStore>,
    pub hosts: Arc<FakeHosts>,
    /// What passes see of `hosts`.
    pub empty_listings: Arc<EmptyListings>,
    pub backends: Backends,
    pub yield_points: Arc<YieldPoints>,
    pub effects: Arc<EffectLog>,
    pub hand_overs: Arc<HandOvers>,
    pub alerts: Arc<Discarded>,
    /// The time limits of passes and leases.
    pub limits: PassLimits,
    /// A process's clock stays at the time of its start. Only a broken variant sets it.
    pub clocks_stand_still: bool,
}

impl Default for World {
    fn default() -> Self {
        let clock = Arc::new(FakeClock::default());
        let database = Arc::new(FakeDatabase::new(clock.clone()));
        let store = Arc::new(FakeStore::default());
        let hosts = Arc::new(FakeHosts::new(clock.clone()));
        let empty_listings = Arc::new(EmptyListings::new(hosts.clone()));
        let backends = Backends {
            database: database.clone(),
            lock: store.clone(),
            store: store.clone(),
            hosts: empty_listings.clone(),
            assigner: Arc::new(FakeAssigner {
                database: database.clone(),
                user_limit: USER_LIMIT,
                environment: ENVIRONMENT.to_owned(),
            }),
            ids: Arc::new(CountedIds::default()),
        };
        Self {
            clock,
            database,
            store,
            hosts,
            empty_listings,
            backends,
            yield_points: Arc::default(),
            effects: Arc::default(),
            hand_overs: Arc::default(),
            alerts: Arc::default(),
            limits: LIMITS,
            clocks_stand_still: false,
        }
    }
}

impl World {
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn host(&self, region: &RegionName) -> Arc<FakeHost> {
        self.hosts.of(region)
    }

    pub fn regions(&self) -> Vec<RegionName> {
        self.database
            .rows()
            .tables
            .regions
            .keys()
            .cloned()
            .collect()
    }

    /// A region's row as the operator left it.
    ///
    /// # Panics
    /// When the region does not exist: a simulation creates its regions first.
    pub fn settings(&self, region: &RegionName) -> RegionSettings {
        let rows = self.database.rows();
        rows.tables.regions[region].settings.clone()
    }

    pub fn call_context(&self, process: ProcessId) -> CallContext {
        CallContext {
            process,
            yield_points: self.yield_points.clone(),
            effects: self.effects.clone(),
        }
    }

    /// The reconciler of one invocation. It is wired as in `main`, with yield points in place of
    /// the network.
    pub fn reconciler(&self, process: ProcessId, skew: SignedDuration) -> Reconciler {
        let context = || self.call_context(process);
        let database = Arc::new(Intercepted::new(self.backends.database.clone(), context()));
        Reconciler {
            regions: database.clone(),
            instances: Some(database),
            lock: Arc::new(Intercepted::new(self.backends.lock.clone(), context())),
            store: Arc::new(Intercepted::new(self.backends.store.clone(), context())),
            // It is read for alerts only: nothing that the simulation checks depends on it.
            service: self.store.clone(),
            account: None,
            replicas: Arc::new(testing::FakeReplicas::default()),
            hosts: Arc::new(Intercepted::new(self.backends.hosts.clone(), context())),
            alerts: Arc::new(Intercepted::<dyn Alerts>::new(
                self.alerts.clone(),
                context(),
            )),
            metrics: Arc::new(Discarded),
            invoker: Arc::new(Intercepted::<dyn ReconcileInvoker>::new(
                self.hand_overs.clone(),
                context(),
            )),
            clock: Arc::new(SkewedClock {
                world: self.clock.clone(),
                skew,
                stands_at: self.clocks_stand_still.then(|| self.now()),
                context: context(),
            }),
            ids: self.backends.ids.clone(),
            launches: launch_settings(),
            limits: self.limits,
            probes: None,
            recordings: None,
        }
    }

    /// A reconciler without yield points: every call is answered at once. It is meant for dry runs.
    pub fn direct_reconciler(&self) -> Reconciler {
        Reconciler {
            regions: self.database.clone(),
            instances: Some(self.database.clone()),
            lock: self.store.clone(),
            store: self.store.clone(),
            service: self.store.clone(),
            account: None,
            replicas: Arc::new(testing::FakeReplicas::default()),
            hosts: self.hosts.clone(),
            alerts: self.alerts.clone(),
            metrics: Arc::new(Discarded),
            invoker: self.hand_overs.clone(),
            clock: self.clock.clone(),
            ids: self.backends.ids.clone(),
            launches: launch_settings(),
            limits: LIMITS,
            probes: None,
            recordings: None,
        }
    }
}

fn launch_settings() -> LaunchSettings {
    LaunchSettings {
        stack_id: "simulated".to_owned(),
        agent_hasura_url: "http://hasura".to_owned(),
        tokens: AgentTokens::new(
            SecretString::from("0123456789abcdef0123456789abcdef"),
            SignedDuration::from_hours(30 * 24),
        )
        .ok(),
    }
}
