//! A program to start as a component of a stack.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use super::child::Process;
use super::spawn::{prepare_child, spawn};
use crate::dir::StackDir;
use crate::leftovers::STACK_DIR_VARIABLE;
use crate::proc_table;

/// A program, its arguments and its environment.
///
/// The environment starts with `PATH`, `HOME`, `TMPDIR`, the locale and [`STACK_DIR_VARIABLE`].
/// Nothing else is inherited, so that a person's own settings cannot change what the stack does.
#[derive(Debug)]
pub struct Program {
    name: String,
    path: PathBuf,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
    current_dir: Option<PathBuf>,
    user: Option<(u32, u32)>,
    stop_signal: Signal,
}

impl Program {
    /// `name` appears in messages and names the log file and the record of the process.
    pub fn new(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            path: path.into(),
            args: Vec::new(),
            envs: Vec::new(),
            current_dir: None,
            user: None,
            stop_signal: Signal::SIGTERM,
        }
    }

    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.envs
            .push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The stack's folder unless it is set.
    #[must_use]
    pub fn current_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.current_dir = Some(dir.into());
        self
    }

    /// Runs the program as another user. Only root may do that.
    #[must_use]
    pub fn user(mut self, uid: u32, gid: u32) -> Self {
        self.user = Some((uid, gid));
        self
    }

    /// The signal that asks the program to end: `SIGTERM` unless it is set.
    #[must_use]
    pub fn stop_signal(mut self, signal: Signal) -> Self {
        self.stop_signal = signal;
        self
    }

    /// Starts the program. Its output goes to `logs/NAME.log`.
    ///
    /// # Errors
    /// When its log cannot be created, or the program cannot be started.
    pub fn start(self, dir: &StackDir) -> Result<Process> {
        let log = dir.log(&self.name);
        let output =
            File::create(&log).with_context(|| format!("create the log {}", log.display()))?;
        let name = self.name.clone();
        let stop_signal = self.stop_signal;
        let mut command = self.command(dir);
        command.stdout(output.try_clone()?).stderr(output);
        let spawned = spawn(command).with_context(|| format!("start {name}"))?;
        let record = dir.record(&name);
        // From here on, dropping `process` stops the child if anything fails.
        let process = Process {
            name,
            stop_signal,
            log,
            record,
            spawned,
        };
        proc_table::write_record(&process.record, process.spawned.pid)?;
        Ok(process)
    }

    /// Starts the program and waits until it has ended.
    ///
    /// # Errors
    /// When the program fails or takes longer than `within`: quotes the end of its output.
    pub async fn run(self, dir: &StackDir, within: Duration) -> Result<()> {
        self.start(dir)?.finish(within).await
    }

    fn command(self, dir: &StackDir) -> Command {
        let mut command = Command::new(&self.path);
        command
            .args(&self.args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", dir.home())
            .env("TMPDIR", dir.tmp())
            .env("LC_ALL", "C.UTF-8")
            .env(STACK_DIR_VARIABLE, dir.path())
            .envs(self.envs)
            .current_dir(self.current_dir.as_deref().unwrap_or(dir.path()))
            .stdin(Stdio::null())
            .process_group(0);
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        prepare_child(&mut command, self.stop_signal);
        command
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use nix::unistd::Pid;

    use super::*;

    fn claim_dir() -> (tempfile::TempDir, StackDir) {
        let folder = tempfile::tempdir().unwrap();
        let dir = StackDir::claim(&folder.path().join("stack")).unwrap();
        (folder, dir)
    }

    fn shell(name: &str, script: &str) -> Program {
        Program::new(name, "/bin/sh").args(["-c", script])
    }

    #[tokio::test]
    async fn failed_run_quotes_the_output() {
        let (_folder, dir) = claim_dir();
        let error = shell("failing", "echo it is broken; exit 3")
            .run(&dir, Duration::from_secs(10))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.contains("it is broken"), "{error}");
    }

    #[tokio::test]
    async fn hanging_run_is_stopped() {
        let (_folder, dir) = claim_dir();
        let error = shell("hanging", "sleep 600")
            .run(&dir, Duration::from_millis(100))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("took longer than"), "{error}");
    }

    #[tokio::test]
    async fn stop_ends_the_processes_that_the_child_started() {
        let (_folder, dir) = claim_dir();
        let grandchild = dir.path().join("grandchild");
        let script = format!(
            "sleep 600 & echo $! > {0}.new; mv {0}.new {0}; wait",
            grandchild.display()
        );
        let mut process = shell("parent", &script).start(&dir).unwrap();
        process
            .ready(Duration::from_secs(10), async || grandchild.exists())
            .await
            .unwrap();
        let pid: i32 = fs::read_to_string(&grandchild)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        process.stop();
        assert!(
            !proc_table::is_running(Pid::from_raw(pid)),
            "{pid} still runs"
        );
        assert!(!dir.record("parent").exists());
    }

    #[tokio::test]
    async fn child_outlives_the_thread_that_started_it() {
        let (_folder, dir) = claim_dir();
        let process = std::thread::scope(|scope| {
            scope
                .spawn(|| shell("lasting", "sleep 600").start(&dir).unwrap())
                .join()
                .unwrap()
        });
        assert!(proc_table::is_running(process.spawned.pid));
    }

    #[tokio::test]
    async fn child_environment_has_only_the_basic_variables() {
        let (_folder, dir) = claim_dir();
        shell("environment", "env")
            .run(&dir, Duration::from_secs(10))
            .await
            .unwrap();
        let printed = fs::read_to_string(dir.log("environment")).unwrap();
        let mut names: Vec<_> = printed
            .lines()
            .filter_map(|line| line.split('=').next())
            .collect();
        names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name));
        names.sort_unstable();
        assert_eq!(
            names,
            ["HOME", "LC_ALL", STACK_DIR_VARIABLE, "PATH", "TMPDIR"]
        );
    }
}
