//! The client: what a provisioning system asks of one BMC.
//!
//! Not a pacer and not a retrier; see the crate documentation. Safe to share: calls may overlap,
//! one login happens at a time.

use http::Method;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::boot::{self, BootOverride};
use crate::call::check;
use crate::config::{ClientConfig, Timeouts};
use crate::discovery::{SystemRefusal, choose_system};
use crate::error::Error;
use crate::etag::Precondition;
use crate::model::{Boot, ServiceRoot, System, members, reset_types_of_action_info};
use crate::operation::Operation;
use crate::power::{PowerState, ResetPlan, ResetReport, ResetType, choose_reset};
use crate::quirks::Platform;
use crate::session::{Ask, Session};
use crate::task;
use crate::tls::Fingerprint;
use crate::transport::{Request, Response, Transport};

const SERVICE_ROOT: &str = "/redfish/v1/";
const DEFAULT_SYSTEMS: &str = "/redfish/v1/Systems";
/// Systems read during discovery.
const SYSTEMS_LIMIT: usize = 64;

/// A connection to one system behind one BMC.
///
/// Call [`Client::close`] when done: a dropped client leaves its session to the BMC's time-out.
#[derive(Debug)]
pub struct Client {
    transport: Transport,
    session: Session,
    wanted_system: Option<String>,
    timeouts: Timeouts,
    root: OnceCell<ServiceRoot>,
    system_path: OnceCell<String>,
    action_info: OnceCell<Vec<ResetType>>,
}

impl Client {
    /// Prepares a client. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`].
    pub fn new(config: ClientConfig) -> Result<Self, Error> {
        Ok(Self {
            transport: Transport::new(&config)?,
            session: Session::new(&config),
            wanted_system: config.system_id.filter(|id| !id.trim().is_empty()),
            timeouts: config.timeouts,
            root: OnceCell::new(),
            system_path: OnceCell::new(),
            action_info: OnceCell::new(),
        })
    }

    /// The leaf certificate of the latest TLS handshake; `None` before the first, and in plaintext.
    pub fn observed_fingerprint(&self) -> Option<Fingerprint> {
        self.transport.observed_fingerprint()
    }

    /// HTTP requests sent so far, answered or not; for a caller that keeps a budget.
    pub fn requests(&self) -> u64 {
        self.transport.requests()
    }

    /// The service root, read once and without credentials.
    pub async fn service_root(&self) -> Result<&ServiceRoot, Error> {
        self.root
            .get_or_try_init(|| async {
                let operation = Operation::ReadServiceRoot;
                let request = Request {
                    operation,
                    method: Method::GET,
                    path: SERVICE_ROOT,
                    headers: http::HeaderMap::new(),
                    body: None,
                    timeout: None,
                };
                let response = self.transport.send(request).await?;
                // A service that wants a login even for its root is read by default paths.
                if matches!(response.status.as_u16(), 401 | 403) {
                    return Ok(ServiceRoot::default());
                }
                let response = check(operation, &Method::GET, SERVICE_ROOT, response)?;
                Ok(ServiceRoot::parse(&response.body))
            })
            .await
    }

    /// The firmware family behind the service.
    pub async fn platform(&self) -> Result<Platform, Error> {
        Ok(Platform::recognise(self.service_root().await?))
    }

    /// Reads the system afresh. Its reset types are complete (ActionInfo is followed).
    pub async fn system(&self) -> Result<System, Error> {
        let path = self.system_path().await?;
        let mut system = self.read_system(path).await?;
        if system.reset_types.is_empty() {
            system.reset_types = self.reset_types_by_link(&system).await?;
        }
        Ok(system)
    }

    /// Carries out a reset with what the BMC offers; see [`choose_reset`]. Success means that the
    /// BMC accepted it and any task ended well, not that the machine followed: poll
    /// [`Client::system`] for that. A type that has nothing left to do (`On` while on) is not sent.
    ///
    /// # Errors
    /// After [`Error::may_have_acted`] the caller has to look before it asks again.
    pub async fn reset(&self, wanted: ResetType) -> Result<ResetReport, Error> {
        let system = self.system().await?;
        if wanted.settles_in() == Some(system.power_state) {
            return Ok(ResetReport { sent: Vec::new() });
        }
        let plan =
            choose_reset(wanted, &system.reset_types).ok_or_else(|| Error::ResetUnsupported {
                wanted,
                allowed: system.reset_types.clone(),
            })?;
        match plan {
            ResetPlan::Send(reset) => {
                self.send_reset(&system, reset).await?;
                Ok(ResetReport { sent: vec![reset] })
            }
            ResetPlan::OffThenOn { off, on } => {
                let mut sent = Vec::new();
                if system.power_state != PowerState::Off {
                    self.send_reset(&system, off).await?;
                    sent.push(off);
                    self.wait_until_off(off).await?;
                }
                self.send_reset(&system, on).await?;
                sent.push(on);
                Ok(ResetReport { sent })
            }
        }
    }

