//! BMCs for operators, as JSON: `/api/v1/machines/NAME/bmc`. Every answer comes from the governor of
//! that BMC, which owns its one session.
//!
//! Invariant: whatever changes a BMC is in the audit log, with its user, before it happens.

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, put};
use axum::{Extension, Json, Router};
use redfish::{Consoles, EventLog, Fingerprint, IndicatorState};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::{error, info};

use super::auth::Caller;
use super::problem::Problem;
use crate::bmc::{AskConsoles, AskLog, BmcDesk, BmcReport, Certificates, SetIndicator};
use crate::domain::facts::Trouble;
use crate::store::{NewAuditEntry, NewTimelineEntry, Observed, Store, TimelineSource};

/// Entries of the event log, unless asked otherwise.
const LOG_ENTRIES: usize = 20;
/// Entries of the event log at most.
const LOG_ENTRIES_MOST: usize = 1000;

/// End of the path where passwords are changed, which needs a right of its own.
pub(super) const PASSWORD: &str = "/bmc/password";

#[derive(Clone)]
struct Office {
    desk: BmcDesk,
    store: Store,
}

/// The routes, for [`super::router`], which lets only accepted tokens through.
pub fn routes(desk: BmcDesk, store: Store) -> Router {
    Router::new()
        .route("/api/v1/machines/{name}/bmc", get(report))
        .route("/api/v1/machines/{name}/bmc/sel", get(log))
        .route("/api/v1/machines/{name}/bmc/console", get(consoles))
        .route("/api/v1/machines/{name}/bmc/indicator", put(set_indicator))
        .route(
            "/api/v1/machines/{name}/bmc/certificate",
            get(certificates).put(repin),
        )
        .route("/api/v1/machines/{name}/bmc/password", put(set_password))
        .with_state(Office { desk, store })
}

async fn report(
    State(office): State<Office>,
    Path(name): Path<String>,
) -> Result<Json<BmcReport>, Problem> {
    Ok(Json(office.desk.report(&name).await?))
}

#[derive(Debug, Deserialize)]
struct LogQuery {
    limit: Option<usize>,
}

async fn log(
    State(office): State<Office>,
    Path(name): Path<String>,
    Query(query): Query<LogQuery>,
) -> Result<Json<EventLog>, Problem> {
    let limit = query
        .limit
        .unwrap_or(LOG_ENTRIES)
        .clamp(1, LOG_ENTRIES_MOST);
    Ok(Json(office.desk.ask(&name, &AskLog { limit }).await?))
}

async fn consoles(
    State(office): State<Office>,
    Path(name): Path<String>,
) -> Result<Json<Consoles>, Problem> {
    Ok(Json(office.desk.ask(&name, &AskConsoles).await?))
}

/// What the lamp should do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WantedIndicator {
    pub(crate) state: IndicatorState,
}

/// What the lamp does.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SeenIndicator {
    /// Absent where the lamp can be set and not be read.
    pub(crate) is_on: Option<bool>,
}

async fn set_indicator(
    State(office): State<Office>,
    Path(name): Path<String>,
    Extension(caller): Extension<Caller>,
    wanted: Result<Json<WantedIndicator>, JsonRejection>,
) -> Result<Json<SeenIndicator>, Problem> {
    let Json(WantedIndicator { state }) = wanted.map_err(|rejection| unreadable(&rejection))?;
    let detail = json!({ "state": state });
    office
        .audit(&caller, "bmc-indicator", &name, detail)
        .await?;
    let is_on = office.desk.ask(&name, &SetIndicator(state)).await?;
    let text = format!("indicator set to {state} by {}", caller.user);
    office.tell(&name, text).await;
    Ok(Json(SeenIndicator { is_on }))
}

async fn certificates(
    State(office): State<Office>,
    Path(name): Path<String>,
) -> Result<Json<Certificates>, Problem> {
    Ok(Json(office.desk.certificates(&name).await?))
}

/// The certificate to pin.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WantedCertificate {
    /// SHA-256 in hex; the BMC must present it now.
    pub(crate) fingerprint: String,
}

