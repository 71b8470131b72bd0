//! Commands that load a whole appliance or an API server, rather than one boot service.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    path::PathBuf,
    time::Duration,
};

use anyhow::Result;
use clap::Subcommand;
use metalman_bench::{api, bmc, embedded::Embedded, fill};

#[derive(Subcommand)]
pub(crate) enum SiteCommand {
    /// Makes Machine objects through the API of a metalman in standalone mode
    Fill {
        /// As metalman wrote it into its state folder
        #[arg(long)]
        kubeconfig: PathBuf,
        #[arg(long)]
        machines: u64,
        #[arg(long, default_value = "bench")]
        site: String,
        /// Address of machine 0
        #[arg(long)]
        first: Ipv4Addr,
        #[arg(long, default_value = "255.254.0.0")]
        mask: Ipv4Addr,
        #[arg(long)]
        gateway: Ipv4Addr,
        #[arg(long, default_value_t = 16)]
        parallel: usize,
        /// The machines have BMCs; this is the address of the first
        #[arg(long)]
        bmcs: Option<SocketAddrV4>,
    },
    /// Waits until each BMC of a bmcsim fleet has a session
    BmcSessions {
        /// Admin plane of bmcsim
        #[arg(long)]
        admin: String,
        #[arg(long)]
        bmcs: u64,
        #[arg(long, default_value_t = 60)]
        limit_s: u64,
    },
    /// One HostReboot of all machines, judged by the power history of their BMCs
    BmcCycle {
        #[arg(long)]
        kubeconfig: PathBuf,
        /// Admin plane of bmcsim
        #[arg(long)]
        admin: String,
        #[arg(long, default_value = "bench")]
        site: String,
        #[arg(long, default_value = "reboot-all")]
        name: String,
        #[arg(long, default_value_t = 120)]
        limit_s: u64,
    },
    /// Creates Machines, patches their statuses and watches, through a Kubernetes API
    Api {
        #[command(flatten)]
        objects: ObjectsArgs,
        /// Watchers that wait in vain
        #[arg(long, default_value_t = 0)]
        idle: usize,
        /// The Machines are there already
        #[arg(long)]
        filled: bool,
        /// Processes whose memory is read at the end
        #[arg(long, value_delimiter = ',')]
        pids: Vec<u32>,
    },
    /// Writes Machines until the server is gone, and notes what was acknowledged
    ApiWrite {
        #[command(flatten)]
        objects: ObjectsArgs,
        #[arg(long)]
        notes: PathBuf,
    },
    /// Whether everything that was acknowledged is there
    ApiCheck {
        #[arg(long)]
        kubeconfig: PathBuf,
        #[arg(long)]
        notes: PathBuf,
    },
}

#[derive(clap::Args)]
pub(crate) struct ObjectsArgs {
    #[arg(long)]
    kubeconfig: PathBuf,
    #[arg(long, default_value_t = 2000)]
    machines: u64,
    /// Requests at once
    #[arg(long, default_value_t = 16)]
    parallel: usize,
}

impl ObjectsArgs {
    /// Machines that no appliance of this run drives.
    fn plan(&self) -> fill::Plan {
        fill::Plan {
            machines: self.machines,
            site: "elsewhere".into(),
            first: Ipv4Addr::new(198, 18, 16, 0),
            mask: Ipv4Addr::new(255, 254, 0, 0),
            gateway: Ipv4Addr::new(198, 18, 0, 1),
            parallel: self.parallel,
            bmcs: None,
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    Ok(builder.enable_all().build()?)
}

impl SiteCommand {
    pub(crate) fn run(self) -> Result<serde_json::Value> {
        match self {
            Self::Fill {
                kubeconfig,
                machines,
                site,
                first,
                mask,
                gateway,
                parallel,
                bmcs,
            } => fill::run(
                &kubeconfig,
                &fill::Plan {
                    machines,
                    site,
                    first,
                    mask,
                    gateway,
                    parallel,
                    bmcs: bmcs.map(|first| fill::Bmcs {
                        first: *first.ip(),
                        port: first.port(),
                        user: "admin".into(),
                        password: "password".into(),
                    }),
                },
            ),
            Self::BmcSessions {
                admin,
                bmcs,
                limit_s,
            } => {
                let fleet = bmc::Fleet::new(&admin)?;
                let limit = Duration::from_secs(limit_s);
                runtime()?.block_on(bmc::sessions::wait(&fleet, bmcs, limit))
            }
            Self::BmcCycle {
                kubeconfig,
                admin,
                site,
                name,
                limit_s,
            } => {
                let plan = bmc::cycle::Plan {
                    site,
                    name,
                    limit: Duration::from_secs(limit_s),
                };
                let (api, fleet) = (Embedded::open(&kubeconfig)?, bmc::Fleet::new(&admin)?);
                runtime()?.block_on(bmc::cycle::run(&api, &fleet, &plan))
            }
            Self::Api {
                objects,
                idle,
                filled,
                pids,
            } => {
                let plan = api::Plan {
                    objects: objects.plan(),
                    idle,
                    is_filled: filled,
                    pids,
                };
                let server = Embedded::open(&objects.kubeconfig)?;
                runtime()?.block_on(api::run(&server, &plan))
            }
            Self::ApiWrite { objects, notes } => {
                let server = Embedded::open(&objects.kubeconfig)?;
                runtime()?.block_on(api::write_until_gone(&server, &objects.plan(), &notes))
            }
            Self::ApiCheck { kubeconfig, notes } => {
                let server = Embedded::open(&kubeconfig)?;
                runtime()?.block_on(api::check_acknowledged(&server, &notes))
            }
        }
    }
}
