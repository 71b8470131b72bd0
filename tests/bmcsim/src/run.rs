//! Putting it together: listeners, machine tasks, admin plane, and the orderly end.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::backend::{Backend, Memory, Qemu};
use crate::bmc::Bmc;
use crate::config::{BackendConfig, BmcConfig, Config};
use crate::{admin, machine, serve, service, tls};

/// Resets that wait for one machine; a caller beyond that waits itself.
const COMMAND_QUEUE: usize = 8;

/// A running simulator. Dropping it cuts everything; [`Running::stop`] ends it in order.
#[derive(Debug)]
pub struct Running {
    bmcs: Vec<(SocketAddr, Arc<Bmc>)>,
    admin: Option<SocketAddr>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Running {
    /// Address and BMC, in the order of the configuration.
    pub fn bmcs(&self) -> &[(SocketAddr, Arc<Bmc>)] {
        &self.bmcs
    }

    /// Where the admin plane listens.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Stops serving, turns the machines off and waits for it.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Starts everything in `config`.
///
/// # Errors
/// An address that cannot be bound, a state folder that cannot be written, a leftover machine that
/// does not end.
pub async fn start(config: Config) -> anyhow::Result<Running> {
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let mut bmcs = Vec::new();
    let shared_tls = match config.bmcs.first() {
        // BMCs without a folder share one certificate: a thousand keys take their time.
        Some(first) => Some(tls::server_config(None, first.listen.ip())?),
        None => None,
    };
    for bmc_config in config.bmcs {
        let name = bmc_config.name.clone();
        let tls = match &bmc_config.state_dir {
            Some(dir) => Some(tls::server_config(Some(dir), bmc_config.listen.ip())?),
            None => shared_tls.clone(),
        };
        let listener = TcpListener::bind(bmc_config.listen)
            .await
            .with_context(|| format!("bmc {name:?}: listen on {}", bmc_config.listen))?;
        let address = listener.local_addr()?;
        let (sender, commands) = mpsc::channel(COMMAND_QUEUE);
        let bmc = Arc::new(Bmc::new(&bmc_config, sender));
        let mut backend = backend(&bmc_config)?;
        backend
            .prepare()
            .await
            .with_context(|| format!("bmc {name:?}"))?;
        tasks.spawn(machine::run(
            Arc::clone(&bmc),
            backend,
            commands,
            stop.clone(),
        ));
        let router = service::router(Arc::clone(&bmc));
        tasks.spawn(serve::run(listener, tls, router, stop.clone()));
        bmcs.push((address, bmc));
    }
    let mut admin = None;
    if let Some(listen) = config.admin {
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("admin: listen on {listen}"))?;
        admin = Some(listener.local_addr()?);
        let all = bmcs.iter().map(|(_, bmc)| Arc::clone(bmc)).collect();
        tasks.spawn(serve::run(listener, None, admin::router(all), stop.clone()));
    }
    Ok(Running {
        bmcs,
        admin,
        stop,
        tasks,
    })
}

fn backend(config: &BmcConfig) -> anyhow::Result<Box<dyn Backend>> {
    Ok(match &config.backend {
        BackendConfig::Memory { transition } => Box::new(Memory::new(*transition)),
        BackendConfig::Qemu(qemu) => {
            let dir: &Path = config
                .state_dir
                .as_deref()
                .context("qemu needs a state_dir")?;
            Box::new(Qemu::new(
                &config.name,
                config.uuid(),
                (**qemu).clone(),
                dir,
            ))
        }
    })
}
