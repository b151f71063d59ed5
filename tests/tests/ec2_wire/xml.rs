//! XML as a flat map, so that answers can be compared regardless of the order of elements.

use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::escape::unescape;
use quick_xml::events::Event;

/// An element that is being read.
struct Open {
    path: String,
    text: String,
    /// The number of children so far, by name.
    children: BTreeMap<String, usize>,
}

/// Every leaf by its path below the root: `instancesSet/item[0]/instanceId`. Items are numbered.
/// Tags are identified by their keys, since their order has no meaning.
pub(crate) fn flatten(document: &str) -> Result<BTreeMap<String, String>, String> {
    let mut reader = Reader::from_str(document);
    let mut leaves = BTreeMap::new();
    let mut stack: Vec<Open> = Vec::new();
    loop {
        match reader.read_event().map_err(|error| error.to_string())? {
            Event::Start(start) => open(&mut stack, start.name().as_ref()),
            Event::Empty(start) => {
                open(&mut stack, start.name().as_ref());
                close(&mut stack, &mut leaves);
            }
            Event::End(_) => close(&mut stack, &mut leaves),
            Event::Text(text) => append(&mut stack, &text),
            Event::GeneralRef(name) => {
                let text = format!("&{};", &*name);
                append(
                    &mut stack,
                    &unescape(&text).map_err(|error| error.to_string())?,
                );
            }
            Event::Eof if stack.is_empty() => return Ok(by_key(&leaves)),
            Event::Eof => return Err("the document ends too early".to_owned()),
            _ => {}
        }
    }
}

fn open(stack: &mut Vec<Open>, name: &str) {
    let path = match stack.last_mut() {
        // The root's name is the action's.
        None => String::new(),
        Some(parent) => {
            let number = parent.children.entry(name.to_owned()).or_default();
            let part = if name == "item" {
                format!("item[{number}]")
            } else {
                name.to_owned()
            };
            *number += 1;
            if parent.path.is_empty() {
                part
            } else {
                format!("{}/{part}", parent.path)
            }
        }
    };
    stack.push(Open {
        path,
        text: String::new(),
        children: BTreeMap::new(),
    });
}

fn close(stack: &mut Vec<Open>, leaves: &mut BTreeMap<String, String>) {
    if let Some(element) = stack.pop()
        && element.children.is_empty()
    {
        leaves.insert(element.path, element.text);
    }
}

fn append(stack: &mut [Open], text: &str) {
    if let Some(element) = stack.last_mut() {
        element.text.push_str(text);
    }
}

/// Renames `tagSet/item[2]/…` to `tagSet/item[Name]/…`, with the resource where there is one.
fn by_key(leaves: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let tag_of = |path: &str| -> Option<(String, String)> {
        let (set, rest) = path.split_once("tagSet/item[")?;
        let (number, field) = rest.split_once("]/")?;
        let item = format!("{set}tagSet/item[{number}]");
        let key = leaves.get(&format!("{item}/key"))?;
        let resource = leaves
            .get(&format!("{item}/resourceId"))
            .map_or("", String::as_str);
        Some((
            format!("{set}tagSet/item[{resource}{key}]"),
            field.to_owned(),
        ))
    };
    leaves
        .iter()
        .map(|(path, value)| match tag_of(path) {
            Some((item, field)) => (format!("{item}/{field}"), value.clone()),
            None => (path.clone(), value.clone()),
        })
        .collect()
}
