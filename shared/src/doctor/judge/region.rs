//! A region's rows: that there are any, its image, and the app version.

use crate::db::DbError;
use crate::doctor::facts::{Image, InstanceType};
use crate::doctor::report::Check;
use crate::host::HostError;
use crate::ids::{ClientSha, ImageId, RegionName};
use crate::model::{self, ImageState};
use crate::settings::LaunchChoice;

pub fn regions(regions: &Result<Vec<RegionName>, DbError>) -> Check {
    const NAME: &str = "regions";
    match regions {
        Ok(names) if names.is_empty() => Check::wrong(
            NAME,
            "the table `regions` is empty",
            "Nothing is launched, and every user is refused with REGION_NOT_ENABLED.",
            "Insert a row into `regions` and an image into `images`: docs/deploy.md, step 4.",
        ),
        Ok(names) => {
            let names: Vec<_> = names.iter().map(RegionName::as_str).collect();
            Check::ok(NAME, names.join(", "))
        }
        Err(error) => Check::wrong(
            NAME,
            error.to_string(),
            "Passes and requests fail.",
            "Correct HasuraUrl or the functions' tokens (see the check `tokens`), see that the functions \
             may connect to Hasura, and look into Hasura's log.",
        ),
    }
}

/// Whether some image serves the clients that users should run.
pub fn app_version(app: Option<&ClientSha>, images: &[model::Image]) -> Check {
    const NAME: &str = "app-version";
    let Some(app) = app else {
        return Check::warning(
            NAME,
            "app_versions has no row for this environment",
            "Image upgrades never become current, unless `swap_when_warm` is set.",
            "Insert a row into `app_versions` with the stack's Environment.",
        );
    };
    let of_app = |image: &&model::Image| image.client_sha == *app && image.state.has_buffer();
    match images.iter().find(of_app) {
        Some(image) => Check::ok(
            NAME,
            format!("{app} has image {} ({})", image.id, image.state),
        ),
        None => Check::wrong(
            NAME,
            format!("no image of this region serves {app}"),
            "Every client that is up to date is refused with COMMIT_HASH_MISMATCH.",
            "Correct `app_versions.client_sha`, or request an image of that commit.",
        ),
    }
}

/// The image that a launch would use: the current one, or else the one that warms.
pub fn image_to_launch(images: &[model::Image]) -> Option<&model::Image> {
    let of = |state: ImageState| images.iter().find(move |image| image.state == state);
    of(ImageState::Current).or_else(|| of(ImageState::Warming))
}

/// `found` and `types` are EC2's answers about the image and about the types of the choices.
pub fn image(
    id: Option<&ImageId>,
    found: &Result<Option<Image>, HostError>,
    types: &Result<Vec<InstanceType>, HostError>,
    choices: &[LaunchChoice],
) -> Check {
    const NAME: &str = "image";
    const MEANING: &str = "No instance can be launched.";
    let Some(id) = id else {
        return Check::wrong(
            NAME,
            "the region has no CURRENT image",
            MEANING,
            "Insert a row into `images` with the state CURRENT, or request an image.",
        );
    };
    let image = match found {
        Ok(Some(image)) if image.state == "available" => image,
        Ok(Some(image)) => {
            return Check::wrong(
                NAME,
                format!("{id} is {}", image.state),
                MEANING,
                "Wait until it is available, or request another image.",
            );
        }
        Ok(None) => {
            return Check::wrong(
                NAME,
                format!("EC2 has no image {id} in this region, or does not share it"),
                MEANING,
                "Copy the image to this region, share it with this account, or request another.",
            );
        }
        Err(error) => return not_answered(NAME, error),
    };
    let types = match types {
        Ok(types) => types,
        Err(error) => return not_answered(NAME, error),
    };
    for choice in choices {
        let Some(known) = types.iter().find(|it| it.name == choice.instance_type) else {
            return Check::wrong(
                NAME,
                format!("this region has no instance type {}", choice.instance_type),
                "Its launch choice always fails.",
                "Correct `instance_type` in regions.launch_choices.",
            );
        };
        if !known.architectures.contains(&image.architecture) {
            return Check::wrong(
                NAME,
                format!(
                    "{id} is for {}, and {} runs {}",
                    image.architecture,
                    known.name,
                    known.architectures.join(" and ")
                ),
                "Its launch choice always fails.",
                "Correct `instance_type` in regions.launch_choices, or build the image for the \
                 other architecture.",
            );
        }
    }
    Check::ok(NAME, format!("{id} is there, for {}", image.architecture))
}

/// EC2 did not say.
pub(super) fn not_answered(check: &str, error: &HostError) -> Check {
    Check::warning(
        check,
        format!("not checked: {error}"),
        "It may be right or wrong.",
        "With UnauthorizedOperation, deploy this release's template; otherwise run doctor again.",
    )
}
