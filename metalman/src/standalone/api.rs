//! The embedded API as metalman runs it: open, hand out a kubeconfig, serve.
//!
//! Invariant: `run` returns only when nothing is being written any more.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::config::Kubeconfig;
use rustls::ServerConfig;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::access::Access;
use super::audit::{Audit, AuditTask};
use super::collector::Collector;
use super::core::{EVENT_SLOT, NAMESPACES};
use super::fields::Fields as _;
use super::http::{ApiMetrics, Limits, Meter, Quota, STALL, Server, router, serve};
use super::hub::{Hub, Key, Packers};
use super::identity::{Identity, IdentityError, write_private};
use super::kubeconfig::{kubeconfig, kubeconfig_text};
use super::ops::{self, Target, WriteOptions};
use super::resource::{BadResource, Catalog};
use super::storage::{Storage, StorageError};
use super::strategy::{Door, UnknownFields};
use super::writer::{Reply, Submitter, Writer};
use crate::store::{Store, StoreError};

const EXPIRY_PERIOD: Duration = Duration::from_secs(60);
/// How long tokens are listed after they stopped to work.
const TOKENS_KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How soon a token made or revoked by another process counts.
const TOKENS_PERIOD: Duration = Duration::from_secs(1);
const IDENTITY_PERIOD: Duration = Duration::from_secs(24 * 3600);

/// Settings of the API.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Directory for certificates, keys and the token; made when missing.
    pub state_dir: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub bind: SocketAddr,
    /// Names and addresses for the certificate besides localhost, 127.0.0.1 and `bind`.
    pub sans: Vec<String>,
    /// Our resources.
    pub crds: Vec<CustomResourceDefinition>,
    /// Open connections.
    pub max_connections: usize,
    /// How long a client may leave what it is sent in its queue.
    pub stall: Duration,
    /// What one user may ask.
    pub quota: Quota,
    /// How long Events are kept after their last write.
    pub event_ttl: SignedDuration,
    /// Clock.
    pub clock: fn() -> Timestamp,
}

impl ApiConfig {
    /// Our resources and the usual limits.
    pub fn new(state_dir: PathBuf, bind: SocketAddr) -> Self {
        Self {
            state_dir,
            bind,
            sans: Vec::new(),
            crds: metalman_api::crd::all(),
            max_connections: 2048,
            stall: STALL,
            quota: Quota {
                rate: 50,
                burst: 300,
                watches_per_user: 100,
                watches: 4096,
            },
            event_ttl: SignedDuration::from_hours(1),
            clock: crate::clock::now,
        }
    }
}

