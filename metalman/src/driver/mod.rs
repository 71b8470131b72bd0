//! The driver: the only writer of a target's state.
//!
//! For every unfinished host operation: gather facts, let [`crate::domain::step()`] decide, commit
//! in one transaction, act, feed readings back. Killing the process between any two of these loses
//! nothing: the next run reads and decides again. A target is looked at when something about its
//! machine or operation has changed, and when its own decision would change by time alone.

mod act;
mod gather;
mod images;
mod journal;
mod order;
mod reads;
mod record;
mod sightings;
mod target;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use metalman_api::operation::MachineOperation;
use serde_json::json;
use tokio::{sync::Notify, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};

pub use images::{ImageJobs, ImageParts};
use journal::{Journal, Key};
use reads::Reads;
pub(crate) use target::random_word;

use crate::{
    bmc::BmcDesk,
    clock,
    domain::{Limits, conflicts::Order},
    kube::current::CurrentMachines,
    site::{BootView, Changed, Site},
    store::{ActionOutcome, FinishedAction, Store, StoreError, Target},
    supervisor::chain,
};

/// Longest pause between two looks at what is due.
const TICK: Duration = Duration::from_secs(1);

/// Everything the driver works with.
#[derive(Debug, Clone)]
pub struct Driver {
    /// Site view.
    pub site: Arc<Site>,
    /// Machines as they are now.
    pub current: CurrentMachines,
    /// Journal.
    pub store: Store,
    /// BMCs.
    pub bmcs: BmcDesk,
    /// Images of running operations.
    pub images: ImageJobs,
    /// Snapshot builder.
    pub boot: BootView,
    /// Time limits.
    pub limits: Limits,
    /// Machines worked on at one time.
    pub max_concurrent: usize,
    /// Tasks, joined at the end.
    pub tasks: TaskTracker,
    /// What the driver itself remembers; begins empty.
    pub memory: DriverMemory,
}

/// The driver's own memory; it can be rebuilt from the store.
#[derive(Debug, Clone, Default)]
pub struct DriverMemory {
    journal: Arc<Mutex<Journal>>,
    /// Operations that mean no machine of ours, or none that exists, so far.
    unrecorded: Arc<Mutex<HashSet<String>>>,
    reads: Reads,
    /// Told when a target's task ends.
    ended: Arc<Notify>,
}

impl Driver {
    /// Runs until `stop`.
    ///
    /// # Errors
    /// When the journal is broken; a database that is away is waited for.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        self.end_interrupted_actions().await?;
        let inbox = self.site.subscribe();
        // What a failed pass has taken and not worked on.
        let mut changed = Changed::default();
        while !stop.is_cancelled() {
            if self.site.is_synced() {
                changed.add(inbox.take());
                match self.pass(&changed).await {
                    Ok(()) => changed = Changed::default(),
                    Err(error) if error.is_transient() => {
                        warn!(error = %chain(&error), error.reason = error.reason(), "database is away, will retry");
                        tokio::select! {
                            () = stop.cancelled() => break,
                            () = tokio::time::sleep(TICK) => continue,
                        }
                    }
                    Err(error) => {
                        error!(error = %chain(&error), error.reason = error.reason(), "the journal is broken");
                        return Err(error.into());
                    }
                }
            }
            let tick = Instant::now() + self.pause();
            tokio::select! {
                () = stop.cancelled() => break,
                () = inbox.changed() => {}
                () = self.memory.ended.notified() => {}
                () = tokio::time::sleep_until(tick) => {}
            }
        }
        self.tasks.close();
        self.images.stop();
        self.tasks.wait().await;
        self.bmcs.bmcs.close().await;
        Ok(())
    }

    /// Until the next target, or a new snapshot, is due; at most a tick.
    fn pause(&self) -> Duration {
        let due = self.journal().next_due(self.max_concurrent);
        let due = due.into_iter().chain(self.boot.refresh_due()).min();
        due.and_then(|due| Duration::try_from(due.duration_since(clock::now())).ok())
            .map_or(if due.is_some() { Duration::ZERO } else { TICK }, |pause| {
                pause.min(TICK)
            })
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.memory
            .journal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Actions that a dead process had begun: nobody knows how far they came. They are noted as
    /// interrupted; the steps look at readings and decide afresh.
    async fn end_interrupted_actions(&self) -> Result<(), StoreError> {
        let now = clock::now();
        let outbox = self.store.outbox();
        for action in outbox.running().await? {
            info!(action.id, machine.id = %action.machine, "action was interrupted by a restart");
            let finished = FinishedAction {
                id: action.id,
                outcome: ActionOutcome::Failed,
                result: json!({ "interrupted": true }),
            };
            outbox.finish(&finished, now).await?;
        }
        Ok(())
    }

    async fn pass(&self, changed: &Changed) -> Result<(), StoreError> {
        let now = clock::now();
        if self.boot.refresh(changed, now).await? {
            self.images.keep_netboot_images();
        }
        self.images.keep_size(self);
        self.record_new(changed, now).await?;
        let lost = |row: &Target| {
            changed.operations.contains(&row.operation_name) && !self.has_object(row)
        };
        let any_lost = !changed.operations.is_empty() && self.journal().open().any(lost);
        if changed.all || any_lost {
            self.cancel_deleted(changed, now).await?;
        }
        let (due, order) = {
            let mut journal = self.journal();
            let due = journal.due(now, changed, self.max_concurrent);
            let order = due
                .iter()
                .any(|key| journal.waits(key))
                .then(|| self.order(&journal));
            (due, Arc::new(order.unwrap_or_default()))
        };
        for key in due {
            self.start_target(key, &order);
        }
        Ok(())
    }

    /// Starts a task for a target unless one runs or too many do.
    fn start_target(&self, key: Key, order: &Arc<Order>) {
        let Some(row) = self.journal().begin(&key, self.max_concurrent) else {
            return;
        };
        let operation = self.site.operation(&row.operation_name);
        let Some(operation) = operation.filter(|_| self.has_object(&row)) else {
            // Deleted while a task worked on it: the inbox has the name again.
            self.journal().end(&key, Timestamp::MAX, false);
            self.site.poke_operation(&row.operation_name);
            return;
        };
        let (driver, order) = (self.clone(), Arc::clone(order));
        self.tasks.spawn(async move {
            let looked = driver.advance(&operation, row, &order).await;
            match looked {
                Ok(next) => {
                    let is_last = driver.journal().end(&key, next.due, next.waits);
                    if let Some(name) = operation.metadata.name.as_deref().filter(|_| is_last) {
                        driver.site.poke_operation(name);
                    }
                }
                Err(error) => {
                    warn!(error = %chain(&error), error.reason = error.reason(), machine.id = key.1, "step was not kept, will retry");
                    driver.journal().drop_row(&key);
                    driver.retry_later(&operation);
                }
            }
            driver.memory.ended.notify_one();
        });
    }
}

impl Driver {
    /// Has the targets of an operation read from the store again, at the next tick.
    fn retry_later(&self, operation: &MachineOperation) {
        let Some(name) = operation.metadata.name.clone() else {
            return;
        };
        let unrecorded = self.memory.unrecorded.lock();
        unrecorded
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name);
    }
}

/// When a target wants to be looked at again.
#[derive(Debug, Clone, Copy)]
struct NextLook {
    due: Timestamp,
    /// It has not begun and may wait for another operation.
    waits: bool,
}
