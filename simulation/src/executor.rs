//! Runs processes step by step on one thread, without a runtime that would decide on their order.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::yield_points::ProcessId;

/// The result of a process that ended by itself.
pub type Ended = Box<dyn Any + Send>;

type Body = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// The result of one step of a process.
#[derive(Debug)]
pub enum Step {
    /// The process waits at its yield points.
    Waiting,
    Ended(Ended),
    /// A bug in the code under test.
    Panicked(String),
    /// The process does not exist, or has already ended.
    NoSuchProcess,
}

/// The running processes.
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
    /// Reserves the id of a process. The ports of the process need it before the process can be
    /// created.
    pub fn reserve(&mut self) -> ProcessId {
        self.next += 1;
        ProcessId(self.next)
    }

    /// Adds a process, which runs only when it is stepped.
    pub fn spawn<T: Send + 'static>(
        &mut self,
        id: ProcessId,
        body: impl Future<Output = T> + Send + 'static,
    ) {
        let body = async move { Box::new(body.await) as Ended };
        self.running.insert(id, Box::pin(body));
    }

    /// Runs a process up to its next yield points. No waker is involved: the scheduler resumes a
    /// yield point and then steps the process that waited there.
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

    /// Kills a process where it waits. Returns false when it had already ended.
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
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
