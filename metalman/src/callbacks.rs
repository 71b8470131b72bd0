//! What installers and installed hosts call: capability URLs on the boot HTTP server.
//!
//! The word in the path is the authority, and for an installer the address its packets come from
//! must be the machine's too; no header counts. Invariant: a handler records facts and never
//! moves an operation.

mod agent;
mod plan;
mod seed;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{ConnectInfo, DefaultBodyLimit, Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use metalman_api::{
    install::{BootReport, InstallClaim, InstallReport, InstallStage, Refusal, SeedFile},
    machine::Machine,
};
use serde::Deserialize;
use serde_json::json;
use tracing::{info, warn};

pub use agent::AgentApi;
pub use plan::Planner;

use crate::{
    clock,
    kube::current::CurrentMachines,
    site::Site,
    store::{
        BootSighting, ClaimOutcome, EvidenceKind, InstallToken, NewCapability, NewEvidence,
        NewTimelineEntry, Observed, Store, StoreError, TimelineSource,
    },
    supervisor::chain,
    timeline,
};

/// Largest body taken, in bytes.
const BODY_LIMIT: usize = 1 << 20;
/// Longest boot id, UUID or version kept, in characters.
const WORD_LIMIT: usize = 128;

/// What the handlers work with.
#[derive(Debug, Clone)]
pub struct Callbacks {
    /// Site view.
    pub site: Arc<Site>,
    /// Tokens, evidence, timeline.
    pub store: Store,
    /// Makes install plans.
    pub planner: Arc<Planner>,
    /// Machines as they are now.
    pub current: CurrentMachines,
    /// How agents reach the embedded API; `None` with a cluster.
    pub agents: Option<AgentApi>,
    /// Last report per token, for the timeline.
    pub last: Arc<Mutex<HashMap<String, InstallReport>>>,
}

/// A refusal with its status.
#[derive(Debug)]
struct Refused(StatusCode, &'static str, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self(status, reason, message) = self;
        warn!(
            status = status.as_u16(),
            error.reason = reason,
            "callback refused: {message}"
        );
        (
            status,
            Json(Refusal {
                reason: reason.into(),
                message,
            }),
        )
            .into_response()
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        warn!(error = %chain(&error), error.reason = error.reason(), "callback not kept");
        Self(
            StatusCode::SERVICE_UNAVAILABLE,
            "StoreUnavailable",
            "the appliance could not keep this; try again".into(),
        )
    }
}

/// Routes to be merged into the boot HTTP server.
pub fn router(callbacks: Callbacks) -> Router {
    Router::new()
        .route("/install/{token}/claim", post(claim))
        .route("/install/{token}/report", post(report))
        .route("/boot/{capability}/report", post(boot_report))
        .route("/boot/{capability}/cloud-init", post(cloud_init))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(callbacks)
}

async fn claim(
    State(callbacks): State<Callbacks>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(token): Path<String>,
    Json(claim): Json<InstallClaim>,
) -> Result<Response, Refused> {
    let now = clock::now();
    let known = callbacks.store.install_tokens().find(&token).await?;
    let machine = callbacks.machine_now(known.as_ref()).await?;
    if let Some(machine) = &machine {
        is_from(machine, &peer, &claim.mac)?;
    }
    let boot_id = word(&claim.boot_id);
    let gone = |reason, message: &str| Refused(StatusCode::GONE, reason, message.to_owned());
    let (token, first) = match callbacks
        .store
        .install_tokens()
        .claim(&token, &boot_id, now)
        .await?
    {
        ClaimOutcome::Claimed(token) => (token, true),
        ClaimOutcome::SameBoot(token) => (token, false),
        ClaimOutcome::OtherBoot => {
            return Err(Refused(
                StatusCode::CONFLICT,
                "TokenClaimed",
                "another boot of this machine holds this install token".into(),
            ));
        }
        ClaimOutcome::Expired => return Err(gone("TokenExpired", "the install token expired")),
        ClaimOutcome::Revoked => {
            return Err(gone("TokenRevoked", "the install token was revoked"));
        }
        ClaimOutcome::Consumed => {
            return Err(gone("TokenConsumed", "the install token was used up"));
        }
        ClaimOutcome::Unknown => return Err(unknown()),
    };
    let machine = machine.ok_or_else(unknown)?;
    let snapshot = callbacks.site.boot_snapshot();
    let boot = snapshot
        .machines()
        .iter()
        .find(|m| m.name == token.machine)
        .ok_or_else(unknown)?;
    let operation = callbacks.operation_name(&token).await?;
    let capability = NewCapability {
        capability: crate::driver::random_word(),
        machine: token.machine.clone(),
        operation_uid: Some(token.operation_uid.clone()),
    };
    callbacks
        .store
        .boots()
        .mint_capability(&capability, now)
        .await?;
    let kubeconfig = match &callbacks.agents {
        Some(api) => api.mint(&callbacks.store, &machine, &token, now).await?,
        None => None,
    };
    let mut plan = callbacks
        .planner
        .plan(&machine, boot, &token, &operation, &capability.capability)
        .await
        .map_err(|trouble| {
            Refused(
                StatusCode::SERVICE_UNAVAILABLE,
                "PlanUnavailable",
                trouble.message,
            )
        })?;
    plan.files.extend(kubeconfig.map(|content| SeedFile {
        path: agent::KUBECONFIG_PATH.to_owned(),
        mode: 0o600,
        content,
    }));
    if first {
        info!(machine.id = %token.machine, operation, "installer claimed its token");
        let observed = timeline::install_claimed(&token.machine, &operation, now, &claim);
        callbacks.keep(&observed).await?;
    }
    Ok(Json(plan).into_response())
}

