//! Log lines with the id of the trace that their invocation belongs to.

use std::io;

use shared::trace;
use tracing_subscriber::fmt::MakeWriter;

/// Adds the field to the lines of another writer, as long as there is a recorded trace. Not a field of
/// a span: of the spans, a line has the innermost only, and has none if the level leaves them out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traced<W>(pub(super) W);

impl<W: io::Write> io::Write for Traced<W> {
    /// Takes one line at a time, as `tracing` writes them.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match (trace::current(), line.strip_prefix(b"{")) {
            (Some(trace), Some(rest)) => {
                // An id has nothing that JSON would escape.
                let mut longer = format!(r#"{{"xray_trace_id":"{}","#, trace.id()).into_bytes();
                longer.extend_from_slice(rest);
                self.0.write_all(&longer)?;
            }
            _ => self.0.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for Traced<W> {
    type Writer = Traced<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        Traced(self.0.make_writer())
    }
}
