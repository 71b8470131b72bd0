//! The audit log of the embedded API: one entry per write that was tried, in batches into the store.
//!
//! Requests never wait for it: what the queue does not take is counted and told in the log, where the
//! `audit` line of the request stands anyway. Invariant: entries name who, what and the outcome, and
//! never a body or a token.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::store::{NewAuditEntry, Store};

/// Entries that may wait.
const QUEUE: usize = 16_384;
/// Entries of one transaction.
const BATCH: usize = QUEUE;
/// Pause between two transactions.
const PAUSE: Duration = Duration::from_secs(1);
/// Entries kept, the newest.
pub const KEPT: u32 = 200_000;
/// Entries written between two looks at how many there are.
const PRUNE_EVERY: usize = 10_000;

/// Where requests leave their entries.
#[derive(Debug, Clone)]
pub struct Audit {
    queue: mpsc::Sender<NewAuditEntry>,
    lost: Counter,
}

/// Writes them.
#[derive(Debug)]
pub struct AuditTask {
    queue: mpsc::Receiver<NewAuditEntry>,
    lost: Counter,
    store: Store,
}

impl Audit {
    /// A queue and the task that empties it; what is not kept is counted in `lost`.
    pub fn new(store: Store, lost: Counter) -> (Self, AuditTask) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let task = AuditTask {
            queue,
            lost: lost.clone(),
            store,
        };
        let audit = Self {
            queue: sender,
            lost,
        };
        (audit, task)
    }

    /// Leaves an entry.
    pub fn note(&self, entry: NewAuditEntry) {
        if self.queue.try_send(entry).is_err() {
            self.lost.inc();
        }
    }

    /// Entries that were not kept.
    pub fn lost(&self) -> u64 {
        self.lost.get()
    }
}

impl AuditTask {
    /// Writes until `shutdown`, then what is left.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut batch = Vec::new();
        // The first batch prunes: the limit may have been another one before.
        let mut since_prune = PRUNE_EVERY;
        loop {
            // One commit a second, so that writes of objects do not wait for those of the audit.
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = shutdown.cancelled() => self.queue.close(),
            }
            let found = tokio::select! {
                found = self.queue.recv_many(&mut batch, BATCH) => found,
                () = shutdown.cancelled() => {
                    self.queue.close();
                    self.queue.recv_many(&mut batch, BATCH).await
                }
            };
            if found == 0 {
                return;
            }
            if let Err(error) = self.store.audit().append_all(&batch).await {
                let lost = u64::try_from(batch.len()).unwrap_or(u64::MAX);
                self.lost.inc_by(lost);
                tracing::warn!(%error, lost, "audit entries are in this log only");
            }
            batch.clear();
            since_prune += found;
            if since_prune >= PRUNE_EVERY {
                since_prune = 0;
                if let Err(error) = self.store.audit().prune(KEPT).await {
                    tracing::warn!(%error, "cannot forget old audit entries");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    fn entry(actor: &str) -> NewAuditEntry {
        NewAuditEntry {
            at: Timestamp::UNIX_EPOCH,
            actor: actor.to_owned(),
            action: "create".to_owned(),
            object: "machines.unbounded-cloud.io/a".to_owned(),
            detail: json!({"code": 201}),
        }
    }

    #[tokio::test]
    async fn entries_arrive_in_order_and_what_is_too_much_is_counted() {
        let store = Store::open("sqlite::memory:").await.unwrap();
        let (audit, task) = Audit::new(store.clone(), Counter::default());
        for n in 0..QUEUE + 5 {
            audit.note(entry(&n.to_string()));
        }
        assert_eq!(audit.lost(), 5);
        let stop = CancellationToken::new();
        stop.cancel();
        task.run(stop).await;
        let kept = store.audit().list(None, 20_000).await.unwrap();
        assert_eq!(kept.len(), QUEUE);
        assert_eq!(kept.first().unwrap().actor, (QUEUE - 1).to_string());
        assert_eq!(kept.last().unwrap().actor, "0");
    }

    #[tokio::test]
    async fn the_oldest_are_forgotten() {
        let store = Store::open("sqlite::memory:").await.unwrap();
        let entries: Vec<_> = (0..9).map(|n| entry(&n.to_string())).collect();
        store.audit().append_all(&entries).await.unwrap();
        store.audit().prune(4).await.unwrap();
        let kept = store.audit().list(None, 100).await.unwrap();
        let actors: Vec<_> = kept.iter().map(|e| e.actor.as_str()).collect();
        assert_eq!(actors, ["8", "7", "6", "5"]);
    }
}
