//! Runs processes one step at a time, on one thread, without a runtime's own scheduling.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::gate::ProcessId;

/// What a process leaves behind when it ends by itself.
pub type Ended = Box<dyn Any + Send>;

type Body = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// What became of a process in one step.
#[derive(Debug)]
pub enum Step {
    /// It stands at its gates.
    Waiting,
    Ended(Ended),
    /// A fault of the code under test.
    Panicked(String),
    /// There is no such process, or no longer.
    NoSuchProcess,
}

/// The processes that run.
#[derive(Default)]
pub struct Executor {
    next: u32,
    running: BTreeMap<ProcessId, Body>,
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor")
            .field("running", &self.running.keys())
            .finish_non_exhaustive()
    }
}

impl Executor {
    /// An id for a process to be; its ports need it before it can be made.
    pub fn reserve(&mut self) -> ProcessId {
        self.next += 1;
        ProcessId(self.next)
    }

    /// The process stands still until it is stepped.
    pub fn spawn<T: Send + 'static>(
        &mut self,
        id: ProcessId,
        body: impl Future<Output = T> + Send + 'static,
    ) {
        let body = async move { Box::new(body.await) as Ended };
        self.running.insert(id, Box::pin(body));
    }

    /// Runs the process up to its next gates. Nobody wakes it: the scheduler opens gates and
    /// then steps whoever stood there.
    pub fn step(&mut self, id: ProcessId) -> Step {
        let Some(body) = self.running.get_mut(&id) else {
            return Step::NoSuchProcess;
        };
        let mut context = Context::from_waker(Waker::noop());
        match catch_unwind(AssertUnwindSafe(|| body.as_mut().poll(&mut context))) {
            Ok(Poll::Pending) => Step::Waiting,
            Ok(Poll::Ready(left)) => {
                self.running.remove(&id);
                Step::Ended(left)
            }
            Err(panic) => {
                self.running.remove(&id);
                Step::Panicked(message(&*panic))
            }
        }
    }

    /// The process dies where it stands. False when it had ended.
    pub fn kill(&mut self, id: ProcessId) -> bool {
        self.running.remove(&id).is_some()
    }

    pub fn is_running(&self, id: ProcessId) -> bool {
        self.running.contains_key(&id)
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}
