//! Asks everything at the same time, and lets the judges speak.

use std::time::Duration;

use futures::future::{OptionFuture, join_all};
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret;
use tokio::time::timeout;
use uuid::Uuid;

use super::facts::{Asked, Database, Events, Hasura, Stranger};
use super::judge;
use super::ports::{DatabaseProbe, ProbeError, Probes};
use super::regions::{self, RegionChecks};
use super::report::{Check, Report};
use crate::ids::{LaunchId, RegionName};
use crate::pass::Reconciler;

/// How long the token is valid that doctor reads as a stranger with.
const STRANGER: SignedDuration = SignedDuration::from_mins(1);

/// Examines the deployment, and stores the report for the status page.
pub async fn examine(reconciler: &Reconciler, probes: &Probes) -> Report {
    let began = reconciler.clock.now();
    let (mut checks, regions) = futures::join!(
        Box::pin(of_the_stack(reconciler, probes)),
        Box::pin(of_the_regions(reconciler, probes)),
    );
    checks.splice(0..0, [regions.listed]);
    let uses_spot = regions.each.iter().any(|region| region.uses_spot);
    let role: OptionFuture<_> = uses_spot
        .then(|| probes.limited(probes.account.has_spot_role()))
        .into();
    checks.push(judge::spot_role(role.await.as_ref()));
    checks.extend(regions.each.into_iter().flat_map(|region| region.checks));
    let took = reconciler.clock.now().duration_since(began);
    let took = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
    let mut report = Report::new(began, took, checks);
    if let Err(error) = probes.limited(probes.reports.store(&report)).await {
        let check = Check::warning(
            "report",
            format!("not stored: {error}"),
            "The status page shows an earlier report, or none.",
            "See the check `table`.",
        );
        report.checks.push(check);
        report = Report::new(report.at, report.duration_ms, report.checks);
    }
    report
}

struct Regions {
    listed: Check,
    each: Vec<RegionChecks>,
}

async fn of_the_regions(reconciler: &Reconciler, probes: &Probes) -> Regions {
    let names = match timeout(probes.limit, reconciler.regions.regions()).await {
        Ok(names) => names,
        Err(_) => Err(crate::db::DbError::Unavailable {
            operation: "list regions",
            reason: too_slow(probes.limit),
        }),
    };
    let listed = judge::regions(&names);
    let each = names.iter().flatten();
    let each = each.map(|region: &RegionName| regions::examine(reconciler, probes, region));
    Regions {
        listed,
        each: join_all(each).await,
    }
}

async fn of_the_stack(reconciler: &Reconciler, probes: &Probes) -> Vec<Check> {
    let database: OptionFuture<_> = probes
        .database
        .as_deref()
        .map(|probe| of_the_database(reconciler, probes, probe))
        .into();
    let topic: OptionFuture<_> = probes
        .topic
        .as_ref()
        .map(|it| probes.limited(it.topic()))
        .into();
    let keys: OptionFuture<_> = probes
        .keys
        .as_ref()
        .map(|it| probes.limited(it.keys()))
        .into();
    let functions: OptionFuture<_> = probes
        .functions
        .as_ref()
        .map(|it| probes.limited(it.functions()))
        .into();
    let (database, table, topic, functions, keys) = futures::join!(
        Box::pin(database),
        probes.limited(probes.table.table()),
        topic,
        functions,
        keys,
    );
    let mut checks = database.unwrap_or_default();
    checks.push(judge::table(&table));
    checks.push(judge::alerts(topic.as_ref()));
    checks.extend(functions.iter().map(judge::functions));
    // A stack of replicas alone has neither Hasura nor users.
    if probes.database.is_some() {
        checks.push(judge::tokens(probes.token.as_ref(), reconciler.clock.now()));
        checks.push(judge::keys(keys.as_ref()));
    }
    checks
}

async fn of_the_database(
    reconciler: &Reconciler,
    probes: &Probes,
    probe: &dyn DatabaseProbe,
) -> Vec<Check> {
    let before = reconciler.clock.now();
    let asked = async {
        let facts = probes.limited(probe.database()).await;
        (facts, reconciler.clock.now())
    };
    let ((facts, after), events, hasura, stranger) = futures::join!(
        asked,
        probes.limited(probe.events()),
        probes.limited(probe.hasura()),
        as_stranger(reconciler, probes, probe, before),
    );
    let mut checks = Vec::new();
    match &facts {
        Ok(facts) => {
            checks.extend(judge::database(facts));
            checks.push(judge::clock(facts, Asked { before, after }));
        }
        Err(error) => checks.extend(judge::no_database(error)),
    }
    checks.push(events_check(&events));
    checks.extend(hasura_checks(&hasura, facts.as_ref().ok()));
    let seen = (stranger.as_ref().ok(), hasura.as_ref().ok());
    checks.push(judge::allow_list(seen.0, seen.1));
    checks.push(match &stranger {
        Ok(stranger) => judge::agents(stranger),
        Err(error) => judge::untold("host-agents", error),
    });
    checks
}

fn events_check(events: &Result<Option<Vec<Events>>, ProbeError>) -> Check {
    match events {
        Ok(events) => judge::events(events.as_deref()),
        Err(error) => judge::untold("events", error),
    }
}

fn hasura_checks(hasura: &Result<Hasura, ProbeError>, database: Option<&Database>) -> Vec<Check> {
    match hasura {
        Ok(facts) => judge::hasura(facts, database),
        Err(error) => ["metadata", "roles", "migrations", "pool"]
            .map(|check| judge::no_metadata(check, error))
            .into(),
    }
}

/// Reads with the token of a launch that does not exist.
async fn as_stranger(
    reconciler: &Reconciler,
    probes: &Probes,
    probe: &dyn DatabaseProbe,
    now: Timestamp,
) -> Result<Stranger, ProbeError> {
    let tokens = reconciler.launches.tokens.as_ref();
    let tokens = tokens.ok_or_else(|| ProbeError::Missing("HASURA_JWT_KEY is not set".into()))?;
    let launch = LaunchId::new(format!("doctor-{}", Uuid::new_v4()));
    let token = tokens
        .valid_for(STRANGER)
        .mint(&launch, now)
        .map_err(|error| ProbeError::Unavailable(error.to_string()))?;
    probes
        .limited(probe.as_agent(token.token.expose_secret()))
        .await
}

impl Probes {
    /// The answer, or an error when it takes too long.
    pub(super) async fn limited<T>(
        &self,
        answer: impl Future<Output = Result<T, ProbeError>>,
    ) -> Result<T, ProbeError> {
        let answer = timeout(self.limit, answer).await;
        answer.unwrap_or_else(|_| Err(ProbeError::Unavailable(too_slow(self.limit))))
    }
}

pub(super) fn too_slow(limit: Duration) -> String {
    format!("no answer within {} s", limit.as_secs_f64())
}
