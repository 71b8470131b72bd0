//! SessionService: login, logout, and the limit between them.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use tokio::time::Instant;

use super::accounts;
use super::message::Refusal;
use super::query::Query;
use super::route::Asked;
use super::view::view;
use crate::accounts::{Login, Role, Who};
use crate::bmc::Bmc;
use crate::tree::address;

const PATH: &str = "SessionService/Sessions";

#[derive(Deserialize)]
struct Credentials {
    #[serde(rename = "UserName")]
    user: String,
    #[serde(rename = "Password")]
    password: String,
}

pub(super) fn create(bmc: &Bmc, asked: &Asked) -> Result<Response, Refusal> {
    let limit = bmc.profile.session_limit.ok_or_else(Refusal::missing)?;
    let body = asked.json()?;
    let given: Credentials = serde_json::from_value(body)
        .map_err(|_| Refusal::bad("PropertyMissing", "UserName and Password are required."))?;
    let now = Instant::now();
    let Login::Welcome(who) = accounts::login(bmc, &given.user, &given.password, now) else {
        return Err(Refusal::unauthorized(
            "ResourceAtUriUnauthorized",
            "The service received an authorization error unauthorized.",
        ));
    };
    let token = uuid::Uuid::new_v4().simple().to_string();
    let mut state = bmc.state();
    let idle = accounts::session_timeout(bmc, &state);
    let lost = state.sessions.expire(idle, now);
    state.counters.sessions_lost += u64::try_from(lost).unwrap_or(0);
    let opened = state.sessions.open(token.clone(), who.account, limit, now);
    let Some(id) = opened else {
        return Err(Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "SessionLimitExceeded",
            "The session establishment failed due to the number of simultaneous sessions exceeding the limit of the implementation.",
        ));
    };
    state.counters.sessions_opened += 1;
    state.counters.sessions_peak = state.counters.sessions_peak.max(state.sessions.ids().len());
    let path = format!("{PATH}/{id}");
    let made = view(bmc, &state, &path, &Query::default()).ok_or_else(Refusal::missing)?;
    let mut body = made.body;
    if who.must_change {
        let told = Refusal::must_change_password(who.account).info();
        crate::faults::merge(&mut body, &told);
    }
    let headers = [("Location", address(&path)), ("X-Auth-Token", token)];
    Ok((StatusCode::CREATED, headers, axum::Json(body)).into_response())
}

pub(super) fn delete(bmc: &Bmc, who: Option<Who>, id: u64) -> Result<Response, Refusal> {
    let mut state = bmc.state();
    let owner = state.sessions.owner(id).ok_or_else(Refusal::missing)?;
    let may = who.is_some_and(|who| who.role == Role::Administrator || who.account == owner);
    if !may {
        return Err(Refusal::forbidden());
    }
    state.sessions.close(id);
    state.counters.sessions_closed += 1;
    Ok(StatusCode::NO_CONTENT.into_response())
}