/// What can go wrong with the API as a whole.
#[derive(Debug, thiserror::Error)]
pub enum ApiFailure {
    /// A CRD cannot be served.
    #[error("cannot serve a resource")]
    Resource(#[source] BadResource),
    /// The tables.
    #[error("the store of the embedded API failed")]
    Storage(#[source] StorageError),
    /// Certificates and token.
    #[error("the identity of the embedded API is not usable")]
    Identity(#[source] IdentityError),
    /// The address.
    #[error("cannot listen on {bind} for the embedded API")]
    Listen {
        /// Address.
        bind: SocketAddr,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The tokens.
    #[error("cannot read the tokens of the embedded API")]
    Tokens(#[source] StoreError),
    /// `run` was called twice.
    #[error("the embedded API has been run before")]
    RunTwice,
}

/// The embedded API.
#[derive(Debug)]
pub struct Api {
    config: ApiConfig,
    names: Vec<String>,
    address: SocketAddr,
    identity: Identity,
    tls: Arc<ArcSwap<ServerConfig>>,
    catalog: Arc<Catalog>,
    hub: Arc<Hub>,
    submitter: Submitter,
    access: Access,
    store: Store,
    meter: Arc<Meter>,
    audit: Audit,
    metrics: ApiMetrics,
    watch_end: CancellationToken,
    once: Mutex<Option<(Writer, AuditTask, TcpListener)>>,
}

impl Api {
    /// Loads objects and identity and binds the address, so that clients can connect from now on
    /// and are answered once [`Api::run`] runs. Objects and tokens are kept in `store`.
    ///
    /// # Errors
    /// Anything that would keep the API from working.
    pub async fn open(store: &Store, config: ApiConfig) -> Result<Self, ApiFailure> {
        let catalog = Arc::new(Catalog::new(&config.crds).map_err(ApiFailure::Resource)?);
        let storage = Storage::new(store.clone(), Arc::clone(&catalog));
        let packers = Packers::new(catalog.slots());
        let loaded = storage.load(&packers).await.map_err(ApiFailure::Storage)?;
        let hub = Arc::new(Hub::new(packers, loaded));
        let metrics = ApiMetrics::default();
        let (audit, audit_task) = Audit::new(store.clone(), metrics.audit_lost.clone());
        let (writer, submitter) = Writer::new(Arc::clone(&hub), storage, config.clock);
        let names = certificate_names(&config);
        let identity = Identity::open(&config.state_dir, &names, (config.clock)())
            .map_err(ApiFailure::Identity)?;
        let tls = identity.tls().map_err(ApiFailure::Identity)?;
        let access = access(&identity, config.clock, &catalog, &hub);
        access.refresh(store).await.map_err(ApiFailure::Tokens)?;
        let listen = |source| ApiFailure::Listen {
            bind: config.bind,
            source,
        };
        let listener = TcpListener::bind(config.bind).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        Ok(Self {
            names,
            address,
            identity,
            tls: Arc::new(ArcSwap::from_pointee(tls)),
            catalog,
            hub,
            submitter,
            access,
            store: store.clone(),
            meter: Arc::new(Meter::new(config.quota)),
            audit,
            metrics,
            watch_end: CancellationToken::new(),
            once: Mutex::new(Some((writer, audit_task, listener))),
            config,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https://` URL for clients on this machine.
    pub fn local_url(&self) -> String {
        let ip = self.address.ip();
        let host = if ip.is_unspecified() {
            "127.0.0.1".to_owned()
        } else {
            ip.to_string()
        };
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host
        };
        format!("https://{host}:{}", self.address.port())
    }

    /// The administrator's kubeconfig for this machine: what reconcilers connect with.
    pub fn kubeconfig(&self) -> Kubeconfig {
        self.kubeconfig_for(&self.local_url())
    }

    /// The administrator's kubeconfig for clients that reach the API at `server_url`.
    pub fn kubeconfig_for(&self, server_url: &str) -> Kubeconfig {
        let token = self.identity.admin_token.clone();
        kubeconfig(server_url, &self.identity.ca_pem, "admin", token)
    }

    /// Writes the administrator's kubeconfig, mode 0600.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_kubeconfig(&self, path: &Path, server_url: &str) -> Result<(), IdentityError> {
        write_private(path, &kubeconfig_text(&self.kubeconfig_for(server_url)))
    }

    /// The router, for serving in another way than [`Api::run`] or for tests.
    pub fn router(&self) -> axum::Router {
        router(self.server())
    }

    /// The administrator's token.
    pub fn admin_token(&self) -> &SecretString {
        &self.identity.admin_token
    }

    /// The certificate it is served with; replaced when it is renewed, so that others can use it too.
    pub fn tls(&self) -> Arc<ArcSwap<ServerConfig>> {
        Arc::clone(&self.tls)
    }

    /// Who may ask.
    pub fn access(&self) -> Access {
        self.access.clone()
    }

    /// Its counters.
    pub fn metrics(&self) -> &ApiMetrics {
        &self.metrics
    }

    /// PEM of the CA that clients must trust.
    pub fn ca_pem(&self) -> &str {
        &self.identity.ca_pem
    }

    fn server(&self) -> Server {
        Server {
            catalog: Arc::clone(&self.catalog),
            hub: Arc::clone(&self.hub),
            writer: self.submitter.clone(),
            access: self.access(),
            meter: Arc::clone(&self.meter),
            audit: self.audit.clone(),
            metrics: self.metrics.clone(),
            shutdown: self.watch_end.clone(),
            clock: self.config.clock,
        }
    }

    /// Serves until `shutdown`: TLS, the writer, expiry of Events, renewal of the certificate.
    ///
    /// # Errors
    /// When the store fails in a way that would make answers wrong.
    pub async fn run(&self, shutdown: CancellationToken) -> Result<(), ApiFailure> {
        let once = self
            .once
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let (writer, audit_task, listener) = once.ok_or(ApiFailure::RunTwice)?;
        let tls = Arc::clone(&self.tls);
        let limits = Limits {
            connections: self.config.max_connections,
            stall: self.config.stall,
        };
        let serving = async {
            serve(
                listener,
                Arc::clone(&tls),
                self.router(),
                limits,
                shutdown.clone(),
            )
            .await;
        };
        let stopping = async {
            shutdown.cancelled().await;
            self.watch_end.cancel();
        };
        let front = async {
            // Connections wait in the kernel's queue until the namespaces are there.
            for name in NAMESPACES {
                self.ensure_namespace(name).await;
            }
            let auditing = audit_task.run(shutdown.clone());
            let collector = Collector {
                catalog: Arc::clone(&self.catalog),
                hub: Arc::clone(&self.hub),
                writer: self.submitter.clone(),
            };
            let collecting = collector.run(shutdown.clone());
            let house = self.keep_house(&shutdown, &tls);
            tokio::join!(serving, stopping, auditing, collecting, house);
        };
        tracing::info!(address = %self.address, version = self.hub.version(), "serving the API");
        let mut writing = std::pin::pin!(writer.run());
        tokio::select! {
            () = front => Ok(()),
            result = &mut writing => result.map_err(ApiFailure::Storage),
        }
    }

    /// What has to be done from time to time.
    async fn keep_house(&self, shutdown: &CancellationToken, tls: &ArcSwap<ServerConfig>) {
        let mut expiry = tokio::time::interval(EXPIRY_PERIOD);
        let mut renewal = tokio::time::interval(IDENTITY_PERIOD);
        let mut tokens = tokio::time::interval(TOKENS_PERIOD);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = expiry.tick() => {
                    self.expire_events().await;
                    self.forget_tokens().await;
                }
                _ = renewal.tick() => self.renew(tls),
                _ = tokens.tick() => self.refresh_tokens().await,
            }
        }
    }

    /// Takes over tokens made or revoked by anybody, and revokes those of Machines that are gone.
    async fn refresh_tokens(&self) {
        if let Err(error) = self.access.refresh(&self.store).await {
            tracing::warn!(%error, "cannot read the tokens of the API");
            return;
        }
        for machine in self.access.orphans() {
            let now = (self.config.clock)();
            match self
                .store
                .api_tokens()
                .revoke_orphan(&machine, self.machine_uid(&machine).as_deref(), now)
                .await
            {
                Ok(_) => {
                    tracing::info!(machine.id = %machine, "revoked the agent token of a Machine that is gone");
                }
                Err(error) => tracing::warn!(%error, "cannot revoke an agent token"),
            }
        }
    }

    async fn forget_tokens(&self) {
        let before = (self.config.clock)() - TOKENS_KEPT;
        if let Err(error) = self.store.api_tokens().prune(before).await {
            tracing::warn!(%error, "cannot forget old tokens of the API");
        }
    }

    fn machine_uid(&self, name: &str) -> Option<String> {
        machine_uid(&self.catalog, &self.hub, name)
    }

    async fn ensure_namespace(&self, name: &str) {
        let Some(resource) = self.catalog.stored("", "namespaces").cloned() else {
            return;
        };
        let target = Target {
            resource,
            namespace: String::new(),
            name: String::new(),
            door: Door::Main,
        };
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": name, "labels": {"kubernetes.io/metadata.name": name}}});
        let options = WriteOptions {
            dry_run: false,
            unknown: UnknownFields::Ignore,
            manager: "metalman".to_owned(),
            force: false,
        };
        let catalog = Arc::clone(&self.catalog);
        let done = self
            .submitter
            .submit(move |tx| ops::create(tx, &catalog, &target, body, &options));
        if let Err(error) = done.await
            && error.code() != 409
        {
            tracing::warn!(%error, name, "cannot create a namespace");
        }
    }

    async fn expire_events(&self) {
        let ttl = self.config.event_ttl;
        let removed = self.submitter.submit(move |tx| {
            let oldest = tx.now - ttl;
            let all = tx.list(EVENT_SLOT, None);
            let old: Vec<_> = all.into_iter().filter(|e| e.written_at < oldest).collect();
            for event in &old {
                tx.remove(event, event.value());
            }
            let body = Value::from(old.len());
            Ok(Reply {
                code: 200,
                body,
                is_object: false,
                warnings: Vec::new(),
            })
        });
        match removed.await {
            Ok(reply) => tracing::debug!(removed = %reply.body, "expired Events"),
            Err(error) => tracing::warn!(%error, "cannot expire Events"),
        }
    }

    /// Makes a new certificate when it is due and takes it into use.
    fn renew(&self, tls: &ArcSwap<ServerConfig>) {
        let now = (self.config.clock)();
        let renewed = Identity::open(&self.config.state_dir, &self.names, now)
            .and_then(|identity| identity.tls());
        match renewed {
            Ok(config) => tls.store(Arc::new(config)),
            Err(error) => tracing::warn!(%error, "cannot renew the certificate of the API"),
        }
    }
}

fn access(
    identity: &Identity,
    clock: fn() -> Timestamp,
    catalog: &Arc<Catalog>,
    hub: &Arc<Hub>,
) -> Access {
    let (catalog, hub) = (Arc::clone(catalog), Arc::clone(hub));
    Access::new(identity.admin_token.expose_secret(), clock, move |name| {
        machine_uid(&catalog, &hub, name)
    })
}

fn machine_uid(catalog: &Catalog, hub: &Hub, name: &str) -> Option<String> {
    let key = Key {
        slot: catalog.stored("unbounded-cloud.io", "machines")?.slot,
        namespace: String::new(),
        name: name.to_owned(),
    };
    let machine = hub.get(&key)?.value();
    Some(machine.at("metadata").at("uid").as_str()?.to_owned())
}

fn certificate_names(config: &ApiConfig) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    if !config.bind.ip().is_unspecified() {
        names.push(config.bind.ip().to_string());
    }
    names.extend(config.sans.iter().cloned());
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}
