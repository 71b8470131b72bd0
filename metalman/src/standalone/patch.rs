//! Patches other than apply: JSON patch, JSON merge patch, strategic merge patch. Pure.
//!
//! Strategic merge knows the merge keys of the core kinds that are served and treats every other
//! list as atomic; `$retainKeys` is accepted and ignored. Invariant: a patch that fails leaves no trace.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::fields::Fields as _;
use super::status::ApiError;

/// Lists of core kinds that strategic merge joins by a key. Field names are unique enough here.
const MERGE_KEYS: [(&str, &str); 3] = [
    ("conditions", "type"),
    ("addresses", "type"),
    ("ownerReferences", "uid"),
];
/// Lists of scalars that strategic merge joins.
const MERGED_LISTS: [&str; 3] = ["finalizers", "podCIDRs", "imagePullSecrets"];

/// Applies an RFC 6902 patch.
///
/// # Errors
/// 400 for a patch that cannot be read, 422 for one that does not fit.
pub fn json_patch(mut object: Value, patch: Value) -> Result<Value, ApiError> {
    let patch: json_patch::Patch = serde_json::from_value(patch)
        .map_err(|e| ApiError::bad_request(format!("error decoding patch: {e}")))?;
    if patch.0.len() > 10_000 {
        return Err(ApiError::too_large());
    }
    json_patch::patch(&mut object, &patch).map_err(|error| {
        tracing::debug!(%error, "a JSON patch does not fit");
        ApiError::unfit_patch()
    })?;
    Ok(object)
}

/// Applies an RFC 7396 patch.
pub fn merge_patch(mut object: Value, patch: &Value) -> Value {
    json_patch::merge(&mut object, patch);
    object
}

/// Applies a strategic merge patch.
///
/// # Errors
/// 400 for directives that make no sense.
pub fn strategic_patch(mut object: Value, patch: &Value) -> Result<Value, ApiError> {
    let Value::Object(patch) = patch else {
        return Err(ApiError::bad_request(
            "a strategic merge patch must be an object",
        ));
    };
    merge_maps(&mut object, patch)?;
    Ok(object)
}

