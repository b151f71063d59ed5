//! The local AWS's log of the functions, read as it grows.

use std::fmt;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use local_stack::stack::Stack;

/// In the log of a process that ended before its answer.
const CUT_SHORT: &str = "Runtime exited before returning a response";

/// A pass continued after another had taken the lock. Passes whose answer a caller waits for report
/// it in the answer instead.
pub(crate) const LOCK_LOST: &str = "was lost: version";

pub(crate) struct AwsLog {
    file: File,
    read: u64,
    /// Invocations that were cut short.
    pub(crate) cut_short: usize,
    /// Writes of earlier holders that were rejected.
    pub(crate) locks_lost: usize,
}

impl AwsLog {
    pub(crate) fn of(stack: &Stack) -> Self {
        let path = stack.ministack().process().log();
        Self {
            file: File::open(path).expect("the local AWS has a log"),
            read: 0,
            cut_short: 0,
            locks_lost: 0,
        }
    }

    /// Reads to the last complete line.
    pub(crate) fn read_on(&mut self) {
        let mut bytes = Vec::new();
        self.file
            .seek(SeekFrom::Start(self.read))
            .expect("a place in the log");
        self.file.read_to_end(&mut bytes).expect("the log");
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        self.read += whole as u64;
        let text = String::from_utf8_lossy(&bytes[..whole]);
        self.cut_short += text.matches(CUT_SHORT).count();
        self.locks_lost += text.matches(LOCK_LOST).count();
    }
}

impl fmt::Display for AwsLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} invocations cut short", self.cut_short)
    }
}