/// Answers with what was pinned before.
async fn repin(
    State(office): State<Office>,
    Path(name): Path<String>,
    Extension(caller): Extension<Caller>,
    wanted: Result<Json<WantedCertificate>, JsonRejection>,
) -> Result<Json<Certificates>, Problem> {
    let Json(wanted) = wanted.map_err(|rejection| unreadable(&rejection))?;
    let fingerprint: Fingerprint = wanted.fingerprint.parse().map_err(|error| {
        let text = format!("fingerprint: {error}");
        Problem::new(StatusCode::BAD_REQUEST, "InvalidRequest", text)
    })?;
    let detail = json!({ "fingerprint": fingerprint.to_string() });
    office.audit(&caller, "bmc-repin", &name, detail).await?;
    let before = office.desk.repin(&name, fingerprint).await?;
    let text = format!("certificate {fingerprint} pinned by {}", caller.user);
    office.tell(&name, text).await;
    Ok(Json(before))
}

/// The password to set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedPassword {
    #[serde(deserialize_with = "secret_text")]
    password: SecretString,
}

fn secret_text<'de, D: serde::Deserializer<'de>>(from: D) -> Result<SecretString, D::Error> {
    String::deserialize(from).map(SecretString::from)
}

/// That it was set.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PasswordSet {
    /// Secret that holds it now.
    pub(crate) secret: String,
}

async fn set_password(
    State(office): State<Office>,
    Path(name): Path<String>,
    Extension(caller): Extension<Caller>,
    wanted: Result<Json<WantedPassword>, JsonRejection>,
) -> Result<Json<PasswordSet>, Problem> {
    let Json(wanted) = wanted.map_err(|rejection| unreadable(&rejection))?;
    let secret = office.desk.secret_of(&name)?;
    let detail = json!({ "secret": secret });
    office.audit(&caller, "bmc-password", &name, detail).await?;
    office.desk.change_password(&name, &wanted.password).await?;
    let text = format!("password of the BMC account changed by {}", caller.user);
    office.tell(&name, text).await;
    Ok(Json(PasswordSet { secret }))
}

impl Office {
    /// Writes down who is about to change what.
    async fn audit(
        &self,
        caller: &Caller,
        action: &str,
        machine: &str,
        detail: Value,
    ) -> Result<(), Problem> {
        info!(machine.id = machine, user = caller.user, action, %detail, "operator's command");
        let entry = NewAuditEntry {
            at: (self.desk.clock)(),
            actor: caller.user.clone(),
            action: action.to_owned(),
            object: format!("Machine/{machine}"),
            detail,
        };
        self.store.audit().append(&entry).await.map_err(|source| {
            error!(error = %source, cause = ?source, "audit log not writable");
            let text = "the audit log cannot be written now, so nothing was changed; try again";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "StoreUnavailable", text)
        })
    }

    /// Adds a line to the timeline; what was done is done, so a failure is only logged.
    async fn tell(&self, machine: &str, text: String) {
        let observed = Observed {
            timeline: vec![NewTimelineEntry {
                machine: machine.to_owned(),
                at: (self.desk.clock)(),
                source: TimelineSource::Bmc,
                text,
                detail: json!({}),
                operation: None,
            }],
            ..Observed::default()
        };
        if let Err(source) = self.store.record(&observed).await {
            error!(machine.id = machine, error = %source, cause = ?source, "timeline not writable");
        }
        self.desk.site.poke_machine(machine);
    }
}

fn unreadable(rejection: &JsonRejection) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "InvalidRequest",
        rejection.body_text(),
    )
}

/// Ours to mend is 4xx, the BMC's is 502, and what may pass by itself is 503.
impl From<Trouble> for Problem {
    fn from(trouble: Trouble) -> Self {
        let status = match trouble.reason.as_str() {
            "MachineNotFound" => StatusCode::NOT_FOUND,
            "UnsupportedTarget" | "SecretShared" | "PasswordChanging" => StatusCode::CONFLICT,
            "InvalidConfig" => StatusCode::UNPROCESSABLE_ENTITY,
            _ if trouble.transient => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_GATEWAY,
        };
        Self::new(status, trouble.reason, trouble.message)
    }
}
