//! ComputerSystem: what the machine is, its power and its boot override.
//!
//! It shows what the machine task recorded and hands resets to it; it never changes power itself.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{ETAG, HeaderMap, IF_MATCH};
use serde_json::{Value, json};

use super::message::{Refusal, missing};
use super::resources::{collection, set, system_path};
use super::tasks;
use crate::bmc::Bmc;
use crate::machine::ResetType;
use crate::profile::{BootPlace, EtagMode, ResetTypes};

const BASEBOARD: &str = "Baseboard_0";

pub(super) async fn list(State(bmc): State<Arc<Bmc>>) -> Json<Value> {
    let mut members = vec![system_path(&bmc)];
    if bmc.profile.baseboard_first {
        members.insert(0, format!("/redfish/v1/Systems/{BASEBOARD}"));
    }
    Json(collection(
        "/redfish/v1/Systems",
        "ComputerSystem",
        &members,
    ))
}

pub(super) async fn read(
    State(bmc): State<Arc<Bmc>>,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    if bmc.profile.baseboard_first && id == BASEBOARD {
        let body = json!({
            "@odata.id": format!("/redfish/v1/Systems/{BASEBOARD}"),
            "@odata.type": "#ComputerSystem.v1_17_0.ComputerSystem",
            "Id": BASEBOARD,
            "Name": "Baseboard",
            "PowerState": bmc.power(),
        });
        return Ok(Json(body).into_response());
    }
    known(&bmc, &id)?;
    Ok(versioned(&bmc, system(&bmc)))
}

pub(super) async fn read_settings(
    State(bmc): State<Arc<Bmc>>,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    known(&bmc, &id)?;
    if bmc.profile.boot_place != BootPlace::SettingsObject {
        return Err(missing());
    }
    let body = json!({
        "@odata.id": format!("{}/SD", system_path(&bmc)),
        "@odata.type": "#ComputerSystem.v1_17_0.ComputerSystem",
        "Id": id,
        "Name": "Pending settings",
        "Boot": boot(&bmc),
    });
    Ok(versioned(&bmc, body))
}

pub(super) async fn patch(
    State(bmc): State<Arc<Bmc>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<Response, Refusal> {
    known(&bmc, &id)?;
    if bmc.profile.boot_place == BootPlace::SettingsObject {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "ActionNotSupported",
            "Boot settings are changed at the settings resource.",
        ));
    }
    write_boot(&bmc, &headers, &body)
}

pub(super) async fn patch_settings(
    State(bmc): State<Arc<Bmc>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<Response, Refusal> {
    known(&bmc, &id)?;
    if bmc.profile.boot_place != BootPlace::SettingsObject {
        return Err(missing());
    }
    write_boot(&bmc, &headers, &body)
}

pub(super) async fn action_info(
    State(bmc): State<Arc<Bmc>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    known(&bmc, &id)?;
    if bmc.profile.reset_types != ResetTypes::ActionInfo {
        return Err(missing());
    }
    Ok(Json(json!({
        "@odata.id": format!("{}/ResetActionInfo", system_path(&bmc)),
        "@odata.type": "#ActionInfo.v1_1_2.ActionInfo",
        "Id": "ResetActionInfo",
        "Name": "Reset Action Info",
        "Parameters": [{
            "Name": "ResetType",
            "Required": true,
            "DataType": "String",
            "AllowableValues": bmc.profile.resets,
        }],
    })))
}

pub(super) async fn reset(
    State(bmc): State<Arc<Bmc>>,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Result<Response, Refusal> {
    known(&bmc, &id)?;
    let wanted = body.get("ResetType").cloned().unwrap_or(Value::Null);
    let reset: Option<ResetType> = serde_json::from_value(wanted.clone()).ok();
    let Some(reset) = reset.filter(|reset| bmc.profile.resets.contains(reset)) else {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "ActionParameterNotSupported",
            format!("The value {wanted} of the parameter ResetType is not supported."),
        ));
    };
    if bmc.reset(reset).await {
        Ok(tasks::done(&bmc))
    } else {
        Err(Refusal::new(
            StatusCode::CONFLICT,
            "ResourceInUse",
            format!("The reset {wanted} is not possible in the present power state."),
        ))
    }
}

pub(super) async fn nics(
    State(bmc): State<Arc<Bmc>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    known(&bmc, &id)?;
    let path = format!("{}/EthernetInterfaces", system_path(&bmc));
    let members: Vec<String> = bmc
        .identity
        .mac
        .iter()
        .map(|_| format!("{path}/NIC1"))
        .collect();
    Ok(Json(collection(&path, "EthernetInterface", &members)))
}

pub(super) async fn nic(
    State(bmc): State<Arc<Bmc>>,
    Path((id, nic)): Path<(String, String)>,
) -> Result<Json<Value>, Refusal> {
    known(&bmc, &id)?;
    let mac = bmc
        .identity
        .mac
        .as_ref()
        .filter(|_| nic == "NIC1")
        .ok_or_else(missing)?;
    Ok(Json(json!({
        "@odata.id": format!("{}/EthernetInterfaces/NIC1", system_path(&bmc)),
        "@odata.type": "#EthernetInterface.v1_8_0.EthernetInterface",
        "Id": "NIC1",
        "Name": "NIC 1",
        "MACAddress": mac,
        "PermanentMACAddress": mac,
        "InterfaceEnabled": true,
    })))
}

