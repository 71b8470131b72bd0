//! Writes what the boot services saw, in batches, behind a bounded queue.
//!
//! The packet path never waits: when the queue is full the event is dropped and counted. Invariant:
//! events of one machine are written in the order they were recorded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use netboot::event::{BootEvent, BootEventKind};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::collapse::Collapser;
use super::refusal::{Watch, is_loader};
use super::silence::Silence;
use crate::clock;
use crate::store::{Observed, Store, StoreError};

/// Events waiting to be written. A boot makes about fifty; when full, new ones are dropped.
const QUEUE: usize = 4096;
/// Events written in one transaction at most.
const BATCH: usize = 512;
/// How long an event waits for company before it is written.
const BATCH_EVERY: Duration = Duration::from_millis(100);
/// How long GRUB may pause between two modules without ending their line.
const SETTLE_EVERY: Duration = Duration::from_secs(2);
/// Pause before writing again after the database did not answer.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// Names the operation that runs on a machine, to be noted with its entries. Must not block.
pub type RunningOperation = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;
/// Says which generation the boot loader in this file of a machine is. Must not block.
pub type LoaderWords = Arc<dyn Fn(&str, &str) -> Option<String> + Send + Sync>;

/// The queue's near end; cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: mpsc::Sender<BootEvent>,
    dropped: Arc<AtomicU64>,
    written: watch::Receiver<u64>,
}

/// The queue's far end: the task that writes.
pub struct RecorderTask {
    store: Store,
    queue: mpsc::Receiver<BootEvent>,
    running: RunningOperation,
    loader_words: Option<LoaderWords>,
    dropped: Arc<AtomicU64>,
    written: watch::Sender<u64>,
    collapser: Collapser,
    loaders: Watch,
    silence: Silence,
}

impl std::fmt::Debug for RecorderTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecorderTask")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl Recorder {
    /// Both ends of a queue into `store`. Nothing is written until the task runs.
    pub fn new(store: Store, running: RunningOperation) -> (Self, RecorderTask) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let (written_sender, written) = watch::channel(0);
        let recorder = Self {
            queue: sender,
            dropped: Arc::clone(&dropped),
            written,
        };
        let task = RecorderTask {
            store,
            queue: receiver,
            running,
            loader_words: None,
            dropped,
            written: written_sender,
            collapser: Collapser::default(),
            loaders: Watch::default(),
            silence: Silence::default(),
        };
        (recorder, task)
    }

    /// Queues an event; never waits. A full queue drops it and counts.
    pub fn record(&self, event: BootEvent) {
        if self.queue.try_send(event).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Events lost so far, because the queue was full or the batch could not be written.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Changes after every batch that reached the database; the value counts batches.
    pub fn written(&self) -> watch::Receiver<u64> {
        self.written.clone()
    }
}

impl RecorderTask {
    /// Has served boot loaders told with their generation.
    #[must_use]
    pub fn with_loader_words(mut self, words: LoaderWords) -> Self {
        self.loader_words = Some(words);
        self
    }

