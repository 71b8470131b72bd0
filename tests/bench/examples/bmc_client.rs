//! The BMC part of the appliance alone: its governors, with a store and without the API, so that
//! time, processor and memory of a poll can be told from everything else. `tests/bench/run bmc`.
//!
//! One JSON object on stdout. Every reading is compared with the power the fleet was started with.

use std::{
    io::Write as _,
    net::SocketAddrV4,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use metalman::{
    bmc::{BmcAccess, Bmcs, Call, SecretVersion, Seen},
    clock,
    domain::facts::{Power, Trouble},
    store::Store,
};
use metalman_bench::{bmc::Fleet, fill::counted, hist::Hist};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// The appliance's own allocator, since memory is measured.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Parser, Clone)]
struct Args {
    /// Address of the first BMC; the others count up
    #[arg(long)]
    bmcs: SocketAddrV4,
    #[arg(long)]
    count: u32,
    /// `bmc.max_connections` of the appliance
    #[arg(long)]
    connections: usize,
    #[arg(long, default_value_t = 10)]
    rounds: u32,
    /// Admin plane of bmcsim
    #[arg(long)]
    admin: String,
    /// Every so many BMCs turn silent at the end; none when 0
    #[arg(long, default_value_t = 50)]
    silent_of: u32,
}

/// Readings of all BMCs at once.
struct Round {
    took: Duration,
    cpu: Duration,
    latencies: Vec<Duration>,
    failed: usize,
}

struct Client {
    bmcs: Bmcs,
    accesses: Vec<BmcAccess>,
    /// Calls to BMCs that do not answer; nobody waits for them.
    aside: JoinSet<()>,
}

impl Client {
    fn new(args: &Args, store: Store) -> Self {
        let access = |index: u32| BmcAccess {
            url: format!(
                "https://{}:{}",
                counted(*args.bmcs.ip(), u64::from(index)),
                args.bmcs.port()
            ),
            username: "admin".into(),
            password: "password".to_owned().into(),
            secret: SecretVersion {
                name: "bench/bmc".into(),
                uid: "u".into(),
                resource_version: "1".into(),
            },
            system_id: None,
            pinned: None,
            trust: metalman::bmc::Trust::FirstUse,
        };
        Self {
            bmcs: Bmcs::new(store, args.connections, clock::now),
            accesses: (0..args.count).map(access).collect(),
            aside: JoinSet::new(),
        }
    }

    /// Reads all BMCs at once, as for an operation or as the poller does. Those that `is_silent`
    /// names are called too, and not waited for.
    async fn round(&mut self, urgent: bool, is_silent: impl Fn(usize) -> bool) -> Result<Round> {
        let (begun, cpu) = (Instant::now(), cpu()?);
        let mut calls = JoinSet::new();
        for (index, access) in self.accesses.iter().enumerate() {
            let (bmcs, access) = (self.bmcs.clone(), access.clone());
            let call = async move {
                let begun = Instant::now();
                let seen = if urgent {
                    bmcs.call(&access, &Call::Read).await
                } else {
                    // Nobody else calls them: a poll is left out only while one is under way.
                    match bmcs.poll(&access).await {
                        Some(seen) => seen,
                        None => return None,
                    }
                };
                Some((begun.elapsed(), is_right(seen)))
            };
            if is_silent(index) {
                self.aside.spawn(async move {
                    call.await;
                });
            } else {
                calls.spawn(call);
            }
        }
        let mut round = Round {
            took: Duration::ZERO,
            cpu: Duration::ZERO,
            latencies: Vec::with_capacity(calls.len()),
            failed: 0,
        };
        while let Some(done) = calls.join_next().await {
            match done? {
                Some((latency, true)) => round.latencies.push(latency),
                Some((_, false)) | None => round.failed += 1,
            }
        }
        round.took = begun.elapsed();
        round.cpu = self::cpu()?.saturating_sub(cpu);
        round.latencies.sort_unstable();
        Ok(round)
    }

    /// Several rounds with a quiet time between two: the budget of a BMC is a few requests a second.
    async fn rounds(
        &mut self,
        count: u32,
        is_silent: impl Fn(usize) -> bool,
    ) -> Result<Vec<Round>> {
        let mut tick = tokio::time::interval(Duration::from_millis(600));
        let mut rounds = Vec::new();
        for _ in 0..count {
            tick.tick().await;
            rounds.push(self.round(false, &is_silent).await?);
        }
        Ok(rounds)
    }
}

fn is_right(seen: Result<Seen, Trouble>) -> bool {
    seen.is_ok_and(|seen| seen.power == Power::On)
}

/// Processor time of this process.
fn cpu() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let times = [usage.user_time(), usage.system_time()];
    let micros = times.map(|t| t.tv_sec() * 1_000_000 + t.tv_usec());
    Ok(Duration::from_micros(u64::try_from(
        micros.iter().sum::<i64>(),
    )?))
}

