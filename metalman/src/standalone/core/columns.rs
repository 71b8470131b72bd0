//! Table columns of the built-in kinds, as kubectl users know them. Pure.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::standalone::fields::Fields as _;
use crate::standalone::table::{Column, age, text};

/// Name, `middle`, age.
fn between(middle: Vec<Column>) -> Vec<Column> {
    let mut columns = vec![Column::name()];
    columns.extend(middle);
    columns.push(Column::age());
    columns
}

pub(super) fn namespaces() -> Vec<Column> {
    between(vec![Column::code("Status", false, |o, _| {
        text(o, "/status/phase")
    })])
}

pub(super) fn secrets() -> Vec<Column> {
    between(vec![
        Column::code("Type", false, |o, _| text(o, "/type")),
        Column::code("Data", false, |o, _| json!(entries(o, "data"))),
    ])
}

pub(super) fn config_maps() -> Vec<Column> {
    between(vec![Column::code("Data", false, |o, _| {
        json!(entries(o, "data") + entries(o, "binaryData"))
    })])
}

pub(super) fn leases() -> Vec<Column> {
    between(vec![Column::code("Holder", false, |o, _| {
        text(o, "/spec/holderIdentity")
    })])
}

fn entries(object: &Value, field: &str) -> usize {
    object.at(field).as_object().map_or(0, serde_json::Map::len)
}

pub(super) fn events() -> Vec<Column> {
    vec![
        Column::code("Last Seen", false, last_seen),
        Column::code("Type", false, |o, _| text(o, "/type")),
        Column::code("Reason", false, |o, _| text(o, "/reason")),
        Column::code("Object", false, |o, _| about(o.at("involvedObject"))),
        Column::code("Subobject", true, |o, _| {
            or_empty(text(o, "/involvedObject/fieldPath"))
        }),
        Column::code("Source", true, |o, _| {
            source(o.at("source"), o.at("reportingComponent"))
        }),
        Column::code("Message", false, |o, _| trimmed(o.at("message"))),
        Column::code("First Seen", true, first_seen),
        Column::code("Count", true, |o, _| count(o.at("count"), o)),
        Column::code("Name", true, |o, _| text(o, "/metadata/name")),
    ]
}

pub(super) fn events_view() -> Vec<Column> {
    vec![
        Column::code("Last Seen", false, last_seen),
        Column::code("Type", false, |o, _| text(o, "/type")),
        Column::code("Reason", false, |o, _| text(o, "/reason")),
        Column::code("Object", false, |o, _| about(o.at("regarding"))),
        Column::code("Subobject", true, |o, _| {
            or_empty(text(o, "/regarding/fieldPath"))
        }),
        Column::code("Source", true, |o, _| {
            source(o.at("deprecatedSource"), o.at("reportingController"))
        }),
        Column::code("Message", false, |o, _| trimmed(o.at("note"))),
        Column::code("First Seen", true, first_seen),
        Column::code("Count", true, |o, _| count(o.at("deprecatedCount"), o)),
        Column::code("Name", true, |o, _| text(o, "/metadata/name")),
    ]
}

fn or_empty(value: Value) -> Value {
    if value.is_null() { json!("") } else { value }
}

fn source(source: &Value, reporter: &Value) -> Value {
    let part = |key: &str| source.at(key).as_str().unwrap_or_default();
    match (part("component"), part("host")) {
        ("", _) => or_empty(reporter.clone()),
        (component, "") => json!(component),
        (component, host) => json!(format!("{component}, {host}")),
    }
}

/// How often it happened; an Event of the newer kind counts in its series.
fn count(count: &Value, event: &Value) -> Value {
    let series = event.at("series").at("count");
    let known = [series, count].into_iter().find_map(Value::as_i64);
    json!(known.filter(|count| *count > 0).unwrap_or(1))
}

fn first_seen(event: &Value, now: Timestamp) -> Value {
    let times = [
        "/firstTimestamp",
        "/deprecatedFirstTimestamp",
        "/eventTime",
        "/metadata/creationTimestamp",
    ];
    let seen = times
        .iter()
        .map(|at| text(event, at))
        .find(|v| !v.is_null());
    age(&seen.unwrap_or(Value::Null), now)
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
    let part = |key: &str| reference.at(key).as_str().unwrap_or_default();
    json!(format!("{}/{}", part("kind").to_lowercase(), part("name")))
}

fn trimmed(value: &Value) -> Value {
    json!(value.as_str().unwrap_or_default().trim())
}

pub(super) fn nodes() -> Vec<Column> {
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
    match node.at("status").at("nodeInfo").at(key).as_str() {
        Some(text) if !text.is_empty() => json!(text),
        Some(_) | None => json!("<unknown>"),
    }
}

fn address(node: &Value, kind: &str) -> Value {
    let addresses = node.at("status").at("addresses").as_array();
    let found = addresses
        .into_iter()
        .flatten()
        .find(|a| a.at("type") == kind);
    found.map_or_else(|| json!("<none>"), |a| a.at("address").clone())
}

fn node_status(node: &Value, _now: Timestamp) -> Value {
    let conditions = node.at("status").at("conditions").as_array();
    let ready = conditions
        .into_iter()
        .flatten()
        .find(|c| c.at("type") == "Ready");
    let word = match ready.and_then(|c| c.at("status").as_str()) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let cordoned = node.at("spec").at("unschedulable") == true;
    json!(if cordoned {
        format!("{word},SchedulingDisabled")
    } else {
        word.to_owned()
    })
}

fn node_roles(node: &Value, _now: Timestamp) -> Value {
    let labels = node
        .at("metadata")
        .at("labels")
        .as_object()
        .into_iter()
        .flatten();
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
