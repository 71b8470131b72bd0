//! TaskService: how a write that was accepted with 202 ends.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use super::message::{Refusal, missing};
use crate::bmc::Bmc;

/// The answer to a write that was carried out: 204, or 202 with a task where the profile has them.
pub(super) fn done(bmc: &Bmc) -> Response {
    if bmc.profile.task_polls == 0 {
        return StatusCode::NO_CONTENT.into_response();
    }
    let id = bmc.state().tasks.begin(bmc.profile.task_polls);
    let monitor = format!("/redfish/v1/TaskService/TaskMonitors/{id}");
    let headers = [("Location", monitor), ("Retry-After", "0".to_owned())];
    (StatusCode::ACCEPTED, headers, Json(resource(id, false))).into_response()
}

pub(super) async fn service() -> Json<Value> {
    Json(json!({
        "@odata.id": "/redfish/v1/TaskService",
        "@odata.type": "#TaskService.v1_2_0.TaskService",
        "Id": "TaskService",
        "Name": "Task Service",
        "ServiceEnabled": true,
    }))
}

pub(super) async fn read(
    State(bmc): State<Arc<Bmc>>,
    Path(id): Path<u64>,
) -> Result<Json<Value>, Refusal> {
    let ended = bmc.state().tasks.poll(id).ok_or_else(missing)?;
    Ok(Json(resource(id, ended)))
}

pub(super) async fn monitor(
    State(bmc): State<Arc<Bmc>>,
    Path(id): Path<u64>,
) -> Result<Response, Refusal> {
    let ended = bmc.state().tasks.poll(id).ok_or_else(missing)?;
    Ok(if ended {
        StatusCode::NO_CONTENT.into_response()
    } else {
        (
            StatusCode::ACCEPTED,
            [("Retry-After", "0")],
            Json(resource(id, false)),
        )
            .into_response()
    })
}

fn resource(id: u64, ended: bool) -> Value {
    json!({
        "@odata.id": format!("/redfish/v1/TaskService/Tasks/{id}"),
        "@odata.type": "#Task.v1_5_1.Task",
        "Id": id.to_string(),
        "Name": "Task",
        "TaskState": if ended { "Completed" } else { "Running" },
        "TaskStatus": "OK",
        "TaskMonitor": format!("/redfish/v1/TaskService/TaskMonitors/{id}"),
    })
}
