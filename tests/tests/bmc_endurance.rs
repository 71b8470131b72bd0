//! A BMC with two sessions that locks its account after three wrong passwords, and everything at
//! once for a while: the web page asks, the poller reads, operations switch the power, and the
//! password changes, on the BMC and in its Secret, in both orders. `METALMAN_ENDURANCE_SECONDS` says
//! for how long; 20 seconds otherwise.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bmcsim::{Bmc, BmcConfig, Config, Lockout, Running};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Api, api::DeleteParams};
use metalman_api::{machine::Machine, operation::Phase};
use metalman_tests::{rack::Rack, wait};
use serde_json::{Value, json};
use tokio::time::interval;

/// What [`Rack`] begins with.
const FIRST_PASSWORD: &str = "correct horse";
const MACHINE: &str = "frail";
/// From the moment when BMC and Secret agree again to the first login with the new password.
const HEALED_WITHIN: Duration = Duration::from_secs(10);

struct Frail {
    rack: Rack,
    bmc: Arc<Bmc>,
    url: String,
    simulator: Running,
    http: reqwest::Client,
    token: String,
}

/// What happened, for the summary.
#[derive(Debug, Default)]
struct Tally {
    asked: usize,
    operations: usize,
    changes: usize,
    slowest_heal: Duration,
    /// Failures that say that the password was refused.
    refusals: usize,
    /// All others.
    unexplained: BTreeMap<String, usize>,
}

impl Tally {
    fn failure(&mut self, reason: &str, message: &str) {
        // The operator is told what was refused and what to correct.
        if reason == "Unauthorized" && message.contains("unbounded-system/bmc") {
            self.refusals += 1;
        } else {
            let what = format!("{reason}: {message}");
            *self.unexplained.entry(what).or_default() += 1;
        }
    }

    fn add(&mut self, other: Self) {
        self.asked += other.asked;
        self.operations += other.operations;
        self.changes += other.changes;
        self.slowest_heal = self.slowest_heal.max(other.slowest_heal);
        self.refusals += other.refusals;
        for (what, times) in other.unexplained {
            *self.unexplained.entry(what).or_default() += times;
        }
    }
}

fn duration() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "the environment of the test run")]
    let seconds = std::env::var("METALMAN_ENDURANCE_SECONDS").ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(20))
}

impl Frail {
    async fn start() -> Result<Self> {
        let rack = Rack::start().await?;
        let mut config = BmcConfig::memory(MACHINE, FIRST_PASSWORD);
        config.profile.session_limit = Some(2);
        config.profile.lockout = Some(Lockout {
            strikes: 3,
            seconds: 3600,
        });
        config.powered_on = true;
        let simulator = bmcsim::start(Config {
            admin: None,
            bmcs: vec![config],
        })
        .await?;
        let (address, bmc) = simulator.bmcs().first().cloned().context("one BMC")?;
        let url = format!("https://{address}");
        // The Secret is that of the other machine, which would refuse what is right here.
        let machines: Api<Machine> = Api::all(rack.client.0.clone());
        machines.delete("node-1", &DeleteParams::default()).await?;
        let changes = json!({
            "dhcpLeases": [{ "mac": "52:54:00:99:00:01", "ipv4": "127.0.1.1", "subnetMask": "255.0.0.0" }],
            "redfish": { "url": url },
        });
        rack.apply_machine(MACHINE, changes).await?;
        let token = std::fs::read_to_string(rack.appliance.state().join("admin.token"))?;
        Ok(Self {
            rack,
            bmc,
            url,
            simulator,
            http: reqwest::Client::builder()
                .no_proxy()
                .tls_danger_accept_invalid_certs(true)
                .build()?,
            token: token.trim().to_owned(),
        })
    }

    /// The web page's questions.
    async fn ask(&self, until: Instant) -> Result<Tally> {
        let mut tally = Tally::default();
        let base = format!(
            "{}/api/v1/machines/{MACHINE}/bmc",
            self.rack.appliance.web()
        );
        let mut tick = interval(Duration::from_millis(700));
        for turn in 0_u32.. {
            tick.tick().await;
            if Instant::now() >= until {
                break;
            }
            let request = match turn % 8 {
                0 => self.http.get(&base),
                1 | 5 => self.http.put(format!("{base}/indicator")).json(&json!({
                    "state": if turn % 8 == 1 { "Blinking" } else { "Off" }
                })),
                2 | 4 | 6 => self.http.get(format!("{base}/sel?limit=5")),
                _ => self.http.get(format!("{base}/console")),
            };
            let answer = request.bearer_auth(&self.token).send().await?;
            tally.asked += 1;
            if !answer.status().is_success() {
                let problem: Value = answer.json().await?;
                let word = |name: &str| {
                    problem
                        .get(name)
                        .and_then(Value::as_str)
                        .unwrap_or_default()
                        .to_owned()
                };
                tally.failure(&word("reason"), &word("detail"));
            }
        }
        Ok(tally)
    }

