//! YAML that every reader understands alike. Pure.
//!
//! YAML 1.1 and 1.2 disagree on words such as `on`, `0o7` or `1_000`; kubectl reads 1.1. So every text
//! is quoted as in JSON, which both read alike, and so is every key that is not a plain word.

use std::fmt::Write as _;

use serde_json::Value;

/// One document, with its marker.
pub fn document(value: &Value) -> String {
    let mut text = String::from("---\n");
    match value {
        Value::Object(map) if !map.is_empty() => block(&mut text, value, 0, false),
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => {
            scalar(&mut text, value);
            text.push('\n');
        }
    }
    text
}

/// A map or list in block style; `inline` when its first line goes on after `- `.
fn block(text: &mut String, value: &Value, depth: usize, mut inline: bool) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                indent(text, depth, &mut inline);
                key(text, name);
                text.push(':');
                entry(text, value, depth);
            }
        }
        Value::Array(list) => {
            for value in list {
                indent(text, depth, &mut inline);
                text.push('-');
                if is_block(value) {
                    text.push(' ');
                    block(text, value, depth + 1, true);
                } else {
                    entry(text, value, depth);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn entry(text: &mut String, value: &Value, depth: usize) {
    if is_block(value) {
        text.push('\n');
        block(text, value, depth + 1, false);
    } else {
        text.push(' ');
        scalar(text, value);
        text.push('\n');
    }
}

fn indent(text: &mut String, depth: usize, inline: &mut bool) {
    if !std::mem::take(inline) {
        text.push_str(&"  ".repeat(depth));
    }
}

fn is_block(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// A scalar, or an empty map or list: JSON, with what YAML does not print escaped.
fn scalar(text: &mut String, value: &Value) {
    for c in value.to_string().chars() {
        let bare = matches!(c, ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}'
            | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}' | '\u{10000}'..);
        if bare {
            text.push(c);
        } else {
            // Writing to a String does not fail.
            write!(text, "\\u{:04x}", u32::from(c)).ok();
        }
    }
}

fn key(text: &mut String, name: &str) {
    let ambiguous = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
        && !ambiguous.contains(&name.to_ascii_lowercase().as_str());
    if plain {
        text.push_str(name);
    } else {
        scalar(text, &Value::from(name));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn it_reads_well() {
        let value = json!({"kind": "Machine", "metadata": {"name": "on"}, "spec": {
            "empty": {}, "list": [{"a": 1, "b": [true, null]}, "x", []], "on": "1_000"}});
        assert_eq!(
            document(&value),
            "---\nkind: \"Machine\"\nmetadata:\n  name: \"on\"\nspec:\n  empty: {}\n  list:\n    \
             - a: 1\n      b:\n        - true\n        - null\n    - \"x\"\n    - []\n  \
             \"on\": \"1_000\"\n"
        );
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
            "[ -~\\n\\t]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,6}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in values()) {
            let text = document(&value);
            let read: Value = ::yaml::from_str(&text).unwrap();
            prop_assert_eq!(read, value, "{}", text);
        }
    }
}
