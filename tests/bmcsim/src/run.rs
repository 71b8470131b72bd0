//! Putting it together: listeners, machine tasks, admin plane, and the orderly end.

use std::collections::HashMap;
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
use crate::line::Line;
use crate::tls::Certificate;
use crate::tree::Tree;
use crate::{admin, machine, serve};

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

/// Trees by profile and system id: BMCs of a kind share theirs.
#[derive(Default)]
struct Trees(HashMap<String, Arc<Tree>>);

impl Trees {
    fn of(&mut self, config: &BmcConfig) -> anyhow::Result<Arc<Tree>> {
        let key = format!("{:?} {}", config.profile, config.system_id);
        if let Some(tree) = self.0.get(&key) {
            return Ok(Arc::clone(tree));
        }
        let tree = Arc::new(Tree::build(&config.profile, &config.system_id)?);
        self.0.insert(key, Arc::clone(&tree));
        Ok(tree)
    }
}

/// Starts everything in `config`.
///
/// # Errors
/// An address that cannot be bound, a state folder that cannot be written, a leftover machine that
/// does not end, a profile that does not make sense.
pub async fn start(config: Config) -> anyhow::Result<Running> {
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let mut bmcs = Vec::new();
    let mut trees = Trees::default();
    // BMCs without a folder share one certificate: a thousand keys take their time.
    let mut shared: Option<Arc<Certificate>> = None;
    for bmc_config in config.bmcs {
        let name = bmc_config.name.clone();
        let ip = bmc_config.listen.ip();
        let certificate = match (&bmc_config.state_dir, &shared) {
            (Some(dir), _) => Arc::new(Certificate::kept_in(dir, ip)?),
            (None, Some(shared)) => Arc::clone(shared),
            (None, None) => Arc::clone(shared.insert(Arc::new(Certificate::generate(ip)?))),
        };
        let listener = serve::listen_bmc(bmc_config.listen)
            .with_context(|| format!("bmc {name:?}: listen on {}", bmc_config.listen))?;
        let address = listener.local_addr()?;
        let (sender, commands) = mpsc::channel(COMMAND_QUEUE);
        let tree = trees
            .of(&bmc_config)
            .with_context(|| format!("bmc {name:?}"))?;
        let line = Line::new(certificate);
        let bmc = Arc::new(Bmc::new(&bmc_config, address.ip(), tree, line, sender));
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
        tasks.spawn(serve::run_bmc(listener, Arc::clone(&bmc), stop.clone()));
        bmcs.push((address, bmc));
    }
    let mut admin = None;
    if let Some(listen) = config.admin {
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("admin: listen on {listen}"))?;
        admin = Some(listener.local_addr()?);
        let all = bmcs.iter().map(|(_, bmc)| Arc::clone(bmc)).collect();
        tasks.spawn(serve::run_admin(listener, admin::router(all), stop.clone()));
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
