//! Commands that pages show, as far as they can be checked without running them.

use std::collections::BTreeSet;
use std::process::Command;

use local_stack::project;
use scaling_tests::markdown::Page;

/// A command line with the place where it stands.
struct Shown {
    place: String,
    words: Vec<String>,
}

/// Every use of a program in the shell blocks and the inline code of a page.
fn uses_of(page: &Page, program: &str) -> Vec<Shown> {
    let mut code = page.code_lines("sh");
    code.extend(page.inline_code());
    let mut found = Vec::new();
    for code in code {
        let place = format!("{}:{}", page.path.display(), code.line);
        for command in commands_in(&code.text) {
            let words = words(command);
            if words.first().is_some_and(|first| first.ends_with(program)) {
                found.push(Shown {
                    place: place.clone(),
                    words,
                });
            }
        }
    }
    found
}

/// The simple commands of a line, without comments; also those in `$(…)`.
fn commands_in(line: &str) -> Vec<&str> {
    let line = line.split(" #").next().unwrap_or_default();
    line.split([';', '(', ')', '&'])
        .map(str::trim)
        .filter(|command| !command.is_empty())
        .collect()
}

/// The words of a command, without quotes. A word in quotes may have spaces.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in command.chars() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if c == open => quote = None,
            (None, ' ') => words.push(String::new()),
            (_, c) => words.last_mut().expect("a word").push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn make_targets_exist() {
    let mut checked = BTreeSet::new();
    let mut failed = Vec::new();
    for page in Page::all() {
        for Shown { place, words } in uses_of(&page, "make") {
            let arguments = &words[1..];
            let is_target = |word: &&String| !word.starts_with('-') && !word.contains('=');
            // "make" without a target is a word of its own.
            let Some(target) = arguments.iter().find(is_target) else {
                continue;
            };
            if !target.chars().all(|c| c.is_ascii_lowercase() || c == '-') {
                continue;
            }
            let output = Command::new("make")
                .arg("-n")
                .args(arguments)
                // A user of the shell is not the user of a token.
                .env_remove("MAKEFLAGS")
                .current_dir(project::root())
                .output()
                .expect("make runs");
            checked.insert(target.clone());
            if !output.status.success() {
                let error = String::from_utf8_lossy(&output.stderr).into_owned();
                failed.push(format!("{place}: {words:?}: {error}"));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(checked.len() >= 5, "{checked:?}");
}

/// The options of `local-stack`, as arguments of `make` and of the program itself.
#[test]
fn local_stack_options_exist() {
    let mut failed = Vec::new();
    let mut checked = 0;
    for page in Page::all() {
        for Shown { place, words } in local_stack_uses(&page) {
            let Some(subcommand) = words.first() else {
                continue;
            };
            let help = match help_of(subcommand) {
                Ok(help) => help,
                Err(error) => {
                    failed.push(format!("{place}: {words:?}: {error}"));
                    continue;
                }
            };
            let options = words.iter().filter(|word| word.starts_with("--"));
            for option in options {
                let name = option.split('=').next().unwrap_or_default();
                checked += 1;
                let is_known = help
                    .split(|c: char| c.is_whitespace() || "=,<[".contains(c))
                    .any(|word| word == name);
                if !is_known {
                    failed.push(format!("{place}: `{subcommand}` has no option {name}"));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(checked >= 5, "{checked} options");
}

/// The subcommand and its arguments.
fn local_stack_uses(page: &Page) -> Vec<Shown> {
    let mut found = Vec::new();
    for mut shown in uses_of(page, "local-stack") {
        shown.words.remove(0);
        found.push(shown);
    }
    for Shown { place, words } in uses_of(page, "make") {
        let subcommand = words.iter().find_map(|word| match word.as_str() {
            "run" => Some("up"),
            "demo" | "token" => Some(word.as_str()),
            _ => None,
        });
        let arguments = words.iter().find_map(|word| word.strip_prefix("ARGS="));
        if let (Some(subcommand), Some(arguments)) = (subcommand, arguments) {
            let mut words = vec![subcommand.to_owned()];
            words.extend(self::words(arguments));
            found.push(Shown { place, words });
        }
    }
    found
}

/// The help of a subcommand.
///
/// # Errors
/// When there is no such subcommand.
fn help_of(subcommand: &str) -> Result<String, String> {
    let program = project::binary("local-stack").expect("local-stack is built");
    let mut command = Command::new(program);
    if !subcommand.starts_with("--") {
        command.arg(subcommand);
    }
    let output = command.arg("--help").output().expect("local-stack runs");
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// The packages and folders of the README's deployment.
#[test]
fn packages_and_folders_of_the_deployment_exist() {
    let readme = Page::read("README.md");
    let has_package = |name: &str| {
        let manifest = project::root()
            .join("functions")
            .join(name)
            .join("Cargo.toml");
        manifest.exists()
    };
    let mut packages = 0;
    for Shown { place, words } in uses_of(&readme, "cargo") {
        for pair in words.windows(2).filter(|pair| pair[0] == "-p") {
            assert!(has_package(&pair[1]), "{place}: no package {}", pair[1]);
            packages += 1;
        }
    }
    assert_eq!(packages, 5, "every function is built");
    for Shown { place, words } in uses_of(&readme, "hasura") {
        for pair in words.windows(2).filter(|pair| pair[0] == "--project") {
            let config = project::root().join(&pair[1]).join("config.yaml");
            assert!(config.exists(), "{place}: {} is no project", pair[1]);
        }
    }
}
