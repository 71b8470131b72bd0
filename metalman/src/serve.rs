//! Start-up and run of the appliance: one function, read from top to bottom. It wires parts and
//! decides nothing. Invariant: sockets are bound before tasks start, and systemd hears READY only
//! after that.

mod address;
mod boot_tls;
mod cluster;
mod database;
mod descriptors;
mod early;
mod firmware;
mod listen;
mod news;
mod review;
mod state_dir;
mod view;

use std::sync::Arc;

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use axum::Router;
use jiff::SignedDuration;
use kube::Client;
use netboot::{
    dhcp::{interface, server::DhcpServer},
    directory::BootDirectory,
    http::{BootFiles, BootServer, HttpLimits},
    images::ImageStore,
    render::ServerContext,
};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;
use tracing::info;

use self::{
    address::Place,
    cluster::Cluster,
    firmware::{BootSockets, FileSockets},
    view::{Heard, WebView},
};
use crate::{
    bmc::{BmcDesk, Bmcs, Poller, Rounds},
    callbacks::{self, AgentApi, Callbacks, Planner},
    clock,
    config::Config,
    domain::Limits,
    driver::{Driver, DriverMemory, ImageJobs, ImageParts},
    health::{self, Metrics, Readiness},
    kube::{
        current::CurrentMachines,
        foreign::{Alarm, AlarmTask},
        secrets::Secrets,
        watch,
        writer::Writer,
    },
    site::{BootCache, BootFileChecks, BootView, Site, SiteDirectory},
    standalone::http as tls,
    store::Store,
    supervisor::{self, Supervisor},
    timeline::{Recorder, RecorderTask},
    web,
};

pub use database::open as open_database;
pub use listen::ListenError;

/// Connections to the web page at once.
const WEB_CONNECTIONS: usize = 256;

/// Runs the appliance until a signal or a failing task ends it.
///
/// # Errors
/// What kept it from starting, or the task that ended it.
pub async fn run(config: Config) -> Result<()> {
    let mut signals = supervisor::signals().context("take over signals")?;
    let readiness = Readiness::default();
    let mut metrics = Metrics::new(clock::now(), readiness.clone());
    let mut supervisor = Supervisor::new(config.stop_timeout);

    // Where we are, and what we keep.
    let _lock = state_dir::prepare(&config.state_dir)?;
    let interfaces = interface::all()?;
    let place = address::place(
        config.bind_address,
        &config.dhcp,
        &interfaces,
        address::outbound,
    )?;
    let server = firmware::server(&config, &place)?;
    let taken = database::take(&config.database, &mut signals, &mut supervisor).await?;
    let Some(store) = taken else { return Ok(()) };
    let images = open_images(&config).await?;
    images.metrics().register(metrics.registry());

    // Every socket, before anything answers.
    let sockets = BootSockets::bind(&config, &place, &server, &mut metrics).await?;
    let web_port = config.listen(config.web_port);
    let web_page = listen::tcp("the web page", "--web-port", web_port).await?;
    let health_page = config.listen(config.health_port);
    let health_page = listen::tcp("health and metrics", "--health-port", health_page).await?;

    // Who boots, from short records: DHCP answers while all else is read.
    let boot = boot_view(&config, &place, &server, &store, &images);
    let site = boot.site.clone();
    let (recorder, recorder_task) = recorder(&store, &site);
    let (alarm, alarm_task) = Alarm::new();
    let directory: Arc<dyn BootDirectory> =
        Arc::new(SiteDirectory::new(site.clone(), recorder.clone(), alarm));
    let (mut dhcp, sockets) = sockets.into_parts();
    if early::begin(&config, &store, &boot).await? {
        start_dhcp(&mut supervisor, dhcp.take(), &directory);
    }

    // The API server, and what is known of the site without it.
    let cluster = cluster::connect(&config, &place, &store, &mut supervisor).await?;
    cluster.register(&mut metrics);
    load_site(&site, &store, &boot).await?;
    start_dhcp(&mut supervisor, dhcp, &directory);

    let identity = |tls| boot_tls::identity(tls, &cluster.tls);
    let http_tls = config.http_tls.as_ref().map(identity).transpose()?;

    metrics.register_timeline(recorder.clone());
    start_recorder(&mut supervisor, recorder_task);

    // Those who answer, those who decide, those who show.
    let secrets = Secrets::new(cluster.client.clone());
    let desk = bmc_desk(&config, &site, &store, &secrets);
    let parts = Parts {
        config,
        secrets,
        desk,
        boot_files: BootFileChecks::new(site.clone(), server.clone()),
        site,
        store,
        images,
        boot,
        recorder,
        directory,
        client: cluster.client.clone(),
        agents: cluster.agents.clone(),
        http_tls,
    };
    parts.start_boot_services(&mut supervisor, &readiness, sockets, server);
    parts.start_alarm(&mut supervisor, alarm_task);
    parts.start_engine(&mut supervisor, &readiness)?;
    parts.start_pages(&mut supervisor, &readiness, web_page, cluster);
    parts.start_upkeep(&mut supervisor, &readiness);
    let routes = health::router(readiness, Arc::new(metrics));
    serve_plain(&mut supervisor, "health", health_page, routes);

    supervisor::notify(&[sd_notify::NotifyState::Ready]);
    info!(
        site.name = %parts.config.site,
        address = %place.address,
        version = env!("CARGO_PKG_VERSION"),
        "metalman started"
    );
    let ended = supervisor.run(signals).await;
    parts.store.close().await;
    ended?;
    info!("metalman stopped");
    Ok(())
}

