//! Renders a schema in GraphQL's schema definition language. Everything is sorted by
//! name, so that equal schemas have equal texts.

use std::fmt::Write as _;

use crate::introspection::{Field, InputValue, Kind, Named, Schema, Type, TypeRef};

const HEADER: &str = "\
# The administrator's GraphQL schema, as introspection shows it.
# Written by `local-graphql schema`; a test compares the two.
";

/// Scalars that every GraphQL schema has. They are not declared.
const BUILT_IN: [&str; 5] = ["Boolean", "Float", "ID", "Int", "String"];

/// The schema as text, with a header comment.
pub(crate) fn render(schema: &Schema) -> String {
    let mut out = String::from(HEADER);
    let mut roots = vec![("query", &schema.query_type)];
    roots.extend(schema.mutation_type.as_ref().map(|root| ("mutation", root)));
    roots.extend(
        schema
            .subscription_type
            .as_ref()
            .map(|root| ("subscription", root)),
    );
    let roots = roots
        .iter()
        .map(|(kind, root)| format!("  {kind}: {}\n", root.name));
    write_block(&mut out, "schema", roots.collect());

    let mut types: Vec<_> = schema
        .types
        .iter()
        .filter(|t| !t.name.starts_with("__") && !BUILT_IN.contains(&t.name.as_str()))
        .collect();
    types.sort_by(|a, b| a.name.cmp(&b.name));
    for declared in types {
        write_type(&mut out, declared);
    }
    out
}

fn write_type(out: &mut String, declared: &Type) {
    let name = &declared.name;
    match declared.kind {
        Kind::Object => {
            let interfaces = names(declared.interfaces.as_deref());
            let implements = match interfaces.as_slice() {
                [] => String::new(),
                some => format!(" implements {}", some.join(" & ")),
            };
            write_block(
                out,
                &format!("type {name}{implements}"),
                fields(declared.fields.as_deref()),
            );
        }
        Kind::Interface => {
            write_block(
                out,
                &format!("interface {name}"),
                fields(declared.fields.as_deref()),
            );
        }
        Kind::InputObject => {
            let inputs = declared.input_fields.as_deref().unwrap_or_default();
            write_block(
                out,
                &format!("input {name}"),
                lines(inputs.iter().map(input_value)),
            );
        }
        Kind::Enum => {
            let values = names(declared.enum_values.as_deref());
            write_block(
                out,
                &format!("enum {name}"),
                lines(values.into_iter().map(str::to_owned)),
            );
        }
        Kind::Union => {
            let members = names(declared.possible_types.as_deref()).join(" | ");
            let _ = writeln!(out, "\nunion {name} = {members}");
        }
        Kind::Scalar | Kind::List | Kind::NonNull => {
            let _ = writeln!(out, "\nscalar {name}");
        }
    }
}

fn write_block(out: &mut String, head: &str, body: Vec<String>) {
    let _ = writeln!(out, "\n{head} {{\n{}}}", body.concat());
}

fn names(named: Option<&[Named]>) -> Vec<&str> {
    let mut names: Vec<_> = named
        .unwrap_or_default()
        .iter()
        .map(|named| named.name.as_str())
        .collect();
    names.sort_unstable();
    names
}

fn fields(fields: Option<&[Field]>) -> Vec<String> {
    lines(fields.unwrap_or_default().iter().map(|field| {
        let mut args: Vec<_> = field.args.iter().map(input_value).collect();
        args.sort_unstable();
        let args = match args.as_slice() {
            [] => String::new(),
            some => format!("({})", some.join(", ")),
        };
        format!("{}{args}: {}", field.name, type_ref(&field.r#type))
    }))
}

fn lines(items: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<_> = items.map(|item| format!("  {item}\n")).collect();
    lines.sort_unstable();
    lines
}

fn input_value(value: &InputValue) -> String {
    let default = match &value.default_value {
        Some(default) => format!(" = {default}"),
        None => String::new(),
    };
    format!("{}: {}{default}", value.name, type_ref(&value.r#type))
}

fn type_ref(reference: &TypeRef) -> String {
    let inner = || {
        reference
            .of_type
            .as_deref()
            .map(type_ref)
            .unwrap_or_default()
    };
    match reference.kind {
        Kind::NonNull => format!("{}!", inner()),
        Kind::List => format!("[{}]", inner()),
        _ => reference.name.clone().unwrap_or_default(),
    }
}
