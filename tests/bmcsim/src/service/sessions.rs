//! SessionService: login, logout, and the limit between them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::message::{Refusal, missing};
use super::resources::{SESSIONS, collection};
use crate::bmc::Bmc;

#[derive(Deserialize)]
pub(super) struct Login {
    #[serde(rename = "UserName")]
    user: String,
    #[serde(rename = "Password")]
    password: String,
}

/// The limit of a service that there is.
fn offered(bmc: &Bmc) -> Result<usize, Refusal> {
    bmc.profile.session_limit.ok_or_else(missing)
}

pub(super) async fn service(State(bmc): State<Arc<Bmc>>) -> Result<Json<Value>, Refusal> {
    offered(&bmc)?;
    Ok(Json(json!({
        "@odata.id": "/redfish/v1/SessionService",
        "@odata.type": "#SessionService.v1_1_8.SessionService",
        "Id": "SessionService",
        "Name": "Session Service",
        "ServiceEnabled": true,
        "SessionTimeout": 1800,
        "Sessions": {"@odata.id": SESSIONS},
    })))
}

pub(super) async fn list(State(bmc): State<Arc<Bmc>>) -> Result<Json<Value>, Refusal> {
    offered(&bmc)?;
    let members: Vec<String> = bmc.sessions().iter().map(|id| path(*id)).collect();
    Ok(Json(collection(SESSIONS, "Session", &members)))
}

pub(super) async fn create(
    State(bmc): State<Arc<Bmc>>,
    Json(login): Json<Login>,
) -> Result<Response, Refusal> {
    let limit = offered(&bmc)?;
    if login.user != bmc.identity.user || login.password != bmc.identity.password {
        return Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "ResourceAtUriUnauthorized",
            "The user name or the password is wrong.",
        ));
    }
    let token = uuid::Uuid::new_v4().simple().to_string();
    let opened = bmc.state().sessions.open(token.clone(), limit);
    let Some(id) = opened else {
        return Err(Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "SessionLimitExceeded",
            "The session establishment failed due to the number of simultaneous sessions.",
        ));
    };
    let headers = [("Location", path(id)), ("X-Auth-Token", token)];
    Ok((StatusCode::CREATED, headers, Json(resource(&bmc, id))).into_response())
}

pub(super) async fn read(
    State(bmc): State<Arc<Bmc>>,
    Path(id): Path<u64>,
) -> Result<Json<Value>, Refusal> {
    if bmc.state().sessions.exists(id) {
        Ok(Json(resource(&bmc, id)))
    } else {
        Err(missing())
    }
}

pub(super) async fn delete(
    State(bmc): State<Arc<Bmc>>,
    Path(id): Path<u64>,
) -> Result<StatusCode, Refusal> {
    if bmc.state().sessions.close(id) {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(missing())
    }
}

fn path(id: u64) -> String {
    format!("{SESSIONS}/{id}")
}

fn resource(bmc: &Bmc, id: u64) -> Value {
    json!({
        "@odata.id": path(id),
        "@odata.type": "#Session.v1_3_0.Session",
        "Id": id.to_string(),
        "Name": "Session",
        "UserName": bmc.identity.user,
        "Password": null,
    })
}
