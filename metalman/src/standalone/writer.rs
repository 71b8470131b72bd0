//! The single writer: every change of every object goes through here, many per commit.
//!
//! A job decides in memory; what it decided is committed before anybody sees it. It knows no HTTP
//! and no rules. Invariant: nothing is acknowledged that is not durable, and a client that goes
//! away cannot interrupt a commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::fields::Fields as _;
use super::hub::{Change, ChangeKind, Hub, Key, News, Stored};
use super::status::ApiError;
use super::storage::{Storage, StorageError};

/// Jobs that may wait; more writers than this wait in `submit`.
const QUEUE: usize = 256;
/// Jobs per commit.
const BATCH: usize = 128;

type Pending = BTreeMap<Key, Option<Arc<Stored>>>;
type Job = Box<dyn FnOnce(&mut Transaction<'_>) -> Result<Reply, ApiError> + Send>;

/// What a job answers its client.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// 200 or 201.
    pub code: u16,
    /// The object or `Status`.
    pub body: Value,
    /// The body is a stored object (and not a `Status` or list).
    pub is_object: bool,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
}

struct Request {
    job: Job,
    answer: oneshot::Sender<Result<Reply, ApiError>>,
}

/// Handle for those who want something written.
#[derive(Debug, Clone)]
pub struct Submitter {
    queue: mpsc::Sender<Request>,
    guard: Option<Guard>,
}

type Look = dyn Fn(&News) -> Result<(), ApiError> + Send + Sync;

/// Looks at one change of a job before it is kept.
#[derive(Clone)]
struct Guard(Arc<Look>);

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Guard")
    }
}

/// The writer itself; `run` it once.
pub struct Writer {
    hub: Arc<Hub>,
    storage: Storage,
    queue: mpsc::Receiver<Request>,
    clock: fn() -> Timestamp,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

/// What a job sees and changes: the committed state, earlier jobs of the batch, its own writes.
#[derive(Debug)]
pub struct Transaction<'w> {
    hub: &'w Hub,
    batch: &'w Pending,
    mine: Pending,
    changes: Vec<News>,
    version: u64,
    /// Time of the write.
    pub now: Timestamp,
}

impl Submitter {
    /// The same, but nothing of a job is kept when `guard` refuses one of its changes.
    #[must_use]
    pub fn guarded(
        &self,
        guard: impl Fn(&News) -> Result<(), ApiError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            queue: self.queue.clone(),
            guard: Some(Guard(Arc::new(guard))),
        }
    }

    /// Runs `job` in the writer and waits until its changes are durable.
    ///
    /// # Errors
    /// The job's refusal, or 500 when the commit failed or the writer is gone.
    pub async fn submit(
        &self,
        job: impl FnOnce(&mut Transaction<'_>) -> Result<Reply, ApiError> + Send + 'static,
    ) -> Result<Reply, ApiError> {
        let (answer, done) = oneshot::channel();
        let gone = || ApiError::internal("the server is shutting down");
        let job: Job = match self.guard.clone() {
            None => Box::new(job),
            Some(Guard(guard)) => Box::new(move |tx| {
                let reply = job(tx)?;
                tx.changes.iter().try_for_each(|news| guard(news))?;
                Ok(reply)
            }),
        };
        self.queue
            .send(Request { job, answer })
            .await
            .map_err(|_| gone())?;
        done.await.map_err(|_| gone())?
    }
}

impl Writer {
    /// A writer and the handle to it.
    pub fn new(hub: Arc<Hub>, storage: Storage, clock: fn() -> Timestamp) -> (Self, Submitter) {
        let (sender, queue) = mpsc::channel(QUEUE);
        (
            Self {
                hub,
                storage,
                queue,
                clock,
            },
            Submitter {
                queue: sender,
                guard: None,
            },
        )
    }

    /// Serves jobs until every submitter is gone.
    ///
    /// # Errors
    /// When the outcome of a commit cannot be known, or another process writes too: going on
    /// would show clients something that is not stored.
    pub async fn run(mut self) -> Result<(), StorageError> {
        let mut waiting = Vec::with_capacity(BATCH);
        while self.queue.recv_many(&mut waiting, BATCH).await > 0 {
            // Requests that are being read at this moment are in time for this commit.
            tokio::task::yield_now().await;
            while waiting.len() < BATCH
                && let Ok(request) = self.queue.try_recv()
            {
                waiting.push(request);
            }
            self.batch(std::mem::take(&mut waiting)).await?;
        }
        Ok(())
    }

