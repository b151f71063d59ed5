//! Texts of errors, for people who do not read Rust.

use std::fmt::{self, Display, Write as _};

/// Unicode's format characters (category Cf), in ranges: they reorder, join or hide what is around
/// them. Source: `DerivedGeneralCategory.txt` of Unicode 17.
const FORMAT: [(char, char); 21] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{180e}', '\u{180e}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2060}', '\u{2064}'),
    ('\u{2066}', '\u{206f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{fff9}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0001}', '\u{e0001}'),
    ('\u{e0020}', '\u{e007f}'),
];

/// Whether the character is invisible or changes how others are shown: control and format characters
/// and the separators of lines and paragraphs (categories Cc, Cf, Zl and Zp).
pub fn is_hidden(c: char) -> bool {
    let is_format = || {
        FORMAT
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&c))
    };
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') || (!c.is_ascii() && is_format())
}

/// A text in which [hidden](is_hidden) characters are escaped, as in `\u{202e}`: it may come from
/// outside, and must not change how the text around it is shown.
pub fn visible(text: &(impl AsRef<str> + ?Sized)) -> Visible<'_> {
    Visible(text.as_ref())
}

/// See [`visible`].
#[derive(Clone, Copy, Debug)]
pub struct Visible<'t>(&'t str);

impl Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                c if is_hidden(c) => write!(f, "{}", c.escape_default())?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A text in quotation marks, in which [hidden](is_hidden) characters are escaped: it may come from
/// outside and be shown in a log.
pub fn quoted(text: &(impl AsRef<str> + ?Sized)) -> Quoted<'_> {
    Quoted(text.as_ref())
}

/// See [`quoted`].
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'t>(&'t str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if is_hidden(c) => write!(f, "{}", c.escape_default())?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// The message of an error of serde, in which types are named as people name them: serde says
/// "expected struct Envelope" or "expected u32".
pub fn plain(error: &(impl Display + ?Sized)) -> String {
    const EXPECTED: &str = ", expected ";
    let message = error.to_string();
    // The last one, because what comes before may quote a text from outside.
    let Some(start) = message.rfind(EXPECTED) else {
        return message;
    };
    let (found, expected) = message.split_at(start + EXPECTED.len());
    let (expected, position) = match expected.find(" at line ") {
        Some(end) => expected.split_at(end),
        None => (expected, ""),
    };
    format!("{found}{}{position}", in_words(expected))
}

fn in_words(expected: &str) -> &str {
    let is_of_rust = |word: &str| matches!(word, "struct" | "enum" | "HeaderMap");
    let is_number = |word: &str| {
        let size = word.strip_prefix(['u', 'i']).unwrap_or_default();
        matches!(size, "8" | "16" | "32" | "64" | "128" | "size")
    };
    let mut words = expected.split(' ');
    if words.clone().any(is_of_rust) {
        "an object"
    } else if words.clone().any(is_number) {
        "a whole number"
    } else if words.any(|word| matches!(word, "f32" | "f64")) {
        "a number"
    } else {
        expected
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only parsed")]
    struct Row {
        count: u32,
        share: f64,
        name: String,
    }

    fn problem(row: &Value) -> String {
        plain(&serde_json::from_value::<Row>(row.clone()).unwrap_err())
    }

    #[test]
    fn types_of_serde_are_named_in_words() {
        for (row, text) in [
            (json!("x"), "invalid type: string \"x\", expected an object"),
            (
                json!({"count": -1, "share": 1, "name": "x"}),
                "invalid value: integer `-1`, expected a whole number",
            ),
            (
                json!({"count": 1, "share": "much", "name": "x"}),
                "invalid type: string \"much\", expected a number",
            ),
            (
                json!({"count": 1, "share": 1, "name": 7}),
                "invalid type: integer `7`, expected a string",
            ),
            (json!({}), "missing field `count`"),
            (
                json!({"count": ", expected struct Row"}),
                "invalid type: string \", expected struct Row\", expected a whole number",
            ),
        ] {
            assert_eq!(problem(&row), text);
        }
        let error = serde_json::from_str::<Row>("[7").unwrap_err();
        assert!(!plain(&error).contains("Row"), "{error}");
        let error = serde_json::from_str::<Row>("7").unwrap_err();
        assert_eq!(
            plain(&error),
            "invalid type: integer `7`, expected an object at line 1 column 1"
        );
    }

    #[test]
    fn quoted_text_cannot_break_a_line() {
        assert_eq!(quoted("us-east-1").to_string(), "\"us-east-1\"");
        assert_eq!(
            quoted("a\n\"b\\\u{1b}é").to_string(),
            r#""a\n\"b\\\u{1b}é""#
        );
        assert_eq!(quoted("a\u{202e}b").to_string(), r#""a\u{202e}b""#);
    }

    #[test]
    fn characters_that_hide_or_reorder_are_escaped_and_no_others() {
        for hidden in [
            '\0',
            '\n',
            '\r',
            '\t',
            '\u{1b}',
            '\u{7f}',
            '\u{85}',
            '\u{9b}',
            '\u{ad}',
            '\u{61c}',
            '\u{180e}',
            '\u{200b}',
            '\u{200d}',
            '\u{200e}',
            '\u{2028}',
            '\u{2029}',
            '\u{202a}',
            '\u{202e}',
            '\u{2060}',
            '\u{2066}',
            '\u{2069}',
            '\u{feff}',
            '\u{fffb}',
            '\u{1d173}',
            '\u{e0001}',
            '\u{e0041}',
        ] {
            let text = visible(&format!("a{hidden}b")).to_string();
            assert_eq!(text, format!("a{}b", hidden.escape_default()));
        }
        let shown = "Zoë 東京 e\u{301} عربي \\u{202e} \"quoted\" <b> 👍 \u{a0}|";
        assert_eq!(visible(shown).to_string(), shown);
        // What Rust calls printable is never escaped, so the table has no wrong range.
        for c in ('\0'..=char::MAX).filter(|c| is_hidden(*c)) {
            assert!(c.escape_debug().len() > 1, "{}", c.escape_unicode());
        }
    }
}
