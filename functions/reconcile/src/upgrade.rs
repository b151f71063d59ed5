//! Requests a new image, region by region: an error in one does not affect the others.

use futures::future::join_all;
use serde_json::Value;
use shared::db::{DbError, UpgradeRequested};
use shared::host::HostError;
use shared::ids::{ClientSha, ImageId, RegionName};
use shared::pass::{PassRequest, Reconciler, catch_panic};
use shared::report::{PassReport, StepResult};
use shared::trigger::Trigger;
use thiserror::Error;
use tracing::error;

use crate::request::ImageUpgrade;

#[derive(Debug, Error)]
enum UpgradeError {
    #[error(
        "field `image_upgrade.images.{region}`: {value} is not an image's id: it must be a string, \
         `ami-` and 8 to 17 hexadecimal digits"
    )]
    BadId { region: RegionName, value: Value },
    #[error("EC2 has no image {image} in {region} that can be launched: copy it there")]
    NoImage { image: ImageId, region: RegionName },
    #[error("image {0} is known with another client_sha: build a new image for another commit")]
    OtherSha(ImageId),
    #[error(
        "this stack has no database (HASURA_URL is not set): change REPLICA_IMAGE and deploy again"
    )]
    NoDatabase,
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Database(#[from] DbError),
}

/// Requests the image in each region that the event names, and runs a pass there.
pub(crate) async fn run(
    reconciler: &Reconciler,
    known: &[RegionName],
    upgrade: &ImageUpgrade,
    request: &PassRequest,
) -> Vec<PassReport> {
    let each = upgrade.images.iter().map(|(region, image)| {
        catch_panic(
            region,
            in_region(reconciler, known, upgrade, region, image, request),
        )
    });
    join_all(each).await
}

async fn in_region(
    reconciler: &Reconciler,
    known: &[RegionName],
    upgrade: &ImageUpgrade,
    region: &RegionName,
    image: &Value,
    request: &PassRequest,
) -> PassReport {
    let requested = async {
        let image = image_id(region, image)?;
        let outcome = request_image(reconciler, known, region, &image, &upgrade.client_sha).await?;
        Ok::<_, UpgradeError>((image, outcome))
    };
    let (image, outcome) = match requested.await {
        Ok(requested) => requested,
        Err(error) => {
            error!(%region, %image, %error, "image upgrade not requested");
            return PassReport::failed(region, &error);
        }
    };
    let request = PassRequest {
        trigger: Trigger::ImageUpgrade {
            image: image.clone(),
        },
        ..request.clone()
    };
    let mut report = reconciler.run(region, &request).await;
    let result = match outcome {
        UpgradeRequested::Already => "it is warming or current already",
        UpgradeRequested::Requested | UpgradeRequested::OtherSha => "requested",
    };
    let step = StepResult::ok(format!("upgrade to {image}"), result);
    report.results.insert(0, step);
    report
}

async fn request_image(
    reconciler: &Reconciler,
    known: &[RegionName],
    region: &RegionName,
    image: &ImageId,
    client_sha: &ClientSha,
) -> Result<UpgradeRequested, UpgradeError> {
    if !known.contains(region) {
        return Err(DbError::UnknownRegion(region.clone()).into());
    }
    if !reconciler.hosts.in_region(region).has_image(image).await? {
        return Err(UpgradeError::NoImage {
            image: image.clone(),
            region: region.clone(),
        });
    }
    let database = reconciler.instances.as_ref();
    let database = database.ok_or(UpgradeError::NoDatabase)?;
    match database.request_upgrade(region, image, client_sha).await? {
        UpgradeRequested::OtherSha => Err(UpgradeError::OtherSha(image.clone())),
        requested => Ok(requested),
    }
}

/// The image's id, if the value is one. Image ids have seventeen digits, those of old images eight.
fn image_id(region: &RegionName, value: &Value) -> Result<ImageId, UpgradeError> {
    value
        .as_str()
        .filter(|id| {
            id.strip_prefix("ami-").is_some_and(|digits| {
                (8..=17).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit())
            })
        })
        .map(ImageId::from)
        .ok_or_else(|| UpgradeError::BadId {
            region: region.clone(),
            value: value.clone(),
        })
}
