//! Log lines in which every text is visible.

use std::io;

use shared::words::is_hidden;
use tracing_subscriber::fmt::MakeWriter;

/// Escapes the lines of another writer. In a line's texts, each hidden character becomes its escape
/// as visible text, such as `\u{202e}`.
///
/// The escapes of JSON would not do: whoever reads a field gets the character back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Escaped<W>(pub(crate) W);

impl<W: io::Write> io::Write for Escaped<W> {
    /// Takes one line at a time, as `tracing` writes them.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        self.0.write_all(escaped(&text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for Escaped<W> {
    type Writer = Escaped<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        Escaped(self.0.make_writer())
    }
}

/// The line of JSON with its hidden characters as visible text. JSON has written some of them as
/// escapes of its own (`\n`, `\u001b`), which get a second backslash.
fn escaped(line: &str) -> String {
    let (json, end) = match line.strip_suffix('\n') {
        Some(json) => (json, "\n"),
        None => (line, ""),
    };
    let mut text = String::with_capacity(line.len());
    let mut chars = json.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            match chars.next() {
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).collect();
                    let code = u32::from_str_radix(&digits, 16).unwrap_or_default();
                    text.push_str(&format!(r"\\u{{{code:x}}}"));
                }
                Some('b') => text.push_str(r"\\u{8}"),
                Some('f') => text.push_str(r"\\u{c}"),
                Some(letter @ ('n' | 'r' | 't')) => text.extend(['\\', '\\', letter]),
                // A quotation mark or a backslash.
                other => text.extend(['\\'].into_iter().chain(other)),
            }
        } else if is_hidden(c) {
            text.push('\\');
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    text.push_str(end);
    text
}
