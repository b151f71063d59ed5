//! Hasura: its metadata, what it lets roles do, the migrations that it knows of, and its connections to
//! the database.

use std::collections::BTreeSet;

use super::database::MIGRATE;
use super::list;
use crate::doctor::facts::{Database, EventTrigger, Hasura, Source, Stranger};
use crate::doctor::intended;
use crate::doctor::ports::ProbeError;
use crate::doctor::report::Check;

/// What Hasura uses where the metadata has no `max_connections`, for each server.
const DEFAULT_CONNECTIONS: u32 = 50;

/// `database`: none if it could not be read; then the pool is not compared with its connections.
pub fn hasura(facts: &Hasura, database: Option<&Database>) -> Vec<Check> {
    vec![
        metadata(facts),
        roles(facts),
        migrations(facts),
        pool(facts.source.as_ref(), database),
    ]
}

/// The check of something that Hasura did not tell: it may keep its metadata in a database of its own, and
/// only the administrator may ask Hasura itself.
pub fn no_metadata(check: &str, error: &ProbeError) -> Check {
    Check::warning(
        check,
        format!("cannot be seen from here: {error}"),
        "It may be right or wrong.",
        LOOK,
    )
}

/// With the admin secret.
const LOOK: &str = "Look with the Hasura command line: `hasura metadata diff`, `hasura metadata \
                    inconsistency list`, `hasura migrate status`.";

const APPLY: &str = "In hasura/: `hasura metadata apply`.";

/// The variables of the Hasura server that event triggers take their URL and their secret from.
const EVENT_URL: &str = "HASURA_EVENT_URL";
const EVENT_SECRET: &str = "HASURA_EVENT_SECRET";

fn metadata(facts: &Hasura) -> Check {
    const NAME: &str = "metadata";
    let is_right = |it: &&EventTrigger| {
        it.url_from.as_deref() == Some(EVENT_URL) && it.secret_from.as_deref() == Some(EVENT_SECRET)
    };
    let wrong = facts.triggers.iter().filter(|it| !is_right(it));
    let wrong: Vec<_> = wrong.map(|it| &it.name).collect();
    if !wrong.is_empty() {
        return Check::wrong(
            NAME,
            format!("event triggers with another URL or secret: {}", list(wrong)),
            "Their events go somewhere else, or `hasura-event` refuses them.",
            APPLY,
        );
    }
    Check::ok(
        NAME,
        format!(
            "{} event triggers take their URL from {EVENT_URL} and their secret from {EVENT_SECRET}",
            facts.triggers.len()
        ),
    )
}

/// Whether each role may do what this release gives it, and no more.
fn roles(facts: &Hasura) -> Check {
    const NAME: &str = "roles";
    let intended: BTreeSet<&str> = intended::grants().collect();
    let given: BTreeSet<&str> = facts.grants.iter().map(String::as_str).collect();
    let more: Vec<_> = given.difference(&intended).collect();
    if !more.is_empty() {
        return Check::wrong(
            NAME,
            format!("granted, and not by this release: {}", list(more)),
            "Whoever breaks into a function or an instance may do that, too.",
            APPLY,
        );
    }
    let missing: Vec<_> = intended.difference(&given).collect();
    if !missing.is_empty() {
        return Check::wrong(
            NAME,
            format!("not granted: {}", list(missing)),
            "Requests of functions or agents with that role are refused.",
            APPLY,
        );
    }
    Check::ok(
        NAME,
        format!("all {} permissions are this release's", given.len()),
    )
}

/// Whether Hasura runs the documents of this release, and no others. `stranger`: what an agent's token
/// opened; `hasura`: none if the metadata cannot be seen.
pub fn allow_list(stranger: Option<&Stranger>, hasura: Option<&Hasura>) -> Check {
    const NAME: &str = "allow-list";
    if let Some(facts) = hasura {
        let is_listed = |(name, text): &(&str, &str)| {
            facts.documents.get(*name).is_some_and(|it| same(it, text))
        };
        let missing = intended::documents().filter(|document| !is_listed(document));
        let missing: Vec<_> = missing.map(|(name, _)| name).collect();
        if !missing.is_empty() {
            return Check::wrong(
                NAME,
                format!("not in it, or another version: {}", list(missing)),
                "Requests of functions or agents are refused: `query is not allowed`.",
                APPLY,
            );
        }
    }
    match stranger {
        Some(Stranger::OnlyListed) if hasura.is_some() => Check::ok(
            NAME,
            "Hasura runs this release's documents for roles, and no others",
        ),
        Some(Stranger::OnlyListed) => Check::warning(
            NAME,
            "it is enforced; what is in it cannot be seen from here",
            "It may be right or wrong.",
            LOOK,
        ),
        Some(Stranger::Admitted(_)) => Check::warning(
            NAME,
            "Hasura runs every document, in the list or not",
            "An instance can send queries that keep the database busy for everybody.",
            "Set HASURA_GRAPHQL_ENABLE_ALLOWLIST=true of the Hasura server, and restart it.",
        ),
        Some(Stranger::Rejected(_)) | None => Check::warning(
            NAME,
            "not known whether Hasura enforces it",
            "It may be right or wrong.",
            "See the check `host-agents`.",
        ),
    }
}

