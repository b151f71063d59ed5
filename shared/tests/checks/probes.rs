//! Ports that know of a sound deployment, and of which one can fail or hang.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use shared::doctor::facts::{
    Database, Events, Function, Group, Hasura, Image, InstanceType, KeySet, Stranger, Subnet,
    Table, Topic,
};
use shared::doctor::ports::{
    AccountProbe, DatabaseProbe, FunctionsProbe, HostProbe, HostProbes, KeySetProbe, ProbeError,
    Probes, TableProbe, TopicProbe,
};
use shared::function_token::TokenClaims;
use shared::host::{HostError, HostErrorKind};
use shared::ids::{ImageId, RegionName};
use shared::model::LaunchRequest;
use testing::World;

use crate::{database, stores};

/// How a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Fails,
    Hangs,
}

/// All calls succeed but the one of this name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sound(pub(crate) Option<(&'static str, Way)>);

impl Sound {
    async fn call<T>(self, name: &str, answer: T) -> Result<T, ProbeError> {
        match self.0.filter(|(broken, _)| *broken == name) {
            None => Ok(answer),
            Some((_, Way::Fails)) => Err(ProbeError::Unavailable("it is down".to_owned())),
            Some((_, Way::Hangs)) => std::future::pending().await,
        }
    }

    async fn at_ec2<T>(self, name: &str, answer: T) -> Result<T, HostError> {
        let answer = self.call(name, answer).await;
        answer.map_err(|error| HostError {
            kind: HostErrorKind::Unclear,
            operation: "ask EC2",
            code: "Unavailable".to_owned(),
            message: error.to_string(),
        })
    }

    pub(crate) fn probes(self, world: &World) -> Probes {
        Probes {
            database: Some(Arc::new(self)),
            table: Arc::new(self),
            history: world.store.clone(),
            topic: Some(Arc::new(self)),
            functions: Some(Arc::new(self)),
            token: Some(TokenClaims {
                role: "passes".to_owned(),
                expires_at: Timestamp::MAX,
            }),
            keys: Some(Arc::new(self)),
            account: Arc::new(self),
            hosts: Arc::new(self),
            reports: world.store.clone(),
            limit: Duration::from_millis(200),
        }
    }
}

#[async_trait]
impl DatabaseProbe for Sound {
    async fn database(&self) -> Result<Database, ProbeError> {
        self.call("database", database::sound()).await
    }

    async fn events(&self) -> Result<Option<Vec<Events>>, ProbeError> {
        let events = Events {
            trigger: "region_wake".to_owned(),
            delivered: 1,
            overdue: 0,
            failed: 0,
            last_status: Some(200),
        };
        self.call("events", Some(vec![events])).await
    }

    async fn hasura(&self) -> Result<Hasura, ProbeError> {
        self.call("hasura", database::sound_hasura()).await
    }

    async fn as_agent(&self, token: &str) -> Result<Stranger, ProbeError> {
        assert_eq!(token.split('.').count(), 3, "a signed token");
        self.call("as agent", Stranger::OnlyListed).await
    }
}

#[async_trait]
impl TableProbe for Sound {
    async fn table(&self) -> Result<Table, ProbeError> {
        self.call("table", stores::sound_table()).await
    }
}

#[async_trait]
impl TopicProbe for Sound {
    async fn topic(&self) -> Result<Topic, ProbeError> {
        self.call("topic", Topic { subscribers: 1 }).await
    }
}

#[async_trait]
impl FunctionsProbe for Sound {
    async fn functions(&self) -> Result<Vec<Function>, ProbeError> {
        self.call("functions", Vec::new()).await
    }
}

#[async_trait]
impl KeySetProbe for Sound {
    async fn keys(&self) -> Result<KeySet, ProbeError> {
        self.call("keys", KeySet::Usable).await
    }
}

#[async_trait]
impl AccountProbe for Sound {
    async fn has_spot_role(&self) -> Result<bool, ProbeError> {
        self.call("spot role", true).await
    }

    async fn quota(&self, _: &RegionName, _: &str) -> Result<f64, ProbeError> {
        self.call("quota", 1000.0).await
    }
}

impl HostProbes for Sound {
    fn in_region(&self, _: &RegionName) -> Arc<dyn HostProbe> {
        Arc::new(*self)
    }
}

#[async_trait]
impl HostProbe for Sound {
    async fn image(&self, _: &ImageId) -> Result<Option<Image>, HostError> {
        let (state, architecture) = ("available".to_owned(), "x86_64".to_owned());
        self.at_ec2(
            "image",
            Some(Image {
                state,
                architecture,
            }),
        )
        .await
    }

    async fn types(&self, names: &[String]) -> Result<Vec<InstanceType>, HostError> {
        let of = |name: &String| InstanceType {
            name: name.clone(),
            architectures: vec!["x86_64".to_owned()],
            vcpus: 2,
        };
        self.at_ec2("types", names.iter().map(of).collect()).await
    }

    async fn subnets(&self, ids: &[String]) -> Result<Vec<Subnet>, HostError> {
        let of = |id: &String| Subnet {
            id: id.clone(),
            vpc: "vpc-1".to_owned(),
            assigns_public_addresses: true,
            free_addresses: 100,
        };
        self.at_ec2("subnets", ids.iter().map(of).collect()).await
    }

    async fn groups(&self, ids: &[String]) -> Result<Vec<Group>, HostError> {
        let of = |id: &String| Group {
            id: id.clone(),
            vpc: "vpc-1".to_owned(),
        };
        self.at_ec2("groups", ids.iter().map(of).collect()).await
    }

    async fn rehearse(&self, request: &LaunchRequest) -> Result<(), HostError> {
        assert_eq!(request.subnet_id, "subnet-a");
        self.at_ec2("rehearse", ()).await
    }
}