async fn report(
    State(callbacks): State<Callbacks>,
    Path(token): Path<String>,
    Json(report): Json<InstallReport>,
) -> Result<StatusCode, Refused> {
    let now = clock::now();
    let found = callbacks
        .store
        .install_tokens()
        .find(&token)
        .await?
        .ok_or_else(unknown)?;
    let holder = found.claim.as_ref().map(|(boot_id, _)| boot_id.as_str());
    if holder != Some(word(&report.boot_id).as_str()) {
        return Err(Refused(
            StatusCode::FORBIDDEN,
            "NotTheHolder",
            "this boot does not hold the install token".into(),
        ));
    }
    if found.consumed_at.is_some() {
        // The answer to the last report was lost; it counts already.
        return Ok(StatusCode::NO_CONTENT);
    }
    if found.revoked_at.is_some() {
        return Err(Refused(
            StatusCode::GONE,
            "TokenRevoked",
            "the install token was revoked; stop and restart".into(),
        ));
    }
    let operation = callbacks.operation_name(&found).await?;
    let previous = {
        let mut last = callbacks
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if matches!(report.stage, InstallStage::Finished | InstallStage::Failed) {
            last.remove(&token)
        } else {
            last.insert(token.clone(), report.clone())
        }
    };
    let observed =
        timeline::install_reported(&found.machine, &operation, now, &report, previous.as_ref());
    callbacks.keep(&observed).await?;
    if report.stage == InstallStage::Finished {
        callbacks
            .store
            .install_tokens()
            .consume(&token, now)
            .await?;
        let tokens = callbacks.store.api_tokens();
        tokens
            .supersede_agent(&found.machine, &found.operation_uid, now)
            .await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn boot_report(
    State(callbacks): State<Callbacks>,
    Path(capability): Path<String>,
    Json(report): Json<BootReport>,
) -> Result<StatusCode, Refused> {
    let now = clock::now();
    let (machine, operation_uid) = callbacks.holder(&capability).await?;
    let sighting = BootSighting {
        machine: machine.clone(),
        boot_id: word(&report.boot_id),
        at: now,
        kernel: word(&report.kernel),
        agent_version: word(&report.agent_version),
        machine_uuid: report.machine_uuid.as_deref().map(word),
    };
    let is_new = callbacks.store.boots().record_boot(&sighting).await?;
    if is_new {
        info!(machine.id = %machine, boot_id = %sighting.boot_id, "host reports a new boot");
        let operation = callbacks
            .site
            .running_operation(&machine)
            .filter(|_| operation_uid.is_some());
        let observed =
            timeline::boot_reported(&machine, operation.as_deref(), now, &report, is_new);
        callbacks.keep(&observed).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Body of cloud-init's webhook reporter; other fields are not needed.
#[derive(Debug, Deserialize)]
struct CloudInitEvent {
    #[serde(default)]
    name: String,
    #[serde(default)]
    event_type: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    result: Option<String>,
}

async fn cloud_init(
    State(callbacks): State<Callbacks>,
    Path(capability): Path<String>,
    body: Bytes,
) -> Result<StatusCode, Refused> {
    // cloud-init's reporter says nothing of JSON in its Content-Type.
    let event: CloudInitEvent = serde_json::from_slice(&body).map_err(|error| {
        let message = format!("not an event of cloud-init: {error}");
        Refused(StatusCode::BAD_REQUEST, "BadEvent", message)
    })?;
    let now = clock::now();
    let (machine, _) = callbacks.holder(&capability).await?;
    let result = event.result.unwrap_or_default();
    let failed = event.event_type == "finish" && result != "SUCCESS";
    let done = event.event_type == "finish" && event.name == "modules-final" && !failed;
    // Top-level stages only; every module would drown the timeline.
    if event.name.contains('/') && !failed {
        return Ok(StatusCode::NO_CONTENT);
    }
    let detail = json!({
        "name": word(&event.name), "result": word(&result), "failed": failed, "done": done,
    });
    let line = (failed || done).then(|| NewTimelineEntry {
        machine: machine.clone(),
        at: now,
        source: TimelineSource::Host,
        text: if done {
            "cloud-init finished".to_owned()
        } else {
            format!(
                "cloud-init {} failed: {}",
                word(&event.name),
                word(&event.description)
            )
        },
        detail: detail.clone(),
        operation: callbacks.site.running_operation(&machine),
    });
    let evidence = NewEvidence {
        machine,
        at: now,
        kind: EvidenceKind::CloudInit,
        detail,
    };
    let observed = Observed {
        timeline: line.into_iter().collect(),
        evidence: vec![evidence],
        ..Observed::default()
    };
    callbacks.keep(&observed).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Callbacks {
    async fn keep(&self, observed: &Observed) -> Result<(), Refused> {
        self.store.record(observed).await?;
        for machine in observed.machines() {
            self.site.poke_machine(machine);
        }
        Ok(())
    }

    /// The Machine an installer works for. It says which disk is written, so that it is read as it
    /// is now; an installer asks again while that cannot be done.
    async fn machine_now(
        &self,
        token: Option<&InstallToken>,
    ) -> Result<Option<Arc<Machine>>, Refused> {
        let Some(name) = token.map(|token| token.machine.as_str()) else {
            return Ok(None);
        };
        self.current.read(name).await.map_err(|trouble| {
            let message = format!(
                "waiting for the API server: Machine {name} cannot be read as of now: {}",
                trouble.message
            );
            Refused(
                StatusCode::SERVICE_UNAVAILABLE,
                "WaitingForApiServer",
                message,
            )
        })
    }

    /// Name of the operation a token was minted for.
    async fn operation_name(&self, token: &InstallToken) -> Result<String, StoreError> {
        let row = self
            .store
            .targets()
            .load(&token.operation_uid, &token.machine)
            .await?;
        Ok(row.map(|row| row.operation_name).unwrap_or_default())
    }

    async fn holder(&self, capability: &str) -> Result<(String, Option<String>), Refused> {
        let found = self
            .store
            .boots()
            .capability(capability)
            .await?
            .ok_or_else(unknown)?;
        if found.revoked_at.is_some() {
            let message = "this host was installed anew or removed".to_owned();
            return Err(Refused(StatusCode::GONE, "CapabilityRevoked", message));
        }
        Ok((found.machine, found.operation_uid))
    }
}

fn unknown() -> Refused {
    Refused(
        StatusCode::NOT_FOUND,
        "Unknown",
        "nothing is known by this URL".into(),
    )
}

/// The installer must speak from the machine's address with the machine's MAC.
fn is_from(machine: &Machine, peer: &SocketAddr, mac: &str) -> Result<(), Refused> {
    let leases = machine
        .spec
        .pxe
        .as_ref()
        .map_or(&[][..], |pxe| pxe.dhcp_leases.as_slice());
    let by_ip = leases
        .iter()
        .any(|lease| lease.ipv4 == peer.ip().to_canonical().to_string());
    let by_mac = leases
        .iter()
        .any(|lease| lease.mac.eq_ignore_ascii_case(mac.trim()));
    if by_ip && by_mac {
        return Ok(());
    }
    Err(Refused(
        StatusCode::FORBIDDEN,
        "ForeignMachine",
        format!(
            "the install token of Machine {} was shown from {} with MAC {}, which are not its own",
            machine.metadata.name.as_deref().unwrap_or_default(),
            peer.ip(),
            word(mac)
        ),
    ))
}

/// Foreign text, short and without control characters.
fn word(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(WORD_LIMIT)
        .collect()
}
