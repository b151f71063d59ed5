//! PostgreSQL: its version, its clock, what the migrations made, and the triggers of events.

use jiff::SignedDuration;

use super::list;
use crate::doctor::facts::{Asked, Database, DatabaseUser};
use crate::doctor::intended;
use crate::doctor::ports::ProbeError;
use crate::doctor::report::Check;
use crate::settings::TABLE;

/// `date_bin`, which assigning uses, came with it.
const OLDEST: u32 = 14;

/// Ages and deadlines are measured by the database's clock; leases and tokens by this process's.
const NOTABLE: SignedDuration = SignedDuration::from_secs(1);
const TOO_MUCH: SignedDuration = SignedDuration::from_secs(5);

pub fn database(facts: &Database) -> Vec<Check> {
    vec![
        version(facts),
        schema(facts),
        triggers(facts),
        user(facts.user.as_ref()),
    ]
}

fn version(facts: &Database) -> Check {
    let (major, minor) = (facts.version_num / 10_000, facts.version_num % 10_000);
    let finding = format!("PostgreSQL {major}.{minor}");
    if major >= OLDEST {
        return Check::ok("postgresql", finding);
    }
    Check::wrong(
        "postgresql",
        finding,
        "Requests that wake a region fail: `date_bin` came with PostgreSQL 14.",
        "Upgrade the database to PostgreSQL 14 or newer.",
    )
}

/// The checks of a database that did not tell its facts.
pub fn no_database(error: &ProbeError) -> Vec<Check> {
    let schema = match error {
        ProbeError::Missing(reason) => Check::wrong(
            "schema",
            reason.clone(),
            "The functions are newer than the database or than Hasura's metadata.",
            MIGRATE,
        ),
        ProbeError::Denied(reason) => Check::wrong(
            "schema",
            reason.clone(),
            "Passes and requests fail.",
            "Make new tokens with the `key` of HASURA_GRAPHQL_JWT_SECRET of the Hasura server: \
             docs/operations.md, \"The functions' tokens\".",
        ),
        ProbeError::Unavailable(reason) => Check::wrong(
            "schema",
            reason.clone(),
            "Passes and requests fail.",
            "Correct HasuraUrl, see that the functions may connect to Hasura and Hasura to the \
             database, and look into Hasura's log.",
        ),
    };
    let others = ["postgresql", "event-triggers", "database-user", "clock"].map(|check| {
        let finding = "not checked: the database did not answer";
        let remedy = "See the check `schema`.";
        Check::warning(check, finding, "It may be right or wrong.", remedy)
    });
    std::iter::once(schema).chain(others).collect()
}

/// By what is there, whichever tool applied the migrations.
fn schema(facts: &Database) -> Check {
    let functions =
        intended::functions().filter(|name| !facts.functions.iter().any(|it| it == name));
    let columns = TABLE
        .iter()
        .map(|setting| setting.column)
        .filter(|column| !facts.region_columns.iter().any(|it| it == column));
    let missing: Vec<_> = functions
        .map(|name| format!("function {name}"))
        .chain(columns.map(|column| format!("column regions.{column}")))
        .collect();
    if missing.is_empty() {
        return Check::ok(
            "schema",
            "every function and every setting of this release is there",
        );
    }
    Check::wrong(
        "schema",
        format!("missing in the database: {}", list(missing)),
        "The functions are newer than the database: passes and requests fail.",
        MIGRATE,
    )
}

pub(super) const MIGRATE: &str = "In hasura/: `hasura migrate apply --database-name default`, then \
                                  `hasura metadata apply`.";

fn triggers(facts: &Database) -> Check {
    const NAME: &str = "event-triggers";
    let lacking = |them: &[String]| -> Vec<&str> {
        let all = intended::EVENT_TRIGGERS.into_iter();
        all.filter(|name| !them.iter().any(|it| it == name))
            .collect()
    };
    let missing = lacking(&facts.event_triggers);
    if !missing.is_empty() {
        return Check::wrong(
            NAME,
            format!("the database lacks the triggers {}", list(missing)),
            "No event of these tables comes: regions fill up once a minute only, by the schedule. \
             Hasura does not make them if its variables for events were not set when the metadata \
             was applied, and says nothing.",
            "Set HASURA_EVENT_URL and HASURA_EVENT_SECRET of the Hasura server and restart it. Then \
             send it, with the admin secret, POST /v1/metadata {\"type\": \"reload_metadata\", \
             \"args\": {\"recreate_event_triggers\": true}}.",
        );
    }
    let disabled: Vec<_> = intended::EVENT_TRIGGERS
        .into_iter()
        .filter(|name| facts.disabled_triggers.iter().any(|it| it == name))
        .collect();
    if !disabled.is_empty() {
        return Check::wrong(
            NAME,
            format!("switched off: {}", list(disabled)),
            "No event of these tables comes: regions fill up once a minute only, by the schedule.",
            "ALTER TABLE … ENABLE TRIGGER \"…\" for each of them.",
        );
    }
    Check::ok(
        NAME,
        format!("all {} are there", intended::EVENT_TRIGGERS.len()),
    )
}

fn user(user: Option<&DatabaseUser>) -> Check {
    const NAME: &str = "database-user";
    let Some(user) = user else {
        let finding = "not checked: the function `doctor` is of an earlier release";
        return Check::warning(NAME, finding, "It may be right or wrong.", MIGRATE);
    };
    if !user.superusers.is_empty() {
        return Check::warning(
            NAME,
            format!("a superuser: {}", list(&user.superusers)),
            "Whoever makes Hasura run SQL may read files and run programs on the database's host.",
            "Let Hasura connect as a user of its own, who owns the database and is no superuser: \
             docs/hasura.md, \"The database's user\".",
        );
    }
    if !user.unbounded.is_empty() {
        return Check::warning(
            NAME,
            format!("not set for {}: {}", user.name, list(&user.unbounded)),
            "A slow request keeps its connection and its locks for as long as it likes. An instance \
             can send one.",
            "ALTER ROLE … SET each of them, as in docs/hasura.md, \"The database's user\", and restart \
             Hasura: a connection keeps what it began with.",
        );
    }
    Check::ok(
        NAME,
        format!("{} is no superuser, and has timeouts", user.name),
    )
}

/// The difference between the database's clock and this process's, as far as it is certain: the
/// database told its time between two readings of ours.
pub fn clock(facts: &Database, asked: Asked) -> Check {
    const NAME: &str = "clock";
    let ahead = facts.now.duration_since(asked.after);
    let behind = asked.before.duration_since(facts.now);
    let off = ahead.max(behind).max(SignedDuration::ZERO);
    let which = if ahead > behind { "ahead of" } else { "behind" };
    let seconds = off.as_secs_f64();
    if off < NOTABLE {
        return Check::ok(
            NAME,
            "the database's clock agrees with that of the functions",
        );
    }
    let finding = format!("the database's clock is {seconds:.1} s {which} that of the functions");
    let meaning = "Ages and deadlines are measured by the database's clock, leases and tokens by \
                   that of the functions: each is off by so much for the other.";
    let remedy = "Correct the clock of the database's host (NTP).";
    if off < TOO_MUCH {
        Check::warning(NAME, finding, meaning, remedy)
    } else {
        Check::wrong(NAME, finding, meaning, remedy)
    }
}
