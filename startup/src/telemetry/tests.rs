use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tracing::{debug, error, info, info_span, trace};

use super::*;

/// What the subscriber writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Written {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// What is logged meanwhile with this filter.
fn logged(level: &str, log: impl FnOnce()) -> String {
    let written = Written::default();
    let (subscriber, _) = subscriber(level, written.clone());
    tracing::subscriber::with_default(subscriber, log);
    written.text()
}

/// Filters that ask for more than is logged.
const LOUD: [&str; 9] = [
    "trace",
    "debug",
    "lambda_runtime=trace",
    "lambda_runtime::layers=trace",
    "hyper=trace,shared=debug",
    "hyper_util::client::legacy=debug",
    "aws_smithy_runtime::client::orchestrator=trace,aws_sigv4=trace",
    "info,reqwest=debug,rustls=trace,h2=trace,tower=trace",
    "a_new_dependency=trace,sharedx=trace,status_page=trace",
];

#[test]
fn other_crates_log_nothing_below_info_whatever_the_filter_is() {
    for level in LOUD {
        let text = logged(level, || {
            debug!(target: "lambda_runtime::runtime", "secret");
            trace!(target: "lambda_runtime::layers::api_client", "secret");
            debug!(target: "hyper::proto::h1", "secret");
            debug!(target: "hyper_util::client::legacy::pool", "secret");
            debug!(target: "aws_smithy_runtime::client::orchestrator", "secret");
            trace!(target: "aws_sigv4", "secret");
            debug!(target: "reqwest::connect", "secret");
            trace!(target: "rustls", "secret");
            trace!(target: "h2::codec", "secret");
            trace!(target: "a_new_dependency", "secret");
            trace!(target: "sharedx", "secret");
            trace!(target: "status_page", "secret");
            trace!(target: "", "secret");
        });
        assert_eq!(text, "", "{level}");
    }
}

#[test]
fn own_crates_log_what_the_filter_says() {
    let log = || {
        error!(target: "lambda_runtime", "runtime");
        info!(target: "hyper", "client");
        trace!(target: "shared::pass::rounds", "trace of a pass");
        debug!(target: "status", "debug of the page");
    };
    let names = |level| -> Vec<String> {
        let text = logged(level, log);
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines
            .map(|line: Value| line["message"].as_str().unwrap().to_owned())
            .collect()
    };
    let all = ["runtime", "client", "trace of a pass", "debug of the page"];
    assert_eq!(names("trace"), all);
    assert_eq!(names("info,status=debug"), [all[0], all[1], all[3]]);
    assert_eq!(names("warn,shared=trace"), [all[0], all[2]]);
    assert_eq!(names("off"), [""; 0]);
    // Not a filter.
    assert_eq!(names("shared=loud"), all[..2]);
}

#[test]
fn every_crate_of_the_functions_is_known() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let folders = |folder: &str| {
        let entries = fs::read_dir(root.join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().path())
    };
    let single = ["shared", "startup", "wiring"].map(|name| root.join(name));
    let mut names: Vec<_> = folders("adapters")
        .chain(folders("functions"))
        .chain(single)
        .filter_map(|folder| fs::read_to_string(folder.join("Cargo.toml")).ok())
        .map(|manifest| {
            let mut lines = manifest.lines();
            let name = lines.find_map(|line| line.strip_prefix("name = ")).unwrap();
            name.trim_matches('"').replace('-', "_")
        })
        .collect();
    names.sort();
    assert_eq!(names, OWN_CRATES);
}

/// Characters that end lines, reorder, hide or colour what is around them.
const HIDDEN: [char; 40] = [
    '\0',
    '\u{1}',
    '\u{7}',
    '\u{8}',
    '\t',
    '\n',
    '\u{b}',
    '\u{c}',
    '\r',
    '\u{1b}',
    '\u{1f}',
    '\u{7f}',
    '\u{80}',
    '\u{85}',
    '\u{90}',
    '\u{9b}',
    '\u{9f}',
    '\u{ad}',
    '\u{600}',
    '\u{61c}',
    '\u{180e}',
    '\u{200b}',
    '\u{200c}',
    '\u{200d}',
    '\u{200e}',
    '\u{200f}',
    '\u{2028}',
    '\u{2029}',
    '\u{202a}',
    '\u{202b}',
    '\u{202c}',
    '\u{202d}',
    '\u{202e}',
    '\u{2060}',
    '\u{2066}',
    '\u{2069}',
    '\u{feff}',
    '\u{fff9}',
    '\u{1d173}',
    '\u{e0041}',
];

#[test]
fn hidden_characters_of_texts_are_visible_in_the_log_and_in_its_fields() {
    for c in HIDDEN {
        let text = format!("a{c}{{\"level\":\"ERROR\"}}\\{c}");
        let line = logged("info", || {
            let span = info_span!("pass", region = %text, debug = ?text);
            let _entered = span.enter();
            info!(shown = %text, plain = text, debug = ?text, "said {text}");
        });
        let hidden = |text: &str| text.chars().find(|c| shared::words::is_hidden(*c));
        assert_eq!(hidden(line.strip_suffix('\n').unwrap()), None, "{line}");
        let line: Value = serde_json::from_str(&line).unwrap();
        let escaped = shared::words::visible(&text).to_string();
        assert_eq!(hidden(&escaped), None);
        assert_eq!(line["shown"], escaped);
        assert_eq!(line["plain"], escaped);
        assert_eq!(line["span"]["region"], escaped);
        assert_eq!(line["message"], format!("said {escaped}"));
        for debug in [&line["debug"], &line["span"]["debug"]] {
            assert_eq!(hidden(debug.as_str().unwrap()), None);
        }
    }
}

#[test]
fn other_texts_are_logged_as_they_are() {
    let text = "Zoë \"東京\" \\u{202e} \\n C:\\new <b> 👍";
    let line = logged("info", || info!(text, "said"));
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["text"], text);
}

#[test]
fn panic_is_one_line_with_its_place() {
    let line = logged("info", || {
        let before = panic::take_hook();
        panic::set_hook(Box::new(log_panic));
        let caught = panic::catch_unwind(|| panic!("a\nb\u{202e}"));
        panic::set_hook(before);
        caught.unwrap_err();
    });
    let lines: Vec<Value> = line
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 1, "{line}");
    assert_eq!(lines[0]["error"], r"a\nb\u{202e}");
    let message = lines[0]["message"].as_str().unwrap();
    assert!(message.starts_with("panicked at startup/src/"), "{message}");
}

/// A line as JSON, logged within an invocation that came with this header.
async fn traced_line(level: &str, header: &str) -> Value {
    let written = Written::default();
    let (subscriber, _) = subscriber(level, written.clone());
    let _default = tracing::subscriber::set_default(subscriber);
    let invocation = async {
        let _span = info_span!("inner", id = 1).entered();
        error!(target: "shared", "text");
    };
    shared::trace::traced(Some(header), invocation).await;
    serde_json::from_str(&written.text()).unwrap()
}

#[tokio::test]
async fn line_has_the_trace_of_its_invocation_at_every_level() {
    let root = "1-5759e988-bd862e3fe1be46a994272793";
    for level in ["info", "error"] {
        let recorded = traced_line(level, &format!("Root={root};Sampled=1")).await;
        assert_eq!(recorded["xray_trace_id"], root);
        assert_eq!(recorded["message"], "text");
        let other = traced_line(level, &format!("Root={root};Sampled=0")).await;
        assert_eq!(other.get("xray_trace_id"), None);
    }
}
