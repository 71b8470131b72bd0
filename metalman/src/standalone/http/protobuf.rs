//! Bodies in Kubernetes' protobuf envelope, for the kinds that kubectl sends so: Namespace, Secret,
//! ConfigMap (`create`) and the reviews of `auth can-i` and `auth whoami`. Pure.
//!
//! Answers are always JSON, which those clients accept. Invariant: a field that is set but not
//! known here refuses the body; nothing is dropped silently.

use k8s_openapi::ByteString;
use serde_json::{Map, Value, json};

use crate::standalone::fields::Fields as _;

pub(super) const MAGIC: &[u8] = b"k8s\0";

/// How a field is read.
#[derive(Clone, Copy)]
enum Field {
    Text,
    Texts,
    Flag,
    TextMap,
    BytesMap,
    Message(&'static [(u64, &'static str, Self)]),
    /// Set by the server; clients send it empty.
    Ignored,
}

const METADATA: &[(u64, &str, Field)] = &[
    (1, "name", Field::Text),
    (2, "generateName", Field::Text),
    (3, "namespace", Field::Text),
    (4, "selfLink", Field::Ignored),
    (5, "uid", Field::Ignored),
    (6, "resourceVersion", Field::Text),
    (7, "generation", Field::Ignored),
    (8, "creationTimestamp", Field::Ignored),
    (11, "labels", Field::TextMap),
    (12, "annotations", Field::TextMap),
    (14, "finalizers", Field::Texts),
];
const SECRET: &[(u64, &str, Field)] = &[
    (1, "metadata", Field::Message(METADATA)),
    (2, "data", Field::BytesMap),
    (3, "type", Field::Text),
    (4, "stringData", Field::TextMap),
    (5, "immutable", Field::Flag),
];
const CONFIG_MAP: &[(u64, &str, Field)] = &[
    (1, "metadata", Field::Message(METADATA)),
    (2, "data", Field::TextMap),
    (3, "binaryData", Field::BytesMap),
    (4, "immutable", Field::Flag),
];
const NAMESPACE: &[(u64, &str, Field)] = &[
    (1, "metadata", Field::Message(METADATA)),
    (2, "spec", Field::Ignored),
    (3, "status", Field::Ignored),
];

const RESOURCE_ATTRIBUTES: &[(u64, &str, Field)] = &[
    (1, "namespace", Field::Text),
    (2, "verb", Field::Text),
    (3, "group", Field::Text),
    (4, "version", Field::Text),
    (5, "resource", Field::Text),
    (6, "subresource", Field::Text),
    (7, "name", Field::Text),
];
const PATH_ATTRIBUTES: &[(u64, &str, Field)] =
    &[(1, "path", Field::Text), (2, "verb", Field::Text)];
const ACCESS_REVIEW: &[(u64, &str, Field)] = &[
    (1, "metadata", Field::Message(METADATA)),
    (
        2,
        "spec",
        Field::Message(&[
            (1, "resourceAttributes", Field::Message(RESOURCE_ATTRIBUTES)),
            (2, "nonResourceAttributes", Field::Message(PATH_ATTRIBUTES)),
        ]),
    ),
    (3, "status", Field::Ignored),
];
const RULES_REVIEW: &[(u64, &str, Field)] = &[
    (1, "metadata", Field::Message(METADATA)),
    (2, "spec", Field::Message(&[(1, "namespace", Field::Text)])),
    (3, "status", Field::Ignored),
];
const SELF_REVIEW: &[(u64, &str, Field)] = &[
    (1, "metadata", Field::Message(METADATA)),
    (2, "status", Field::Ignored),
];

/// A value on the wire.
enum Wire<'b> {
    Number(u64),
    Bytes(&'b [u8]),
}

/// Decodes an enveloped object; `None` when it is damaged or holds more than is known here.
pub(super) fn decode(body: &[u8]) -> Option<Value> {
    let envelope = fields(body.strip_prefix(MAGIC)?)?;
    let find = |number: u64| {
        envelope.iter().find_map(|(n, wire)| match wire {
            Wire::Bytes(bytes) if *n == number => Some(*bytes),
            Wire::Bytes(_) | Wire::Number(_) => None,
        })
    };
    let kind = fields(find(1)?)?;
    let text = |number: u64| {
        kind.iter().find_map(|(n, wire)| match wire {
            Wire::Bytes(bytes) if *n == number => std::str::from_utf8(bytes).ok(),
            Wire::Bytes(_) | Wire::Number(_) => None,
        })
    };
    let (version, kind) = (text(1)?, text(2)?);
    let table = match (version, kind) {
        ("v1", "Secret") => SECRET,
        ("v1", "ConfigMap") => CONFIG_MAP,
        ("v1", "Namespace") => NAMESPACE,
        ("authorization.k8s.io/v1", "SelfSubjectAccessReview") => ACCESS_REVIEW,
        ("authorization.k8s.io/v1", "SelfSubjectRulesReview") => RULES_REVIEW,
        ("authentication.k8s.io/v1", "SelfSubjectReview") => SELF_REVIEW,
        _ => return None,
    };
    let mut object = message(find(2)?, table)?;
    object.set("apiVersion", json!(version));
    object.set("kind", json!(kind));
    Some(object)
}

