//! The few built-in resources: Namespace, Node, Secret, ConfigMap, Event and Lease. Pure.
//!
//! Schemas are taken from the published types; only list semantics, which those do not carry, are
//! added here. It has no controllers. Invariant: nothing else of Kubernetes is served.

use jiff::Timestamp;
use k8s_openapi::api::{coordination, core, events};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::resource::{BadResource, Family, Resource};
use super::schema::Schema;
use super::table::{Column, age, text};

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

/// OpenAPI of object metadata.
pub fn object_meta() -> Value {
    let mut wrapper = json!({"properties": {"metadata": openapi::<ObjectMeta>()}});
    mark(&mut wrapper, "/properties/metadata");
    wrapper["properties"]["metadata"].take()
}

/// Adds the list semantics of metadata below `at`.
fn mark(root: &mut Value, at: &str) {
    let Some(meta) = root.pointer_mut(at) else {
        return;
    };
    let fields = &mut meta["properties"];
    fields["ownerReferences"]["x-kubernetes-list-type"] = json!("map");
    fields["ownerReferences"]["x-kubernetes-list-map-keys"] = json!(["uid"]);
    fields["finalizers"]["x-kubernetes-list-type"] = json!("set");
    fields["managedFields"]["items"]["properties"]["fieldsV1"] =
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
}

fn keyed(openapi: &mut Value, pointer: &str, key: &str) {
    if let Some(list) = openapi.pointer_mut(pointer) {
        list["x-kubernetes-list-type"] = json!("map");
        list["x-kubernetes-list-map-keys"] = json!([key]);
    }
}

struct Names<'a> {
    group: &'a str,
    kind: &'a str,
    plural: &'a str,
    short: &'a [&'a str],
    namespaced: bool,
    status: bool,
    slot: usize,
}

