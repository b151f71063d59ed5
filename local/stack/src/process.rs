//! Child processes that never outlive the stack.
//!
//! Each child leads a process group of its own, so that a Ctrl-C in the terminal
//! reaches only the stack, which then ends its children in order. Three things
//! keep a crash from leaving anything behind: the kernel signals a child when
//! its parent dies, a record in the stack's folder names it, and a mark in its
//! environment names the stack ([`crate::leftovers`] reads both).

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid, getppid};
use tokio::sync::watch;

use crate::dir::StackDir;
use crate::leftovers;

/// The variable that marks every process of a stack with the stack's folder.
pub const MARK: &str = "LOCAL_STACK_DIR";

/// How long a child may take to end when asked to, before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// Pause between two looks at whether a child is ready.
const READY_POLL: Duration = Duration::from_millis(20);

/// How much of a log an error quotes.
const LOG_TAIL_BYTES: u64 = 2_000;

/// A program to be started as a part of a stack, with an empty environment but
/// for `PATH`, `HOME`, `TMPDIR`, the locale and the stack's [`MARK`].
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
    /// `name` is what messages, the log file and the record are called after.
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

    #[must_use]
    pub fn current_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.current_dir = Some(dir.into());
        self
    }

    /// Runs the program as another user, which only root may ask for.
    #[must_use]
    pub fn user(mut self, uid: u32, gid: u32) -> Self {
        self.user = Some((uid, gid));
        self
    }

    /// What asks the program to end, instead of `SIGTERM`.
    #[must_use]
    pub fn stop_signal(mut self, signal: Signal) -> Self {
        self.stop_signal = signal;
        self
    }

    /// Starts the program; what it prints goes to `logs/NAME.log`.
    pub fn start(self, dir: &StackDir) -> Result<Process> {
        let log = dir.log(&self.name);
        let output =
            File::create(&log).with_context(|| format!("create the log {}", log.display()))?;
        let name = self.name.clone();
        let stop_signal = self.stop_signal;
        let mut command = self.command(dir);
        command.stdout(output.try_clone()?).stderr(output);
        let (pid, exit, ended) = spawn(command).with_context(|| format!("start {name}"))?;
        let record = dir.record(&name);
        // From here on, the drop of `process` ends the child if anything fails.
        let process = Process {
            name,
            pid,
            stop_signal,
            log,
            record,
            exit,
            ended,
        };
        leftovers::write_record(&process.record, pid)?;
        Ok(process)
    }

    /// Runs the program to its end.
    ///
    /// # Errors
    /// Quotes the end of what it printed when it fails or takes longer than `within`.
    pub async fn run(self, dir: &StackDir, within: Duration) -> Result<()> {
        let mut process = self.start(dir)?;
        let mut exit = process.exit.clone();
        let ended = tokio::time::timeout(within, exit.wait_for(Option::is_some)).await;
        let status = match ended {
            Ok(status) => *status.context("the thread that waits for the process is gone")?,
            Err(_) => {
                process.stop();
                bail!(
                    "{} took longer than {within:?}:\n{}",
                    process.name,
                    process.log_tail()
                );
            }
        };
        match status {
            Some(status) if status.success() => Ok(()),
            status => bail!(
                "{}: {}\n{}",
                process.name,
                Ended(status),
                process.log_tail()
            ),
        }
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
            .env(MARK, dir.path())
            .envs(self.envs)
            .current_dir(self.current_dir.as_deref().unwrap_or(dir.path()))
            .stdin(Stdio::null())
            .process_group(0);
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        end_with_parent(&mut command, self.stop_signal);
        command
    }
}

/// A running child. Dropping it ends it.
pub struct Process {
    name: String,
    pid: Pid,
    stop_signal: Signal,
    log: PathBuf,
    record: PathBuf,
    exit: watch::Receiver<Option<ExitStatus>>,
    /// Nothing is ever sent: it closes once the child has ended.
    ended: mpsc::Receiver<()>,
}

impl Process {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Waits until `probe` says that the program does its work.
    ///
    /// # Errors
    /// When it ends instead, or is not ready `within` the time; both quote its log.
    pub async fn ready(
        &self,
        within: Duration,
        mut probe: impl AsyncFnMut() -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + within;
        while !probe().await {
            if let Some(status) = *self.exit.borrow() {
                bail!(
                    "{}: {}\n{}",
                    self.name,
                    Ended(Some(status)),
                    self.log_tail()
                );
            }
            if Instant::now() > deadline {
                bail!(
                    "{} is not ready after {within:?}\n{}",
                    self.name,
                    self.log_tail()
                );
            }
            tokio::time::sleep(READY_POLL).await;
        }
        Ok(())
    }

