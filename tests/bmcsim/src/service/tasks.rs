//! TaskService: how a write that was accepted with 202 ends.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use super::message::Refusal;
use super::route::Asked;
use crate::bmc::Bmc;
use crate::tasks::{Progress, TaskPlan};
use crate::tree::address;

/// The answer to a write: 204, or 202 with a task where the profile or a fault rule has them.
pub(super) fn done(bmc: &Bmc, asked: &Asked) -> Response {
    let usual = (bmc.profile.task_polls > 0).then(|| TaskPlan {
        polls: bmc.profile.task_polls,
        ..TaskPlan::default()
    });
    let Some(plan) = asked.task.or(usual) else {
        return StatusCode::NO_CONTENT.into_response();
    };
    let id = bmc.state().tasks.begin(plan);
    let headers = [
        ("Location", monitor_path(id)),
        ("Retry-After", "0".to_owned()),
    ];
    let body = located(id, resource(id, Progress::Running));
    (StatusCode::ACCEPTED, headers, axum::Json(body)).into_response()
}

/// The monitor of a task: 202 while it runs, its end after that.
pub(super) fn monitor(bmc: &Bmc, id: &str) -> Result<Response, Refusal> {
    let id: u64 = id.parse().map_err(|_| Refusal::missing())?;
    let progress = bmc.state().tasks.poll(id).ok_or_else(Refusal::missing)?;
    Ok(match progress {
        Progress::Completed => StatusCode::NO_CONTENT.into_response(),
        Progress::Failed => (
            StatusCode::OK,
            axum::Json(located(id, resource(id, progress))),
        )
            .into_response(),
        Progress::Running => (
            StatusCode::ACCEPTED,
            [
                ("Retry-After", "0".to_owned()),
                ("Location", monitor_path(id)),
            ],
            axum::Json(located(id, resource(id, progress))),
        )
            .into_response(),
    })
}

fn monitor_path(id: u64) -> String {
    address(&format!("TaskService/TaskMonitors/{id}"))
}

fn located(id: u64, mut body: Value) -> Value {
    if let Some(properties) = body.as_object_mut() {
        let path = address(&format!("TaskService/Tasks/{id}"));
        properties.insert("@odata.id".to_owned(), json!(path));
    }
    body
}

/// A task as it stands, without its address.
pub(super) fn resource(id: u64, progress: Progress) -> Value {
    let (state, status, messages) = match progress {
        Progress::Running => ("Running", "OK", json!([])),
        Progress::Completed => ("Completed", "OK", json!([])),
        Progress::Failed => (
            "Exception",
            "Critical",
            json!([{"MessageId": "Base.1.18.InternalError", "Message": "The operation did not succeed.", "Severity": "Critical"}]),
        ),
    };
    json!({
        "@odata.type": "#Task.v1_7_3.Task",
        "Id": id.to_string(),
        "Name": "Task",
        "TaskState": state,
        "TaskStatus": status,
        "TaskMonitor": monitor_path(id),
        "Messages": messages,
    })
}
