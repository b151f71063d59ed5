//! The allow list has the documents of the functions and of host agents: each file as a whole, which is
//! what the clients of this repository send, and each operation of the agents alone, as other agents do.

use std::fmt::Write as _;
use std::{env, fs};

use local_stack::project;

const FILE: &str = "hasura/metadata/query_collections.yaml";

/// Each collection, and the folder of its documents.
const COLLECTIONS: [(&str, &str); 4] = [
    ("functions", "adapters/hasura/graphql"),
    ("host_agents", "local/host-agent/src/graphql"),
    // What agents of earlier releases send.
    ("earlier_host_agents", "hasura/earlier_agents"),
    ("operators", "hasura/operators"),
];

/// In the format of Hasura's command line.
fn collections() -> String {
    let mut yaml = String::new();
    for (name, folder) in COLLECTIONS {
        let head = "definition:\n    queries:";
        let _ = writeln!(yaml, "- name: {name}\n  {head}");
        let files = fs::read_dir(project::root().join(folder)).unwrap();
        let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            let file = path.file_stem().unwrap().to_str().unwrap();
            let text = fs::read_to_string(&path).unwrap();
            yaml.push_str(&query(file, &text));
            if name == "host_agents" {
                for (operation, text) in operations(&text) {
                    yaml.push_str(&query(&operation, &text));
                }
            }
        }
    }
    yaml
}

/// The operations of a document, without comments. They use no fragments.
fn operations(document: &str) -> Vec<(String, String)> {
    let mut operations: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in document.lines() {
        let begins = ["query ", "mutation "]
            .iter()
            .find_map(|it| line.strip_prefix(it));
        if let Some(rest) = begins {
            let name = rest.split(['(', ' ']).next().unwrap_or_default();
            operations.push((name.to_owned(), String::new()));
            inside = true;
        }
        if let Some((_, text)) = operations.last_mut().filter(|_| inside) {
            text.push_str(line);
            text.push('\n');
        }
        inside &= line != "}";
    }
    operations
}

fn query(name: &str, text: &str) -> String {
    let mut yaml = format!("      - name: {name}\n        query: |\n");
    for line in text.lines() {
        let indent = if line.is_empty() { "" } else { "          " };
        let _ = writeln!(yaml, "{indent}{line}");
    }
    yaml
}

/// With this variable, the test writes the file instead of comparing it.
const WRITE: &str = "WRITE_ALLOW_LIST";

#[test]
fn allow_list_has_the_documents_that_are_sent() {
    let path = project::root().join(FILE);
    if env::var_os(WRITE).is_some() {
        fs::write(&path, collections()).unwrap();
    }
    let listed = fs::read_to_string(path).unwrap();
    assert!(
        listed == collections(),
        "{FILE} is not what is sent: write it anew with\n\
         {WRITE}=1 cargo test --locked --workspace --test docs allow_list"
    );
    let allowed = project::root().join("hasura/metadata/allow_list.yaml");
    let allowed = fs::read_to_string(allowed).unwrap();
    for (name, _) in COLLECTIONS {
        assert!(
            allowed.contains(&format!("- collection: {name}\n")),
            "{name}"
        );
    }
}
