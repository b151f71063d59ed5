//! The real side: the SQL functions, called by the service's own adapters over GraphQL or, for
//! agents and operators, directly. The test decides the time and the slot ids.

mod rows;

use std::time::Duration;

use hasura_adapter::{HasuraAssigner, HasuraClient, HasuraDatabase, HasuraSettings};
use jiff::Timestamp;
use scaling_tests::database::{Database as Copy, Session};
use scaling_tests::graphql::{ADMIN_SECRET, Engine};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::assign::Assigner;
use shared::ids::{ImageId, InstanceId, LaunchId, RegionName};
use shared::model::{ImageState, InstanceStatus};
use shared::settings::Columns;
use testing::Database;
use testing::{AgentAnswer, AgentOutcome, SlotStatus, Tables, image};

use rows::Dump;

use super::sides::{APPS, ENVIRONMENT, Side, USER_LIMIT, first_state, regions};
use super::steps::{IMAGES, Set};

/// Replaces time and slot ids: every function of the project looks for `now()` in the schema
/// `virtual` first, and slots are numbered as they are made.
const OWN_CLOCK: &str = "
    CREATE SCHEMA virtual;
    CREATE TABLE virtual.clock (now timestamptz NOT NULL);
    INSERT INTO virtual.clock VALUES ('epoch');
    CREATE FUNCTION virtual.now() RETURNS timestamptz LANGUAGE sql STABLE
        AS 'SELECT c.now FROM virtual.clock c';
    ALTER TABLE images ALTER COLUMN state_since SET DEFAULT virtual.now();
    CREATE SEQUENCE virtual.slots_made;
    ALTER TABLE slots ALTER COLUMN id
        SET DEFAULT lpad(to_hex(nextval('virtual.slots_made')), 32, '0')::uuid;
    DO $$
    DECLARE
        each regprocedure;
    BEGIN
        FOR each IN SELECT p.oid FROM pg_proc p
            WHERE p.pronamespace IN ('public'::regnamespace, 'internal'::regnamespace)
        LOOP
            EXECUTE format('ALTER FUNCTION %s SET search_path = virtual, public, pg_catalog', each);
        END LOOP;
    END
    $$";

const EMPTY: &str = "
    TRUNCATE regions, instances, heartbeats, slots, images, app_versions, waiting_users,
        region_fences, region_wakeups;
    ALTER SEQUENCE virtual.slots_made RESTART";

#[derive(Debug)]
pub(crate) struct PostgresSide {
    session: Session,
    client: HasuraDatabase,
    assigner: HasuraAssigner,
    _engine: Engine,
}

impl PostgresSide {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let database = Copy::empty().await?;
        let session = database.connect().await?;
        session.run(OWN_CLOCK).await?;
        let engine = Engine::start(&database).await?;
        let settings = HasuraSettings {
            url: engine.url().to_owned(),
            admin_secret: ADMIN_SECRET.to_owned().into(),
            timeout: Duration::from_secs(30),
        };
        let client = HasuraClient::new(http_client::client()?, &settings)?;
        Ok(Self {
            session,
            assigner: HasuraAssigner::new(client.clone(), USER_LIMIT, ENVIRONMENT),
            client: HasuraDatabase {
                client,
                environment: ENVIRONMENT.to_owned(),
                defaults: Columns::default(),
            },
            _engine: engine,
        })
    }

    /// Resets the database to the state with which every history begins.
    pub(crate) async fn empty(&self) -> anyhow::Result<()> {
        self.session.run(EMPTY).await?;
        for settings in regions() {
            let waits = settings.timeouts;
            self.run(format!(
                "INSERT INTO regions (name, target_free, max_instances, scale_up_step,
                     scale_down_step, launch_choices, heartbeat_seconds, lost_seconds)
                 VALUES ('{}', {}, {}, 0, 0, '[]', {}, {})",
                settings.name,
                settings.target_free,
                settings.max_instances,
                waits.heartbeat.as_secs(),
                waits.lost.as_secs(),
            ))
            .await;
            for id in IMAGES {
                let image = image(id, first_state(&settings.name, id));
                self.run(format!(
                    "INSERT INTO images (region, image_id, client_sha, state, state_since)
                     VALUES ('{}', '{id}', '{}', '{}', '{}')",
                    settings.name,
                    image.client_sha,
                    word(image.state),
                    image.since,
                ))
                .await;
            }
        }
        for (environment, version, sha) in APPS {
            self.run(format!(
                "INSERT INTO app_versions VALUES ('{environment}', '{version}', '{sha}')"
            ))
            .await;
        }
        Ok(())
    }

    async fn run(&self, sql: String) {
        self.session.run(&sql).await.unwrap();
    }

    async fn agent(&self, function: &str, arguments: &str, launch: &LaunchId) -> AgentAnswer {
        #[derive(Deserialize)]
        struct Row {
            instance_id: Option<InstanceId>,
            outcome: AgentOutcome,
            status: Option<InstanceStatus>,
        }
        let claims = json!({"x-hasura-role": "host_agent", "x-hasura-launch-id": launch});
        let call = format!("SELECT * FROM {function}({arguments}, '{claims}')");
        let row: Row = serde_json::from_value(self.session.row(&call).await.unwrap()).unwrap();
        AgentAnswer {
            instance_id: row.instance_id,
            outcome: row.outcome,
            status: row.status,
        }
    }
}

