//! The `bmcsim` command line.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

use crate::config::{Config, Fleet};
use crate::profile::{Lockout, Profile};
use crate::run;

/// Simulated Redfish BMCs: a lab of servers, and the trouble they make.
#[derive(Debug, Parser)]
#[command(name = "bmcsim", version, after_help = EXAMPLES)]
struct Args {
    /// TOML file with the BMCs to simulate, in memory or with QEMU machines behind them.
    #[arg(long, required_unless_present = "count", conflicts_with = "count")]
    config: Option<PathBuf>,
    /// Simulate this many BMCs in memory instead.
    #[arg(long)]
    count: Option<u16>,
    /// Address of the first BMC of `--count`; the port counts up.
    #[arg(long, default_value = "127.0.0.1:20000")]
    listen: SocketAddr,
    /// Count up the address instead of the port: every BMC has an address of its own.
    #[arg(long)]
    by_address: bool,
    /// Kind of the BMCs of `--count`: generic, dell, hpe, lenovo, supermicro, ami, gb200, bluefield,
    /// basic-only, or a YAML file of your own.
    #[arg(long, default_value = "generic")]
    profile: String,
    /// Administrator of the BMCs of `--count`.
    #[arg(long, default_value = "admin")]
    user: String,
    /// File with its password; without it the password is `password`.
    #[arg(long)]
    password_file: Option<PathBuf>,
    /// Milliseconds before every answer of the BMCs of `--count`.
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// Milliseconds a machine of `--count` takes to turn on and to turn off.
    #[arg(long, default_value_t = 0)]
    power_ms: u64,
    /// The machines of `--count` are on in the beginning.
    #[arg(long)]
    powered_on: bool,
    /// Sessions a BMC of `--count` has; the profile's if not given.
    #[arg(long)]
    session_limit: Option<usize>,
    /// Lock an account of a BMC of `--count` after so many wrong passwords in a row.
    #[arg(long)]
    lockout_strikes: Option<u32>,
    /// Seconds it stays locked.
    #[arg(long, default_value_t = 300)]
    lockout_seconds: u64,
    /// Address of the admin plane (plain HTTP: faults in, log out); wins over the file.
    #[arg(long)]
    admin: Option<SocketAddr>,
    /// Log filter.
    #[arg(long, env = "BMCSIM_LOG", default_value = "info")]
    log: String,
}

const EXAMPLES: &str = "\
Examples:
  bmcsim --count 3 --profile dell --admin 127.0.0.1:20999
  bmcsim --count 1000 --listen 127.1.0.0:8443 --by-address --latency-ms 100 --power-ms 3000
  curl -s http://127.0.0.1:20999/faults -H 'content-type: application/json' \\
       -d '{\"bmc\":\"bmc-0\",\"method\":\"PATCH\",\"times\":2,\"status\":503,\"retry_after\":\"5\"}'
  curl -s http://127.0.0.1:20999/counters
Every name of a rule and every request of the admin plane is in README.md beside the source.";

/// Lets this process have as many open files as it may: a fleet needs one for each BMC and each connection.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&args.log))
        .with_writer(io::stderr)
        .init();
    raise_file_limit();
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

fn fleet(args: &Args, count: u16) -> anyhow::Result<Fleet> {
    let mut profile = Profile::find(&args.profile)?;
    profile.latency_ms = args.latency_ms;
    profile.session_limit = args.session_limit.or(profile.session_limit);
    if let Some(strikes) = args.lockout_strikes {
        profile.lockout = Some(Lockout {
            strikes,
            seconds: args.lockout_seconds,
        });
    }
    let password = match &args.password_file {
        None => "password".to_owned(),
        Some(file) => std::fs::read_to_string(file)
            .with_context(|| format!("read {}", file.display()))?
            .trim_end_matches(['\r', '\n'])
            .to_owned(),
    };
    Ok(Fleet {
        count,
        first: args.listen,
        by_address: args.by_address,
        user: args.user.clone(),
        password,
        profile,
        transition: Duration::from_millis(args.power_ms),
        powered_on: args.powered_on,
    })
}

async fn serve(args: Args) -> anyhow::Result<()> {
    let mut config = match (&args.config, args.count) {
        (Some(file), _) => Config::load(file)?,
        (None, count) => Config::fleet(&fleet(&args, count.unwrap_or(1))?)?,
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
