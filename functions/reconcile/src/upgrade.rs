//! Asking for a new image, region by region: what is wrong with one leaves the others alone.

use futures::future::join_all;
use shared::db::{Asked, DbError};
use shared::host::HostError;
use shared::ids::{ClientSha, ImageId, RegionName};
use shared::pass::{Order, Passes};
use shared::report::{PassReport, StepResult};
use shared::trigger::Trigger;
use thiserror::Error;
use tracing::error;

use crate::guarded;
use crate::request::ImageUpgrade;

#[derive(Debug, Error)]
enum UpgradeError {
    #[error(
        "field `image_upgrade.images`: {:?} is not an image's id, `ami-` and 8 to 17 hexadecimal \
         digits", .0.as_str()
    )]
    BadId(ImageId),
    #[error(
        "EC2 has no image {image} in {region} that could be launched from: was it copied there?"
    )]
    NoImage { image: ImageId, region: RegionName },
    #[error("image {0} is known with another client_sha: an image is built from one commit")]
    OtherSha(ImageId),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Database(#[from] DbError),
}

/// Asks in each region that the order names, and then looks at it.
pub(crate) async fn run(
    passes: &Passes,
    known: &[RegionName],
    upgrade: &ImageUpgrade,
    order: &Order,
) -> Vec<PassReport> {
    let each = upgrade.images.iter().map(|(region, image)| {
        guarded(
            region,
            in_region(passes, known, upgrade, region, image, order),
        )
    });
    join_all(each).await
}

async fn in_region(
    passes: &Passes,
    known: &[RegionName],
    upgrade: &ImageUpgrade,
    region: &RegionName,
    image: &ImageId,
    order: &Order,
) -> PassReport {
    let asked = match ask(passes, known, region, image, &upgrade.client_sha).await {
        Ok(asked) => asked,
        Err(problem) => {
            error!(%region, %image, %problem, "the upgrade was not asked for");
            return PassReport::failed(region, &problem);
        }
    };
    let order = Order {
        trigger: Trigger::ImageUpgrade {
            image: image.clone(),
        },
        ..order.clone()
    };
    let mut report = passes.run(region, &order).await;
    let said = match asked {
        Asked::Already => "it warms, or is current, already",
        Asked::Asked | Asked::OtherSha => "asked for",
    };
    let step = StepResult::ok(format!("upgrade to {image}"), said);
    report.results.insert(0, step);
    report
}

async fn ask(
    passes: &Passes,
    known: &[RegionName],
    region: &RegionName,
    image: &ImageId,
    client_sha: &ClientSha,
) -> Result<Asked, UpgradeError> {
    if !is_image_id(image.as_str()) {
        return Err(UpgradeError::BadId(image.clone()));
    }
    if !known.contains(region) {
        return Err(DbError::UnknownRegion(region.clone()).into());
    }
    if !passes.hosts.in_region(region).has_image(image).await? {
        return Err(UpgradeError::NoImage {
            image: image.clone(),
            region: region.clone(),
        });
    }
    match passes
        .database
        .ask_upgrade(region, image, client_sha)
        .await?
    {
        Asked::OtherSha => Err(UpgradeError::OtherSha(image.clone())),
        asked => Ok(asked),
    }
}

/// EC2's ids: eight digits for old images, seventeen for all since.
fn is_image_id(id: &str) -> bool {
    id.strip_prefix("ami-").is_some_and(|digits| {
        (8..=17).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit())
    })
}
