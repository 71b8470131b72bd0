//! Merging an applied configuration into the stored object, and removing what nobody wants any
//! more. Pure.

use serde_json::Value;

use super::fieldset::{FieldSet, Shape, shape};
use crate::standalone::schema::{ListType, Schema, item_key};

/// `live` with everything `config` says.
pub(super) fn merge(schema: Option<&Schema>, live: &mut Value, config: &Value) {
    match shape(schema, config) {
        Shape::Fields(fields) if live.is_object() => {
            let Value::Object(map) = live else { return };
            for (name, value) in fields {
                let child_schema = schema.and_then(|s| s.field(name));
                match map.get_mut(name) {
                    Some(existing) => merge(child_schema, existing, value),
                    None => {
                        map.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        Shape::Items(items) if live.is_array() => {
            let list_type = schema.map(|s| s.list.clone()).unwrap_or_default();
            let item_schema = schema.and_then(|s| s.items.as_deref());
            let Value::Array(list) = live else { return };
            for (element, item) in items {
                let same = |old: &Value| element_of(&list_type, old) == element;
                match list.iter_mut().find(|old| same(old)) {
                    Some(existing) => merge(item_schema, existing, item),
                    None => list.push(item.clone()),
                }
            }
        }
        Shape::Fields(_) | Shape::Items(_) | Shape::Leaf => *live = config.clone(),
    }
}

fn element_of(list: &ListType, item: &Value) -> String {
    match list {
        ListType::Map(keys) => format!("k:{}", item_key(item, keys)),
        ListType::Set | ListType::Atomic => format!("v:{item}"),
    }
}

/// Removes from `value` what was applied before (`last`) and nobody owns now (`keep`).
pub(super) fn remove_unowned(
    schema: Option<&Schema>,
    value: &mut Value,
    last: &FieldSet,
    keep: &FieldSet,
) {
    match value {
        Value::Object(map) => {
            for (element, last_child) in &last.children {
                let Some(name) = element.strip_prefix("f:") else {
                    continue;
                };
                match keep.children.get(element) {
                    None => {
                        map.remove(name);
                    }
                    Some(keep_child) => {
                        if let Some(child) = map.get_mut(name) {
                            let child_schema = schema.and_then(|s| s.field(name));
                            remove_unowned(child_schema, child, last_child, keep_child);
                        }
                    }
                }
            }
        }
        Value::Array(items) => {
            let list_type = schema.map(|s| s.list.clone()).unwrap_or_default();
            let item_schema = schema.and_then(|s| s.items.as_deref());
            items.retain_mut(|item| {
                let element = element_of(&list_type, item);
                match (last.children.get(&element), keep.children.get(&element)) {
                    (Some(_), None) => false,
                    (Some(last_child), Some(keep_child)) => {
                        remove_unowned(item_schema, item, last_child, keep_child);
                        true
                    }
                    (None, _) => true,
                }
            });
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
