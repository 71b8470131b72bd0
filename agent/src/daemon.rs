//! The agent on an installed host: reports the boot until it is heard, then sends a heartbeat.
//!
//! It changes nothing on the host. SIGTERM ends it by its default action; nothing needs saving.
//! Invariant: after a first answered report the interval is fixed; before, waits grow to 30 s.

use std::thread;
use std::time::Duration;

use anyhow::Context;
use metalman_api::install::BootReport;
use tracing::{info, warn};
use ureq::http::StatusCode;

use crate::VERSION;
use crate::backoff::Backoff;
use crate::client::Client;
use crate::config::AgentConfig;
use crate::facts::FactSource;

const HEARTBEAT: Duration = Duration::from_mins(1);
const UNTIL_HEARD: Backoff = Backoff {
    first: Duration::from_secs(1),
    max: Duration::from_secs(30),
    tries: u32::MAX,
};

/// Runs until the process is ended.
///
/// # Errors
/// The boot id cannot be read; everything else is retried.
pub fn run(config: &AgentConfig) -> anyhow::Result<()> {
    let facts = FactSource::system();
    let client = Client::new();
    let mut schedule = Schedule::default();
    let boot_id = facts.boot_id().context("read the boot id")?;
    info!(machine.id = %config.machine_name, boot.id = %boot_id, "agent {VERSION} started");
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
        thread::sleep(wait);
    }
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
