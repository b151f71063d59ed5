//! What a database of this release has. All of it is read from the Hasura project when this is
//! compiled, so that nobody has to keep a second list.

include!(concat!(env!("OUT_DIR"), "/project.rs"));

const FUNCTIONS: &str =
    include_str!("../../../hasura/metadata/databases/default/functions/functions.yaml");

/// The PostgreSQL triggers that Hasura makes for the event triggers: one for each operation.
/// A test compares them with the metadata.
pub(super) const EVENT_TRIGGERS: [&str; 4] = [
    "app_versions.notify_hasura_app_version_changed_INSERT",
    "app_versions.notify_hasura_app_version_changed_UPDATE",
    "instances.notify_hasura_instance_status_changed_UPDATE",
    "region_wakeups.notify_hasura_region_wake_INSERT",
];

/// The permissions of the metadata, in the form of [`Hasura::grants`](super::facts::Hasura).
pub(super) fn grants() -> impl Iterator<Item = &'static str> {
    GRANTS.iter().copied()
}

/// The documents of the functions, of host agents and of operators, by name.
pub(super) fn documents() -> impl Iterator<Item = (&'static str, &'static str)> {
    DOCUMENTS.iter().copied()
}

/// The functions that the metadata exposes.
pub(super) fn functions() -> impl Iterator<Item = &'static str> {
    let of_line = |line: &'static str| line.split_once("public_")?.1.strip_suffix(".yaml\"");
    FUNCTIONS.lines().filter_map(of_line)
}

/// The versions of the migrations: what stands before the first `_`.
pub(super) fn migrations() -> impl Iterator<Item = (&'static str, &'static str)> {
    let versions = MIGRATIONS.iter().filter_map(|name| name.split_once('_'));
    versions
        .zip(MIGRATIONS)
        .map(|((version, _), name)| (version, *name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_those_of_the_metadata() {
        let all: Vec<_> = functions().collect();
        assert!(
            all.contains(&"assign_slot") && all.contains(&"doctor"),
            "{all:?}"
        );
        assert_eq!(all.len(), FUNCTIONS.lines().count());
    }

    #[test]
    fn permissions_and_documents_are_found() {
        let grants: Vec<_> = grants().collect();
        for grant in [
            "function assign_slot assigner",
            "function begin_pass events",
            "function begin_pass passes",
            "function heartbeat host_agent",
            "select regions passes",
        ] {
            assert!(grants.contains(&grant), "{grant}: {grants:#?}");
        }
        let assigner: Vec<_> = grants
            .iter()
            .filter(|it| it.ends_with(" assigner"))
            .collect();
        assert_eq!(assigner.len(), 4, "{assigner:?}");
        let names: Vec<_> = documents().map(|(name, _)| name).collect();
        assert!(
            names.contains(&"agent") && names.contains(&"assign_slot"),
            "{names:?}"
        );
    }

    #[test]
    fn migrations_have_numbers_as_versions() {
        assert!(migrations().count() >= 12);
        for (version, name) in migrations() {
            assert!(version.parse::<u64>().is_ok(), "{name}");
        }
    }

    /// The names of event triggers stand at this depth; what they do below, one operation a line.
    #[test]
    fn event_triggers_are_those_of_the_metadata() {
        let tables = [
            (
                "app_versions",
                include_str!(
                    "../../../hasura/metadata/databases/default/tables/public_app_versions.yaml"
                ),
            ),
            (
                "instances",
                include_str!(
                    "../../../hasura/metadata/databases/default/tables/public_instances.yaml"
                ),
            ),
            (
                "region_wakeups",
                include_str!(
                    "../../../hasura/metadata/databases/default/tables/public_region_wakeups.yaml"
                ),
            ),
        ];
        let mut found = Vec::new();
        for (table, yaml) in tables {
            let Some((_, triggers)) = yaml.split_once("event_triggers:\n") else {
                panic!("{table} has no event trigger");
            };
            let mut name = "";
            for line in triggers.lines() {
                if let Some(named) = line.strip_prefix("  - name: ") {
                    name = named;
                }
                for operation in ["insert", "update", "delete"] {
                    if line.trim() == format!("{operation}:") {
                        let operation = operation.to_uppercase();
                        found.push(format!("{table}.notify_hasura_{name}_{operation}"));
                    }
                }
            }
        }
        assert_eq!(found, EVENT_TRIGGERS);
    }
}
