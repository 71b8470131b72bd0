//! The cases, by what they are about.

mod access;
mod apply;
mod core_kinds;
mod discovery;
mod lifecycle;
mod lists;
mod metadata;
mod objects;
mod patches;
mod roles;
mod rules;
mod schema;
mod tables;
mod unknown_fields;
mod watches;

use serde_json::{Value, json};

use crate::suite::Case;

pub(crate) fn all() -> Vec<Case> {
    [
        discovery::cases(),
        objects::cases(),
        metadata::cases(),
        patches::cases(),
        apply::cases(),
        watches::cases(),
        lists::cases(),
        tables::cases(),
        schema::cases(),
        unknown_fields::cases(),
        rules::cases(),
        lifecycle::cases(),
        core_kinds::cases(),
        access::cases(),
        roles::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(crate) fn widget(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "test.metalman.io/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

pub(crate) fn red(name: &str) -> Value {
    widget(name, &json!({"colour": "red"}))
}

pub(crate) fn machine(name: &str) -> Value {
    json!({"apiVersion": "unbounded-cloud.io/v1alpha3", "kind": "Machine", "metadata": {"name": name}, "spec": {}})
}

pub(crate) fn operation(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "unbounded-cloud.io/v1alpha3", "kind": "MachineOperation",
           "metadata": {"name": name}, "spec": spec})
}

pub(crate) fn config_map(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}
