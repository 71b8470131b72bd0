//! The `bmcsim` command line.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

use crate::config::Config;
use crate::profile::Profile;
use crate::run;

/// Simulated Redfish BMCs.
#[derive(Debug, Parser)]
#[command(name = "bmcsim", version)]
struct Args {
    /// TOML file with the BMCs to simulate.
    #[arg(long, required_unless_present = "count", conflicts_with = "count")]
    config: Option<PathBuf>,
    /// Simulate this many BMCs in memory instead (user `admin`, password `password`).
    #[arg(long)]
    count: Option<u16>,
    /// First address of `--count`; the port counts up.
    #[arg(long, default_value = "127.0.0.1:20000")]
    listen: SocketAddr,
    /// Profile of `--count`.
    #[arg(long, default_value = "generic", value_parser = Profile::NAMES.to_vec())]
    profile: String,
    /// Admin address; wins over the file.
    #[arg(long)]
    admin: Option<SocketAddr>,
    /// Log filter.
    #[arg(long, env = "BMCSIM_LOG", default_value = "info")]
    log: String,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&args.log))
        .with_writer(io::stderr)
        .init();
    let done = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")
        .and_then(|runtime| runtime.block_on(serve(args)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(error = format!("{error:#}"), "bmcsim failed");
            ExitCode::FAILURE
        }
    }
}

async fn serve(args: Args) -> anyhow::Result<()> {
    let mut config = match (&args.config, args.count) {
        (Some(file), _) => Config::load(file)?,
        (None, count) => {
            let profile = Profile::named(&args.profile).context("unknown profile")?;
            Config::fleet(count.unwrap_or(1), args.listen, &profile)?
        }
    };
    config.admin = args.admin.or(config.admin);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let running = run::start(config).await?;
    {
        // One line per address for whoever starts this; a closed pipe is no reason to stop.
        let mut out = io::stdout().lock();
        for (address, bmc) in running.bmcs() {
            writeln!(out, "{} https://{address}", bmc.name()).ok();
        }
        if let Some(admin) = running.admin() {
            writeln!(out, "admin http://{admin}").ok();
        }
        out.flush().ok();
    }
    info!(bmcs = running.bmcs().len(), "ready");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    info!("stopping");
    running.stop().await;
    Ok(())
}