/// Takes in the site and the install tokens as they were known last.
async fn load_site(site: &Site, store: &Store, boot: &BootView) -> Result<()> {
    let loaded = watch::load(site, store).await;
    loaded.context("load the last known site")?;
    let built = boot.rebuild(clock::now()).await;
    built.context("load the install tokens")
}

/// What the boot services see, empty so far.
fn boot_view(
    config: &Config,
    place: &Place,
    server: &ServerContext,
    store: &Store,
    images: &ImageStore,
) -> BootView {
    let site = Arc::new(Site::new(&config.site));
    site.loaders().hold_against(config.sbat_level.clone());
    BootView {
        site,
        store: store.clone(),
        images: images.clone(),
        default_netboot_image: config.default_netboot_image.clone(),
        serve_url: server.http_url.as_str().into(),
        cache: BootCache::default(),
        boot_url: boot_tls::boot_url(config, place, server),
    }
}

/// What is called when a BMC is.
fn bmc_desk(config: &Config, site: &Arc<Site>, store: &Store, secrets: &Secrets) -> BmcDesk {
    BmcDesk {
        site: site.clone(),
        secrets: secrets.clone(),
        bmcs: Bmcs::new(store.clone(), config.bmc.max_connections, clock::now),
        clock: clock::now,
    }
}

/// What is seen at boot is queued by many and written by one task that outlives them.
fn start_recorder(supervisor: &mut Supervisor, task: RecorderTask) {
    let stop = supervisor.foundation_stop_token();
    supervisor.start_foundation("recorder", async move {
        task.run(stop).await;
        Ok(())
    });
}

/// The recorder, which asks the site for the operation that runs and for the generation of loaders.
fn recorder(store: &Store, site: &Arc<Site>) -> (Recorder, RecorderTask) {
    let (named, described) = (site.clone(), site.clone());
    let (recorder, task) = Recorder::new(
        store.clone(),
        Arc::new(move |machine| named.running_operation(machine)),
    );
    let words = move |machine: &str, file: &str| described.loader_words(machine, file);
    (recorder, task.with_loader_words(Arc::new(words)))
}

/// What has been opened, for those who start with it.
struct Parts {
    config: Config,
    site: Arc<Site>,
    store: Store,
    images: ImageStore,
    boot: BootView,
    boot_files: BootFileChecks,
    recorder: Recorder,
    directory: Arc<dyn BootDirectory>,
    client: Client,
    agents: Option<AgentApi>,
    secrets: Secrets,
    desk: BmcDesk,
    http_tls: Option<Arc<ArcSwap<rustls::ServerConfig>>>,
}

