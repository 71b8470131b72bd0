//! The embedded API, in this process, on a SQLite file of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use metalman::standalone::{Api, ApiConfig, ApiFailure, access};
use metalman::store::{Store, TokenRole};
use secrecy::ExposeSecret as _;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Endpoint, VIEWER, VIEWER_TOKEN, definitions};
use crate::wait::until;

/// A running embedded API.
#[derive(Debug)]
pub struct Embedded {
    /// Where it is.
    pub endpoint: Endpoint,
    /// The API itself.
    pub api: Arc<Api>,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), ApiFailure>>,
    _directory: TempDir,
}

impl Embedded {
    /// Starts it with [`definitions`].
    ///
    /// # Errors
    /// Whatever keeps it from serving.
    pub async fn start() -> Result<Self> {
        // Whoever comes first installs it for all.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let directory = tempfile::tempdir().context("make a directory")?;
        let store = directory.path().join("metalman.db");
        let store = Store::open(&format!("sqlite:{}", store.display())).await?;
        let now = metalman::clock::now();
        let viewer = access::minted(VIEWER_TOKEN, VIEWER, TokenRole::Viewer, now);
        store.api_tokens().add(&viewer, now).await?;
        let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut config = ApiConfig::new(directory.path().join("api"), bind);
        config.crds = definitions()
            .into_iter()
            .map(serde_json::from_value)
            .collect::<Result<_, _>>()
            .context("read the definitions")?;
        let api = Arc::new(Api::open(&store, config).await?);
        let ca = api.kubeconfig().clusters.first().and_then(|named| {
            let text = named
                .cluster
                .as_ref()?
                .certificate_authority_data
                .as_ref()?;
            base64::engine::general_purpose::STANDARD.decode(text).ok()
        });
        let ca = String::from_utf8(ca.context("the kubeconfig has no CA")?)?;
        let token = api.admin_token().expose_secret().to_owned();
        let endpoint = Endpoint::new(directory.path(), api.local_url(), ca, token)?;
        let shutdown = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "joined by stop")]
        let task = tokio::spawn({
            let (api, shutdown) = (Arc::clone(&api), shutdown.clone());
            async move { api.run(shutdown).await }
        });
        let known = api.access();
        until("the viewer's token to be known", || async {
            known.user(VIEWER_TOKEN).map(|_| ())
        })
        .await?;
        Ok(Self {
            endpoint,
            api,
            shutdown,
            task,
            _directory: directory,
        })
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it had failed.
    pub async fn stop(self) -> Result<()> {
        self.shutdown.cancel();
        Ok(self.task.await??)
    }
}