/// An enum's name as the database spells it.
fn word(value: impl serde::Serialize) -> String {
    let word: Value = serde_json::to_value(value).unwrap();
    word.as_str().unwrap().to_owned()
}

impl Side for PostgresSide {
    fn database(&self) -> &dyn Database {
        &self.client
    }

    fn assigner(&self) -> &dyn Assigner {
        &self.assigner
    }

    async fn set_time(&self, now: Timestamp) {
        self.run(format!("UPDATE virtual.clock SET now = '{now}'"))
            .await;
    }

    async fn register(&self, id: &InstanceId, launch: &LaunchId) -> AgentAnswer {
        let arguments = format!("'{id}', '10.0.0.1'");
        self.agent("register_host", &arguments, launch).await
    }

    async fn heartbeat(&self, id: &InstanceId, launch: &LaunchId) -> AgentAnswer {
        self.agent("heartbeat", &format!("'{id}'"), launch).await
    }

    async fn claim(&self, slot: &str, user: &str, session: &str, launch: &LaunchId) -> AgentAnswer {
        let arguments = format!("'{slot}', '{user}', '{session}'");
        self.agent("claim_slot", &arguments, launch).await
    }

    async fn report(&self, slot: &str, to: SlotStatus, launch: &LaunchId) -> AgentAnswer {
        let arguments = format!("'{slot}', '{}'", word(to));
        self.agent("report_slot", &arguments, launch).await
    }

    async fn replace(&self, slot: &str, launch: &LaunchId) -> AgentAnswer {
        let arguments = format!("'{slot}'");
        self.agent("replace_slot", &arguments, launch).await
    }

    async fn set_region(&self, region: &RegionName, set: Set) {
        let Set {
            enabled,
            target_free,
            swap_when_warm,
        } = set;
        self.run(format!(
            "UPDATE regions SET enabled = {enabled}, target_free = {target_free},
                 swap_when_warm = {swap_when_warm}
             WHERE name = '{region}'"
        ))
        .await;
    }

    async fn set_image(&self, region: &RegionName, image: &ImageId, state: ImageState) {
        if state == ImageState::Current {
            self.run(format!(
                "UPDATE images SET state = 'BAKING'
                 WHERE region = '{region}' AND image_id <> '{image}' AND state = 'CURRENT'"
            ))
            .await;
        }
        self.run(format!(
            "UPDATE images SET state = '{}' WHERE region = '{region}' AND image_id = '{image}'",
            word(state)
        ))
        .await;
    }

    async fn rows(&self) -> Tables {
        let all = [
            "images",
            "instances",
            "heartbeats",
            "slots",
            "app_versions",
            "waiting_users",
            "region_fences",
            "region_wakeups",
        ]
        .map(|table| format!("(SELECT coalesce(jsonb_agg(t), '[]') FROM {table} t) AS {table}"));
        let dump = self
            .session
            .row(&format!("SELECT {}", all.join(", ")))
            .await;
        let dump: Dump = serde_json::from_value(dump.unwrap()).unwrap();
        dump.tables()
    }
}
