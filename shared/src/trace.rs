//! The trace that an invocation belongs to, if it is recorded (AWS X-Ray). It is kept beside the
//! invocation's task instead of in arguments: log lines and requests to Hasura name it, and nothing
//! decides by it.

use std::future::Future;

tokio::task_local! {
    static TRACE: Option<Trace>;
}

/// Names one trace and the segment in it that is the parent of what is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    header: String,
    id: String,
}

impl Trace {
    /// Reads the header that Lambda gives with an invocation: `Root=1-…;Parent=…;Sampled=1`. None if
    /// the trace is not recorded (`Sampled=0`): there is nothing to look up then. None, too, if the
    /// header is not one that could be passed on.
    ///
    /// "Tracing header" in the concepts of the AWS X-Ray developer guide describes its fields.
    pub fn parse(header: &str) -> Option<Self> {
        let field = |name: &str| {
            let mut fields = header.split(';').filter_map(|field| field.split_once('='));
            fields.find_map(|(given, value)| (given.trim() == name).then_some(value.trim()))
        };
        let id = field("Root").filter(|id| is_id(id))?;
        let is_recorded = field("Sampled") == Some("1");
        let is_plain = header.bytes().all(|byte| byte.is_ascii_graphic());
        (is_recorded && is_plain).then(|| Self {
            header: header.to_owned(),
            id: id.to_owned(),
        })
    }

    /// The value of the header `X-Amzn-Trace-Id`.
    pub fn header(&self) -> &str {
        &self.header
    }

    /// The trace's id, as in the X-Ray console.
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// `1-` and hexadecimal digits in two groups.
fn is_id(text: &str) -> bool {
    let is_of_id = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    (3..=64).contains(&text.len()) && text.bytes().all(is_of_id)
}

/// The trace of the invocation that this task handles.
pub fn current() -> Option<Trace> {
    TRACE.try_with(Clone::clone).ok().flatten()
}

/// Handles an invocation that came with this header. Everything in its task has the trace.
pub async fn traced<F: Future>(header: Option<&str>, invocation: F) -> F::Output {
    TRACE.scope(header.and_then(Trace::parse), invocation).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "1-5759e988-bd862e3fe1be46a994272793";

    #[test]
    fn recorded_trace_has_its_id_and_its_header() {
        let header = format!("Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1;Lineage=1:a87bd80c:0");
        let trace = Trace::parse(&header).unwrap();
        assert_eq!(trace.id(), ROOT);
        assert_eq!(trace.header(), header);
    }

    #[test]
    fn trace_that_is_not_recorded_is_none() {
        for header in [
            String::new(),
            "Sampled=1".to_owned(),
            format!("Root={ROOT}"),
            format!("Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=0"),
        ] {
            assert_eq!(Trace::parse(&header), None, "{header}");
        }
    }

    #[test]
    fn header_that_could_forge_a_line_or_a_header_is_none() {
        for header in [
            format!("Root={ROOT}\";Sampled=1"),
            format!("Root={ROOT};Sampled=1\r\nx-hasura-role: admin"),
            "Root=\u{202e};Sampled=1".to_owned(),
            format!("Root={};Sampled=1", "a".repeat(65)),
        ] {
            assert_eq!(Trace::parse(&header), None, "{header}");
        }
    }

    #[tokio::test]
    async fn trace_ends_with_its_invocation() {
        let header = format!("Root={ROOT};Sampled=1");
        let inside = traced(Some(&header), async { current() }).await;
        assert_eq!(inside.as_ref().map(Trace::id), Some(ROOT));
        assert_eq!(current(), None);
        assert_eq!(traced(None, async { current() }).await, None);
    }
}
