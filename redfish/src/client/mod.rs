//! The client: what a provisioning system asks of one BMC.
//!
//! Not a pacer and not a retrier; see the crate documentation. Safe to share: calls may overlap,
//! one login happens at a time. Each call has at most one request on its way, so whoever bounds
//! the calls bounds the requests.

mod account;
mod ask;
mod bios;
mod boot;
mod boot_order;
mod console;
mod discover;
mod http_boot;
mod indicator;
mod inventory;
mod log;
mod media;
mod power;
mod sensors;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use http::Method;
use tokio::sync::OnceCell;

pub use bios::BiosSettings;
pub use console::Consoles;
pub use http_boot::{HttpBootReport, HttpBootWay, StaticAddress};
pub use indicator::IndicatorState;

use crate::call::check;
use crate::config::{ClientConfig, Timeouts};
use crate::error::Error;
use crate::model::ServiceRoot;
use crate::operation::Operation;
use crate::power::ResetType;
use crate::quirks::Platform;
use crate::session::Session;
use crate::trust::{Certificate, Fingerprint};
use crate::wire::{Request, Transport};

const SERVICE_ROOT: &str = "/redfish/v1/";

/// A connection to one system behind one BMC.
///
/// Call [`Client::close`] when done: a dropped client leaves its session to the BMC's time-out.
#[derive(Debug)]
pub struct Client {
    transport: Arc<Transport>,
    session: Arc<Session>,
    wanted_system: Option<String>,
    timeouts: Timeouts,
    root: Arc<OnceCell<ServiceRoot>>,
    action_info: OnceCell<Vec<ResetType>>,
    places: Mutex<Places>,
    /// `$expand` was announced and did not work.
    expand_failed: AtomicBool,
}

/// Paths found by discovery. Forgotten when the system is not there any more.
#[derive(Debug, Clone, Default)]
struct Places {
    system: Option<Arc<str>>,
    manager: Option<Arc<str>>,
    chassis: Option<Arc<str>>,
    /// The event log's service and its entries.
    log: Option<(Arc<str>, Arc<str>)>,
}

impl Client {
    /// Prepares a client. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`].
    pub fn new(config: ClientConfig) -> Result<Self, Error> {
        Ok(Self {
            transport: Arc::new(Transport::new(&config)?),
            session: Arc::new(Session::new(&config)),
            wanted_system: config.system_id.filter(|id| !id.trim().is_empty()),
            timeouts: config.timeouts,
            root: Arc::default(),
            action_info: OnceCell::new(),
            places: Mutex::default(),
            expand_failed: AtomicBool::new(false),
        })
    }

    /// A client for another system behind the same address. It shares connections, certificate and
    /// session with this one: closing either ends the session of both.
    #[must_use]
    pub fn for_system(&self, id: impl Into<String>) -> Self {
        Self {
            transport: Arc::clone(&self.transport),
            session: Arc::clone(&self.session),
            wanted_system: Some(id.into()),
            timeouts: self.timeouts,
            root: Arc::clone(&self.root),
            action_info: OnceCell::new(),
            places: Mutex::default(),
            expand_failed: AtomicBool::new(false),
        }
    }

    /// The leaf certificate of the latest TLS handshake; `None` before the first, and in plaintext.
    pub fn observed_fingerprint(&self) -> Option<Fingerprint> {
        Some(self.transport.certificate()?.fingerprint)
    }

    /// HTTP requests sent so far, answered or not; for a caller that keeps a budget.
    pub fn requests(&self) -> u64 {
        self.transport.requests()
    }

    /// The leaf certificate of the latest TLS handshake, with its dates.
    pub fn observed_certificate(&self) -> Option<Certificate> {
        self.transport.certificate()
    }

    /// Shakes hands only and gives back the certificate that the BMC presents now, whatever is
    /// pinned; `None` in plaintext. For showing an operator what would be pinned.
    pub async fn presented_certificate(&self) -> Result<Option<Certificate>, Error> {
        self.transport.present().await
    }

    /// Trusts the certificate with this fingerprint from now on, instead of what was pinned. The
    /// session is ended where the same BMC is behind it; the next call logs in anew.
    pub async fn repin(&self, fingerprint: Fingerprint) {
        self.transport.repin(fingerprint);
        if let Err(error) = self.close().await {
            tracing::debug!(error.reason = error.reason(), "old session not deleted");
        }
        self.session.forget().await;
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

    /// Deletes the session on the BMC. The client stays usable and would log in again.
    pub async fn close(&self) -> Result<(), Error> {
        self.session.close(&self.transport).await
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    fn places(&self) -> std::sync::MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