impl Parts {
    /// Events about other DHCP servers.
    fn start_alarm(&self, supervisor: &mut Supervisor, alarm: AlarmTask) {
        let (client, site) = (self.client.clone(), self.site.clone());
        let told = alarm.run(client, site, supervisor.stop_token());
        supervisor.start("foreign DHCP servers", told);
    }

    fn current_machines(&self) -> CurrentMachines {
        CurrentMachines::new(self.client.clone(), self.site.clone())
    }

    /// TFTP and HTTP for firmware and hosts.
    fn start_boot_services(
        &self,
        supervisor: &mut Supervisor,
        readiness: &Readiness,
        sockets: FileSockets,
        server: ServerContext,
    ) {
        let directory = self.directory.clone();
        let renderer = self.boot_files.renderer.clone();
        let planner = Planner::new(
            self.client.clone(),
            self.images.clone(),
            renderer.clone(),
            &self.config.site,
            &server.http_url,
        );
        let files = Arc::new(BootFiles::new(
            directory.clone(),
            renderer,
            server,
            clock::now,
        ));
        let callbacks = callbacks::router(Callbacks {
            site: self.site.clone(),
            store: self.store.clone(),
            planner: Arc::new(planner),
            current: self.current_machines(),
            agents: self.agents.clone(),
            last: Arc::default(),
        });
        let http = BootServer::new(
            directory.clone(),
            files.clone(),
            callbacks,
            boot_limits(),
            sockets.http_metrics,
        );
        if let (Some(listener), Some(tls)) = (sockets.https, &self.http_tls) {
            let (https, tls, stop) = (http.clone(), tls.clone(), supervisor.stop_token());
            supervisor.start("HTTPS", async move {
                https.run_tls(listener, tls, stop).await;
                Ok(())
            });
        }
        let stop = supervisor.stop_token();
        supervisor.start("HTTP", async move {
            http.run(sockets.http, stop).await;
            Ok(())
        });

        let stop = supervisor.stop_token();
        supervisor.start("TFTP", async move {
            sockets.tftp.run(directory, files, stop).await;
            Ok(())
        });
        readiness.gate("boot services", "starting").open();
    }

    /// Watches, driver and status writer.
    fn start_engine(&self, supervisor: &mut Supervisor, readiness: &Readiness) -> Result<()> {
        let gate = readiness.gate("site", "waiting for the first list from the API server");
        let watched = watch::run(
            self.client.clone(),
            self.site.clone(),
            self.store.clone(),
            move || gate.open(),
            supervisor.stop_token(),
        );
        supervisor.start("watch", watched);
        let followed = self.secrets.clone().follow(supervisor.stop_token());
        supervisor.start("Secret watch", followed);
        let tasks = TaskTracker::new();
        let images = self.images.clone();
        let parts = ImageParts {
            store: images,
            secrets: self.secrets.clone(),
            boot_files: self.boot_files.clone(),
            site: self.site.clone(),
            recorder: self.recorder.clone(),
            tasks: tasks.clone(),
            default_netboot_image: self.config.default_netboot_image.clone(),
            refresh: self.config.images.refresh_interval,
        };
        let operation = &self.config.operation;
        let desk = self.desk.clone();
        let interval = SignedDuration::try_from(self.config.bmc.poll_interval)?;
        let poller = Poller::new(desk.clone(), interval);
        supervisor.start("BMC poller", poller.run(supervisor.stop_token()));
        let interval = SignedDuration::try_from(self.config.bmc.readings_interval)?;
        let rounds = Rounds::new(desk.clone(), self.store.clone(), interval);
        supervisor.start("BMC rounds", rounds.run(supervisor.stop_token()));
        let driver = Driver {
            site: self.site.clone(),
            current: self.current_machines(),
            store: self.store.clone(),
            bmcs: desk,
            images: ImageJobs::new(parts),
            boot: self.boot.clone(),
            limits: Limits {
                max_attempts: operation.max_attempts,
                poll: SignedDuration::try_from(operation.poll_interval)?,
                shutdown: SignedDuration::try_from(operation.shutdown_timeout)?,
                ..Limits::default()
            },
            max_concurrent: operation.max_concurrent_machines,
            tasks,
            memory: DriverMemory::default(),
        };
        supervisor.start("driver", driver.run(supervisor.stop_token()));
        let (checks, stop) = (self.boot_files.clone(), supervisor.stop_token());
        supervisor.start("boot file checks", async move {
            checks.run(stop).await;
            Ok(())
        });
        let writer = Writer::new(self.client.clone(), self.site.clone(), self.store.clone());
        supervisor.start("status writer", writer.run(supervisor.stop_token()));
        Ok(())
    }