fn build(
    names: &Names<'_>,
    mut openapi: Value,
    columns: Vec<Column>,
    selectable: &[&str],
) -> Result<Resource, BadResource> {
    openapi["x-kubernetes-group-version-kind"] =
        json!([{"group": names.group, "version": "v1", "kind": names.kind}]);
    let schema = Schema::parse(&openapi).map_err(|source| BadResource::Schema {
        resource: names.plural.to_owned(),
        source,
    })?;
    let view = names.group == "events.k8s.io";
    Ok(Resource {
        group: names.group.to_owned(),
        version: "v1".to_owned(),
        kind: names.kind.to_owned(),
        plural: names.plural.to_owned(),
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
pub fn resources() -> Result<Vec<Resource>, BadResource> {
    let names = |kind, plural, short, namespaced, status, slot| Names {
        group: "",
        kind,
        plural,
        short,
        namespaced,
        status,
        slot,
    };
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
    let lease = Names {
        group: "coordination.k8s.io",
        ..names("Lease", "leases", &[], true, false, 5)
    };
    let event_view = Names {
        group: "events.k8s.io",
        ..names("Event", "events", &["ev"], true, false, EVENT_SLOT)
    };
    let name_age = |middle: Vec<Column>| {
        let mut columns = vec![Column::name()];
        columns.extend(middle);
        columns.push(Column::age());
        columns
    };
    Ok(vec![
        build(
            &names(
                "Namespace",
                "namespaces",
                &["ns"],
                false,
                true,
                NAMESPACE_SLOT,
            ),
            namespace,
            name_age(vec![Column::code("Status", false, |o, _| {
                text(o, "/status/phase")
            })]),
            &["status.phase"],
        )?,
        build(
            &names("Node", "nodes", &["no"], false, true, 1),
            node,
            node_columns(),
            &["spec.unschedulable"],
        )?,
        build(
            &names("Secret", "secrets", &[], true, false, 2),
            openapi::<core::v1::Secret>(),
            name_age(vec![
                Column::code("Type", false, |o, _| text(o, "/type")),
                Column::code("Data", false, |o, _| json!(entries(o, "data"))),
            ]),
            &["type"],
        )?,
        build(
            &names("ConfigMap", "configmaps", &["cm"], true, false, 3),
            openapi::<core::v1::ConfigMap>(),
            name_age(vec![Column::code("Data", false, |o, _| {
                json!(entries(o, "data") + entries(o, "binaryData"))
            })]),
            &[],
        )?,
        build(
            &names("Event", "events", &["ev"], true, false, EVENT_SLOT),
            openapi::<core::v1::Event>(),
            event_columns(),
            &EVENT_FIELDS,
        )?,
        build(
            &lease,
            openapi::<coordination::v1::Lease>(),
            name_age(vec![Column::code("Holder", false, |o, _| {
                text(o, "/spec/holderIdentity")
            })]),
            &[],
        )?,
        build(
            &event_view,
            openapi::<events::v1::Event>(),
            event_view_columns(),
            &[
                "regarding.kind",
                "regarding.namespace",
                "regarding.name",
                "regarding.uid",
                "reason",
                "reportingController",
                "type",
            ],
        )?,
    ])
}

fn entries(object: &Value, field: &str) -> usize {
    object[field].as_object().map_or(0, serde_json::Map::len)
}

fn event_columns() -> Vec<Column> {
    vec![
        Column::code("Last Seen", false, last_seen),
        Column::code("Type", false, |o, _| text(o, "/type")),
        Column::code("Reason", false, |o, _| text(o, "/reason")),
        Column::code("Object", false, |o, _| about(&o["involvedObject"])),
        Column::code("Message", false, |o, _| trimmed(&o["message"])),
        Column::code("Name", true, |o, _| text(o, "/metadata/name")),
    ]
}

fn event_view_columns() -> Vec<Column> {
    vec![
        Column::code("Last Seen", false, last_seen),
        Column::code("Type", false, |o, _| text(o, "/type")),
        Column::code("Reason", false, |o, _| text(o, "/reason")),
        Column::code("Object", false, |o, _| about(&o["regarding"])),
        Column::code("Message", false, |o, _| trimmed(&o["note"])),
        Column::code("Name", true, |o, _| text(o, "/metadata/name")),
    ]
}

fn last_seen(event: &Value, now: Timestamp) -> Value {
    let times = [
        "/series/lastObservedTime",
        "/lastTimestamp",
        "/deprecatedLastTimestamp",
        "/eventTime",
        "/metadata/creationTimestamp",
    ];
    let seen = times
        .iter()
        .map(|at| text(event, at))
        .find(|v| !v.is_null());
    age(&seen.unwrap_or(Value::Null), now)
}

fn about(reference: &Value) -> Value {
    let part = |key: &str| reference[key].as_str().unwrap_or_default();
    json!(format!("{}/{}", part("kind").to_lowercase(), part("name")))
}

fn trimmed(value: &Value) -> Value {
    json!(value.as_str().unwrap_or_default().trim())
}

fn node_columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::code("Status", false, node_status),
        Column::code("Roles", false, node_roles),
        Column::age(),
        Column::code("Version", false, |o, _| {
            text(o, "/status/nodeInfo/kubeletVersion")
        }),
        Column::code("Internal-IP", true, |o, _| address(o, "InternalIP")),
        Column::code("External-IP", true, |o, _| address(o, "ExternalIP")),
        Column::code("OS-Image", true, |o, _| node_info(o, "osImage")),
        Column::code("Kernel-Version", true, |o, _| node_info(o, "kernelVersion")),
        Column::code("Container-Runtime", true, |o, _| {
            node_info(o, "containerRuntimeVersion")
        }),
    ]
}

fn node_info(node: &Value, key: &str) -> Value {
    match node["status"]["nodeInfo"][key].as_str() {
        Some(text) if !text.is_empty() => json!(text),
        Some(_) | None => json!("<unknown>"),
    }
}

fn address(node: &Value, kind: &str) -> Value {
    let addresses = node["status"]["addresses"].as_array();
    let found = addresses.into_iter().flatten().find(|a| a["type"] == kind);
    found.map_or_else(|| json!("<none>"), |a| a["address"].clone())
}

fn node_status(node: &Value, _now: Timestamp) -> Value {
    let conditions = node["status"]["conditions"].as_array();
    let ready = conditions
        .into_iter()
        .flatten()
        .find(|c| c["type"] == "Ready");
    let word = match ready.and_then(|c| c["status"].as_str()) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let cordoned = node["spec"]["unschedulable"] == true;
    json!(if cordoned {
        format!("{word},SchedulingDisabled")
    } else {
        word.to_owned()
    })
}

fn node_roles(node: &Value, _now: Timestamp) -> Value {
    let labels = node["metadata"]["labels"].as_object().into_iter().flatten();
    let roles: Vec<&str> = labels
        .filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/"))
        .filter(|role| !role.is_empty())
        .collect();
    json!(if roles.is_empty() {
        "<none>".to_owned()
    } else {
        roles.join(",")
    })
}