fn message(bytes: &[u8], table: &[(u64, &'static str, Field)]) -> Option<Value> {
    let mut map = Map::new();
    for (number, wire) in fields(bytes)? {
        let known = table.iter().find(|(n, _, _)| *n == number);
        let Some((_, name, field)) = known else {
            let empty = matches!(wire, Wire::Number(0) | Wire::Bytes([]));
            if empty {
                continue;
            }
            return None;
        };
        match (field, wire) {
            (Field::Ignored, _) | (Field::Text, Wire::Bytes([])) => {}
            (Field::Text, Wire::Bytes(bytes)) => {
                map.insert((*name).to_owned(), json!(std::str::from_utf8(bytes).ok()?));
            }
            (Field::Texts, Wire::Bytes(bytes)) => {
                let list = map.entry(*name).or_insert_with(|| json!([]));
                list.as_array_mut()?
                    .push(json!(std::str::from_utf8(bytes).ok()?));
            }
            (Field::Flag, Wire::Number(number)) => {
                map.insert((*name).to_owned(), json!(number != 0));
            }
            (Field::Message(table), Wire::Bytes(bytes)) => {
                map.insert((*name).to_owned(), message(bytes, table)?);
            }
            (Field::TextMap, Wire::Bytes(bytes)) => {
                let (key, value) = entry(bytes)?;
                let value = json!(std::str::from_utf8(value).ok()?);
                map.entry(*name)
                    .or_insert_with(|| json!({}))
                    .set(key, value);
            }
            (Field::BytesMap, Wire::Bytes(bytes)) => {
                let (key, value) = entry(bytes)?;
                let value = json!(ByteString(value.to_vec()));
                map.entry(*name)
                    .or_insert_with(|| json!({}))
                    .set(key, value);
            }
            (
                Field::Text
                | Field::Texts
                | Field::Flag
                | Field::Message(_)
                | Field::TextMap
                | Field::BytesMap,
                Wire::Number(_) | Wire::Bytes(_),
            ) => return None,
        }
    }
    Some(Value::Object(map))
}

fn entry(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (mut key, mut value) = ("", &[][..]);
    for (number, wire) in fields(bytes)? {
        match (number, wire) {
            (1, Wire::Bytes(bytes)) => key = std::str::from_utf8(bytes).ok()?,
            (2, Wire::Bytes(bytes)) => value = bytes,
            _ => return None,
        }
    }
    Some((key, value))
}

fn fields(mut bytes: &[u8]) -> Option<Vec<(u64, Wire<'_>)>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let wire = match tag & 7 {
            0 => Wire::Number(varint(&mut bytes)?),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (value, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                Wire::Bytes(value)
            }
            _ => return None,
        };
        found.push((tag >> 3, wire));
    }
    Some(found)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn kubectl_create_secret_is_understood() {
        let body = b"k8s\x00\n\x0c\n\x02v1\x12\x06Secret\x12$\n\x11\n\x01s\x12\x00\x1a\x00\"\x00*\
                     \x002\x008\x00B\x00\x12\r\n\x08password\x12\x01p\x1a\x00\x1a\x00\"\x00";
        assert_eq!(
            decode(body).unwrap(),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
                   "data": {"password": "cA=="}})
        );
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let node = b"k8s\x00\n\n\n\x02v1\x12\x04Node\x12\x03\n\x01\x00";
        assert_eq!(decode(node), None);
        let owner = b"k8s\x00\n\x0c\n\x02v1\x12\x06Secret\x12\x05\n\x03j\x01x";
        assert_eq!(decode(owner), None, "ownerReferences are not read");
    }

    proptest! {
        #[test]
        fn damage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            drop(decode(&bytes));
            drop(decode(&[MAGIC, &bytes].concat()));
            let head = b"k8s\x00\n\x0c\n\x02v1\x12\x06Secret\x12";
            let length = u8::try_from(bytes.len()).unwrap();
            drop(decode(&[head, &[length][..], &bytes].concat()));
        }
    }
}
