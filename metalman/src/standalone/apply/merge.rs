//! Merging an applied configuration into the stored object, and removing what nobody wants any
//! more. Pure.

use std::collections::{HashMap, HashSet};

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
            let old: Vec<(String, Value)> = list
                .drain(..)
                .map(|item| (element_of(&list_type, &item), item))
                .collect();
            *list = merge_items(item_schema, &old, &items);
        }
        Shape::Fields(_) | Shape::Items(_) | Shape::Leaf => *live = config.clone(),
    }
}

/// Items of both lists. Those in both follow the order of `new`, those only in `old` stay where
/// they are among them.
fn merge_items(
    schema: Option<&Schema>,
    old: &[(String, Value)],
    new: &[(String, &Value)],
) -> Vec<Value> {
    let known: HashSet<&String> = new.iter().map(|(element, _)| element).collect();
    let in_new = |element: &String| known.contains(element);
    let mut stored = HashMap::new();
    for (element, item) in old {
        stored.entry(element).or_insert(item);
    }
    // For each new item the first from there on that is also old.
    let mut shared_from: Vec<Option<&String>> = new
        .iter()
        .rev()
        .scan(None, |next, (element, _)| {
            if stored.contains_key(element) {
                *next = Some(element);
            }
            Some(*next)
        })
        .collect();
    shared_from.reverse();
    let mut merged = Vec::with_capacity(old.len().max(new.len()));
    let mut rest = old.iter().peekable();
    for ((element, item), next_shared) in new.iter().zip(shared_from) {
        let shared = stored.get(element).copied();
        while let Some((ahead, value)) = rest.peek().filter(|(ahead, _)| ahead != element) {
            if !in_new(ahead) {
                merged.push(value.clone());
            } else if Some(ahead) == next_shared {
                break;
            }
            rest.next();
        }
        rest.next_if(|(ahead, _)| ahead == element);
        let mut value = shared.map_or(Value::Null, Value::clone);
        if shared.is_some() {
            merge(schema, &mut value, item);
        } else {
            value.clone_from(item);
        }
        merged.push(value);
    }
    merged.extend(
        rest.filter(|(element, _)| !in_new(element))
            .map(|(_, v)| v.clone()),
    );
    merged
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
                    // Who owns no more than fields in an item does not keep it.
                    (Some(last_child), Some(keep_child))
                        if last_child.member && !keep_child.member =>
                    {
                        false
                    }
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