fn merge_maps(target: &mut Value, patch: &Map<String, Value>) -> Result<(), ApiError> {
    match patch.get("$patch").and_then(Value::as_str) {
        Some("replace") => {
            *target = Value::Object(without_directives(patch));
            return Ok(());
        }
        Some("delete") => {
            *target = Value::Null;
            return Ok(());
        }
        Some("merge") | None => {}
        Some(other) => {
            return Err(ApiError::bad_request(format!(
                "unknown patch type: {other}"
            )));
        }
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(map) = target else {
        return Ok(());
    };
    for (name, value) in patch {
        if let Some(list) = name.strip_prefix("$deleteFromPrimitiveList/") {
            let gone = value.as_array().into_iter().flatten();
            let gone: HashSet<String> = gone.map(Value::to_string).collect();
            if let Some(Value::Array(items)) = map.get_mut(list) {
                items.retain(|item| !gone.contains(&item.to_string()));
            }
            continue;
        }
        if name.starts_with('$') {
            continue;
        }
        match value {
            Value::Null => {
                map.remove(name);
            }
            Value::Object(child) => {
                let slot = map.entry(name.clone()).or_insert(Value::Null);
                merge_maps(slot, child)?;
                if slot.is_null() {
                    map.remove(name);
                }
            }
            Value::Array(items) => {
                let slot = map
                    .entry(name.clone())
                    .or_insert_with(|| Value::Array(Vec::new()));
                merge_list(name, slot, items)?;
                if let Some(order) = patch.get(&format!("$setElementOrder/{name}")) {
                    set_order(name, slot, order);
                }
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                map.insert(name.clone(), value.clone());
            }
        }
    }
    Ok(())
}

/// Puts the items that `order` names into its order, at the place of the first of them. Others
/// stay behind the item they followed.
fn set_order(name: &str, list: &mut Value, order: &Value) {
    let (Value::Array(items), Value::Array(order)) = (list, order) else {
        return;
    };
    let key = MERGE_KEYS.iter().find(|(list, _)| *list == name);
    let identity = |value: &Value| match key {
        Some((_, key)) => value.at(key).clone(),
        None => value.clone(),
    };
    let mut ranks = HashMap::new();
    for (rank, item) in order.iter().enumerate() {
        ranks.entry(identity(item).to_string()).or_insert(rank);
    }
    let rank = |item: &Value| ranks.get(&identity(item).to_string()).copied();
    let mut at = None;
    let mut ranked: Vec<(Option<usize>, Value)> = Vec::new();
    for item in items.drain(..) {
        let mine = rank(&item);
        at = mine.or(at);
        ranked.push((at, item));
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    items.extend(ranked.into_iter().map(|(_, item)| item));
}

fn without_directives(patch: &Map<String, Value>) -> Map<String, Value> {
    patch
        .iter()
        .filter(|(k, _)| !k.starts_with('$'))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

fn merge_list(name: &str, target: &mut Value, patch: &[Value]) -> Result<(), ApiError> {
    if !target.is_array() {
        *target = Value::Array(Vec::new());
    }
    let Value::Array(items) = target else {
        return Ok(());
    };
    if MERGED_LISTS.contains(&name) {
        let mut there: HashSet<String> = items.iter().map(Value::to_string).collect();
        let new = patch.iter().filter(|item| there.insert(item.to_string()));
        items.extend(new.cloned());
        return Ok(());
    }
    let Some((_, key)) = MERGE_KEYS.iter().find(|(list, _)| *list == name) else {
        *items = patch.to_vec();
        return Ok(());
    };
    if patch.iter().any(|item| item.at("$patch") == "replace") {
        items.clear();
    }
    let mut places = HashMap::new();
    for (place, item) in items.iter().enumerate() {
        if let Some(id) = item.get(*key) {
            places.entry(id.to_string()).or_insert(place);
        }
    }
    for item in patch {
        let Value::Object(fields) = item else {
            return Err(ApiError::bad_request(format!(
                "items of {name} must be objects"
            )));
        };
        let Some(id) = fields.get(*key) else {
            if fields.contains_key("$patch") {
                continue;
            }
            let message = format!("map: {item} does not contain declared merge key: {key}");
            return Err(ApiError::bad_request(message));
        };
        let place = places.get(&id.to_string()).copied();
        // What was deleted a moment ago is not there any more.
        match place
            .and_then(|place| items.get_mut(place))
            .filter(|old| !old.is_null())
        {
            Some(old) => merge_maps(old, fields)?,
            None if fields.get("$patch").is_some_and(|p| p == "delete") => {}
            None => {
                places.insert(id.to_string(), items.len());
                items.push(Value::Object(without_directives(fields)));
            }
        }
    }
    items.retain(|item| !item.is_null());
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn strategic_merge_joins_keyed_lists() {
        let node = json!({"metadata": {"labels": {"a": "1", "b": "2"}, "finalizers": ["x"]},
            "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}], "podCIDRs": ["a"]},
            "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "r"}],
                       "images": [{"names": ["old"]}]}});
        let patch = json!({"metadata": {"labels": {"a": null, "c": "3"}, "finalizers": ["y"],
                                        "$setElementOrder/finalizers": ["y", "x"]},
            "spec": {"taints": []},
            "status": {"conditions": [{"type": "Ready", "status": "False"}, {"type": "New"}],
                       "images": [{"names": ["new"]}]}});
        assert_eq!(
            strategic_patch(node, &patch).unwrap(),
            json!({"metadata": {"labels": {"b": "2", "c": "3"}, "finalizers": ["y", "x"]},
                "spec": {"taints": [], "podCIDRs": ["a"]},
                "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "r"},
                                          {"type": "New"}],
                           "images": [{"names": ["new"]}]}})
        );
    }

    #[test]
    fn strategic_directives_delete_and_replace() {
        let object = json!({"data": {"a": "1"}, "metadata": {"finalizers": ["x", "y"]}});
        let patch = json!({"data": {"$patch": "replace", "b": "2"},
                           "metadata": {"$deleteFromPrimitiveList/finalizers": ["x"]}});
        assert_eq!(
            strategic_patch(object, &patch).unwrap(),
            json!({"data": {"b": "2"}, "metadata": {"finalizers": ["y"]}})
        );
        assert!(strategic_patch(json!({}), &json!({"a": {"$patch": "x"}})).is_err());
        let no_key = json!({"conditions": [{"status": "True"}]});
        assert!(strategic_patch(json!({"conditions": []}), &no_key).is_err());
    }

    #[test]
    fn json_patches_fail_as_a_whole() {
        let patch = json!([{"op": "add", "path": "/a", "value": 1},
                           {"op": "test", "path": "/b", "value": 2}]);
        assert_eq!(json_patch(json!({"b": 1}), patch).unwrap_err().code(), 422);
        assert_eq!(
            json_patch(json!({}), json!({"a": 1})).unwrap_err().code(),
            400
        );
    }

    fn any_object() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            "[a-c]".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            let key = prop_oneof![
                "[a-c]",
                Just("conditions".to_owned()),
                Just("type".to_owned())
            ];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map(key, inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn strategic_merge_never_panics_and_repeats_to_the_same(a in any_object(), b in any_object()) {
            if let Ok(once) = strategic_patch(a, &b) {
                let twice = strategic_patch(once.clone(), &b);
                prop_assert_eq!(twice.unwrap(), once);
            }
        }
    }
}
