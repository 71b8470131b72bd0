//! Runs the embedded API in a test: own state directory, own SQLite file, free port.

#![expect(
    clippy::disallowed_methods,
    reason = "tests may spawn and read the environment"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use metalman::standalone::{Api, ApiConfig, ApiFailure, access};
use metalman::store::{ApiToken, Store, TokenRole};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A running API.
pub(crate) struct Running {
    pub(crate) api: Arc<Api>,
    pub(crate) directory: TempDir,
    pub(crate) store: Store,
    url: String,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), ApiFailure>>,
}

impl Running {
    /// On SQLite.
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("metalman.db").display());
        Self::start_at(directory, url).await
    }

    /// On PostgreSQL, in a schema of its own; `None` with a word about it when there is no server.
    pub(crate) async fn start_on_postgres() -> Option<Self> {
        let Ok(server) = std::env::var("METALMAN_TEST_DATABASE_URL") else {
            assert!(!is_strict(), "METALMAN_TEST_DATABASE_URL is not set");
            eprintln!("SKIPPED on PostgreSQL: METALMAN_TEST_DATABASE_URL is not set");
            return None;
        };
        let schema = format!("metalman_api_{}", std::process::id());
        sqlx::any::install_default_drivers();
        let admin = sqlx::AnyPool::connect(&server).await.unwrap();
        for statement in [
            format!("DROP SCHEMA IF EXISTS {schema} CASCADE"),
            format!("CREATE SCHEMA {schema}"),
        ] {
            let query = sqlx::query(sqlx::AssertSqlSafe(statement));
            query.execute(&admin).await.unwrap();
        }
        admin.close().await;
        let mut url: url::Url = server.parse().unwrap();
        url.query_pairs_mut()
            .append_pair("options", &format!("-c search_path={schema}"));
        Some(Self::start_at(tempfile::tempdir().unwrap(), url.into()).await)
    }

    /// On SQLite, with other settings.
    pub(crate) async fn start_with(change: impl FnOnce(&mut ApiConfig)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("metalman.db").display());
        Self::start_changed(directory, url, change).await
    }

    async fn start_at(directory: TempDir, url: String) -> Self {
        Self::start_changed(directory, url, |_| {}).await
    }

    async fn start_changed(
        directory: TempDir,
        url: String,
        change: impl FnOnce(&mut ApiConfig),
    ) -> Self {
        // Whoever comes first installs it for all.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let store = Store::open(&url).await.unwrap();
        let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut config = ApiConfig::new(directory.path().join("api"), bind);
        change(&mut config);
        let api = Arc::new(Api::open(&store, config).await.unwrap());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn({
            let (api, shutdown) = (Arc::clone(&api), shutdown.clone());
            async move { api.run(shutdown).await }
        });
        Self {
            api,
            directory,
            store,
            url,
            shutdown,
            task,
        }
    }

    /// A kubeconfig for somebody with this role, once the API knows the token.
    pub(crate) async fn kubeconfig_of(&self, token: ApiToken, text: &str) -> Kubeconfig {
        let now = metalman::clock::now();
        assert!(self.store.api_tokens().add(&token, now).await.unwrap());
        let mut kubeconfig = self.api.kubeconfig();
        for user in &mut kubeconfig.auth_infos {
            user.auth_info.as_mut().unwrap().token = Some(text.to_owned().into());
        }
        let access = self.api.access();
        until("the token to be known", async || {
            access.user(text).is_some()
        })
        .await;
        kubeconfig
    }

    /// The kubeconfig of a new user.
    pub(crate) async fn user(&self, name: &str, role: TokenRole) -> Kubeconfig {
        let text = access::random_token();
        let token = access::minted(&text, name, role, metalman::clock::now());
        self.kubeconfig_of(token, &text).await
    }

    /// The kubeconfig of the agent of a Machine with this uid.
    pub(crate) async fn agent(&self, machine: &str, uid: &str) -> Kubeconfig {
        let text = access::random_token();
        let now = metalman::clock::now();
        let token = ApiToken {
            machine_uid: Some(uid.to_owned()),
            operation_uid: Some("install".to_owned()),
            ..access::minted(&text, machine, TokenRole::Agent, now)
        };
        self.kubeconfig_of(token, &text).await
    }

    pub(crate) async fn client(&self) -> Client {
        client(self.api.kubeconfig()).await
    }

    pub(crate) async fn stop(self) {
        self.end().await;
    }

    async fn end(self) -> (TempDir, String) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
        (self.directory, self.url)
    }

    pub(crate) async fn restart(self) -> Self {
        let (directory, url) = self.end().await;
        Self::start_at(directory, url).await
    }
}

pub(crate) async fn client(kubeconfig: Kubeconfig) -> Client {
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .unwrap();
    Client::try_from(config).unwrap()
}

/// Waits for a state.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        while !holds().await {
            tick.tick().await;
        }
    };
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, waiting).await.expect(what);
}

/// Must nothing be skipped?
pub(crate) fn is_strict() -> bool {
    std::env::var("METALMAN_TEST_STRICT").is_ok_and(|value| value == "1")
}