/// Whether two documents are the same but for comments and layout.
fn same(one: &str, other: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        let lines = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default());
        lines
            .flat_map(str::split_whitespace)
            .map(str::to_owned)
            .collect()
    };
    words(one) == words(other)
}

fn migrations(facts: &Hasura) -> Check {
    const NAME: &str = "migrations";
    let Some(applied) = &facts.migrations else {
        return Check::warning(
            NAME,
            "Hasura knows of no migration",
            "They were applied by another tool, which alone knows which ones.",
            "Nothing, if the check `schema` is ok.",
        );
    };
    let dirty: Vec<_> = applied
        .iter()
        .filter(|(_, dirty)| **dirty)
        .map(|(it, _)| it)
        .collect();
    if !dirty.is_empty() {
        return Check::wrong(
            NAME,
            format!("begun and not ended: {}", list(dirty)),
            "The database is between two releases.",
            "Correct what stopped it (`hasura migrate status`), and apply it again.",
        );
    }
    let missing: Vec<_> = intended::migrations()
        .filter(|(version, _)| !applied.contains_key(*version))
        .map(|(_, name)| name)
        .collect();
    if !missing.is_empty() {
        return Check::wrong(
            NAME,
            format!("not applied: {}", list(missing)),
            "The functions are newer than the database: passes and requests fail, or work by old \
             rules.",
            MIGRATE,
        );
    }
    let newer = applied.len().saturating_sub(intended::migrations().count());
    if newer > 0 {
        return Check::warning(
            NAME,
            format!("all are applied, and {newer} that this release does not know"),
            "The database is newer than the functions.",
            "Deploy the functions of the newer release.",
        );
    }
    Check::ok(NAME, format!("all {} are applied", applied.len()))
}

fn pool(source: Option<&Source>, database: Option<&Database>) -> Check {
    const NAME: &str = "pool";
    let Some(source) = source else {
        return Check::wrong(
            NAME,
            "Hasura has no source `default`",
            "It reaches no database.",
            APPLY,
        );
    };
    if let Some(level) = source
        .isolation_level
        .as_deref()
        .filter(|it| *it != "read-committed")
    {
        return Check::wrong(
            NAME,
            format!("`isolation_level` is {level}"),
            "Requests that meet each other fail instead of waiting for each other.",
            "In databases.yaml set `isolation_level: read-committed`, and apply the metadata.",
        );
    }
    let pool = &source.pool_settings;
    let of_one = pool.max_connections.unwrap_or(DEFAULT_CONNECTIONS);
    let most = pool.total_max_connections.unwrap_or(of_one);
    // A few are kept for people and for the server's own work.
    let free = database.map(|it| it.max_connections.saturating_sub(5));
    if let Some(free) = free.filter(|free| most > *free) {
        return Check::wrong(
            NAME,
            format!("Hasura takes up to {most} connections, and PostgreSQL has {free} for it"),
            "Under load, requests fail with `postgres-max-connections-error`.",
            "In databases.yaml lower `pool_settings.max_connections` (for each Hasura server), or \
             raise PostgreSQL's `max_connections`.",
        );
    }
    if pool.pool_timeout.is_none() {
        return Check::warning(
            NAME,
            format!("up to {most} connections, and no `pool_timeout`"),
            "When all are busy, requests wait for ever instead of failing and being sent again.",
            "In databases.yaml set `pool_settings.pool_timeout`, and apply the metadata.",
        );
    }
    Check::ok(
        NAME,
        format!("up to {most} connections of each Hasura server"),
    )
}