    /// The web page, and what keeps it fresh.
    fn start_pages(
        &self,
        supervisor: &mut Supervisor,
        readiness: &Readiness,
        listener: TcpListener,
        cluster: Cluster,
    ) {
        let heard = Heard::default();
        let (told, changes) = tokio::sync::watch::channel(0);
        let fresh = news::watch(
            self.store.clone(),
            self.site.clone(),
            heard.clone(),
            self.recorder.clone(),
            told,
            supervisor.stop_token(),
        );
        supervisor.start("news", fresh);
        let view = WebView {
            site: self.site.clone(),
            store: self.store.clone(),
            heard,
            changes,
        };
        let bmcs = web::bmc_routes(self.desk.clone(), self.store.clone());
        let routes = web::router(Arc::new(view), cluster.tokens, bmcs);
        let limits = tls::Limits {
            connections: WEB_CONNECTIONS,
            stall: tls::STALL,
        };
        let stop = supervisor.stop_token();
        supervisor.start("web page", async move {
            tls::serve(listener, cluster.tls, routes, limits, stop).await;
            Ok(())
        });
        readiness.gate("web page", "starting").open();
    }

    /// What keeps the process itself in order.
    fn start_upkeep(&self, supervisor: &mut Supervisor, readiness: &Readiness) {
        let gate = readiness.gate("store", "not asked yet");
        let stop = supervisor.stop_token();
        supervisor.start(
            "store watch",
            database::watch(self.store.clone(), gate, stop),
        );
        let stop = supervisor.stop_token();
        supervisor.start("watchdog", supervisor::feed_watchdog(stop));
    }
}

/// A connection may hold a file, so half of the descriptors are for connections, less some for
/// everything else.
fn boot_limits() -> HttpLimits {
    let places = descriptors::raise().saturating_sub(512) / 2;
    let mut limits = HttpLimits::default();
    let places = usize::try_from(places).unwrap_or(usize::MAX).max(64);
    limits.max_connections = limits.max_connections.min(places);
    limits
}

/// Starts DHCP, unless it has been started before.
fn start_dhcp(
    supervisor: &mut Supervisor,
    dhcp: Option<DhcpServer>,
    directory: &Arc<dyn BootDirectory>,
) {
    if let Some(dhcp) = dhcp {
        let (stop, known) = (supervisor.stop_token(), directory.clone());
        supervisor.start("DHCP", async move {
            dhcp.run(known, stop).await;
            Ok(())
        });
    }
}

fn serve_plain(
    supervisor: &mut Supervisor,
    name: &'static str,
    listener: TcpListener,
    routes: Router,
) {
    let stop = supervisor.stop_token();
    supervisor.start(name, async move {
        netboot::http::serve(listener, routes, HttpLimits::default(), stop).await;
        Ok(())
    });
}

/// Loads the image cache, which reads the disk, away from the async threads.
async fn open_images(config: &Config) -> Result<ImageStore> {
    let dir = config.cache_dir.clone();
    let options = config.images.store_options();
    let opened = tokio::task::spawn_blocking(move || ImageStore::open(&dir, options)).await?;
    opened.with_context(|| {
        format!(
            "open the image cache {} (--cache-dir)",
            config.cache_dir.display()
        )
    })
}
