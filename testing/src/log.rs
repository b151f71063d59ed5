//! What a test's own thread logs.
#![allow(clippy::expect_used, reason = "helpers of tests fail like tests")]

use std::cell::RefCell;
use std::io;
use std::marker::PhantomData;
use std::sync::Once;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

thread_local! {
    static LOGGED: RefCell<Option<Logged>> = const { RefCell::new(None) };
}

#[derive(Debug)]
struct Logged {
    most: Level,
    text: Vec<u8>,
}

/// What the current thread logs since [`Log::start`].
///
/// One subscriber serves the whole process. With one for each test, `tracing` may ask only the
/// thread that reaches a line of the log first whether anybody reads it (`JustOne` in its
/// `callsite.rs`), and a test beside it then misses that line.
#[derive(Debug)]
pub struct Log {
    of_this_thread: PhantomData<*const ()>,
}

impl Log {
    /// Records every event of level `most` and of the less verbose ones, and forgets what this
    /// thread logged before.
    ///
    /// # Panics
    /// When the process has another global subscriber.
    pub fn start(most: Level) -> Self {
        static SUBSCRIBER: Once = Once::new();
        SUBSCRIBER.call_once(|| {
            let subscriber = tracing_subscriber::fmt()
                .with_max_level(Level::TRACE)
                .with_ansi(false)
                .with_writer(ToItsThread)
                .finish();
            tracing::subscriber::set_global_default(subscriber)
                .expect("no other subscriber is global");
        });
        let text = Vec::new();
        LOGGED.set(Some(Logged { most, text }));
        Self {
            of_this_thread: PhantomData,
        }
    }

    pub fn text(&self) -> String {
        LOGGED.with_borrow(|logged| {
            let text = logged.as_ref().map(|logged| logged.text.as_slice());
            String::from_utf8_lossy(text.unwrap_or_default()).into_owned()
        })
    }

    /// # Panics
    /// When no line has all `words`.
    #[track_caller]
    pub fn says(&self, words: &[&str]) {
        let text = self.text();
        let found = text
            .lines()
            .any(|line| words.iter().all(|word| line.contains(word)));
        assert!(found, "no line with {words:?} in\n{text}");
    }
}

/// Writes to what the current thread has started, if anything.
#[derive(Clone, Copy, Debug)]
struct ToItsThread;

/// Writes an event of this level.
#[derive(Debug)]
struct OfLevel(Level);

impl MakeWriter<'_> for ToItsThread {
    type Writer = OfLevel;

    fn make_writer(&self) -> OfLevel {
        OfLevel(Level::ERROR)
    }

    fn make_writer_for(&self, metadata: &Metadata<'_>) -> OfLevel {
        OfLevel(*metadata.level())
    }
}

impl io::Write for OfLevel {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGGED.with_borrow_mut(|logged| match logged {
            Some(logged) if self.0 <= logged.most => logged.text.extend_from_slice(bytes),
            _ => {}
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
