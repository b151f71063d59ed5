//! The machine that the figures were measured on: without it they mean nothing.

use std::fs;

use shared::clock::Clock as _;
use startup::SystemClock;

/// The workspace's own manifest, so that the report always states what was built.
const MANIFEST: &str = include_str!("../../Cargo.toml");

/// The date, the machine, and its load.
pub(crate) fn description() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "- taken: {}\n- machine: {cores} cores, {}, {:.0} GiB of memory\n- system: {}, Linux {}\n\
         - busy before: {} processes ready to run (mean of a minute)\n- release profile: {}",
        SystemClock.now().strftime("%Y-%m-%d %H:%M UTC"),
        field("/proc/cpuinfo", "model name"),
        memory_gib(),
        field("/etc/os-release", "PRETTY_NAME").trim_matches('"'),
        first_word("/proc/sys/kernel/osrelease"),
        first_word("/proc/loadavg"),
        release_profile(),
    )
}

/// The first value of a field in a file with `name: value` or `name=value` lines.
fn field(path: &str, name: &str) -> String {
    let content = fs::read_to_string(path).unwrap_or_default();
    let value = content.lines().find_map(|line| {
        let (field, value) = line.split_once([':', '='])?;
        (field.trim() == name).then(|| value.trim().to_owned())
    });
    value.unwrap_or_else(|| format!("{name} unknown"))
}

fn memory_gib() -> f64 {
    let kib = field("/proc/meminfo", "MemTotal");
    let kib = kib.trim_end_matches(" kB").parse().unwrap_or(0.0_f64);
    kib / (1024.0 * 1024.0)
}

fn first_word(path: &str) -> String {
    let content = fs::read_to_string(path).unwrap_or_default();
    content
        .split_whitespace()
        .next()
        .unwrap_or("unknown")
        .to_owned()
}

/// The settings of the release profile, and those of single packages after their names.
fn release_profile() -> String {
    let mut settings = String::new();
    let mut inside = false;
    for line in MANIFEST.lines() {
        if let Some(section) = line.strip_prefix('[') {
            let package = section.strip_prefix("profile.release");
            inside = package.is_some();
            if let Some(package) = package.and_then(|package| package.strip_prefix(".package.")) {
                settings.push_str(&format!("; {}: ", package.trim_end_matches(']')));
            }
        } else if inside && line.contains('=') && !line.starts_with('#') {
            let first = settings.is_empty() || settings.ends_with(": ");
            settings.push_str(if first { "" } else { ", " });
            settings.push_str(line);
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_profile_is_found_in_manifest() {
        let profile = release_profile();
        assert!(profile.starts_with("opt-level = "), "{profile}");
    }
}