    /// Resolves with a message once the program ended, however that came.
    pub async fn ended(&self) -> String {
        let mut exit = self.exit.clone();
        let status = exit
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|status| *status);
        format!("{}: {}\n{}", self.name, Ended(status), self.log_tail())
    }

    /// Ends the program and whatever it left in its process group.
    pub fn stop(&mut self) {
        if self.exit.borrow().is_none() {
            // A child that ended meanwhile answers ESRCH, which is what was wanted.
            let _ = kill(self.pid, self.stop_signal);
            let _ = self.ended.recv_timeout(GRACE);
        }
        leftovers::kill_group(self.pid);
        let _ = fs::remove_file(&self.record);
    }

    /// The end of what the program printed, for messages.
    pub fn log_tail(&self) -> String {
        let tail = tail(&self.log).unwrap_or_default();
        format!("--- end of {}\n{}", self.log.display(), tail.trim_end())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("name", &self.name)
            .field("pid", &self.pid)
            .finish()
    }
}

struct Ended(Option<ExitStatus>);

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(status) => write!(f, "ended with {status}"),
            None => f.write_str("ended"),
        }
    }
}

type Spawned = (Pid, watch::Receiver<Option<ExitStatus>>, mpsc::Receiver<()>);

/// Spawns from a thread that stays until the child ended: the signal of
/// [`end_with_parent`] comes when the *thread* that spawned dies, which a test's
/// or a runtime's may do long before its process.
fn spawn(mut command: Command) -> Result<Spawned> {
    let (started_tx, started_rx) = mpsc::channel::<std::io::Result<u32>>();
    let (exit_tx, exit) = watch::channel(None);
    let (ended_tx, ended) = mpsc::channel::<()>();
    std::thread::Builder::new()
        .name("child".to_owned())
        .spawn(move || {
            let _ended_tx = ended_tx;
            let child = command.spawn();
            // The command holds the log open, which only the child needs.
            drop(command);
            match child {
                Ok(mut child) => {
                    let _ = started_tx.send(Ok(child.id()));
                    exit_tx.send_replace(Some(wait(&mut child)));
                }
                Err(error) => {
                    let _ = started_tx.send(Err(error));
                }
            }
        })?;
    let pid = started_rx
        .recv()
        .context("the thread that spawns is gone")??;
    Ok((Pid::from_raw(i32::try_from(pid)?), exit, ended))
}

/// `Child::wait` fails only for a child that somebody else waited for; it is gone then.
fn wait(child: &mut Child) -> ExitStatus {
    child.wait().unwrap_or_default()
}

#[allow(unsafe_code)]
fn end_with_parent(command: &mut Command, signal: Signal) {
    let parent = getpid();
    let in_child = move || {
        nix::sys::prctl::set_pdeathsig(signal)?;
        if getppid() != parent {
            return Err(std::io::Error::other(
                "the parent died before its child was ready",
            ));
        }
        Ok(())
    };
    // SAFETY: the closure runs between fork and exec, where only async-signal-safe
    // functions may be called: prctl and getppid are plain system calls, and
    // nothing is allocated but in the error that ends the child.
    unsafe {
        command.pre_exec(in_child);
    }
}

fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::StackDir;

    fn dir() -> (tempfile::TempDir, StackDir) {
        let folder = tempfile::tempdir().unwrap();
        let dir = StackDir::claim(&folder.path().join("stack")).unwrap();
        (folder, dir)
    }

    fn shell(name: &str, script: &str) -> Program {
        Program::new(name, "/bin/sh").args(["-c", script])
    }

    #[tokio::test]
    async fn a_failed_run_quotes_what_it_printed() {
        let (_folder, dir) = dir();
        let error = shell("failing", "echo it is broken; exit 3")
            .run(&dir, Duration::from_secs(10))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.contains("it is broken"), "{error}");
    }

    #[tokio::test]
    async fn a_run_that_hangs_is_ended() {
        let (_folder, dir) = dir();
        let error = shell("hanging", "sleep 600")
            .run(&dir, Duration::from_millis(100))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("took longer than"), "{error}");
    }

    #[tokio::test]
    async fn stopping_ends_what_the_child_started_too() {
        let (_folder, dir) = dir();
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
            !leftovers::is_running(Pid::from_raw(pid)),
            "{pid} is still there"
        );
        assert!(!dir.record("parent").exists());
    }

    #[tokio::test]
    async fn a_child_outlives_the_thread_that_asked_for_it() {
        let (_folder, dir) = dir();
        let process = std::thread::scope(|scope| {
            scope
                .spawn(|| shell("lasting", "sleep 600").start(&dir).unwrap())
                .join()
                .unwrap()
        });
        assert!(leftovers::is_running(process.pid));
    }

    #[tokio::test]
    async fn a_child_sees_nothing_of_the_environment_but_the_basics() {
        let (_folder, dir) = dir();
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
        assert_eq!(names, ["HOME", "LC_ALL", MARK, "PATH", "TMPDIR"]);
    }
}
