//! The agent on an installed host: reports the boot until it is heard, then sends a heartbeat, and
//! where it has a kubeconfig renews the Lease of its host.
//!
//! It changes nothing on the host. SIGTERM ends it by its default action; nothing needs saving.
//! Invariant: after a first answered report the interval is fixed; before, waits grow to 30 s.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use metalman_api::install::BootReport;
use tracing::{info, warn};
use ureq::http::StatusCode;

use crate::VERSION;
use crate::backoff::Backoff;
use crate::client::Client;
use crate::config::AgentConfig;
use crate::facts::FactSource;
use crate::presence::{Presence, Untold};

const HEARTBEAT: Duration = Duration::from_mins(1);
const UNTIL_HEARD: Backoff = Backoff {
    first: Duration::from_secs(1),
    max: Duration::from_secs(30),
    tries: u32::MAX,
};

/// Runs until the process is ended. `kubeconfig` need not be there.
///
/// # Errors
/// The boot id cannot be read; everything else is retried.
pub fn run(config: &AgentConfig, kubeconfig: &Path) -> anyhow::Result<()> {
    let facts = FactSource::system();
    let client = Client::new();
    let mut schedule = Schedule::default();
    let boot_id = facts.boot_id().context("read the boot id")?;
    info!(machine.id = %config.machine_name, boot.id = %boot_id, "agent {VERSION} started");
    let mut present = match Presence::open(kubeconfig, &config.machine_name) {
        Ok(presence) => presence.map(Present::new),
        Err(error) => {
            warn!(error = %format!("{error:#}"), "no Lease is kept");
            None
        }
    };
    loop {
        let report = BootReport {
            boot_id: boot_id.clone(),
            machine_uuid: facts.machine_uuid(),
            kernel: facts.kernel(),
            agent_version: VERSION.to_owned(),
            uptime_seconds: facts.uptime_seconds(),
        };
        let outcome = match client.post(&config.boot_report_url, &report) {
            Ok(answer) if answer.status == StatusCode::NO_CONTENT => Outcome::Heard,
            Ok(answer) => Outcome::Unheard(format!("status {}", answer.status)),
            Err(error) => Outcome::Unheard(format!("{:#}", anyhow::Error::from(error))),
        };
        let was_heard = schedule.is_heard;
        let wait = schedule.next(&outcome);
        match outcome {
            Outcome::Heard if !was_heard => info!("boot reported"),
            Outcome::Heard => {}
            Outcome::Unheard(why) => {
                warn!(error = %why, "report not accepted, next try in {} s", wait.as_secs());
            }
        }
        if let Some(present) = &mut present {
            present.tell(now());
        }
        thread::sleep(wait);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the host's clock; nothing else of the agent needs one"
)]
fn now() -> Timestamp {
    Timestamp::now()
}

/// The Lease, and whether the log has been told how it stands.
#[derive(Debug)]
struct Present {
    presence: Presence,
    last: Option<String>,
}

impl Present {
    fn new(presence: Presence) -> Self {
        let last = None;
        Self { presence, last }
    }

    /// Renews the Lease; a line in the log for each change of what comes of it.
    fn tell(&mut self, now: Timestamp) {
        let result = self
            .presence
            .check()
            .and_then(|()| self.presence.renew(now));
        let said = result.as_ref().map_or_else(told, |()| String::new());
        if self.last.as_ref() == Some(&said) {
            return;
        }
        match result {
            Ok(()) => info!("the API knows this host, its Lease is renewed"),
            Err(_) => warn!(error = %said, "the Lease is not renewed"),
        }
        self.last = Some(said);
    }
}

/// An error with its causes.
fn told(error: &Untold) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[derive(Debug)]
enum Outcome {
    Heard,
    Unheard(String),
}

/// When to report next.
#[derive(Debug, Default)]
struct Schedule {
    is_heard: bool,
    failures: u32,
}

impl Schedule {
    fn next(&mut self, outcome: &Outcome) -> Duration {
        match outcome {
            Outcome::Heard => {
                self.is_heard = true;
                self.failures = 0;
                HEARTBEAT
            }
            Outcome::Unheard(_) if self.is_heard => HEARTBEAT,
            Outcome::Unheard(_) => {
                self.failures = self.failures.saturating_add(1);
                UNTIL_HEARD.before(self.failures).unwrap_or(HEARTBEAT)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_until_the_first_answer_and_are_fixed_after() {
        let mut schedule = Schedule::default();
        let lost = Outcome::Unheard(String::new());
        let waits: Vec<u64> = (0..7).map(|_| schedule.next(&lost).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(schedule.next(&Outcome::Heard), HEARTBEAT);
        assert_eq!(schedule.next(&lost), HEARTBEAT);
    }
}
