//! Whether the region serves the clients that users should run. A wrong `app_versions.client_sha`
//! refuses every client that updates, while the buffer is full: nothing else would show it.

use super::plan::Plan;
use super::reason::Reason;
use super::snapshot::Snapshot;
use crate::model::{Image, ImageState};

/// Reports an enabled region that serves no image, or none for the clients that the app version
/// names. A paused region continues to serve users, so it is reported, too.
pub(super) fn report_unserved(snapshot: &Snapshot, plan: &mut Plan) {
    if !snapshot.settings.enabled {
        return;
    }
    if !snapshot.images.iter().any(|image| image.state.is_served()) {
        let warms = |image: &Image| image.state == ImageState::Warming;
        // A region's first image is not served before its first instance is up.
        if !snapshot.images.iter().any(warms) {
            plan.alert(None, Reason::NoImage);
        }
        return;
    }
    let Some(client_sha) = snapshot.app_sha.clone() else {
        return;
    };
    let built_for = |image: &&Image| image.client_sha == client_sha;
    let named: Vec<_> = snapshot.images.iter().filter(built_for).collect();
    if named.iter().any(|image| image.state.is_served()) {
        return;
    }
    let warming = named
        .iter()
        .find(|image| image.state == ImageState::Warming);
    // Of several, the one that changed last.
    let newest = named.iter().max_by_key(|image| (image.since, &image.id));
    match (warming, newest) {
        (Some(image), _) => plan.note(
            None,
            Reason::AppVersionWarms {
                image: image.id.clone(),
                client_sha,
            },
        ),
        (None, Some(image)) => plan.alert(
            None,
            Reason::AppVersionNotServed {
                image: image.id.clone(),
                state: image.state,
                client_sha,
            },
        ),
        (None, None) => plan.alert(None, Reason::AppVersionUnknown { client_sha }),
    }
}
