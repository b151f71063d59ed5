//! Sessions as CSV (RFC 4180), in pages.

use std::fmt::Write as _;

use jiff::Timestamp;
use shared::usage::SessionRecord;

use crate::route::SessionsOf;

/// Rows of a page. Ids have up to 128 bytes for the session and 255 for the user, and each may double
/// twice, by the quotes of CSV and of the JSON around it: an answer stays far below Lambda's 6 MB.
pub(crate) const PAGE: u32 = 2000;

const COLUMNS: &str = "user_id,session_id,region,instance_id,image_id,instance_type,slot_id,\
    requested_at,assigned_at,connected_at,running_at,ended_at,end_reason,end_detail,waited_seconds\r\n";

pub(crate) fn table(sessions: &[SessionRecord]) -> String {
    let mut csv = COLUMNS.to_owned();
    for session in sessions {
        let reason = session.end_reason.map(|reason| serde_json::json!(reason));
        let reason = reason.as_ref().and_then(|reason| reason.as_str());
        let texts = [
            session.user.as_str(),
            &session.session,
            session.region.as_str(),
            session.instance_id.as_str(),
            session.image_id.as_str(),
            session.instance_type.as_deref().unwrap_or_default(),
            &session.slot_id,
        ];
        for text in texts {
            csv.push_str(&field(text));
            csv.push(',');
        }
        let times = [
            Some(session.requested_at),
            Some(session.assigned_at),
            session.connected_at,
            session.running_at,
            session.ended_at,
        ];
        for time in times {
            let time = time.as_ref().map(Timestamp::to_string).unwrap_or_default();
            csv.push_str(&time);
            csv.push(',');
        }
        let detail = field(session.end_detail.as_deref().unwrap_or_default());
        let waited = session.waited.as_secs_f64();
        let _ = write!(csv, "{},{detail},{waited}\r\n", reason.unwrap_or_default());
    }
    csv
}

/// A text that others have chosen. Spreadsheets run one that begins like a formula, also if it is quoted:
/// an apostrophe makes it a text for them.
fn field(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = match is_formula {
        true => format!("'{text}"),
        false => text.to_owned(),
    };
    match text.contains(['"', ',', '\r', '\n']) || is_formula {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

/// The next page, relative to this one, unless this is the last.
pub(crate) fn next_page(of: &SessionsOf, sessions: &[SessionRecord]) -> Option<String> {
    let is_full = u32::try_from(sessions.len()).is_ok_and(|rows| rows >= PAGE);
    let last = sessions.last().filter(|_| is_full)?;
    let (from, to, after) = (of.from, of.to, last.place());
    Some(format!("history.csv?from={from}&to={to}&after={after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_where_csv_needs_it_and_formulas_are_texts() {
        let cases = [
            ("", ""),
            ("ann", "ann"),
            ("ann smith", "ann smith"),
            ("a,b", "\"a,b\""),
            ("say \"a\"", "\"say \"\"a\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("two\r\nlines", "\"two\r\nlines\""),
            ("=1+1", "\"'=1+1\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("\t=1", "\"'\t=1\""),
            ("\r=1", "\"'\r=1\""),
            ("=cmd|'/c calc'!A0\"", "\"'=cmd|'/c calc'!A0\"\"\""),
            ("a=1", "a=1"),
        ];
        for (text, expected) in cases {
            assert_eq!(field(text), expected, "{text:?}");
        }
    }
}
