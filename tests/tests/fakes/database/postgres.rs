//! The real side: the SQL functions, called by the service's own adapters over GraphQL or, for
//! agents and operators, directly. The test decides the time and the slot ids.

mod rows;

use std::sync::atomic::{AtomicUsize, Ordering};

use hasura_adapter::{HasuraAssigner, HasuraDatabase};
use jiff::{SignedDuration, Timestamp};
use scaling_tests::database::{Database as Copy, Session};
use scaling_tests::graphql::Engine;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::assign::Assigner;
use shared::function_token::FunctionRole;
use shared::ids::{ImageId, InstanceId, LaunchId, RegionName};
use shared::model::{ImageState, InstanceStatus};
use shared::settings::{AddressSource, Endings};
use testing::Database;
use testing::{AgentAnswer, AgentClaims, AgentOutcome, SlotStatus, Tables, image, stored_name};

use rows::Dump;

use super::sides::{APPS, ENVIRONMENT, REPORTED, Side, USER_LIMIT, first_state, regions};
use super::steps::{IMAGES, Set};

/// Replaces time and slot ids: every function of the project looks for `now()` in the schema
/// `virtual` first, and slots are numbered as they are made.
const OWN_CLOCK: &str = "
    CREATE SCHEMA virtual;
    CREATE TABLE virtual.clock (now timestamptz NOT NULL);
    INSERT INTO virtual.clock VALUES ('epoch');
    CREATE FUNCTION virtual.now() RETURNS timestamptz LANGUAGE sql STABLE
        AS 'SELECT c.now FROM virtual.clock c';
    CREATE OR REPLACE FUNCTION internal.clock() RETURNS timestamptz LANGUAGE sql STABLE
        AS 'SELECT c.now FROM virtual.clock c';
    ALTER TABLE images ALTER COLUMN state_since SET DEFAULT virtual.now();
    CREATE SEQUENCE virtual.slots_made;
    ALTER TABLE slots ALTER COLUMN created_at SET DEFAULT virtual.now(), ALTER COLUMN id
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

/// Steps from one `ANALYZE` to the next.
const ANALYZED_AFTER: usize = 100;

const EMPTY: &str = "
    TRUNCATE regions, instances, heartbeats, slots, images, app_versions, waiting_users,
        region_fences, region_wakeups, internal.host_leaves, internal.agent_tokens,
        internal.session_ends, internal.failed_sessions, internal.line_forecasts, internal.spare_slots,
        internal.region_capacity, internal.served_hashes, internal.safety_factors, session_history,
        instance_history, usage_hours, machine_hours, internal.unserved_users, schedules
        RESTART IDENTITY;
    ALTER SEQUENCE virtual.slots_made RESTART";

#[derive(Debug)]
pub(crate) struct PostgresSide {
    session: Session,
    passes: HasuraDatabase,
    events: HasuraDatabase,
    assigner: HasuraAssigner,
    _engine: Engine,
    steps: AtomicUsize,
}

