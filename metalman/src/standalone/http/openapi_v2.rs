//! OpenAPI v2, as kubectl before 1.25 wants it: protobuf, and no other form. Pure.
//!
//! Written: definitions of our kinds for its validation, and the `dryRun` parameter of patches,
//! which it looks for before a dry run. Field numbers are those of gnostic's `OpenAPIv2.proto`.

use serde_json::{Value, json};

use crate::standalone::fields::Fields as _;
use crate::standalone::resource::{Catalog, Resource};

use super::openapi::schema_name;

/// Media type of the document. The name that clients ask for has an `@`, at which they stumble in
/// an answer.
pub(super) const MEDIA: &str = "application/octet-stream";

const GROUP_VERSION_KIND: &str = "x-kubernetes-group-version-kind";

/// `/openapi/v2`.
pub(super) fn document(catalog: &Catalog) -> Vec<u8> {
    let (mut paths, mut definitions) = (Message::default(), Message::default());
    for resource in catalog.all() {
        let scope = if resource.namespaced {
            "/namespaces/{namespace}"
        } else {
            ""
        };
        let path = format!(
            "/{}{scope}/{}/{{name}}",
            resource.group_path(),
            resource.plural
        );
        paths.message(2, &named(&path, &patchable(resource)));
        let name = schema_name(resource);
        let mut definition = schema(&resource.openapi);
        definition.message(31, &extension(&json!([kind(resource)])));
        definitions.message(1, &named(&name, &definition));
    }
    let mut info = Message::default();
    info.text(1, "metalman");
    info.text(2, env!("CARGO_PKG_VERSION"));
    let mut document = Message::default();
    document.text(1, "2.0");
    document.message(2, &info);
    document.message(8, &paths);
    document.message(9, &definitions);
    document.0
}

fn kind(resource: &Resource) -> Value {
    json!({"group": resource.group, "version": resource.version, "kind": resource.kind})
}

/// A path whose objects can be patched as a dry run.
fn patchable(resource: &Resource) -> Message {
    let mut query = Message::default();
    query.text(2, "query");
    query.text(4, "dryRun");
    query.text(6, "string");
    // Parameters are one of several kinds, at three levels.
    let parameter = [3, 2, 1].into_iter().fold(query, |inner, field| {
        let mut outer = Message::default();
        outer.message(field, &inner);
        outer
    });
    let mut operation = Message::default();
    operation.message(8, &parameter);
    operation.message(13, &extension(&kind(resource)));
    let mut path = Message::default();
    path.message(8, &operation);
    path
}

/// A schema. What may be null has no more than a description, as in the real server's document.
fn schema(raw: &Value) -> Message {
    let mut message = Message::default();
    if let Some(words) = raw.at("description").as_str() {
        message.text(4, words);
    }
    let is = |flag: &str| raw.at(flag) == true;
    if is("nullable") || is("x-kubernetes-int-or-string") {
        return message;
    }
    if let Some(format) = raw.at("format").as_str() {
        message.text(2, format);
    }
    for name in raw.at("required").as_array().into_iter().flatten() {
        message.text(19, name.as_str().unwrap_or_default());
    }
    if raw.at("additionalProperties").is_object() {
        let mut additional = Message::default();
        additional.message(1, &schema(raw.at("additionalProperties")));
        message.message(21, &additional);
    }
    if let Some(word) = raw.at("type").as_str() {
        let mut of = Message::default();
        of.text(1, word);
        message.message(22, &of);
    }
    if raw.at("items").is_object() {
        let mut items = Message::default();
        items.message(1, &schema(raw.at("items")));
        message.message(23, &items);
    }
    if let Some(fields) = raw
        .at("properties")
        .as_object()
        .filter(|map| !map.is_empty())
    {
        let mut properties = Message::default();
        for (name, field) in fields {
            properties.message(1, &named(name, &schema(field)));
        }
        message.message(25, &properties);
    }
    message
}

fn named(name: &str, value: &Message) -> Message {
    let mut message = Message::default();
    message.text(1, name);
    message.message(2, value);
    message
}

/// The kind a schema or an operation is about. JSON is YAML.
fn extension(value: &Value) -> Message {
    let mut any = Message::default();
    any.text(2, &value.to_string());
    named(GROUP_VERSION_KIND, &any)
}

/// A protobuf message that is being written.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn text(&mut self, field: u32, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    fn message(&mut self, field: u32, inner: &Self) {
        self.bytes(field, &inner.0);
    }

    /// A field whose length is told (wire type 2).
    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.number(u64::from(field << 3 | 2));
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn number(&mut self, mut number: u64) {
        while number > 0x7f {
            self.0
                .push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
            number >>= 7;
        }
        self.0.push(u8::try_from(number).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_protobuf() {
        let mut inner = Message::default();
        inner.text(1, "ab");
        let mut outer = Message::default();
        outer.message(30, &inner);
        outer.number(300);
        assert_eq!(outer.0, [0xf2, 0x01, 4, 0x0a, 2, b'a', b'b', 0xac, 0x02]);
    }

    #[test]
    fn what_may_be_null_is_told_in_words_only() {
        let raw = json!({"type": "object", "nullable": true, "description": "d",
                         "properties": {"a": {"type": "string"}}});
        assert_eq!(schema(&raw).0, [0x22, 1, b'd']);
    }
}
