//! All ports of a pass, in memory, with a clock that tests advance.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use shared::agent_token::AgentTokens;
use shared::alerts::{Alerts, Problem};
use shared::clock::Clock;
use shared::execute::LaunchSettings;
use shared::ids::{RandomIds, RegionName};
use shared::metrics::{Batch, Metric, Metrics};
use shared::model::Instance;
use shared::pass::{HandOverError, PassLimits, PassRequest, ReconcileInvoker, Reconciler};
use shared::report::PassReport;
use shared::trigger::Trigger;

use crate::{FakeDatabase, FakeHost, FakeHosts, FakeReplicas, FakeStore, NOW, RegionItems};

/// One region with its database, scaling table and EC2.
#[derive(Clone, Debug)]
pub struct World {
    pub database: Arc<FakeDatabase>,
    pub store: Arc<FakeStore>,
    pub host: Arc<FakeHost>,
    /// EC2 in regions of the account that have no row.
    pub other_regions: Vec<(RegionName, Arc<FakeHost>)>,
    pub replicas: Arc<FakeReplicas>,
    pub clock: Arc<FakeClock>,
    pub alerts: Arc<Sent>,
    pub metrics: Arc<Recorded>,
    pub handed_over: Arc<Sent>,
}

impl World {
    /// A region with these instances, whose machines run at EC2.
    pub fn with(instances: impl IntoIterator<Item = Instance>) -> Self {
        let clock = Arc::new(FakeClock::default());
        let instances: Vec<_> = instances.into_iter().collect();
        Self {
            host: Arc::new(FakeHost::with(&Self::region(), &instances, clock.clone())),
            database: Arc::new(FakeDatabase::with(&instances, clock.clone())),
            other_regions: vec![],
            replicas: Arc::default(),
            store: Arc::default(),
            clock,
            alerts: Arc::default(),
            metrics: Arc::default(),
            handed_over: Arc::default(),
        }
    }

    pub fn reconciler(&self) -> Reconciler {
        let hosts = Arc::new(FakeHosts::new(self.clock.clone()));
        hosts.insert(Self::region(), self.host.clone());
        for (region, host) in &self.other_regions {
            hosts.insert(region.clone(), host.clone());
        }
        Reconciler {
            regions: self.database.clone(),
            instances: Some(self.database.clone()),
            lock: self.store.clone(),
            store: self.store.clone(),
            service: self.store.clone(),
            account: Some(hosts.clone()),
            hosts,
            replicas: self.replicas.clone(),
            alerts: self.alerts.clone(),
            metrics: self.metrics.clone(),
            invoker: self.handed_over.clone(),
            clock: self.clock.clone(),
            ids: Arc::new(RandomIds),
            launches: LaunchSettings {
                stack_id: "test".to_owned(),
                agent_hasura_url: "http://hasura".to_owned(),
                tokens: AgentTokens::new(
                    SecretString::from("0123456789abcdef0123456789abcdef"),
                    SignedDuration::from_hours(30 * 24),
                )
                .ok(),
            },
            limits: PassLimits {
                budget: Duration::from_secs(40),
                lease: Duration::from_secs(50),
                ec2_call: Duration::from_secs(8),
            },
            probes: None,
            recordings: None,
        }
    }

    /// Runs one pass by hand.
    pub async fn pass(&self) -> PassReport {
        let request = PassRequest {
            trigger: Trigger::ByHand,
            id: "test".to_owned(),
            began: self.clock.now(),
            approve_mass_removal: false,
        };
        self.reconciler().run(&Self::region(), &request).await
    }

    /// The region's items in the scaling table.
    pub fn items(&self) -> RegionItems {
        self.store.items().of(&Self::region()).clone()
    }

    pub fn region() -> RegionName {
        "us-east-1".into()
    }
}

#[derive(Debug)]
pub struct FakeClock(Mutex<Timestamp>);

impl Default for FakeClock {
    fn default() -> Self {
        Self(Mutex::new(NOW))
    }
}

impl FakeClock {
    pub fn advance(&self, by: SignedDuration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }
}

#[async_trait]
impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Advances the clock instead of waiting.
    async fn sleep(&self, duration: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += duration;
    }
}

/// Records alerts and hand-overs.
#[derive(Debug, Default)]
pub struct Sent(Mutex<Vec<String>>);

impl Sent {
    pub fn all(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn push(&self, message: String) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(message);
    }
}

/// Keeps the metrics that are recorded.
#[derive(Debug, Default)]
pub struct Recorded(Mutex<Vec<Batch>>);

impl Recorded {
    pub fn batches(&self) -> Vec<Batch> {
        let batches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        batches.clone()
    }

    /// All values of a metric so far.
    pub fn values(&self, metric: Metric) -> Vec<f64> {
        let batches = self.batches();
        batches
            .iter()
            .flat_map(|batch| batch.values(metric).to_vec())
            .collect()
    }

    /// Forgets what was recorded.
    pub fn clear(&self) {
        let mut batches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        batches.clear();
    }
}

impl Metrics for Recorded {
    fn record(&self, batch: Batch) {
        let mut batches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        batches.push(batch);
    }
}

#[async_trait]
impl Alerts for Sent {
    async fn send(&self, region: &RegionName, problems: &[Problem]) -> bool {
        for problem in problems {
            self.push(format!("{region}: {}", problem.text));
        }
        true
    }
}

#[async_trait]
impl ReconcileInvoker for Sent {
    async fn hand_over(&self, region: &RegionName, _id: &str) -> Result<(), HandOverError> {
        self.push(region.to_string());
        Ok(())
    }
}
