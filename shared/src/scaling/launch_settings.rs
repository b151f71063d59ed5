//! Reporting settings that keep a region from launching, in every plan: not only when a launch is
//! due, which may be days after the change that broke them.

use super::plan::Plan;
use super::reason::Reason;
use crate::settings::RegionSettings;

/// Adds an alert for each column that cannot work. In a region that is disabled or paused, which
/// launches nothing anyway, it is a note.
pub(super) fn report_problems(settings: &RegionSettings, plan: &mut Plan) {
    for problem in &settings.launch_problems {
        let reason = Reason::SettingInvalid {
            row: settings.name.clone(),
            column: problem.column.to_owned(),
            problem: problem.problem.clone(),
            choices_left: settings.can_launch() && !settings.launch_choices.is_empty(),
        };
        if settings.enabled && !settings.paused {
            plan.alert(None, reason);
        } else {
            plan.note(None, reason);
        }
    }
}
