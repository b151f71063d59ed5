//! One region: its rows, its lock, and a launch of its first choice up to the point where EC2 would
//! launch.

use std::time::Duration;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use tokio::time::timeout;

use super::examine::too_slow;
use super::facts::{Image, InstanceType};
use super::judge::{self, Chosen};
use super::ports::{HostProbe, ProbeError, Probes};
use super::report::Check;
use crate::db::{DbError, Observation};
use crate::host::{HostError, HostErrorKind, HostHandler};
use crate::ids::{ImageId, RegionName};
use crate::lock::LockError;
use crate::pass::Reconciler;
use crate::settings::{LaunchChoice, REPLICA};

pub(super) struct RegionChecks {
    pub(super) checks: Vec<Check>,
    /// Some launch choice is spot.
    pub(super) uses_spot: bool,
}

pub(super) async fn examine(
    reconciler: &Reconciler,
    probes: &Probes,
    region: &RegionName,
) -> RegionChecks {
    let observed = timeout(probes.limit, reconciler.regions.observe(region)).await;
    let observed = observed.unwrap_or_else(|_| {
        Err(DbError::Unavailable {
            operation: "observe a region",
            reason: too_slow(probes.limit),
        })
    });
    let now = reconciler.clock.now();
    let (mut checks, uses_spot) = match &observed {
        Ok(observation) => {
            let settings = &observation.settings;
            let mut checks = vec![settings_check(observation)];
            if settings.algorithm != REPLICA {
                let app = observation.app_sha.as_ref();
                checks.push(judge::app_version(app, &observation.images));
            }
            let uses_spot = settings.launch_choices.iter().any(|choice| choice.spot);
            if settings.enabled {
                let at_ec2 = Ec2 {
                    reconciler,
                    probes,
                    observation,
                };
                checks.extend(Box::pin(at_ec2.checks(now)).await);
            }
            (checks, uses_spot && settings.enabled)
        }
        Err(error) => (vec![bad_settings(error)], false),
    };
    let is_idle = observed.is_ok_and(|it| !it.settings.enabled || it.settings.paused);
    checks.extend(lock_checks(reconciler, probes, region, now, is_idle).await);
    let checks = checks.into_iter().map(|check| check.in_region(region));
    RegionChecks {
        checks: checks.collect(),
        uses_spot,
    }
}

fn settings_check(observation: &Observation) -> Check {
    const NAME: &str = "settings";
    let settings = &observation.settings;
    let finding = format!(
        "target_free {}, max_instances {}",
        settings.target_free, settings.max_instances
    );
    if !settings.enabled {
        return Check::warning(
            NAME,
            "the region is disabled",
            "Its users are refused with REGION_NOT_ENABLED. EC2 was not asked.",
            "Set `enabled` in `regions`, if that is not intended.",
        );
    }
    if settings.paused {
        return Check::warning(
            NAME,
            "the region is paused",
            "Passes launch and remove nothing there.",
            "Set `paused` to false in `regions`, if that is not intended.",
        );
    }
    Check::ok(NAME, finding)
}

fn bad_settings(error: &DbError) -> Check {
    Check::wrong(
        "settings",
        error.to_string(),
        "No pass runs in this region.",
        "Correct what the message names; docs/settings.md has what each column may be.",
    )
}

async fn lock_checks(
    reconciler: &Reconciler,
    probes: &Probes,
    region: &RegionName,
    now: Timestamp,
    is_idle: bool,
) -> Vec<Check> {
    let probed = |error: LockError| ProbeError::Unavailable(error.to_string());
    let records = async { probes.history.records(region).await.map_err(probed) };
    let decided = async { probes.history.decided_at(region).await.map_err(probed) };
    let (records, decided) = futures::join!(probes.limited(records), probes.limited(decided));
    let lease = SignedDuration::try_from(reconciler.limits.lease).unwrap_or(SignedDuration::MAX);
    let mut checks = vec![judge::lock(&records, lease, now)];
    if !is_idle {
        checks.push(judge::passes(&decided, now));
    }
    checks
}

/// What EC2 says about a region's settings.
struct Ec2<'a> {
    reconciler: &'a Reconciler,
    probes: &'a Probes,
    observation: &'a Observation,
}

