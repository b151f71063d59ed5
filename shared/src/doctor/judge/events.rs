//! Events that Hasura delivered, and did not.

use super::list;
use crate::doctor::facts::Events;
use crate::doctor::report::Check;

const NAME: &str = "events";

/// Without events, regions fill up once a minute only, by the schedule.
const MEANING: &str = "Regions learn of used slots by the schedule only, up to a minute late.";

/// `events`: none if Hasura's log cannot be read from this database.
pub fn events(events: Option<&[Events]>) -> Check {
    let Some(events) = events else {
        return Check::warning(
            NAME,
            "not checked: this database has no hdb_catalog.event_log",
            "Hasura makes it with its first event trigger: either it never made one, or its user \
             may not show it.",
            "See the check `event-triggers`.",
        );
    };
    let troubled = |of: fn(&Events) -> i64| -> Vec<String> {
        let some = events.iter().filter(|it| of(it) > 0);
        some.map(|it| format!("{} of {}", of(it), it.trigger))
            .collect()
    };
    let (overdue, failed) = (troubled(|it| it.overdue), troubled(|it| it.failed));
    let delivered: i64 = events.iter().map(|it| it.delivered).sum();
    if !overdue.is_empty() {
        let finding = format!("waiting for more than a minute: {}", list(overdue));
        return Check::wrong(NAME, finding, MEANING, remedy(events));
    }
    if !failed.is_empty() {
        let finding = format!("given up in the last day: {}", list(failed));
        return Check::warning(NAME, finding, MEANING, remedy(events));
    }
    if delivered == 0 {
        return Check::warning(
            NAME,
            "no event was delivered in the last day, and none waits",
            "It is not known whether events come. Each instance that becomes ACTIVE makes one.",
            "Launch an instance, or publish the app version again, and run doctor once more.",
        );
    }
    Check::ok(
        NAME,
        format!("{delivered} delivered in the last day, none waits"),
    )
}

fn remedy(events: &[Events]) -> String {
    let status = |wanted: i32| events.iter().any(|it| it.last_status == Some(wanted));
    let answered = events
        .iter()
        .find_map(|it| it.last_status.filter(|code| *code >= 300));
    if status(401) || status(403) {
        return "`hasura-event` refuses Hasura's secret: set HASURA_EVENT_SECRET of the Hasura \
                server to the secret's `event_secret`, and restart it."
            .to_owned();
    }
    match answered {
        Some(code) => format!(
            "`hasura-event` answered {code}: look into its log, and compare HASURA_EVENT_URL of the \
             Hasura server with the stack's output HasuraEventUrl."
        ),
        None => "Set HASURA_EVENT_URL of the Hasura server to the stack's output HasuraEventUrl, \
                 see that the server may connect to it, and restart it."
            .to_owned(),
    }
}