    /// Sets a boot override and reads it back. Gives back what is in force, which may differ from
    /// `wanted` in duration or mode where the BMC offers no other.
    ///
    /// # Errors
    /// [`Error::NotApplied`] if the BMC accepted it and does not show it.
    pub async fn set_boot_override(&self, wanted: &BootOverride) -> Result<BootOverride, Error> {
        let operation = Operation::SetBootOverride;
        let place = self.boot_settings(operation).await?;
        let fitted = boot::fit(wanted, &place.boot)?;
        let body = boot::set_body(&fitted);
        self.patch(operation, &place.path, place.etag.as_deref(), &body)
            .await?;
        self.read_back(&place, &fitted).await?;
        Ok(fitted)
    }

    /// Removes any boot override and reads back that it is gone. Sends nothing when there is none.
    ///
    /// # Errors
    /// [`Error::NotApplied`] if the BMC accepted it and still shows an override.
    pub async fn clear_boot_override(&self) -> Result<(), Error> {
        let operation = Operation::ClearBootOverride;
        let platform = self.platform().await?;
        let cleared = BootOverride::disabled();
        let mut place = self.boot_settings(operation).await?;
        if place.boot.current.is_cleared() && place.in_force.is_cleared() {
            return Ok(());
        }
        let mut last = None;
        for body in boot::clear_bodies(platform, &place.boot) {
            let written = self
                .patch(operation, &place.path, place.etag.as_deref(), &body)
                .await;
            let outcome = match written {
                Ok(()) => self.read_back(&place, &cleared).await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => return Ok(()),
                Err(error @ (Error::NotApplied { .. } | Error::Rejected { .. })) => {
                    debug!(
                        error.reason = error.reason(),
                        "trying the next way to clear"
                    );
                    last = Some(error);
                    place = self.boot_settings(operation).await?;
                }
                Err(error) => return Err(error),
            }
        }
        last.map_or(Ok(()), Err)
    }

    /// Deletes the session on the BMC. The client stays usable and would log in again.
    pub async fn close(&self) -> Result<(), Error> {
        self.session.close(&self.transport).await
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// An answer of any status but a 401 that a new login cures.
    pub(crate) async fn send_raw(&self, ask: &Ask<'_>) -> Result<Response, Error> {
        let root = self.service_root().await?;
        self.session
            .send(&self.transport, root.sessions.as_deref(), ask)
            .await
    }

    async fn call(&self, ask: &Ask<'_>) -> Result<Response, Error> {
        let response = self.send_raw(ask).await?;
        check(ask.operation, &ask.method, ask.path, response)
    }

    async fn system_path(&self) -> Result<&str, Error> {
        let path = self.system_path.get_or_try_init(|| self.discover()).await?;
        Ok(path)
    }

    async fn discover(&self) -> Result<String, Error> {
        let root = self.service_root().await?;
        let collection = root.systems.as_deref().unwrap_or(DEFAULT_SYSTEMS);
        let listed = self
            .call(&Ask::get(Operation::ListSystems, collection))
            .await?;
        let mut systems = Vec::new();
        for path in members(&listed.body).into_iter().take(SYSTEMS_LIMIT) {
            match self.read_system(&path).await {
                Ok(system) => systems.push(system),
                // A member that cannot be read is not the one we can drive.
                Err(error @ (Error::NotFound { .. } | Error::InvalidResponse { .. })) => {
                    debug!(error.reason = error.reason(), path, "system skipped");
                }
                Err(error) => return Err(error),
            }
        }
        match choose_system(self.wanted_system.as_deref(), &systems) {
            Ok(system) => Ok(system.odata_id.clone()),
            Err(SystemRefusal::NotFound { wanted, found }) => {
                Err(Error::SystemNotFound { wanted, found })
            }
            Err(SystemRefusal::NoneBootable { found }) => Err(Error::NoBootableSystem { found }),
            Err(SystemRefusal::Ambiguous { candidates }) => {
                Err(Error::AmbiguousSystem { candidates })
            }
        }
    }

    async fn read_system(&self, path: &str) -> Result<System, Error> {
        let operation = Operation::ReadSystem;
        let response = self.call(&Ask::get(operation, path)).await?;
        System::parse(&response.body, response.etag()).ok_or_else(|| Error::InvalidResponse {
            operation,
            what: format!("{path} has no @odata.id"),
        })
    }

    async fn reset_types_by_link(&self, system: &System) -> Result<Vec<ResetType>, Error> {
        let Some(path) = &system.reset_action_info else {
            return Ok(Vec::new());
        };
        let types = self
            .action_info
            .get_or_try_init(|| async {
                let ask = Ask::get(Operation::ReadActionInfo, path);
                match self.call(&ask).await {
                    Ok(response) => Ok(reset_types_of_action_info(&response.body)),
                    Err(Error::NotFound { .. }) => Ok(Vec::new()),
                    Err(error) => Err(error),
                }
            })
            .await?;
        Ok(types.clone())
    }

    async fn send_reset(&self, system: &System, reset: ResetType) -> Result<(), Error> {
        let operation = Operation::Reset;
        let standard = format!(
            "{}/Actions/ComputerSystem.Reset",
            system.odata_id.trim_end_matches('/')
        );
        let path = system.reset_target.as_deref().unwrap_or(&standard);
        let body = json!({ "ResetType": reset });
        let ask = Ask {
            operation,
            method: Method::POST,
            path,
            body: Some(&body),
            if_match: None,
        };
        let accepted = self.call(&ask).await?;
        task::follow(self, operation, &accepted).await
    }

    async fn wait_until_off(&self, sent: ResetType) -> Result<(), Error> {
        let deadline = Instant::now() + self.timeouts.power;
        loop {
            if self.system().await?.power_state == PowerState::Off {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Error::PowerUnchanged { sent });
            }
            sleep(self.timeouts.poll).await;
        }
    }

