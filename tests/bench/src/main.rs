//! Command line of the load generators; `tests/bench/run` calls it. One JSON object on stdout.

use std::{
    io::Write as _,
    net::{Ipv4Addr, SocketAddrV4},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use metalman_bench::{
    dhcp::{self, Relay},
    http,
    link::Impairment,
    report,
    tftp::{client::Ask, half_open, load},
};

mod site_commands;

use site_commands::SiteCommand;

#[derive(Parser)]
#[command(about = "Load generators for boot servers")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Clients that read a file by TFTP and compare it with a local copy
    Tftp(TftpArgs),
    /// Read requests that are never followed; holds their ports open until stdin ends
    HalfOpen {
        #[command(flatten)]
        ask: AskArgs,
        #[arg(long)]
        count: usize,
        /// First of the addresses they come from
        #[arg(long)]
        source: Option<Ipv4Addr>,
        /// How many addresses
        #[arg(long, default_value_t = 1)]
        sources: u32,
        /// Pause after each 50
        #[arg(long, default_value_t = 1000)]
        pause_us: u64,
    },
    /// DHCP exchanges in a closed loop
    Dhcp {
        #[command(flatten)]
        relay: RelayArgs,
        #[arg(long)]
        clients: u64,
        #[arg(long, default_value_t = 16)]
        inflight: usize,
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
        #[arg(long, default_value_t = 1000)]
        drop_ms: u64,
    },
    /// Machines switched on together
    Storm {
        #[command(flatten)]
        relay: RelayArgs,
        #[arg(long, default_value_t = 500)]
        clients: usize,
        #[arg(long, default_value_t = 0)]
        spread_ms: u64,
        #[arg(long, default_value_t = 40)]
        limit_s: u64,
    },
    /// Asks until a DHCP server answers
    First {
        #[command(flatten)]
        relay: RelayArgs,
        /// Which client asks
        #[arg(long, default_value_t = 0)]
        client: u64,
        #[arg(long, default_value_t = 30)]
        limit_s: u64,
    },
    /// Readers of a large file by HTTP
    Http(HttpArgs),
    /// HTTP connections that say nothing, or a byte in ten seconds, until stdin ends
    SlowHttp(SlowHttpArgs),
    #[command(flatten)]
    Site(SiteCommand),
    /// A table of what was measured, and the ratios to the best peer
    Report {
        /// One JSON object a line, as tests/bench/run writes them
        rows: PathBuf,
        /// Also writes everything, ratios included, as JSON
        #[arg(long)]
        json: Option<PathBuf>,
    },
}

#[derive(clap::Args)]
struct AskArgs {
    /// Address and port
    #[arg(long)]
    server: SocketAddrV4,
    #[arg(long)]
    file: String,
    #[arg(long, default_value_t = 1468)]
    blksize: u16,
    #[arg(long, default_value_t = 1)]
    windowsize: u16,
    /// A client repeats itself after this silence
    #[arg(long, default_value_t = 1000)]
    timeout_ms: u64,
}

impl AskArgs {
    fn ask(&self) -> Ask {
        Ask {
            file: self.file.clone(),
            blksize: self.blksize,
            windowsize: self.windowsize,
            timeout: Duration::from_millis(self.timeout_ms),
        }
    }
}

