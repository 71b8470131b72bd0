//! Telling the appliance how far the installation is.
//!
//! A thread of its own posts, so that a slow or absent appliance never slows the disk.
//! Invariant: reports of progress may be lost, the order of those that arrive is kept, and the
//! last report is repeated until it is answered or its tries end.

use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use metalman_api::install::{InstallFailure, InstallReport, InstallStage};
use tracing::{info, warn};

use super::error::chain;
use crate::backoff::Backoff;
use crate::client::Client;

/// Repeats of the last report: about two minutes.
pub const LAST_REPORT_BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    max: Duration::from_secs(10),
    tries: 15,
};
const AT_MOST_EVERY: Duration = Duration::from_secs(1);
/// Reports that wait to be sent; more are dropped, for progress that is harmless.
const QUEUE: usize = 64;

/// Sends the reports of one installation.
#[derive(Debug)]
pub struct Reporter {
    client: Client,
    url: String,
    boot_id: String,
    queue: SyncSender<InstallReport>,
    sender: JoinHandle<()>,
    throttle: Mutex<Throttle>,
}

impl Reporter {
    /// Starts the sending thread.
    pub fn start(client: Client, url: String, boot_id: String) -> Self {
        let (queue, reports) = mpsc::sync_channel(QUEUE);
        let sender = thread::spawn({
            let (client, url) = (client.clone(), url.clone());
            move || send_all(&client, &url, &reports)
        });
        let throttle = Mutex::new(Throttle::default());
        Self {
            client,
            url,
            boot_id,
            queue,
            sender,
            throttle,
        }
    }

    /// A new stage has begun.
    pub fn stage(&self, stage: InstallStage, message: impl Into<String>) {
        let message = message.into();
        info!("{stage:?}: {message}");
        self.with_throttle(|throttle| throttle.restart(Instant::now()));
        self.enqueue(InstallReport {
            message,
            ..self.report(stage)
        });
    }

    /// So many bytes of a stage are done; sent at most once a second.
    pub fn progress(&self, stage: InstallStage, bytes: u64, total_bytes: u64) {
        if self.with_throttle(|throttle| throttle.admits(Instant::now())) {
            let percent = percent(bytes, total_bytes);
            self.enqueue(InstallReport {
                percent,
                bytes,
                total_bytes,
                ..self.report(stage)
            });
        }
    }

    /// Sends the success after all earlier reports. Whether it was answered.
    pub fn finish(self, written_sha256: String, backoff: Backoff) -> bool {
        let report = InstallReport {
            percent: Some(100),
            message: "restarting from the disk".to_owned(),
            written_sha256: Some(written_sha256),
            ..self.report(InstallStage::Finished)
        };
        self.last(&report, backoff)
    }

    /// Sends the failure after all earlier reports. Whether it was answered.
    pub fn fail(self, failure: InstallFailure, backoff: Backoff) -> bool {
        let report = InstallReport {
            message: failure.message.clone(),
            failure: Some(failure),
            ..self.report(InstallStage::Failed)
        };
        self.last(&report, backoff)
    }

    fn last(self, report: &InstallReport, backoff: Backoff) -> bool {
        drop(self.queue);
        if self.sender.join().is_err() {
            warn!("the report thread had failed");
        }
        let mut try_number = 0;
        while let Some(wait) = backoff.before(try_number) {
            thread::sleep(wait);
            if send(&self.client, &self.url, report) {
                return true;
            }
            try_number += 1;
        }
        false
    }

    fn report(&self, stage: InstallStage) -> InstallReport {
        InstallReport {
            boot_id: self.boot_id.clone(),
            stage,
            percent: None,
            bytes: 0,
            total_bytes: 0,
            message: String::new(),
            failure: None,
            written_sha256: None,
        }
    }

    fn enqueue(&self, report: InstallReport) {
        if self.queue.try_send(report).is_err() {
            warn!("a report was dropped, the appliance is too slow");
        }
    }

    fn with_throttle<T>(&self, change: impl FnOnce(&mut Throttle) -> T) -> T {
        // A throttle is valid after any panic.
        change(&mut self.throttle.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn send_all(client: &Client, url: &str, reports: &Receiver<InstallReport>) {
    while let Ok(first) = reports.recv() {
        let mut report = first;
        // Only the newest progress of a stage matters.
        while let Ok(next) = reports.try_recv() {
            if next.stage != report.stage {
                send(client, url, &report);
            }
            report = next;
        }
        send(client, url, &report);
    }
}

/// Whether the appliance has taken note: a 4xx is an answer, repeating would not change it.
fn send(client: &Client, url: &str, report: &InstallReport) -> bool {
    match client.post(url, report) {
        Ok(answer) if answer.status.is_success() => true,
        Ok(answer) => {
            warn!(status = %answer.status, "report not accepted");
            answer.status.is_client_error()
        }
        Err(error) => {
            warn!(error = %chain(&error), "report lost");
            false
        }
    }
}

/// Whole percent, rounded down; `None` of an unknown total.
fn percent(bytes: u64, total: u64) -> Option<u8> {
    let percent = u128::from(bytes) * 100 / u128::from(Some(total).filter(|total| *total > 0)?);
    u8::try_from(percent.min(100)).ok()
}

/// Lets one event a second through.
#[derive(Debug, Default)]
struct Throttle {
    last: Option<Instant>,
}

impl Throttle {
    fn restart(&mut self, now: Instant) {
        self.last = Some(now);
    }

    fn admits(&mut self, now: Instant) -> bool {
        let is_due = self
            .last
            .is_none_or(|last| now.saturating_duration_since(last) >= AT_MOST_EVERY);
        if is_due {
            self.last = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_one_progress_a_second() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut throttle = Throttle::default();
        throttle.restart(at(0));
        let admitted: Vec<bool> = [0, 999, 1000, 1500, 2100]
            .map(|ms| throttle.admits(at(ms)))
            .into();
        assert_eq!(admitted, [false, false, true, false, true]);
    }

    #[test]
    fn percent_is_bounded() {
        assert_eq!(percent(1, 3), Some(33));
        assert_eq!(percent(9, 3), Some(100));
        assert_eq!(percent(1, 0), None);
        assert_eq!(percent(u64::MAX, u64::MAX), Some(100));
    }
}
