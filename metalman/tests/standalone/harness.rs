//! Runs the embedded API in a test: own state directory, own SQLite file, free port.

#![expect(
    clippy::disallowed_methods,
    reason = "tests may spawn and read the environment"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use metalman::standalone::{Api, ApiConfig, ApiFailure};
use metalman::store::Store;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A running API.
pub(crate) struct Running {
    pub(crate) api: Arc<Api>,
    pub(crate) directory: TempDir,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), ApiFailure>>,
}

impl Running {
    pub(crate) async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    async fn start_in(directory: TempDir) -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let url = std::env::var("METALMAN_TEST_DATABASE_URL").unwrap_or_else(|_| {
            format!("sqlite:{}", directory.path().join("metalman.db").display())
        });
        let store = Store::open(&url).await.unwrap();
        let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let config = ApiConfig::new(directory.path().join("api"), bind);
        let api = Arc::new(Api::open(store.pool().clone(), config).await.unwrap());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn({
            let (api, shutdown) = (Arc::clone(&api), shutdown.clone());
            async move { api.run(shutdown).await }
        });
        Self {
            api,
            directory,
            shutdown,
            task,
        }
    }

    pub(crate) async fn client(&self) -> Client {
        client(self.api.kubeconfig()).await
    }

    pub(crate) async fn stop(self) -> TempDir {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
        self.directory
    }

    pub(crate) async fn restart(&mut self) {
        let fresh = Self::start().await;
        let old = std::mem::replace(self, fresh);
        let directory = old.stop().await;
        let unused = std::mem::replace(self, Self::start_in(directory).await);
        unused.stop().await;
    }
}

pub(crate) async fn client(kubeconfig: Kubeconfig) -> Client {
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .unwrap();
    Client::try_from(config).unwrap()
}

/// Must nothing be skipped?
pub(crate) fn is_strict() -> bool {
    std::env::var("METALMAN_TEST_STRICT").is_ok_and(|value| value == "1")
}
