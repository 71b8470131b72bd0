//! Defaulting and pruning: an object as the schema wants it, before it is judged. Pure.
//!
//! Neither ever refuses an object. Invariant: both are idempotent.

use serde_json::{Map, Value};

use super::{Kind, Schema};

/// Fills absent fields that have a default, and replaces `null` where it is no value.
pub fn apply_defaults(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, child) in &schema.properties {
                let fill = match map.get(name) {
                    None => true,
                    Some(Value::Null) => !child.nullable,
                    Some(_) => false,
                };
                if let (true, Some(default)) = (fill, &child.default) {
                    map.insert(name.clone(), default.clone());
                }
            }
            for (name, child) in map.iter_mut() {
                if let Some(child_schema) = schema.field(name) {
                    apply_defaults(child_schema, child);
                }
            }
        }
        Value::Array(items) => {
            if let Some(item_schema) = &schema.items {
                for item in items {
                    apply_defaults(item_schema, item);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Removes fields the schema does not know and returns their paths, sorted. `null` for a field
/// that cannot be null is dropped silently, as the real server does.
pub fn prune(schema: &Schema, value: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    prune_at(schema, value, "", false, &mut unknown);
    // The real server decodes the metadata first.
    unknown.sort_by_key(|path| (!path.starts_with("metadata."), path.clone()));
    unknown
}

fn prune_at(schema: &Schema, value: &mut Value, path: &str, keep: bool, gone: &mut Vec<String>) {
    let keep = schema.preserve_unknown || (keep && schema.properties.is_empty());
    match value {
        Value::Object(map) => prune_map(schema, map, path, keep, gone),
        Value::Array(items) => {
            let Some(item_schema) = &schema.items else {
                return;
            };
            for (index, item) in items.iter_mut().enumerate() {
                prune_at(item_schema, item, &format!("{path}[{index}]"), keep, gone);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn prune_map(
    schema: &Schema,
    map: &mut Map<String, Value>,
    path: &str,
    keep: bool,
    gone: &mut Vec<String>,
) {
    // A leaf without declared structure: validation speaks about it, pruning does not.
    let open = keep || schema.kind.is_some_and(|kind| kind != Kind::Object);
    map.retain(|name, child| {
        let here = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        let of_object =
            schema.embedded && matches!(name.as_str(), "apiVersion" | "kind" | "metadata");
        match schema.field(name) {
            Some(child_schema) => {
                let stray_null = child.is_null()
                    && !child_schema.nullable
                    && !child_schema.preserve_unknown
                    && schema.properties.contains_key(name);
                prune_at(child_schema, child, &here, keep, gone);
                !stray_null
            }
            None if open || of_object => true,
            None => {
                gone.push(here);
                false
            }
        }
    });
}
