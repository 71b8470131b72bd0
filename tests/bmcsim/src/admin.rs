//! The admin plane: faults in, log out. Plain HTTP, meant for loopback.
//!
//! | request | does |
//! |---|---|
//! | `GET /bmcs` | name, power, boot override, sessions of every BMC |
//! | `GET /log[?bmc=NAME]` | calls and power history, in order of time |
//! | `POST /log/clear[?bmc=NAME]` | forgets both |
//! | `GET, POST, DELETE /faults[?bmc=NAME]` | shows, appends, removes fault rules |
//! | `POST /sessions/clear[?bmc=NAME]` | forgets all sessions |

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bmc::Bmc;
use crate::faults::Fault;
use crate::log::Log;

#[derive(Debug, Clone)]
struct Bmcs(Arc<Vec<Arc<Bmc>>>);

#[derive(Debug, Deserialize)]
struct Which {
    bmc: Option<String>,
}

impl Bmcs {
    fn chosen<'a>(&'a self, name: Option<&'a str>) -> impl Iterator<Item = &'a Arc<Bmc>> {
        self.0
            .iter()
            .filter(move |bmc| name.is_none_or(|name| name == bmc.name()))
    }
}

pub(crate) fn router(bmcs: Vec<Arc<Bmc>>) -> Router {
    Router::new()
        .route("/bmcs", get(list))
        .route("/log", get(log))
        .route("/log/clear", post(clear_log))
        .route("/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/sessions/clear", post(clear_sessions))
        .with_state(Bmcs(Arc::new(bmcs)))
}

async fn list(State(bmcs): State<Bmcs>) -> Json<Value> {
    let list: Vec<Value> = bmcs
        .chosen(None)
        .map(|bmc| {
            let boot = bmc.boot();
            json!({
                "name": bmc.name(),
                "power": bmc.power(),
                "boot": {"target": boot.target, "enabled": boot.enabled},
                "sessions": bmc.sessions().len(),
            })
        })
        .collect();
    Json(Value::from(list))
}

async fn log(State(bmcs): State<Bmcs>, Query(which): Query<Which>) -> Json<Log> {
    let mut all = Log::default();
    for bmc in bmcs.chosen(which.bmc.as_deref()) {
        all.merge(bmc.log());
    }
    Json(all)
}

async fn clear_log(State(bmcs): State<Bmcs>, Query(which): Query<Which>) -> StatusCode {
    bmcs.chosen(which.bmc.as_deref())
        .for_each(|bmc| bmc.clear_log());
    StatusCode::NO_CONTENT
}

async fn faults(State(bmcs): State<Bmcs>, Query(which): Query<Which>) -> Json<Value> {
    let rules: Vec<Value> = bmcs
        .chosen(which.bmc.as_deref())
        .map(|bmc| json!({"bmc": bmc.name(), "faults": bmc.faults()}))
        .collect();
    Json(Value::from(rules))
}

async fn add_fault(State(bmcs): State<Bmcs>, Json(fault): Json<Fault>) -> StatusCode {
    let mut found = false;
    for bmc in bmcs.chosen(fault.bmc.as_deref()) {
        bmc.add_fault(fault.clone());
        found = true;
    }
    if found {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::NOT_FOUND
    }
}

async fn clear_faults(State(bmcs): State<Bmcs>, Query(which): Query<Which>) -> StatusCode {
    bmcs.chosen(which.bmc.as_deref())
        .for_each(|bmc| bmc.clear_faults());
    StatusCode::NO_CONTENT
}

async fn clear_sessions(State(bmcs): State<Bmcs>, Query(which): Query<Which>) -> StatusCode {
    bmcs.chosen(which.bmc.as_deref())
        .for_each(|bmc| bmc.clear_sessions());
    StatusCode::NO_CONTENT
}