/// Resident megabytes now, and at the most.
fn memory() -> Result<(f64, f64)> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| -> Result<f64> {
        let line = status.lines().find(|line| line.starts_with(name));
        let kb = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(kb.with_context(|| format!("no {name}"))?.parse::<f64>()? / 1024.0)
    };
    Ok((field("VmRSS")?, field("VmHWM")?))
}

/// The middle of the rounds.
fn median(rounds: &[Round], of: impl Fn(&Round) -> f64) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Milliseconds below which this share of a round's readings ended.
fn quantile(round: &Round, share: f64) -> f64 {
    let last = round.latencies.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index into a few thousand"
    )]
    let index = (last as f64 * share).round() as usize;
    let latency = round.latencies.get(index);
    latency.map_or(f64::NAN, |latency| latency.as_secs_f64() * 1000.0)
}

fn report(rounds: &[Round], count: u32) -> Value {
    let mut all = Hist::default();
    for latency in rounds.iter().flat_map(|round| &round.latencies) {
        all.add(*latency);
    }
    json!({
        "seconds": median(rounds, |round| round.took.as_secs_f64()),
        "cpu_us": median(rounds, |round| round.cpu.as_secs_f64() * 1e6 / f64::from(count)),
        "p50_ms": median(rounds, |round| quantile(round, 0.5)),
        "p99_ms": median(rounds, |round| quantile(round, 0.99)),
        "failed": rounds.iter().map(|round| round.failed).sum::<usize>(),
        "latency_us": all.json(),
    })
}

async fn run(args: Args) -> Result<Value> {
    let folder = tempfile::tempdir()?;
    let url = format!("sqlite:{}", folder.path().join("metalman.db").display());
    let store = Store::open(&url).await?;
    let mut client = Client::new(&args, store);
    let fleet = Fleet::new(&args.admin)?;
    let (empty, _) = memory()?;
    let nobody = |_: usize| false;
    let connect = client.round(true, nobody).await?;
    let (connected, _) = memory()?;
    let polls = client.rounds(args.rounds, nobody).await?;
    let (rss, peak) = memory()?;
    let mut result = json!({
        "connect": report(&[connect], args.count),
        "poll": report(&polls, args.count),
        "memory_mb": { "empty": empty, "connected": connected, "polled": rss, "peak": peak },
        "sessions": fleet.sessions().await?,
    });
    if args.silent_of > 0 {
        let period = usize::try_from(args.silent_of)?;
        let is_silent = |index: usize| index % period == period - 1;
        // Without: the same BMCs are set aside, but they answer.
        let without = client.rounds(args.rounds * 2, is_silent).await?;
        let silent: Vec<usize> = (0..client.accesses.len())
            .filter(|i| is_silent(*i))
            .collect();
        for index in &silent {
            fleet.door(&format!("bmc-{index}"), "half-open").await?;
        }
        let with = client.rounds(args.rounds * 2, is_silent).await?;
        let row = json!({
            "bmcs": silent.len(),
            "without": report(&without, args.count),
            "with": report(&with, args.count),
        });
        put(&mut result, "silent", row);
        for index in &silent {
            fleet.door(&format!("bmc-{index}"), "open").await?;
        }
        client.aside.shutdown().await;
    }
    client.bmcs.close().await;
    let left = json!(fleet.counters().await?.sessions_left);
    put(&mut result, "sessions_left", left);
    ensure!(
        ["/connect/failed", "/poll/failed"]
            .iter()
            .all(|at| result.pointer(at) == Some(&json!(0))),
        "not every BMC was read: {result}"
    );
    Ok(result)
}

fn put(result: &mut Value, key: &str, value: Value) {
    if let Some(fields) = result.as_object_mut() {
        fields.insert(key.to_owned(), value);
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .ok();
    let result = run(Args::parse()).await?;
    writeln!(std::io::stdout(), "{result}")?;
    Ok(())
}
