//! The few built-in resources: Namespace, Node, Secret, ConfigMap, Event and Lease. Pure.
//!
//! Schemas are taken from the published types; only list semantics, which those do not carry, are
//! added here. It has no controllers. Invariant: nothing else of Kubernetes is served.

mod columns;
mod faults;

use k8s_openapi::api::{coordination, core, events};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::standalone::fields::Fields as _;
use crate::standalone::resource::{BadResource, Family, Resource};
use crate::standalone::schema::Schema;
use crate::standalone::table::Column;

pub use faults::faults;

/// Namespaces that exist from the start.
pub const NAMESPACES: [&str; 5] = [
    "default",
    "kube-node-lease",
    "kube-public",
    "kube-system",
    "unbounded-system",
];

/// Slot of namespaces; deletion and existence checks need it.
pub const NAMESPACE_SLOT: usize = 0;
/// Slot of Events, both views.
pub const EVENT_SLOT: usize = 4;

const EVENT_VIEW: &str = "events.k8s.io";
const EVENT_VIEW_FIELDS: [&str; 7] = [
    "regarding.kind",
    "regarding.namespace",
    "regarding.name",
    "regarding.uid",
    "reason",
    "reportingController",
    "type",
];
const EVENT_FIELDS: [&str; 11] = [
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

/// OpenAPI of a published type, nested types inlined.
fn openapi<T: JsonSchema>() -> Value {
    let mut settings = SchemaSettings::default();
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    let mut value = settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value();
    if let Some(map) = value.as_object_mut() {
        map.remove("title");
    }
    mark(&mut value, "/properties/metadata");
    value
}

/// What the real server says of the fields that every kind has.
pub const DESCRIPTIONS: [(&str, &str); 3] = [
    (
        "apiVersion",
        "APIVersion defines the versioned schema of this representation of an object. Servers \
         should convert recognized schemas to the latest internal value, and may reject \
         unrecognized values. More info: \
         https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources",
    ),
    (
        "kind",
        "Kind is a string value representing the REST resource this object represents. Servers \
         may infer this from the endpoint the client submits requests to. Cannot be updated. In \
         CamelCase. More info: \
         https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds",
    ),
    (
        "metadata",
        "Standard object's metadata. More info: \
         https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata",
    ),
];

/// OpenAPI of object metadata.
pub fn object_meta() -> Value {
    let mut wrapper = json!({"properties": {"metadata": openapi::<ObjectMeta>()}});
    mark(&mut wrapper, "/properties/metadata");
    wrapper.at_mut("properties").at_mut("metadata").take()
}

/// Adds the list semantics of metadata below `at`.
fn mark(root: &mut Value, at: &str) {
    let Some(meta) = root.pointer_mut(at) else {
        return;
    };
    let fields = meta.at_mut("properties");
    fields
        .at_mut("ownerReferences")
        .set("x-kubernetes-list-type", json!("map"));
    fields
        .at_mut("ownerReferences")
        .set("x-kubernetes-list-map-keys", json!(["uid"]));
    fields
        .at_mut("finalizers")
        .set("x-kubernetes-list-type", json!("set"));
    fields
        .at_mut("managedFields")
        .at_mut("items")
        .at_mut("properties")
        .set(
            "fieldsV1",
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        );
}

/// The real server's built-in types have no required fields when they are decoded; what must be
/// there is the business of [`faults`].
fn forget_required(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("required").is_some_and(Value::is_array) {
                map.remove("required");
            }
            map.values_mut().for_each(forget_required);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_required),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn keyed(openapi: &mut Value, pointer: &str, key: &str) {
    if let Some(list) = openapi.pointer_mut(pointer) {
        list.set("x-kubernetes-list-type", json!("map"));
        list.set("x-kubernetes-list-map-keys", json!([key]));
    }
}

#[derive(Clone, Copy)]
struct Names {
    group: &'static str,
    kind: &'static str,
    short: &'static [&'static str],
    namespaced: bool,
    status: bool,
    slot: usize,
}

impl Names {
    const fn cluster(kind: &'static str, slot: usize) -> Self {
        Self {
            group: "",
            kind,
            short: &[],
            namespaced: false,
            status: true,
            slot,
        }
    }

    const fn namespaced(kind: &'static str, slot: usize) -> Self {
        Self {
            namespaced: true,
            status: false,
            ..Self::cluster(kind, slot)
        }
    }

    const fn short(self, short: &'static [&'static str]) -> Self {
        Self { short, ..self }
    }

    const fn group(self, group: &'static str) -> Self {
        Self { group, ..self }
    }
}

fn build(
    names: Names,
    mut openapi: Value,
    columns: Vec<Column>,
    selectable: &[&str],
) -> Result<Resource, BadResource> {
    let plural = format!("{}s", names.kind.to_lowercase());
    openapi.set(
        "x-kubernetes-group-version-kind",
        json!([{"group": names.group, "version": "v1", "kind": names.kind}]),
    );
    let mut checked = openapi.clone();
    forget_required(&mut checked);
    let schema = Schema::parse(&checked).map_err(|source| BadResource::Schema {
        resource: plural.clone(),
        source,
    })?;
    let view = names.group == EVENT_VIEW;
    Ok(Resource {
        group: names.group.to_owned(),
        version: "v1".to_owned(),
        kind: names.kind.to_owned(),
        plural,
        singular: names.kind.to_lowercase(),
        short_names: names.short.iter().map(ToString::to_string).collect(),
        categories: Vec::new(),
        namespaced: names.namespaced,
        status: names.status,
        family: if view {
            Family::EventView
        } else {
            Family::Core
        },
        slot: names.slot,
        schema,
        openapi,
        columns,
        selectable: selectable.iter().map(ToString::to_string).collect(),
    })
}

/// The built-in resources, in slot order.
///
/// # Errors
/// Never in practice: the published types are structural.
pub fn resources() -> Result<Vec<Resource>, BadResource> {
    let mut namespace = openapi::<core::v1::Namespace>();
    keyed(
        &mut namespace,
        "/properties/status/properties/conditions",
        "type",
    );
    let mut node = openapi::<core::v1::Node>();
    keyed(
        &mut node,
        "/properties/status/properties/conditions",
        "type",
    );
    keyed(&mut node, "/properties/status/properties/addresses", "type");
    let event = Names::namespaced("Event", EVENT_SLOT).short(&["ev"]);
    let lease = Names::namespaced("Lease", 5).group("coordination.k8s.io");
    let secret = openapi::<core::v1::Secret>();
    let config_map = openapi::<core::v1::ConfigMap>();
    let name = Names::cluster("Namespace", NAMESPACE_SLOT).short(&["ns"]);
    Ok(vec![
        build(name, namespace, columns::namespaces(), &["status.phase"])?,
        build(
            Names::cluster("Node", 1).short(&["no"]),
            node,
            columns::nodes(),
            &["spec.unschedulable"],
        )?,
        build(
            Names::namespaced("Secret", 2),
            secret,
            columns::secrets(),
            &["type"],
        )?,
        build(
            Names::namespaced("ConfigMap", 3).short(&["cm"]),
            config_map,
            columns::config_maps(),
            &[],
        )?,
        build(
            event,
            openapi::<core::v1::Event>(),
            columns::events(),
            &EVENT_FIELDS,
        )?,
        build(
            lease,
            openapi::<coordination::v1::Lease>(),
            columns::leases(),
            &[],
        )?,
        build(
            event.group(EVENT_VIEW),
            openapi::<events::v1::Event>(),
            columns::events_view(),
            &EVENT_VIEW_FIELDS,
        )?,
    ])
}
