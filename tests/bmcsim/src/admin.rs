//! The admin plane: faults in, log out. Plain HTTP, meant for loopback.
//!
//! | request | does |
//! |---|---|
//! | `GET /bmcs` | name, power, boot override, sessions, locked accounts of every BMC |
//! | `GET /log[?bmc=NAME]` | calls and power history, in order of time |
//! | `POST /log/clear[?bmc=NAME]` | forgets both |
//! | `GET /counters[?bmc=NAME]` | totals, histogram of resets, and the figures of each BMC |
//! | `POST /counters/clear[?bmc=NAME]` | starts them anew |
//! | `GET, POST, DELETE /faults[?bmc=NAME]` | shows, appends, removes fault rules |
//! | `GET, PUT /habits[?bmc=NAME]` | shows, sets what machines do besides what they are told |
//! | `PUT /door[?bmc=NAME]` | how connections are met: `"open"`, `"refused"`, `"dropped"`, `"half-open"`, `"reset"` |
//! | `POST /certificate[?bmc=NAME]` | a new TLS certificate for connections to come |
//! | `PUT /password[?bmc=NAME]` | sets the first account's password behind everybody's back |
//! | `POST /sessions/clear[?bmc=NAME]` | forgets all sessions |

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bmc::Bmc;
use crate::counters::Counters;
use crate::faults::Fault;
use crate::habits::Habits;
use crate::line::Door;
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

    /// Does something to every chosen BMC; 404 if there is none.
    fn each(&self, which: &Which, mut act: impl FnMut(&Bmc)) -> StatusCode {
        let mut found = StatusCode::NOT_FOUND;
        for bmc in self.chosen(which.bmc.as_deref()) {
            act(bmc);
            found = StatusCode::NO_CONTENT;
        }
        found
    }
}

pub(crate) fn router(bmcs: Vec<Arc<Bmc>>) -> Router {
    Router::new()
        .route("/bmcs", get(list))
        .route("/log", get(log))
        .route("/log/clear", post(clear_log))
        .route("/counters", get(counters))
        .route("/counters/clear", post(clear_counters))
        .route("/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/habits", get(habits).put(set_habits))
        .route("/door", put(set_door))
        .route("/certificate", post(change_certificate))
        .route("/password", put(set_password))
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
                "locked_accounts": bmc.locked_accounts(),
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
    bmcs.each(&which, Bmc::clear_log)
}

/// Totals of the chosen BMCs. A histogram says how many BMCs had so many resets of a type: `{"On": {"1": 998, "2": 2}}`
/// is two machines that were turned on twice.
async fn counters(State(bmcs): State<Bmcs>, Query(which): Query<Which>) -> Json<Value> {
    let mut total = Counters::default();
    let mut histogram: BTreeMap<&str, BTreeMap<u64, u64>> = BTreeMap::new();
    let (mut each, mut left, mut locked) = (BTreeMap::new(), 0, 0);
    for bmc in bmcs.chosen(which.bmc.as_deref()) {
        let counted = bmc.counters();
        for (reset, times) in &counted.resets {
            *histogram
                .entry(reset)
                .or_default()
                .entry(*times)
                .or_default() += 1;
        }
        total.add(&counted);
        left += bmc.sessions().len();
        locked += bmc.locked_accounts();
        each.insert(bmc.name(), counted);
    }
    Json(json!({
        "total": total,
        "resets_histogram": histogram,
        "sessions_left": left,
        "locked_accounts": locked,
        "bmcs": each,
    }))
}

async fn clear_counters(State(bmcs): State<Bmcs>, Query(which): Query<Which>) -> StatusCode {
    bmcs.each(&which, Bmc::clear_counters)
}

async fn faults(State(bmcs): State<Bmcs>, Query(which): Query<Which>) -> Json<Value> {
    let rules: Vec<Value> = bmcs
        .chosen(which.bmc.as_deref())
        .map(|bmc| json!({"bmc": bmc.name(), "faults": bmc.faults()}))
        .collect();
    Json(Value::from(rules))
}

async fn add_fault(State(bmcs): State<Bmcs>, Json(fault): Json<Fault>) -> StatusCode {
    let which = Which {
        bmc: fault.bmc.clone(),
    };
    bmcs.each(&which, |bmc| bmc.add_fault(fault.clone()))
}

async fn clear_faults(State(bmcs): State<Bmcs>, Query(which): Query<Which>) -> StatusCode {
    bmcs.each(&which, Bmc::clear_faults)
}

async fn habits(State(bmcs): State<Bmcs>, Query(which): Query<Which>) -> Json<Value> {
    let all: BTreeMap<&str, Habits> = bmcs
        .chosen(which.bmc.as_deref())
        .map(|bmc| (bmc.name(), bmc.habits()))
        .collect();
    Json(json!(all))
}

async fn set_habits(
    State(bmcs): State<Bmcs>,
    Query(which): Query<Which>,
    Json(habits): Json<Habits>,
) -> StatusCode {
    bmcs.each(&which, |bmc| bmc.set_habits(habits.clone()))
}

async fn set_door(
    State(bmcs): State<Bmcs>,
    Query(which): Query<Which>,
    Json(door): Json<Door>,
) -> StatusCode {
    bmcs.each(&which, |bmc| bmc.set_door(door))
}

async fn change_certificate(State(bmcs): State<Bmcs>, Query(which): Query<Which>) -> StatusCode {
    let mut failed = false;
    let done = bmcs.each(&which, |bmc| failed |= bmc.change_certificate().is_err());
    if failed {
        StatusCode::INTERNAL_SERVER_ERROR
    } else {
        done
    }
}

async fn set_password(
    State(bmcs): State<Bmcs>,
    Query(which): Query<Which>,
    Json(password): Json<String>,
) -> StatusCode {
    bmcs.each(&which, |bmc| bmc.set_password(&password))
}

async fn clear_sessions(State(bmcs): State<Bmcs>, Query(which): Query<Which>) -> StatusCode {
    bmcs.each(&which, Bmc::clear_sessions)
}
