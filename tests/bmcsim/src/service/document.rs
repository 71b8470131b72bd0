//! The documents about the service that are no resources: versions, OData service document, metadata.

use std::fmt::Write;

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::bmc::Bmc;
use crate::tree::address;

/// What can be read without credentials.
pub(super) fn is_public(path: &str) -> bool {
    matches!(
        path.trim_end_matches('/'),
        "/redfish" | "/redfish/v1" | "/redfish/v1/odata" | "/redfish/v1/$metadata"
    )
}

/// The document at a path, if it is one.
pub(super) fn find(bmc: &Bmc, path: &str) -> Option<Response> {
    match path.trim_end_matches('/') {
        "/redfish" => Some(axum::Json(json!({"v1": "/redfish/v1/"})).into_response()),
        "/redfish/v1/odata" => Some(axum::Json(service(bmc)).into_response()),
        "/redfish/v1/$metadata" => Some(
            (
                [(CONTENT_TYPE, "application/xml;charset=utf-8")],
                metadata(bmc),
            )
                .into_response(),
        ),
        _ => None,
    }
}

fn service(bmc: &Bmc) -> Value {
    let names = [
        "Systems",
        "Chassis",
        "Managers",
        "TaskService",
        "SessionService",
        "AccountService",
        "UpdateService",
    ];
    let mut value: Vec<Value> = names
        .into_iter()
        .filter(|name| bmc.tree.get(name).is_some())
        .map(|name| json!({"name": name, "kind": "Singleton", "url": address(name)}))
        .collect();
    value.insert(
        0,
        json!({"name": "Service", "kind": "Singleton", "url": "/redfish/v1/"}),
    );
    json!({"@odata.context": "/redfish/v1/$metadata", "value": value})
}

fn metadata(bmc: &Bmc) -> String {
    let mut xml = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<edmx:Edmx xmlns:edmx=\"http://docs.oasis-open.org/odata/ns/edmx\" Version=\"4.0\">\n",
    );
    let mut container = "ServiceRoot.v1_16_0".to_owned();
    for (name, version) in bmc.tree.schemas() {
        let versioned = version.map(|version| format!("{name}.{version}"));
        if name == "ServiceRoot"
            && let Some(versioned) = &versioned
        {
            container.clone_from(versioned);
        }
        let include = versioned
            .map(|versioned| format!("<edmx:Include Namespace=\"{versioned}\"/>"))
            .unwrap_or_default();
        writeln!(
            xml,
            "<edmx:Reference Uri=\"http://redfish.dmtf.org/schemas/v1/{name}_v1.xml\"><edmx:Include Namespace=\"{name}\"/>{include}</edmx:Reference>"
        )
        .ok();
    }
    write!(
        xml,
        "<edmx:DataServices><Schema xmlns=\"http://docs.oasis-open.org/odata/ns/edm\" Namespace=\"Service\"><EntityContainer Name=\"Service\" Extends=\"{container}.ServiceContainer\"/></Schema></edmx:DataServices>\n</edmx:Edmx>\n"
    )
    .ok();
    xml
}