    /// Where the boot override is written: the system itself, or its settings object where that
    /// carries one.
    async fn boot_settings(&self, operation: Operation) -> Result<Place, Error> {
        let system = self.system().await?;
        let unsupported = || Error::Unsupported {
            operation,
            status: 200,
            message: format!("system {} shows no boot override", system.id),
        };
        let boot = system.boot.clone().ok_or_else(unsupported)?;
        let in_force = boot.current.clone();
        if let Some(path) = &system.settings {
            match self.call(&Ask::get(Operation::ReadSettings, path)).await {
                Ok(response) => {
                    let pending = System::parse(&response.body, response.etag());
                    if let Some(pending) = pending
                        && let Some(boot) = pending.boot.filter(|boot| boot.reports_target)
                    {
                        return Ok(Place {
                            path: path.clone(),
                            etag: pending.etag,
                            boot,
                            in_force,
                        });
                    }
                }
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Place {
            path: system.odata_id,
            etag: system.etag,
            boot,
            in_force,
        })
    }

    async fn patch(
        &self,
        operation: Operation,
        path: &str,
        etag: Option<&str>,
        body: &Value,
    ) -> Result<(), Error> {
        let mut precondition = Precondition::first(etag);
        loop {
            let if_match = precondition.if_match();
            let ask = Ask {
                operation,
                method: Method::PATCH,
                path,
                body: Some(body),
                if_match,
            };
            let response = self.send_raw(&ask).await?;
            if let Some(next) = precondition.next(response.status.as_u16()) {
                precondition = next;
                continue;
            }
            let accepted = check(operation, &ask.method, path, response)?;
            return task::follow(self, operation, &accepted).await;
        }
    }

    /// Polls until the override shows where it was written.
    async fn read_back(&self, place: &Place, wanted: &BootOverride) -> Result<(), Error> {
        let deadline = Instant::now() + self.timeouts.read_back;
        loop {
            let system = self.read_system(&place.path).await?;
            let found = system.boot.map(|boot| boot.current);
            if found
                .as_ref()
                .is_some_and(|found| boot::is_applied(wanted, found))
            {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let found = found.unwrap_or_else(|| Boot::parse(&Value::Null).current);
                return Err(Error::NotApplied {
                    wanted: wanted.clone(),
                    found,
                });
            }
            sleep(self.timeouts.poll).await;
        }
    }
}

/// Where the boot override lives, with its version and what it offers.
#[derive(Debug)]
struct Place {
    path: String,
    etag: Option<String>,
    boot: Boot,
    /// What the system itself reports, which differs while a change is pending.
    in_force: BootOverride,
}
