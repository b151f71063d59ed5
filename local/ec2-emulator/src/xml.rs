//! Writes the XML responses of EC2's Query protocol.

use std::fmt::Display;

use quick_xml::escape::partial_escape;

use crate::error::ApiError;

/// The XML namespace of API version 2016-11-15.
const NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// XML text that grows by appending elements.
#[derive(Debug, Default)]
pub struct Xml {
    out: String,
}

impl Xml {
    /// The response to a successful `action`; `body` follows the request id.
    pub fn response(action: &str, request_id: &str, body: &Xml) -> String {
        format!(
            "{DECLARATION}<{action}Response xmlns=\"{NAMESPACE}\">\
             <requestId>{request_id}</requestId>{}</{action}Response>",
            body.out
        )
    }

    /// The response to a failed request. EC2 spells `RequestID` differently here than in successful
    /// responses.
    pub fn error(error: &ApiError, request_id: &str) -> String {
        format!(
            "{DECLARATION}<Response><Errors><Error><Code>{}</Code><Message>{}</Message></Error>\
             </Errors><RequestID>{request_id}</RequestID></Response>",
            error.code,
            partial_escape(error.message.as_str())
        )
    }

    pub fn text(&mut self, name: &str, value: impl Display) {
        self.out.push_str(&format!(
            "<{name}>{}</{name}>",
            partial_escape(value.to_string())
        ));
    }

    /// The text of the element that is being written.
    pub fn value(&mut self, value: impl Display) {
        self.out.push_str(&partial_escape(value.to_string()));
    }

    pub fn text_if_some(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    pub fn element(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.out.push_str(&format!("<{name}>"));
        content(self);
        self.out.push_str(&format!("</{name}>"));
    }

    /// A list in EC2's form: `<name><item>…</item><item>…</item></name>`.
    pub fn set<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut content: impl FnMut(&mut Self, T),
    ) {
        self.element(name, |xml| {
            for item in items {
                xml.element("item", |xml| content(xml, item));
            }
        });
    }

    /// A `tagSet`, in the order of the iterator.
    pub fn tags<'a>(&mut self, tags: impl IntoIterator<Item = (&'a String, &'a String)>) {
        self.set("tagSet", tags, |xml, (key, value)| {
            xml.text("key", key);
            xml.text("value", value);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_with_special_characters_is_escaped() {
        let mut xml = Xml::default();
        xml.text("value", "a<b & \"c\"");
        assert_eq!(xml.out, "<value>a&lt;b &amp; \"c\"</value>");
    }

    #[test]
    fn response_names_its_action_and_request_id() {
        let mut body = Xml::default();
        body.set("tagSet", ["x"], |xml, key| xml.text("key", key));
        let response = Xml::response("DescribeTags", "r-1", &body);
        assert!(response.ends_with(
            "<DescribeTagsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
             <requestId>r-1</requestId><tagSet><item><key>x</key></item></tagSet>\
             </DescribeTagsResponse>"
        ));
    }
}
