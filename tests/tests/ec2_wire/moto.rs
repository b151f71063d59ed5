//! `moto_server` as a process of this test.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// The path to which `local/setup.sh` installs it, from this crate.
const PROGRAM: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../.local/venv/bin/moto_server"
);

/// It imports much of Python, which takes long on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Moto {
    process: Child,
    url: String,
}

impl Moto {
    pub(crate) async fn start() -> Self {
        assert!(
            Path::new(PROGRAM).exists(),
            "{PROGRAM} is missing: `make setup` installs what the tests need"
        );
        let output = tempfile::NamedTempFile::new().expect("a file for moto's output");
        let handle = || -> File { output.reopen().expect("moto's output") };
        let process = Command::new(PROGRAM)
            .args(["-H", "127.0.0.1", "-p", "0"])
            // Otherwise the output would stay in a buffer.
            .env("PYTHONUNBUFFERED", "1")
            .stdout(handle())
            .stderr(handle())
            .spawn()
            .expect("start moto_server");
        let mut moto = Self {
            process,
            url: String::new(),
        };
        let start = Instant::now();
        while moto.url.is_empty() {
            let printed = fs::read_to_string(output.path()).expect("moto's output");
            let running = printed
                .split_once("Running on ")
                .and_then(|(_, rest)| rest.split_once('\n'));
            if let Some((url, _)) = running {
                url.trim().clone_into(&mut moto.url);
            }
            assert!(
                start.elapsed() < START_LIMIT,
                "moto_server did not start: {printed}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        moto
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
