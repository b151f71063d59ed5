//! Whether a region's user data fits, with the values that a launch of this stack would have.

use jiff::Timestamp;

use super::launch_request::LaunchSettings;
use crate::ids::{ClientSha, LaunchId};
use crate::model::Image;
use crate::scaling::Fleet;
use crate::settings::{BadSetting, RegionSettings};
use crate::user_data::UserData;

/// As long as a real one.
const SAMPLE_LAUNCH: &str = "00000000-0000-0000-0000-000000000000";

impl LaunchSettings {
    /// What keeps the region's template from being used, if anything does. A token and a URL have a
    /// kilobyte, so that a template can be below EC2's limit while its result is not.
    ///
    /// It is found when the row is read: the first launch that needs it may be days later, at night.
    pub fn check_user_data(
        &self,
        fleet: Fleet,
        settings: &RegionSettings,
        images: &[Image],
        now: Timestamp,
    ) -> Option<BadSetting> {
        let template = settings.user_data_template.as_deref()?;
        let launch_id = LaunchId::new(SAMPLE_LAUNCH);
        // Without a key for tokens, launches fail with an error of their own.
        let tokens = self.launch_tokens(fleet, &launch_id, now).ok()?;
        let shas = images.iter().map(|image| &image.client_sha);
        let no_sha = ClientSha::new("");
        let capacities = settings.launch_choices.iter().map(|choice| choice.capacity);
        let result = UserData {
            agent: tokens.as_ref().map(|it| it.access(&self.agent_hasura_url)),
            region: &settings.name,
            launch_id: &launch_id,
            capacity: capacities.max().unwrap_or(1),
            client_sha: shas.max_by_key(|sha| sha.as_str().len()).unwrap_or(&no_sha),
        }
        .render(Some(template));
        let problem = result.err()?.to_string();
        Some(BadSetting {
            column: "user_data_template",
            problem,
        })
    }
}
