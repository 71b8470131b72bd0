//! Command line of `unbounded-agent`. As process 1 of the install ramdisk it takes no arguments
//! (the kernel hands it the unknown words of its own command line) and installs at once.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use unbounded_agent::{VERSION, config, daemon, install, presence, telemetry};

/// Host agent of the unbounded bare-metal stack.
#[derive(Debug, Parser)]
#[command(name = "unbounded-agent", version = VERSION)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install this machine as the kernel command line says (runs in the install ramdisk).
    Install,
    /// Report every boot of the installed host, then a heartbeat; renew the host's Lease.
    Daemon {
        /// Configuration file.
        #[arg(long, env = "UNBOUNDED_AGENT_CONFIG_FILE", default_value = config::DEFAULT_PATH)]
        config: PathBuf,
        /// Kubeconfig for the appliance's API, where the installation brought one.
        #[arg(long, env = "UNBOUNDED_AGENT_KUBECONFIG", default_value = presence::KUBECONFIG)]
        kubeconfig: PathBuf,
    },
    /// Print the version.
    Version,
}

fn main() -> ExitCode {
    if is_init() {
        install::init::run_as_init();
    }
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let line = format!("unbounded-agent: {error:#}");
            // Nothing is left to report to when standard error is gone.
            writeln!(io::stderr().lock(), "{line}")
                .map_or(ExitCode::FAILURE, |()| ExitCode::FAILURE)
        }
    }
}

/// Whether the kernel has started this binary as the first process of a ramdisk.
fn is_init() -> bool {
    std::process::id() == 1
        && std::env::args_os()
            .next()
            .is_some_and(|name| Path::new(&name).ends_with("init"))
}

fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Install => {
            telemetry::to_stderr();
            install::init::run_by_hand()
        }
        Command::Daemon { config, kubeconfig } => {
            telemetry::to_stderr();
            daemon::run(&config::AgentConfig::load(&config)?, &kubeconfig)
        }
        Command::Version => Ok(writeln!(io::stdout().lock(), "{VERSION}")?),
    }
}