    /// One restart after the other.
    async fn operate(&self, until: Instant) -> Result<Tally> {
        let mut tally = Tally::default();
        while Instant::now() < until {
            let name = format!("reboot-{}", tally.operations);
            self.rack.operate(&name, "HostReboot", MACHINE).await?;
            let ended = wait::until(&format!("{name} to end"), async || {
                let status = self.rack.operation(&name).await.ok()?.status?;
                status.phase?.is_terminal().then_some(status)
            })
            .await
            .with_context(|| self.rack.appliance.log())?;
            tally.operations += 1;
            if ended.phase != Some(Phase::Complete) {
                let is_refused = |c: &&Condition| c.reason == "Unauthorized";
                let reason = ended.conditions.iter().find(is_refused);
                tally.failure(
                    reason.map_or("", |c| &c.reason),
                    ended.message.as_deref().unwrap_or_default(),
                );
            }
        }
        Ok(tally)
    }

    /// Changes the password again and again; every other time the BMC ends its sessions, as many do.
    async fn change_passwords(&self, until: Instant) -> Result<Tally> {
        let mut tally = Tally::default();
        let mut password = FIRST_PASSWORD.to_owned();
        let mut tick = interval(Duration::from_secs(3));
        for turn in 0_u64.. {
            tick.tick().await;
            if Instant::now() >= until {
                break;
            }
            let next = format!("password number {turn}");
            // The time between the two, from nothing to a second.
            let mut gap = interval(Duration::from_millis(1 + turn * 170 % 1000));
            gap.tick().await;
            if turn % 2 == 0 {
                self.change_on_bmc(&password, &next, turn % 4 == 0).await?;
                gap.tick().await;
                self.rack.set_password(&next).await?;
            } else {
                self.rack.set_password(&next).await?;
                gap.tick().await;
                self.change_on_bmc(&password, &next, turn % 4 == 1).await?;
            }
            let agreed = Instant::now();
            wait::until("a session", async || {
                (self.bmc.sessions().len() == 1).then_some(())
            })
            .await
            .with_context(|| self.rack.appliance.log())?;
            tally.slowest_heal = tally.slowest_heal.max(agreed.elapsed());
            tally.changes += 1;
            password = next;
        }
        Ok(tally)
    }

    async fn change_on_bmc(&self, old: &str, new: &str, ends_sessions: bool) -> Result<()> {
        let account = format!("{}/redfish/v1/AccountService/Accounts/1", self.url);
        let request = self.http.patch(account).basic_auth("admin", Some(old));
        let answer = request.json(&json!({ "Password": new })).send().await?;
        answer.error_for_status()?;
        if ends_sessions {
            self.bmc.clear_sessions();
        }
        Ok(())
    }

    /// Looks at the BMC all the time: the most sessions it had.
    async fn watch(&self, done: &AtomicUsize) -> Result<usize> {
        let mut most = 0;
        let mut tick = interval(Duration::from_millis(20));
        while done.load(Ordering::Relaxed) == 0 {
            tick.tick().await;
            most = most.max(self.bmc.sessions().len());
            ensure!(self.bmc.locked_accounts() == 0, "the account is locked");
        }
        Ok(most)
    }
}

#[tokio::test]
async fn everything_at_once_locks_no_account_and_leaves_no_session() -> Result<()> {
    let mut frail = Frail::start().await?;
    wait::until("the first session", async || {
        (frail.bmc.sessions().len() == 1).then_some(())
    })
    .await?;
    let length = duration();
    let (begun, until) = (Instant::now(), Instant::now() + length);
    let done = AtomicUsize::new(0);
    let work = async {
        let tallies = tokio::try_join!(
            frail.ask(until),
            frail.operate(until),
            frail.change_passwords(until)
        );
        done.store(1, Ordering::Relaxed);
        tallies
    };
    let (tallies, most) = tokio::join!(work, frail.watch(&done));
    let (most, mut tally) = (most?, Tally::default());
    let (asked, operated, changed) = tallies?;
    for part in [asked, operated, changed] {
        tally.add(part);
    }
    let took = begun.elapsed();
    frail.rack.appliance.stop().await?;
    let (counted, left) = (frail.bmc.counters(), frail.bmc.sessions().len());
    eprintln!(
        "{:.0} s: {} requests at the BMC, {} questions, {} operations, {} password changes (in force after at most {} ms); \
         {} logins, {} refused, {} failures that name the password, {} lock-outs, at most {} session(s), {left} left; unexplained: {:?}",
        took.as_secs_f64(),
        counted.requests,
        tally.asked,
        tally.operations,
        tally.changes,
        tally.slowest_heal.as_millis(),
        counted.sessions_opened,
        counted.logins_refused,
        tally.refusals,
        counted.lockouts,
        counted.sessions_peak.max(most),
        tally.unexplained,
    );
    ensure!(counted.lockouts == 0 && frail.bmc.locked_accounts() == 0);
    ensure!(
        tally.unexplained.is_empty(),
        "{}",
        frail.rack.appliance.log()
    );
    ensure!(counted.sessions_peak.max(most) <= 1 && left == 0);
    let refused = usize::try_from(counted.logins_refused)?;
    ensure!(refused <= tally.changes, "a password was tried twice");
    ensure!(tally.operations > 0 && tally.changes > 1 && tally.asked > 10);
    ensure!(tally.slowest_heal <= HEALED_WITHIN);
    frail.simulator.stop().await;
    Ok(())
}