    async fn batch(&self, requests: Vec<Request>) -> Result<(), StorageError> {
        let from = self.hub.version();
        let mut pending = Pending::new();
        let mut changes = Vec::new();
        let mut answers = Vec::with_capacity(requests.len());
        let mut version = from;
        for request in requests {
            let now = (self.clock)();
            let mut transaction = Transaction {
                hub: &self.hub,
                batch: &pending,
                mine: Pending::new(),
                changes: Vec::new(),
                version,
                now,
            };
            let result = (request.job)(&mut transaction);
            let Transaction {
                mine,
                changes: new,
                version: reached,
                ..
            } = transaction;
            if result.is_ok() {
                pending.extend(mine);
                changes.extend(new);
                version = reached;
            }
            answers.push((request.answer, result));
        }
        let committed = self.commit(from, version, changes).await?;
        for (answer, result) in answers {
            let result = if committed {
                result
            } else {
                result.and(Err(ApiError::internal("the change could not be stored")))
            };
            // A client that went away does not want its answer.
            answer.send(result).ok();
        }
        Ok(())
    }

    /// True when the changes are durable and published.
    async fn commit(&self, from: u64, to: u64, changes: Vec<News>) -> Result<bool, StorageError> {
        if changes.is_empty() {
            return Ok(true);
        }
        let compacted = self.hub.compaction(changes.len());
        match self.storage.commit(from, to, compacted, &changes).await {
            Ok(()) => {}
            Err(error @ StorageError::NotAlone { .. }) => return Err(error),
            Err(error) => {
                // COMMIT may have succeeded although its answer was lost: only the version knows.
                let (version, _) = self.storage.versions().await?;
                tracing::error!(%error, version, from, to, "commit of API objects failed");
                if version != to {
                    return Ok(false);
                }
            }
        }
        self.hub.publish(changes, compacted);
        Ok(true)
    }
}

impl Transaction<'_> {
    /// An object as this job must see it.
    pub fn get(&self, key: &Key) -> Option<Arc<Stored>> {
        match self.mine.get(key).or_else(|| self.batch.get(key)) {
            Some(pending) => pending.clone(),
            None => self.hub.get(key),
        }
    }

    /// Objects of a resource as this job must see them.
    pub fn list(&self, slot: usize, namespace: Option<&str>) -> Vec<Arc<Stored>> {
        let fits = |key: &Key| {
            key.slot == slot && namespace.is_none_or(|namespace| key.namespace == namespace)
        };
        let committed = self.hub.list(slot, namespace, None).objects;
        let mut objects: BTreeMap<Key, Arc<Stored>> = committed
            .into_iter()
            .map(|object| (object.key.clone(), object))
            .collect();
        for (key, pending) in self
            .batch
            .iter()
            .chain(&self.mine)
            .filter(|(key, _)| fits(key))
        {
            match pending {
                Some(object) => objects.insert(key.clone(), Arc::clone(object)),
                None => objects.remove(key),
            };
        }
        objects.into_values().collect()
    }

    /// Is nothing left in a namespace?
    pub fn is_namespace_empty(&self, namespace: &str) -> bool {
        (0..self.hub.slots()).all(|slot| self.list(slot, Some(namespace)).is_empty())
    }

    /// Resource version after this job's changes so far.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Creates or replaces an object; returns it with its new resource version.
    pub fn put(&mut self, key: Key, value: Value) -> Value {
        let previous = self.get(&key);
        let kind = if previous.is_some() {
            ChangeKind::Modified
        } else {
            ChangeKind::Added
        };
        self.change(kind, key, value, previous)
    }

    /// Removes an object; returns its last state, which is `last` with a new version.
    pub fn remove(&mut self, stored: &Arc<Stored>, last: Value) -> Value {
        let previous = Some(Arc::clone(stored));
        self.change(ChangeKind::Deleted, stored.key.clone(), last, previous)
    }

    fn change(
        &mut self,
        kind: ChangeKind,
        key: Key,
        mut value: Value,
        previous: Option<Arc<Stored>>,
    ) -> Value {
        self.version += 1;
        let version = self.version;
        value
            .at_mut("metadata")
            .set("resourceVersion", json!(version.to_string()));
        let text = value.to_string();
        let object = Arc::new(Stored {
            key: key.clone(),
            version,
            written_at: self.now,
            body: self.hub.pack(key.slot, &text),
        });
        let live = (kind != ChangeKind::Deleted).then(|| Arc::clone(&object));
        self.mine.insert(key, live);
        let change = Arc::new(Change {
            version,
            kind,
            object,
            previous,
        });
        let uid = value.at("metadata").at("uid").as_str().unwrap_or_default();
        let news = News::new(change, Bytes::from(text), uid);
        self.changes.push(news);
        value
    }
}