impl PostgresSide {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let database = Copy::empty().await?;
        let session = database.connect().await?;
        session.run(OWN_CLOCK).await?;
        let engine = Engine::with_allow_list(&database).await?;
        let assigner = engine.client(FunctionRole::Assigner)?;
        Ok(Self {
            session,
            assigner: HasuraAssigner::new(assigner, USER_LIMIT, ENVIRONMENT),
            passes: engine.adapter(FunctionRole::Passes)?,
            events: engine.adapter(FunctionRole::Events)?,
            _engine: engine,
            steps: AtomicUsize::new(0),
        })
    }

    /// Resets the database to the state with which every history begins.
    pub(crate) async fn empty(&self) -> anyhow::Result<()> {
        self.session.run(EMPTY).await?;
        for settings in regions() {
            let waits = settings.timeouts;
            self.run(format!(
                "INSERT INTO regions (name, target_free, max_instances, scale_up_step,
                     scale_down_step, launch_choices, address_source, heartbeat_seconds,
                     lost_seconds, line_seconds, algorithm, stock_out_goal,
                     pass_seconds)
                 VALUES ('{}', {}, {}, 0, 0, '[]', '{}', {}, {}, {}, '{}', {}, {})",
                settings.name,
                settings.target_free,
                settings.max_instances,
                match settings.addresses {
                    AddressSource::Public => "public",
                    _ => "private",
                },
                waits.heartbeat.as_secs(),
                waits.lost.as_secs(),
                settings.line_seconds,
                settings.algorithm,
                settings.stock_out_goal,
                settings.pass_seconds,
            ))
            .await;
            for it in &settings.schedules {
                self.run(format!(
                    "INSERT INTO schedules (region, kind, slots, from_time, until_time, time_zone,
                         set_by, note)
                     VALUES ('{}', '{}', {}, '{}', '{}', 'UTC', '{}', '{}')",
                    settings.name,
                    it.kind.as_str(),
                    it.slots,
                    it.from,
                    it.until,
                    it.set_by,
                    it.note.replace('\'', "''"),
                ))
                .await;
            }
            for id in IMAGES {
                let image = image(id, first_state(&settings.name, id));
                self.run(format!(
                    "INSERT INTO images (region, image_id, client_sha, state, state_since)
                     VALUES ('{}', '{id}', '{}', '{}', '{}')",
                    settings.name,
                    image.client_sha,
                    stored_name(image.state),
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

    pub(super) async fn run(&self, sql: String) {
        self.session.run(&sql).await.unwrap();
    }

    async fn agent(
        &self,
        function: &str,
        arguments: &str,
        claims: impl Into<AgentClaims>,
    ) -> AgentAnswer {
        let claims = session_of(&claims.into());
        let call = format!("SELECT * FROM {function}({arguments}, '{claims}')");
        answer_of(self.session.row(&call).await.unwrap())
    }
}

fn answer_of(row: Value) -> AgentAnswer {
    #[derive(Deserialize)]
    struct Row {
        instance_id: Option<InstanceId>,
        outcome: AgentOutcome,
        status: Option<InstanceStatus>,
        token: Option<String>,
    }
    let row: Row = serde_json::from_value(row).unwrap();
    AgentAnswer {
        instance_id: row.instance_id,
        outcome: row.outcome,
        status: row.status,
        token: row.token,
    }
}

fn session_of(claims: &AgentClaims) -> Value {
    json!({
        "x-hasura-role": "host_agent",
        "x-hasura-launch-id": claims.launch,
        "x-hasura-token-id": claims.token,
    })
}

impl Side for PostgresSide {
    fn database(&self) -> &dyn Database {
        &self.passes
    }

    fn database_of_events(&self) -> &dyn Database {
        &self.events
    }

    fn assigner(&self) -> &dyn Assigner {
        &self.assigner
    }

    async fn set_time(&self, now: Timestamp) {
        // As the server does by itself after a while: answers may not depend on the plans that it chooses.
        if self.steps.fetch_add(1, Ordering::Relaxed) % ANALYZED_AFTER == ANALYZED_AFTER - 1 {
            self.run("ANALYZE slots, instances, heartbeats, waiting_users".to_owned())
                .await;
        }
        self.run(format!("UPDATE virtual.clock SET now = '{now}'"))
            .await;
    }

    async fn register(&self, id: &InstanceId, launch: &LaunchId) -> AgentAnswer {
        let arguments = format!("'{id}', '{REPORTED}'");
        self.agent("register_host", &arguments, launch).await
    }

    async fn heartbeat(&self, id: &InstanceId, launch: &LaunchId) -> AgentAnswer {
        self.agent("heartbeat", &format!("'{id}'"), launch).await
    }

    async fn beat_with(&self, id: &InstanceId, claims: &AgentClaims) -> AgentAnswer {
        let arguments = format!("'{id}'");
        self.agent("heartbeat", &arguments, claims.clone()).await
    }

    async fn own(&self, id: &InstanceId, launch: &LaunchId) -> Option<Value> {
        let session = session_of(&launch.into());
        let call = format!("SELECT o.status, o.slots FROM own_instance('{id}', '{session}') o");
        self.session.rows(&call).await.unwrap().pop()
    }

    async fn revoke(&self, id: &InstanceId) -> String {
        self.session
            .outcome(&format!("revoke_agent('{id}')"))
            .await
            .unwrap()
    }

    async fn claim(&self, slot: &str, user: &str, session: &str, launch: &LaunchId) -> AgentAnswer {
        let arguments = format!("'{slot}', '{user}', '{session}'");
        self.agent("claim_slot", &arguments, launch).await
    }

    async fn report(&self, slot: &str, to: SlotStatus, launch: &LaunchId) -> AgentAnswer {
        let arguments = format!("'{slot}', '{}'", stored_name(to));
        self.agent("report_slot", &arguments, launch).await
    }

    async fn replace(&self, slot: &str, launch: &LaunchId) -> AgentAnswer {
        let arguments = format!("'{slot}'");
        self.agent("replace_slot", &arguments, launch).await
    }

    async fn leave(&self, id: &InstanceId, reason: &str, launch: &LaunchId) -> AgentAnswer {
        let arguments = format!("'{id}', '{reason}'");
        self.agent("leave_host", &arguments, launch).await
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
            stored_name(state)
        ))
        .await;
    }

    async fn beat_idle(
        &self,
        id: &InstanceId,
        launch: &LaunchId,
        slot: &str,
        seconds: u32,
    ) -> AgentAnswer {
        let session = session_of(&launch.into());
        let idle = json!({slot: seconds});
        let call = format!("SELECT * FROM heartbeat('{id}', '{session}', '{idle}')");
        answer_of(self.session.row(&call).await.unwrap())
    }

    async fn ends(&self, id: &InstanceId, launch: &LaunchId) -> Vec<(String, String, Timestamp)> {
        #[derive(Deserialize)]
        struct End {
            slot_id: String,
            end_cause: String,
            end_by: Timestamp,
        }
        let session = session_of(&launch.into());
        let call = format!("SELECT ends FROM heartbeat('{id}', '{session}')");
        let row = self.session.row(&call).await.unwrap();
        let ends: Vec<End> = serde_json::from_value(row["ends"].clone()).unwrap();
        let ends = ends.into_iter();
        ends.map(|end| (end.slot_id, end.end_cause, end.end_by))
            .collect()
    }

    async fn end_by_operator(&self, user: &str, session: &str) -> String {
        let call = format!("end_session('{user}', '{session}')");
        self.session.outcome(&call).await.unwrap()
    }

    async fn set_endings(&self, region: &RegionName, endings: Endings) {
        let seconds = |limit: Option<SignedDuration>| match limit {
            Some(limit) => limit.as_secs().to_string(),
            None => "NULL".to_owned(),
        };
        self.run(format!(
            "UPDATE regions SET max_session_seconds = {}, max_idle_seconds = {},
                 end_warning_seconds = {}, drain_deadline_seconds = {}, max_age_seconds = {}
             WHERE name = '{region}'",
            seconds(endings.max_session),
            seconds(endings.max_idle),
            endings.warning.as_secs(),
            seconds(endings.drain_deadline),
            seconds(endings.max_age),
        ))
        .await;
    }

    async fn drain_by_hand(&self, id: &InstanceId) {
        self.run(format!(
            "UPDATE instances SET status = 'DRAINING'
             WHERE id = '{id}' AND status IN ('PRE_CONNECTION', 'ACTIVE')"
        ))
        .await;
    }

    async fn rows(&self) -> Tables {
        let public = [
            "images",
            "instances",
            "heartbeats",
            "slots",
            "app_versions",
            "waiting_users",
            "region_fences",
            "region_wakeups",
            "session_history",
            "instance_history",
        ];
        let internal = [
            "agent_tokens",
            "line_forecasts",
            "region_capacity",
            "unserved_users",
            "safety_factors",
        ];
        let all = public.map(|table| ("public", table)).into_iter();
        let all = all.chain(internal.map(|table| ("internal", table)));
        let all = all.map(|(schema, table)| {
            format!("(SELECT coalesce(jsonb_agg(t), '[]') FROM {schema}.{table} t) AS {table}")
        });
        let all: Vec<_> = all.collect();
        let dump = self
            .session
            .row(&format!("SELECT {}", all.join(", ")))
            .await;
        let dump: Dump = serde_json::from_value(dump.unwrap()).unwrap();
        dump.tables()
    }
}
