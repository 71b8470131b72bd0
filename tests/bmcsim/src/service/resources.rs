//! Resources that say who the BMC is and do nothing.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::message::{Refusal, missing};
use crate::bmc::Bmc;

pub(super) const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

/// What can be read without credentials.
pub(super) fn is_public(path: &str) -> bool {
    matches!(path.trim_end_matches('/'), "/redfish" | "/redfish/v1")
}

pub(super) fn collection(path: &str, kind: &str, members: &[String]) -> Value {
    let members: Vec<Value> = members
        .iter()
        .map(|member| json!({"@odata.id": member}))
        .collect();
    json!({
        "@odata.id": path,
        "@odata.type": format!("#{kind}Collection.{kind}Collection"),
        "Name": format!("{kind} Collection"),
        "Members@odata.count": members.len(),
        "Members": members,
    })
}

/// Sets a property of a resource.
pub(super) fn set(resource: &mut Value, property: &str, value: Value) {
    if let Some(properties) = resource.as_object_mut() {
        properties.insert(property.to_owned(), value);
    }
}

pub(super) async fn versions() -> Json<Value> {
    Json(json!({"v1": "/redfish/v1/"}))
}

pub(super) async fn service_root(State(bmc): State<Arc<Bmc>>) -> Json<Value> {
    let profile = &bmc.profile;
    let mut root = json!({
        "@odata.id": "/redfish/v1/",
        "@odata.type": "#ServiceRoot.v1_11_0.ServiceRoot",
        "Id": "RootService",
        "Name": "Root Service",
        "RedfishVersion": "1.13.0",
        "UUID": bmc.identity.uuid,
        "Product": profile.product,
        "Systems": {"@odata.id": "/redfish/v1/Systems"},
        "Chassis": {"@odata.id": "/redfish/v1/Chassis"},
        "Managers": {"@odata.id": "/redfish/v1/Managers"},
        "Tasks": {"@odata.id": "/redfish/v1/TaskService"},
        "Links": {},
    });
    if let Some(vendor) = profile.vendor {
        set(&mut root, "Vendor", json!(vendor));
    }
    if profile.session_limit.is_some() {
        set(
            &mut root,
            "SessionService",
            json!({"@odata.id": "/redfish/v1/SessionService"}),
        );
        set(
            &mut root,
            "Links",
            json!({"Sessions": {"@odata.id": SESSIONS}}),
        );
    }
    Json(root)
}

pub(super) async fn managers() -> Json<Value> {
    Json(collection(
        "/redfish/v1/Managers",
        "Manager",
        &["/redfish/v1/Managers/BMC".to_owned()],
    ))
}

pub(super) async fn manager(
    State(bmc): State<Arc<Bmc>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    if id != "BMC" {
        return Err(missing());
    }
    Ok(Json(json!({
        "@odata.id": "/redfish/v1/Managers/BMC",
        "@odata.type": "#Manager.v1_11_0.Manager",
        "Id": "BMC",
        "Name": "Manager",
        "ManagerType": "BMC",
        "FirmwareVersion": env!("CARGO_PKG_VERSION"),
        "UUID": bmc.identity.uuid,
        "ServiceEntryPointUUID": bmc.identity.uuid,
        "Status": {"State": "Enabled", "Health": "OK"},
        "Links": {"ManagerForServers": [{"@odata.id": system_path(&bmc)}]},
    })))
}

pub(super) async fn chassis_list() -> Json<Value> {
    Json(collection(
        "/redfish/v1/Chassis",
        "Chassis",
        &["/redfish/v1/Chassis/1".to_owned()],
    ))
}

pub(super) async fn chassis(
    State(bmc): State<Arc<Bmc>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    if id != "1" {
        return Err(missing());
    }
    Ok(Json(json!({
        "@odata.id": "/redfish/v1/Chassis/1",
        "@odata.type": "#Chassis.v1_17_0.Chassis",
        "Id": "1",
        "Name": "Chassis",
        "ChassisType": "RackMount",
        "Manufacturer": bmc.profile.manufacturer,
        "Model": bmc.profile.model,
        "SerialNumber": bmc.identity.name,
        "PowerState": bmc.power(),
        "Status": {"State": "Enabled", "Health": "OK"},
        "Links": {
            "ComputerSystems": [{"@odata.id": system_path(&bmc)}],
            "ManagedBy": [{"@odata.id": "/redfish/v1/Managers/BMC"}],
        },
    })))
}

pub(super) fn system_path(bmc: &Bmc) -> String {
    format!("/redfish/v1/Systems/{}", bmc.identity.system_id)
}