impl Ec2<'_> {
    async fn checks(&self, now: Timestamp) -> Vec<Check> {
        let limit = self.probes.limit;
        let settings = &self.observation.settings;
        let choices = &settings.launch_choices;
        let host = self.reconciler.hosts.in_region(&settings.name);
        let probe = self.probes.hosts.in_region(&settings.name);
        let image = judge::image_to_launch(&self.observation.images).map(|image| &image.id);
        let chosen = choices
            .iter()
            .map(|choice| in_subnets(limit, &*host, &*probe, choice));
        let (image_found, types, chosen, groups, rehearsed, quota) = futures::join!(
            find_image(limit, &*probe, image),
            find_types(limit, &*probe, choices),
            join_all(chosen),
            within(limit, "look up security groups", async {
                let ids = host.security_groups(&settings.security_groups).await?;
                if ids.is_empty() {
                    Ok(Vec::new())
                } else {
                    probe.groups(&ids).await
                }
            }),
            self.rehearse(&*host, &*probe, now),
            self.quota(),
        );
        let mut checks = vec![judge::image(image, &image_found, &types, choices)];
        let has_groups = !settings.security_groups.is_empty();
        checks.extend(judge::network(&chosen, &groups, has_groups));
        checks.extend(judge::public_addresses(&settings.addresses, &chosen));
        checks.extend(rehearsed);
        if let Some(first) = choices.first() {
            let of_first = |it: &&InstanceType| it.name == first.instance_type;
            let known = types.iter().flatten().find(of_first);
            checks.push(judge::quota(
                &first.machine(),
                settings.max_instances,
                known.map(|it| it.vcpus),
                quota.as_ref(),
            ));
        }
        checks
    }

    /// `RunInstances` with `DryRun`, for what the next pass would launch first.
    async fn rehearse(
        &self,
        host: &dyn HostHandler,
        probe: &dyn HostProbe,
        now: Timestamp,
    ) -> Vec<Check> {
        let settings = &self.observation.settings;
        let profile = settings.instance_profile.as_deref();
        let image = judge::image_to_launch(&self.observation.images);
        let (Some(image), Some(choice)) = (image, settings.launch_choices.first()) else {
            // The checks of the image and of the subnets say what is missing.
            return Vec::new();
        };
        let what = choice.to_string();
        let outcome = within(self.probes.limit, "rehearse a launch", async {
            let groups = host.security_groups(&settings.security_groups).await?;
            let subnets = host.subnets(&choice.subnet).await?;
            let subnet = subnets.into_iter().next().unwrap_or_default();
            let request = self
                .reconciler
                .launches
                .rehearsal(settings, image, choice, (subnet, groups), now)
                .map_err(|reason| HostError {
                    kind: HostErrorKind::Invalid,
                    operation: "make the request of a launch",
                    code: "not sent".to_owned(),
                    message: reason,
                })?;
            probe.rehearse(&request).await
        });
        judge::launch(&what, profile, &outcome.await)
    }

    /// None if the first choice has no quota that is counted in vCPUs.
    async fn quota(&self) -> Option<Result<f64, ProbeError>> {
        let settings = &self.observation.settings;
        let first = settings.launch_choices.first()?;
        let code = judge::quota_code(&first.instance_type, first.spot)?;
        Some(
            self.probes
                .limited(self.probes.account.quota(&settings.name, code))
                .await,
        )
    }
}

async fn in_subnets<'a>(
    limit: Duration,
    host: &dyn HostHandler,
    probe: &dyn HostProbe,
    choice: &'a LaunchChoice,
) -> Chosen<'a> {
    let subnets = within(limit, "look up subnets", async {
        let ids = host.subnets(&choice.subnet).await?;
        probe.subnets(&ids).await
    });
    Chosen {
        choice,
        subnets: subnets.await,
    }
}

async fn find_image(
    limit: Duration,
    probe: &dyn HostProbe,
    image: Option<&ImageId>,
) -> Result<Option<Image>, HostError> {
    match image {
        Some(id) => within(limit, "look up an image", probe.image(id)).await,
        None => Ok(None),
    }
}

async fn find_types(
    limit: Duration,
    probe: &dyn HostProbe,
    choices: &[LaunchChoice],
) -> Result<Vec<InstanceType>, HostError> {
    let mut names: Vec<_> = choices.iter().map(|it| it.instance_type.clone()).collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    within(limit, "look up instance types", probe.types(&names)).await
}

/// The answer, or an error when it takes too long.
async fn within<T>(
    limit: Duration,
    operation: &'static str,
    answer: impl Future<Output = Result<T, HostError>>,
) -> Result<T, HostError> {
    timeout(limit, answer).await.unwrap_or_else(|_| {
        Err(HostError {
            kind: HostErrorKind::Unclear,
            operation,
            code: "no answer".to_owned(),
            message: too_slow(limit),
        })
    })
}
