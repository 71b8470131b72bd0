//! Schemas against small objects; the wording is the real server's.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn schema() -> Schema {
    Schema::parse(&json!({
        "type": "object",
        "required": ["spec"],
        "properties": {
            "spec": {
                "type": "object",
                "required": ["kind"],
                "x-kubernetes-validations": [
                    {"rule": "has(self.ref) != has(self.selector)",
                     "message": "exactly one of ref and selector must be set"},
                    {"rule": "self.kind == oldSelf.kind", "message": "kind is immutable"},
                ],
                "properties": {
                    "kind": {"type": "string", "enum": ["HostReboot", "HostReplace"]},
                    "ref": {"type": "string", "minLength": 1, "maxLength": 5},
                    "selector": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    "ttl": {"type": "integer", "format": "int32", "minimum": 0, "nullable": true},
                    "protocol": {"type": "string", "default": "PXE"},
                    "leases": {"type": "array", "items": {"type": "object", "properties": {
                        "mac": {"type": "string", "pattern": "^[0-9a-f:]+$"},
                        "dns": {"type": "array", "items": {"type": "string"}, "default": []}}}},
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                },
            },
            "status": {"type": "object", "properties": {"targets": {
                "type": "array",
                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "required": ["name"], "properties": {
                    "name": {"type": "string"},
                    "n": {"type": "integer", "x-kubernetes-validations": [
                        {"rule": "self >= oldSelf", "messageExpression": "'was ' + string(oldSelf)"}]},
                }}}}},
        },
    }))
    .unwrap()
}

fn problems(value: &Value, old: Option<&Value>) -> Vec<String> {
    let mut errors = Vec::new();
    validate(&schema(), value, old, &mut errors);
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn good_objects_pass() {
    let value = json!({"spec": {"kind": "HostReboot", "ref": "a", "ttl": null}});
    assert_eq!(problems(&value, Some(&value)), Vec::<String>::new());
}

#[test]
fn every_fault_has_the_real_words() {
    for (spec, expected) in [
        (json!({}), "spec.kind: Required value"),
        (
            json!({"kind": "X"}),
            "spec.kind: Unsupported value: \"X\": supported values: \"HostReboot\", \"HostReplace\"",
        ),
        (
            json!({"kind": "HostReboot", "ref": ""}),
            "spec.ref: Invalid value: \"\": spec.ref in body should be at least 1 chars long",
        ),
        (
            json!({"kind": "HostReboot", "ref": "abcdef"}),
            "spec.ref: Too long: may not be more than 5 bytes",
        ),
        (
            json!({"kind": "HostReboot", "ref": 5}),
            "spec.ref: Invalid value: \"integer\": spec.ref in body must be of type string: \"integer\"",
        ),
        (
            json!({"kind": "HostReboot", "ttl": -1}),
            "spec.ttl: Invalid value: -1: spec.ttl in body should be greater than or equal to 0",
        ),
        (
            json!({"kind": "HostReboot", "leases": [{"mac": "Z"}]}),
            "spec.leases[0].mac: Invalid value: \"Z\": spec.leases[0].mac in body should match '^[0-9a-f:]+$'",
        ),
        (
            json!({"kind": "HostReboot"}),
            "spec: Invalid value: exactly one of ref and selector must be set",
        ),
    ] {
        assert_eq!(problems(&json!({"spec": spec}), None)[0], expected);
    }
    assert_eq!(
        problems(&json!({}), None),
        [
            "spec: Required value",
            "<nil>: Invalid value: null: some validation rules were not checked because the object \
             was invalid; correct the existing errors to complete validation"
        ]
    );
}

#[test]
fn transition_rules_see_the_old_value() {
    let old = json!({"spec": {"kind": "HostReboot", "ref": "a"}});
    let new = json!({"spec": {"kind": "HostReplace", "ref": "a"}});
    assert_eq!(problems(&new, None), Vec::<String>::new());
    assert_eq!(
        problems(&new, Some(&old)),
        ["spec: Invalid value: kind is immutable"]
    );
}

#[test]
fn list_map_items_are_matched_by_key_and_must_be_unique() {
    let spec = json!({"kind": "HostReboot", "ref": "a"});
    let old = json!({"spec": spec, "status": {"targets": [{"name": "a", "n": 4}]}});
    let new = json!({"spec": spec, "status": {"targets": [{"name": "b", "n": 1}, {"name": "a", "n": 3}]}});
    assert_eq!(
        problems(&new, Some(&old)),
        ["status.targets[1].n: Invalid value: 3: was 4"]
    );
    let twice = json!({"spec": spec, "status": {"targets": [{"name": "b"}, {"name": "b"}]}});
    assert_eq!(
        problems(&twice, None),
        ["status.targets[1]: Duplicate value: {\"name\":\"b\"}"]
    );
}

#[test]
fn defaults_are_filled_deep() {
    let mut value = json!({"spec": {"kind": "HostReboot", "leases": [{"mac": "aa"}]}});
    apply_defaults(&schema(), &mut value);
    assert_eq!(value["spec"]["protocol"], "PXE");
    assert_eq!(value["spec"]["leases"][0]["dns"], json!([]));
}

#[test]
fn pruning_names_what_it_removed() {
    let mut value = json!({
        "x": 1,
        "spec": {"kind": "HostReboot", "y": 1, "selector": {"any": {"thing": 1}},
                 "labels": {"a": "b"}, "leases": [{"z": 1}], "ref": null, "ttl": null},
    });
    assert_eq!(
        prune(&schema(), &mut value),
        ["spec.leases[0].z", "spec.y", "x"]
    );
    assert_eq!(
        value,
        json!({"spec": {"kind": "HostReboot", "selector": {"any": {"thing": 1}},
                        "labels": {"a": "b"}, "leases": [{}], "ttl": null}})
    );
}

#[test]
fn rules_that_do_not_compile_are_told() {
    let raw = json!({"type": "object", "x-kubernetes-validations": [{"rule": "self.("}]});
    assert!(
        Schema::parse(&raw)
            .unwrap_err()
            .to_string()
            .contains("self.(")
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z]{0,6}".prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("spec".to_owned()),
        Just("status".to_owned()),
        Just("kind".to_owned()),
        Just("leases".to_owned()),
        Just("targets".to_owned()),
        "[a-z]{1,3}",
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..5)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn completing_is_idempotent_and_judging_never_panics(value in any_json()) {
        let schema = schema();
        let mut once = value;
        prune(&schema, &mut once);
        apply_defaults(&schema, &mut once);
        let mut twice = once.clone();
        prop_assert!(prune(&schema, &mut twice).is_empty());
        apply_defaults(&schema, &mut twice);
        prop_assert_eq!(&once, &twice);
        validate(&schema, &once, Some(&once), &mut Vec::new());
    }
}