#[derive(clap::Args)]
struct TftpArgs {
    #[command(flatten)]
    ask: AskArgs,
    /// What the file must be, byte for byte
    #[arg(long)]
    reference: PathBuf,
    #[arg(long, default_value_t = 1)]
    clients: usize,
    /// Client i has the address SOURCE + i
    #[arg(long)]
    source: Option<Ipv4Addr>,
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    #[arg(long, default_value_t = 60)]
    limit_s: u64,
    /// Delay of the link, one way
    #[arg(long, default_value_t = 0)]
    delay_us: u64,
    /// Datagrams of a million that are lost, each way
    #[arg(long, default_value_t = 0)]
    loss_ppm: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl TftpArgs {
    fn run(&self) -> Result<serde_json::Value> {
        let bytes = std::fs::read(&self.reference)
            .with_context(|| format!("reference {}", self.reference.display()))?;
        let plan = load::Plan {
            server: self.ask.server,
            ask: self.ask.ask(),
            clients: self.clients,
            source: self.source,
            rounds: self.rounds,
            limit: Duration::from_secs(self.limit_s),
            impairment: Impairment {
                delay: Duration::from_micros(self.delay_us),
                loss_per_million: self.loss_ppm,
            },
            seed: self.seed,
        };
        load::run(&plan, &bytes)
    }
}

#[derive(clap::Args)]
struct HttpArgs {
    #[arg(long)]
    server: SocketAddrV4,
    #[arg(long)]
    path: String,
    #[arg(long, default_value_t = 1)]
    clients: u32,
    /// Client i has the address SOURCE + i
    #[arg(long)]
    source: Option<Ipv4Addr>,
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
}

impl HttpArgs {
    fn run(self) -> Result<serde_json::Value> {
        http::read(&http::Plan {
            server: self.server,
            path: self.path,
            clients: self.clients,
            source: self.source,
            time: Duration::from_secs_f64(self.seconds),
        })
    }
}

#[derive(clap::Args)]
struct SlowHttpArgs {
    #[arg(long)]
    server: SocketAddrV4,
    #[arg(long)]
    count: u32,
    /// First of the addresses they come from
    #[arg(long)]
    source: Option<Ipv4Addr>,
    /// How many addresses
    #[arg(long, default_value_t = 1)]
    sources: u32,
}

impl SlowHttpArgs {
    fn run(&self) -> Result<()> {
        let source = self.source.map(|first| (first, self.sources));
        http::slow(self.server, self.count, source)
    }
}

#[derive(clap::Args)]
struct RelayArgs {
    #[arg(long, default_value = "198.18.0.1:67")]
    server: SocketAddrV4,
    /// Address of the generator, and giaddr
    #[arg(long, default_value = "198.18.0.2")]
    relay: Ipv4Addr,
    #[arg(long, default_value_t = dhcp::PORT)]
    relay_port: u16,
}

impl RelayArgs {
    fn relay(&self) -> Relay {
        Relay {
            server: self.server,
            relay: self.relay,
            port: self.relay_port,
        }
    }
}

fn main() -> Result<()> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .ok();
    let mut stdout = std::io::stdout();
    let report = match Cli::parse().command {
        Command::Tftp(arguments) => arguments.run()?,
        Command::HalfOpen {
            ask,
            count,
            source,
            sources,
            pause_us,
        } => {
            let source = source.map(|first| (first, sources));
            let pause = Duration::from_micros(pause_us);
            let (report, held) = half_open::run(ask.server, &ask.ask(), count, source, pause)?;
            writeln!(stdout, "{report}")?;
            std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
            drop(held);
            return Ok(());
        }
        Command::Http(arguments) => arguments.run()?,
        Command::SlowHttp(arguments) => return arguments.run(),
        Command::Dhcp {
            relay,
            clients,
            inflight,
            seconds,
            drop_ms,
        } => dhcp::load::run(dhcp::load::Plan {
            relay: relay.relay(),
            clients,
            inflight,
            time: Duration::from_secs_f64(seconds),
            drop_after: Duration::from_millis(drop_ms),
        })?,
        Command::Storm {
            relay,
            clients,
            spread_ms,
            limit_s,
        } => dhcp::storm::run(dhcp::storm::Plan {
            relay: relay.relay(),
            clients,
            spread: Duration::from_millis(spread_ms),
            limit: Duration::from_secs(limit_s),
        })?,
        Command::First {
            relay,
            client,
            limit_s,
        } => dhcp::first::run(relay.relay(), client, Duration::from_secs(limit_s))?,
        Command::Site(command) => command.run()?,
        Command::Report { rows, json } => {
            let rows = std::fs::read_to_string(&rows)?;
            let report = report::Report::read(&rows)?;
            if let Some(path) = json {
                std::fs::write(path, format!("{:#}\n", report.json()))?;
            }
            write!(stdout, "{}", report.table())?;
            return Ok(());
        }
    };
    writeln!(stdout, "{report}")?;
    Ok(())
}
