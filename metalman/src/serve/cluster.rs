//! The API server the appliance works with: its own, or a cluster's. After this file nobody asks
//! which of the two it is. Invariant: the embedded API answers as soon as the supervisor runs, and
//! stops only after everybody who writes to it.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use arc_swap::ArcSwap;
use jiff::SignedDuration;
use kube::{
    Client,
    config::{KubeConfigOptions, Kubeconfig},
};
use rustls::ServerConfig;
use secrecy::ExposeSecret as _;

use super::{address::Place, boot_tls, listen::ListenError, review::ClusterTokens};
use crate::{
    callbacks::AgentApi,
    clock,
    config::{ClusterConfig, Config},
    health::Metrics,
    standalone::{
        api::{Api, ApiConfig, ApiFailure},
        http::ApiMetrics,
        identity::{Identity, write_private},
    },
    store::Store,
    supervisor::Supervisor,
    web::TokenCheck,
};

/// How to speak to the API server, and what the web page needs from it.
pub(super) struct Cluster {
    /// For everything that reads or writes objects.
    pub(super) client: Client,
    /// Decides who may look at the web page.
    pub(super) tokens: Arc<dyn TokenCheck>,
    /// Counters of the embedded API, where it is that.
    metrics: Option<ApiMetrics>,
    /// How agents reach the embedded API, where it is that.
    pub(super) agents: Option<AgentApi>,
    /// Certificate of the web page; may be replaced while it runs.
    pub(super) tls: Arc<ArcSwap<ServerConfig>>,
}

impl Cluster {
    /// Registers the counters of the embedded API, where it is that.
    pub(super) fn register(&self, metrics: &mut Metrics) {
        if let Some(counters) = &self.metrics {
            counters.register(metrics.registry());
        }
    }
}

/// Opens the embedded API and starts it, or finds the cluster.
pub(super) async fn connect(
    config: &Config,
    place: &Place,
    store: &Store,
    supervisor: &mut Supervisor,
) -> Result<Cluster> {
    match &config.cluster {
        ClusterConfig::Embedded { port } => embed(config, *port, place, store, supervisor).await,
        ClusterConfig::Kubeconfig(path) => {
            let found = Kubeconfig::read_from(path)
                .with_context(|| format!("read {} (--kubeconfig)", path.display()))?;
            let options = KubeConfigOptions::default();
            let found = kube::Config::from_custom_kubeconfig(found, &options).await;
            remote(
                config,
                place,
                found.context("use the kubeconfig (--kubeconfig)")?,
            )
        }
        ClusterConfig::Inferred => {
            let found = kube::Config::infer().await.context(
                "find a cluster; set --kubeconfig, or --standalone to serve the API from here",
            )?;
            remote(config, place, found)
        }
    }
}

async fn embed(
    config: &Config,
    port: u16,
    place: &Place,
    store: &Store,
    supervisor: &mut Supervisor,
) -> Result<Cluster> {
    let mut settings = ApiConfig::new(config.state_dir.join("api"), config.listen(port).into());
    settings.sans.push(place.address.to_string());
    settings.sans.push(boot_tls::host(config, place));
    settings.sans.dedup();
    settings.quota = config.api.quota;
    settings.event_ttl = SignedDuration::try_from(config.api.event_ttl)?;
    let api = Api::open(store, settings)
        .await
        .map_err(|failure| match failure {
            ApiFailure::Listen { bind, source } => {
                anyhow!(ListenError::tcp(
                    "the embedded API",
                    "--api-port",
                    bind,
                    source
                ))
            }
            failure @ (ApiFailure::Resource(_)
            | ApiFailure::Storage(_)
            | ApiFailure::Identity(_)
            | ApiFailure::Tokens(_)
            | ApiFailure::RunTwice) => anyhow!(failure).context("open the embedded API"),
        })?;
    let url = format!("https://{}:{port}", place.address);
    api.write_kubeconfig(&config.state_dir.join("kubeconfig"), &url)
        .context("write the kubeconfig into the state folder")?;
    let token = api.admin_token();
    write_private(&config.state_dir.join("admin.token"), token.expose_secret())
        .context("write the token of the web page into the state folder")?;

    let options = KubeConfigOptions::default();
    let own = kube::Config::from_custom_kubeconfig(api.kubeconfig(), &options);
    let client = Client::try_from(own.await.context("use our own kubeconfig")?)
        .context("make a client for the embedded API")?;
    // The same way as with a cluster: a TokenReview, then what the user may see.
    let tokens = Arc::new(ClusterTokens::new(client.clone()));
    let agents = AgentApi {
        url: config
            .apiserver_url
            .as_ref()
            .map_or(url, ToString::to_string),
        ca_pem: api.ca_pem().to_owned(),
    };
    let (tls, metrics) = (api.tls(), api.metrics().clone());
    let stop = supervisor.foundation_stop_token();
    supervisor.start_foundation("embedded API", async move { Ok(api.run(stop).await?) });
    Ok(Cluster {
        client,
        tokens,
        metrics: Some(metrics),
        agents: Some(agents),
        tls,
    })
}

/// The web page has an identity of its own then; its certificate is renewed at a start.
fn remote(config: &Config, place: &Place, found: kube::Config) -> Result<Cluster> {
    let client = Client::try_from(found).context("make a client for the cluster")?;
    let mut names = vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        place.address.to_string(),
        boot_tls::host(config, place),
    ];
    names.dedup();
    let tls = Identity::open(&config.state_dir.join("web"), &names, clock::now())
        .and_then(|identity| identity.tls())
        .context("make a certificate for the web page")?;
    let tokens = Arc::new(ClusterTokens::new(client.clone()));
    Ok(Cluster {
        client,
        tokens,
        metrics: None,
        agents: None,
        tls: Arc::new(ArcSwap::from_pointee(tls)),
    })
}
