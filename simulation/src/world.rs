//! Everything that is not a function: the database, the lock table, EC2, the time. One world
//! for a whole run; processes come and go.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use shared::agent_token::AgentTokens;
use shared::alerts::{Alerts, Problem};
use shared::assign::Assigner;
use shared::clock::Clock;
use shared::execute::LaunchSettings;
use shared::host::HostHandlers;
use shared::ids::{RegionName, UniqueIds};
use shared::lock::RegionLock;
use shared::pass::{HandOverError, PassLimits, ReconcileInvoker, Reconciler};
use shared::settings::RegionSettings;
use shared::store::StateStore;
use testing::{FakeAssigner, FakeClock, FakeDatabase, FakeHost, FakeHosts, FakeStore};

use crate::blind::Blind;
use crate::facts::Facts;
use crate::gate::{Gates, ProcessId};
use testing::Database;

use crate::ports::{Gated, Seat, SkewedClock};

/// A pass's limits as in production.
pub const LIMITS: PassLimits = PassLimits {
    budget: Duration::from_secs(40),
    lease: Duration::from_secs(50),
    ec2_call: Duration::from_secs(8),
};

/// Lambda ends an invocation after this.
pub const FUNCTION_LIMIT: SignedDuration = SignedDuration::from_secs(60);

/// Slots that one user may hold.
pub const USER_LIMIT: u32 = 2;

pub use testing::ENVIRONMENT;

/// What is behind the gates. A test that a check can fail puts something broken here.
#[derive(Clone)]
pub struct Behind {
    pub database: Arc<dyn Database>,
    pub lock: Arc<dyn RegionLock>,
    pub log: Arc<dyn StateStore>,
    pub hosts: Arc<dyn HostHandlers>,
    pub assigner: Arc<dyn Assigner>,
    pub ids: Arc<dyn UniqueIds>,
}

impl fmt::Debug for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Behind").finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
pub struct World {
    pub clock: Arc<FakeClock>,
    pub database: Arc<FakeDatabase>,
    pub store: Arc<FakeStore>,
    pub hosts: Arc<FakeHosts>,
    /// What passes see of them.
    pub blind: Arc<Blind>,
    pub behind: Behind,
    pub gates: Arc<Gates>,
    pub facts: Arc<Facts>,
    pub mail: Arc<Mail>,
    /// How long passes and leases may take.
    pub limits: PassLimits,
    /// A process's clock shows the time of its start: broken on purpose.
    pub clocks_stand_still: bool,
}

impl Default for World {
    fn default() -> Self {
        let clock = Arc::new(FakeClock::default());
        let database = Arc::new(FakeDatabase::new(clock.clone()));
        let store = Arc::new(FakeStore::default());
        let hosts = Arc::new(FakeHosts::new(clock.clone()));
        let blind = Arc::new(Blind::new(hosts.clone()));
        let behind = Behind {
            database: database.clone(),
            lock: store.clone(),
            log: store.clone(),
            hosts: blind.clone(),
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
            blind,
            behind,
            gates: Arc::default(),
            facts: Arc::default(),
            mail: Arc::default(),
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

    /// A region's row, as an operator left it.
    ///
    /// # Panics
    /// When there is no such region: a simulation makes its regions first.
    pub fn settings(&self, region: &RegionName) -> RegionSettings {
        let rows = self.database.rows();
        rows.tables.regions[region].settings.clone()
    }

    pub fn seat(&self, process: ProcessId) -> Seat {
        Seat {
            process,
            gates: self.gates.clone(),
            facts: self.facts.clone(),
        }
    }

    /// The passes of one invocation: `main`'s wiring, with gates in place of the network.
    pub fn reconciler(&self, process: ProcessId, skew: SignedDuration) -> Reconciler {
        let seat = || self.seat(process);
        let database = Arc::new(Gated::new(self.behind.database.clone(), seat()));
        Reconciler {
            regions: database.clone(),
            instances: Some(database),
            lock: Arc::new(Gated::new(self.behind.lock.clone(), seat())),
            store: Arc::new(Gated::new(self.behind.log.clone(), seat())),
            replicas: Arc::new(testing::FakeReplicas::default()),
            hosts: Arc::new(Gated::new(self.behind.hosts.clone(), seat())),
            alerts: Arc::new(Gated::<dyn Alerts>::new(self.mail.clone(), seat())),
            invoker: Arc::new(Gated::<dyn ReconcileInvoker>::new(
                self.mail.clone(),
                seat(),
            )),
            clock: Arc::new(SkewedClock {
                world: self.clock.clone(),
                skew,
                stands_at: self.clocks_stand_still.then(|| self.now()),
                seat: seat(),
            }),
            ids: self.behind.ids.clone(),
            launches: launch_settings(),
            limits: self.limits,
        }
    }

    /// Passes without gates: what they ask is answered at once. For looking, not for acting.
    pub fn onlooker(&self) -> Reconciler {
        Reconciler {
            regions: self.database.clone(),
            instances: Some(self.database.clone()),
            lock: self.store.clone(),
            store: self.store.clone(),
            replicas: Arc::new(testing::FakeReplicas::default()),
            hosts: self.hosts.clone(),
            alerts: self.mail.clone(),
            invoker: self.mail.clone(),
            clock: self.clock.clone(),
            ids: self.behind.ids.clone(),
            launches: launch_settings(),
            limits: LIMITS,
        }
    }
}

fn launch_settings() -> LaunchSettings {
    LaunchSettings {
        stack_id: "simulated".to_owned(),
        agent_hasura_url: "http://hasura".to_owned(),
        tokens: Some(AgentTokens::new(
            SecretString::from("0123456789abcdef0123456789abcdef"),
            SignedDuration::from_hours(30 * 24),
        )),
    }
}

/// Ids that never repeat in a run, and are the same in the next.
#[derive(Debug, Default)]
pub struct CountedIds(Mutex<u64>);

impl UniqueIds for CountedIds {
    fn unique(&self) -> String {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *made += 1;
        format!("u{made}")
    }
}

/// A region that a pass leaves to another invocation, and the id of what it came from.
#[derive(Clone, Debug)]
pub struct HandOver {
    pub region: RegionName,
    pub id: String,
}

/// What passes leave for somebody else: regions handed over, problems told.
#[derive(Debug, Default)]
pub struct Mail {
    handed_over: Mutex<Vec<HandOver>>,
}

impl Mail {
    /// Since this was last asked.
    pub fn handed_over(&self) -> Vec<HandOver> {
        let mut regions = self
            .handed_over
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut regions)
    }
}

#[async_trait]
impl ReconcileInvoker for Mail {
    async fn hand_over(&self, region: &RegionName, id: &str) -> Result<(), HandOverError> {
        let mut regions = self
            .handed_over
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        regions.push(HandOver {
            region: region.clone(),
            id: id.to_owned(),
        });
        Ok(())
    }
}

#[async_trait]
impl Alerts for Mail {
    async fn send(&self, _region: &RegionName, _problems: &[Problem]) -> bool {
        true
    }
}