    /// Writes until `stop` is cancelled, then writes what is left and returns.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut batches = interval(BATCH_EVERY);
        batches.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut settled = Instant::now();
        let mut events = Vec::with_capacity(BATCH);
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = batches.tick() => {}
            }
            while let Ok(event) = self.queue.try_recv() {
                events.push(event);
                if events.len() == BATCH {
                    break;
                }
            }
            let mut observed = self.observe(&mut events);
            if settled.elapsed() >= SETTLE_EVERY {
                settled = Instant::now();
                self.collapser.settle(&mut observed);
                let now = clock::now();
                for line in self.silence.settle(now) {
                    self.loaders.acquit(&line.machine);
                    observed.timeline.push(line);
                }
                self.loaders.settle(now, &mut observed);
            }
            self.write(observed, &stop).await;
        }
        self.queue.close();
        while let Some(event) = self.queue.recv().await {
            events.push(event);
        }
        let mut observed = self.observe(&mut events);
        self.collapser.finish(&mut observed);
        self.write(observed, &stop).await;
    }

    fn observe(&mut self, events: &mut Vec<BootEvent>) -> Observed {
        let mut observed = Observed::default();
        for event in events.drain(..) {
            self.loaders.push(&event, &mut observed);
            let before = observed.timeline.len();
            self.silence.push(&event);
            self.collapser.push(&event, &mut observed);
            if let Some(words) = self.loader_words(&event)
                && observed.timeline.len() > before
                && let Some(line) = observed.timeline.last_mut()
            {
                line.text.push_str(&words);
            }
        }
        observed
    }

    /// `; SBAT …` for an event that served a boot loader.
    fn loader_words(&self, event: &BootEvent) -> Option<String> {
        let (BootEventKind::TftpDone { file, .. }
        | BootEventKind::TftpUnacknowledged { file, .. }
        | BootEventKind::HttpDone {
            file, status: 200, ..
        }) = &event.kind
        else {
            return None;
        };
        let machine = event.machine.as_deref().filter(|_| is_loader(file))?;
        let words = self.loader_words.as_ref()?(machine, file)?;
        Some(format!("; SBAT {words}"))
    }

    /// Writes a batch; while the database is away, tries again until it is back or `stop`.
    async fn write(&self, mut observed: Observed, stop: &CancellationToken) {
        if observed.is_empty() {
            return;
        }
        for line in &mut observed.timeline {
            line.operation = (self.running)(&line.machine);
        }
        loop {
            match self.store.record(&observed).await {
                Ok(()) => {
                    self.written.send_modify(|batches| *batches += 1);
                    return;
                }
                Err(error) if error.is_transient() && !stop.is_cancelled() => {
                    warn!(
                        error.reason = error.reason(),
                        cause = cause(&error),
                        "could not write the boot timeline, will retry"
                    );
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(RETRY_EVERY) => {}
                    }
                }
                Err(error) => {
                    let lost = observed.timeline.len() + observed.evidence.len();
                    self.dropped.fetch_add(lost as u64, Ordering::Relaxed);
                    error!(
                        error.reason = error.reason(),
                        cause = cause(&error),
                        lost,
                        "could not write the boot timeline, entries are lost"
                    );
                    return;
                }
            }
        }
    }
}

fn cause(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(next) = source {
        text.push_str(": ");
        text.push_str(&next.to_string());
        source = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use tokio::task::JoinSet;

    use super::*;

    fn event(file: &str) -> BootEvent {
        BootEvent {
            machine: Some("node-1".into()),
            mac: None,
            ip: None,
            at: Timestamp::UNIX_EPOCH,
            kind: BootEventKind::HttpDone {
                file: file.into(),
                bytes: 1,
                expected: 1,
                duration_ms: 1,
                status: 200,
            },
        }
    }

    #[tokio::test]
    async fn events_are_written_in_order_with_their_operation() {
        let store = Store::open("sqlite::memory:").await.expect("opens");
        let running: RunningOperation = Arc::new(|machine| Some(format!("replace-{machine}")));
        let (recorder, task) = Recorder::new(store.clone(), running);
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        tasks.spawn(task.run(stop.clone()));
        for n in 0..20 {
            recorder.record(event(&format!("f{n}")));
        }
        let mut written = recorder.written();
        written
            .wait_for(|batches| *batches > 0)
            .await
            .expect("the task lives");
        recorder.record(event("last"));
        stop.cancel();
        tasks.join_all().await;
        let mut entries = store
            .timeline()
            .list("node-1", None, 100)
            .await
            .expect("lists");
        entries.reverse();
        assert_eq!(
            entries.len(),
            21,
            "what was queued at the stop is written too"
        );
        assert!(entries[3].text.starts_with("HTTP f3 "));
        assert_eq!(entries[3].operation.as_deref(), Some("replace-node-1"));
        assert_eq!(
            store
                .evidence()
                .since("node-1", Timestamp::MIN)
                .await
                .expect("ok")
                .len(),
            21
        );
        assert_eq!(recorder.dropped(), 0);
    }

    #[tokio::test]
    async fn a_full_queue_drops_and_counts() {
        let store = Store::open("sqlite::memory:").await.expect("opens");
        let (recorder, task) = Recorder::new(store, Arc::new(|_| None));
        for _ in 0..QUEUE + 3 {
            recorder.record(event("x"));
        }
        assert_eq!(recorder.dropped(), 3);
        drop(task);
    }
}
