//! Sessions that are to end before their users end them: by a limit, or by the deadline of a drain. A pass
//! only writes down by when; the agents end the sessions, and who does not is reported.

use super::plan::{Action, Plan};
use super::reason::Reason;
use super::rows::Rows;

/// One alert for the region, however many agents do not end sessions.
pub(super) fn tell_agents(rows: &Rows<'_>, plan: &mut Plan) {
    let (mut due, mut overdue, mut instances, mut first) = (0_u32, 0_u32, 0_u32, None);
    for row in rows.unusual().filter(|row| row.stays()) {
        let ends = row.instance.ends;
        due = due.saturating_add(ends.due);
        if ends.overdue > 0 {
            overdue = overdue.saturating_add(ends.overdue);
            instances += 1;
            first.get_or_insert(&row.instance.id);
        }
    }
    if due > 0 {
        let sessions = due;
        plan.push(Action::MarkEnds { sessions }, Reason::LimitComes);
    }
    if let Some(first) = first.cloned() {
        let sessions = overdue;
        plan.alert(
            None,
            Reason::SessionsNotEnded {
                sessions,
                instances,
                first,
            },
        );
    }
}