fn known(bmc: &Bmc, id: &str) -> Result<(), Refusal> {
    if id == bmc.identity.system_id {
        Ok(())
    } else {
        Err(missing())
    }
}

fn system(bmc: &Bmc) -> Value {
    let path = system_path(bmc);
    let mut reset = json!({"target": format!("{path}/Actions/ComputerSystem.Reset")});
    match bmc.profile.reset_types {
        ResetTypes::Inline => {
            set(
                &mut reset,
                "ResetType@Redfish.AllowableValues",
                json!(bmc.profile.resets),
            );
        }
        ResetTypes::ActionInfo => {
            set(
                &mut reset,
                "@Redfish.ActionInfo",
                json!(format!("{path}/ResetActionInfo")),
            );
        }
        ResetTypes::Unlisted => {}
    }
    let mut system = json!({
        "@odata.id": path,
        "@odata.type": "#ComputerSystem.v1_17_0.ComputerSystem",
        "Id": bmc.identity.system_id,
        "Name": bmc.identity.name,
        "SystemType": "Physical",
        "Manufacturer": bmc.profile.manufacturer,
        "Model": bmc.profile.model,
        "SerialNumber": bmc.identity.name,
        "UUID": bmc.identity.uuid,
        "PowerState": bmc.power(),
        "Status": {"State": "Enabled", "Health": "OK"},
        "Boot": boot(bmc),
        "EthernetInterfaces": {"@odata.id": format!("{path}/EthernetInterfaces")},
        "Actions": {"#ComputerSystem.Reset": reset},
        "Links": {
            "Chassis": [{"@odata.id": "/redfish/v1/Chassis/1"}],
            "ManagedBy": [{"@odata.id": "/redfish/v1/Managers/BMC"}],
        },
    });
    if bmc.profile.boot_place == BootPlace::SettingsObject {
        set(
            &mut system,
            "@Redfish.Settings",
            json!({
                "@odata.type": "#Settings.v1_3_5.Settings",
                "SettingsObject": {"@odata.id": format!("{path}/SD")},
            }),
        );
    }
    system
}

fn boot(bmc: &Bmc) -> Value {
    let current = bmc.boot();
    let mut boot = json!({
        "BootSourceOverrideEnabled": current.enabled,
        "BootSourceOverrideTarget": current.target,
        "BootSourceOverrideMode": current.mode,
    });
    if let Some(uri) = current.http_boot_uri {
        set(&mut boot, "HttpBootUri", json!(uri));
    }
    if bmc.profile.lists_boot_targets {
        set(
            &mut boot,
            "BootSourceOverrideTarget@Redfish.AllowableValues",
            json!(bmc.profile.boot_targets),
        );
    }
    if bmc.profile.lists_boot_enabled {
        set(
            &mut boot,
            "BootSourceOverrideEnabled@Redfish.AllowableValues",
            json!(bmc.profile.boot_enabled),
        );
    }
    boot
}

fn etag(bmc: &Bmc) -> Option<String> {
    let version = bmc.state().version;
    match bmc.profile.etag {
        EtagMode::None => None,
        EtagMode::Weak => Some(format!("W/\"{version:08x}\"")),
        EtagMode::Strong | EtagMode::Required | EtagMode::Refused => {
            Some(format!("\"{version:08x}\""))
        }
    }
}

fn versioned(bmc: &Bmc, mut body: Value) -> Response {
    match etag(bmc) {
        None => Json(body).into_response(),
        Some(tag) => {
            set(&mut body, "@odata.etag", json!(tag));
            ([(ETAG, tag)], Json(body)).into_response()
        }
    }
}

fn write_boot(bmc: &Bmc, headers: &HeaderMap, body: &Value) -> Result<Response, Refusal> {
    let if_match = headers.get(IF_MATCH).and_then(|value| value.to_str().ok());
    let outdated = || {
        Refusal::new(
            StatusCode::PRECONDITION_FAILED,
            "PreconditionFailed",
            "The ETag supplied did not match the ETag of the resource.",
        )
    };
    match (bmc.profile.etag, if_match) {
        (EtagMode::None, _) | (EtagMode::Strong | EtagMode::Weak | EtagMode::Refused, None) => {}
        (EtagMode::Refused, Some(_)) => return Err(outdated()),
        (EtagMode::Required, None) => {
            return Err(Refusal::new(
                StatusCode::PRECONDITION_REQUIRED,
                "PreconditionRequired",
                "A precondition header is required to change this resource.",
            ));
        }
        (EtagMode::Strong | EtagMode::Weak | EtagMode::Required, Some(given)) => {
            if given != "*" && Some(given) != etag(bmc).as_deref() {
                return Err(outdated());
            }
        }
    }
    let wanted = body.get("Boot").unwrap_or(&Value::Null);
    let patched = bmc
        .boot()
        .patched(wanted, &bmc.profile.boot_targets, &bmc.profile.boot_enabled)
        .map_err(|refusal| {
            Refusal::new(
                StatusCode::BAD_REQUEST,
                "PropertyValueNotInList",
                refusal.to_string(),
            )
        })?;
    {
        let mut state = bmc.state();
        state.boot = patched;
        state.version += 1;
    }
    Ok(tasks::done(bmc))
}
