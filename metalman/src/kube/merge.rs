//! The JSON merge patch (RFC 7396) between what is shown and what should be. Pure.
//!
//! Invariant: a field that should be gone is in the patch as null; left out, it would stay for ever.

use serde_json::{Map, Value};

/// The patch that turns `shown` into `wanted`; `None` when they are the same. Lists are replaced
/// whole. `wanted` holds no nulls.
pub(super) fn merge_patch(shown: &Value, wanted: &Value) -> Option<Value> {
    if shown == wanted {
        return None;
    }
    let (Value::Object(shown), Value::Object(wanted)) = (shown, wanted) else {
        return Some(wanted.clone());
    };
    let gone = shown.keys().filter(|key| !wanted.contains_key(*key));
    let mut patch: Map<String, Value> = gone.map(|key| (key.clone(), Value::Null)).collect();
    for (key, wanted) in wanted {
        if let Some(change) = merge_patch(shown.get(key).unwrap_or(&Value::Null), wanted) {
            patch.insert(key.clone(), change);
        }
    }
    Some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_should_be_gone_is_named() {
        let shown = json!({"a": 1, "b": {"c": 2, "d": [1]}, "e": "x"});
        let wanted = json!({"a": 1, "b": {"d": [2]}});
        let patch = merge_patch(&shown, &wanted);
        assert_eq!(patch, Some(json!({"b": {"c": null, "d": [2]}, "e": null})));
        assert_eq!(merge_patch(&wanted, &wanted), None);
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            (0..3).prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-c]", inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn applying_the_patch_gives_what_was_wanted(shown in values(), wanted in values()) {
            let mut patched = shown.clone();
            if let Some(patch) = merge_patch(&shown, &wanted) {
                json_patch::merge(&mut patched, &patch);
            }
            prop_assert_eq!(patched, wanted);
        }
    }
}
