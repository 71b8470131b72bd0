//! All objects in memory, the recent changes, and who listens to them.
//!
//! Reads are answered from here alone. Only the writer publishes. Invariant: state, log and feeds
//! move together under one lock, so a watcher that subscribes and replays misses nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::broadcast;

use super::status::ApiError;
use super::storage::{LOG_LENGTH, Loaded};
use crate::packed::{Packed, Packer};

/// Changes a watcher may lag behind before it is dropped with 410.
const FEED_LENGTH: usize = 1024;

/// Identity of an object in the cache.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Slot of its resource.
    pub slot: usize,
    /// Namespace, empty when cluster-scoped.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// One version of an object.
#[derive(Debug)]
pub struct Stored {
    /// Identity.
    pub key: Key,
    /// Resource version.
    pub version: u64,
    /// When this version was written.
    pub written_at: Timestamp,
    /// The object as stored. Trees of ten thousand objects would take hundreds of megabytes.
    pub body: Packed,
}

impl Stored {
    /// The object as a tree.
    pub fn value(&self) -> Value {
        self.body.value()
    }
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// Created.
    Added,
    /// Written again.
    Modified,
    /// Removed; the change carries its last state.
    Deleted,
}

impl ChangeKind {
    /// The word of watch events.
    pub fn word(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }

    /// The kind of a stored word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Added, Self::Modified, Self::Deleted]
            .into_iter()
            .find(|k| k.word() == word)
    }
}

/// One step of the resource version.
#[derive(Debug)]
pub struct Change {
    /// The version it made.
    pub version: u64,
    /// What happened.
    pub kind: ChangeKind,
    /// The object after it, or its last state.
    pub object: Arc<Stored>,
    /// The object before it; unknown for changes from before a restart.
    pub previous: Option<Arc<Stored>>,
}

/// A change on its way: to the tables, into the cache, to the watchers. What they need of the
/// object besides its packed form is made once for all of them, and goes when the last has it.
#[derive(Debug)]
pub struct News {
    /// The change.
    pub change: Arc<Change>,
    /// The object after it, as JSON.
    pub text: Bytes,
    /// Its uid, for the tables; empty in news of the log, which is in the tables.
    pub uid: Box<str>,
    value: OnceLock<Value>,
    previous: OnceLock<Option<Value>>,
}

impl News {
    /// News of a change that has just been made.
    pub fn new(change: Arc<Change>, text: Bytes, uid: &str) -> Self {
        Self {
            change,
            text,
            uid: uid.into(),
            value: OnceLock::new(),
            previous: OnceLock::new(),
        }
    }

    /// News of a change of the log.
    pub fn again(change: &Arc<Change>) -> Self {
        let text = Bytes::from(change.object.body.text());
        Self::new(Arc::clone(change), text, "")
    }

    /// The object after the change.
    pub fn value(&self) -> &Value {
        self.value
            .get_or_init(|| serde_json::from_slice(&self.text).unwrap_or_default())
    }

    /// The object before it, where that is known.
    pub fn previous(&self) -> Option<&Value> {
        self.previous
            .get_or_init(|| self.change.previous.as_ref().map(|stored| stored.value()))
            .as_ref()
    }
}

/// One packer for each slot: objects of one resource are alike.
#[derive(Debug)]
pub struct Packers(Vec<Packer>);

impl Packers {
    /// Packers for so many slots.
    pub fn new(slots: usize) -> Self {
        Self((0..slots).map(|_| Packer::default()).collect())
    }

    /// Packs the text of an object of a slot.
    pub fn pack(&self, slot: usize, text: &str) -> Packed {
        match self.0.get(slot) {
            Some(packer) => packer.pack(text),
            None => Packer::default().pack(text),
        }
    }
}

type Table = BTreeMap<(String, String), Arc<Stored>>;

#[derive(Debug)]
struct State {
    version: u64,
    compacted: u64,
    tables: Vec<Table>,
    log: VecDeque<Arc<Change>>,
}

/// The shared cache.
#[derive(Debug)]
pub struct Hub {
    state: RwLock<State>,
    feeds: Vec<broadcast::Sender<Arc<News>>>,
    packers: Packers,
}

/// A consistent view of one resource.
#[derive(Debug)]
pub struct Snapshot {
    /// Version of the view.
    pub version: u64,
    /// Objects by namespace and name.
    pub objects: Vec<Arc<Stored>>,
}

/// Where a watch stands: what to send first and what follows.
#[derive(Debug)]
pub struct Subscription {
    /// Version the replay reaches.
    pub version: u64,
    /// Objects at that version, when asked for.
    pub objects: Vec<Arc<Stored>>,
    /// Changes after the version asked for.
    pub replay: Vec<Arc<Change>>,
    /// Changes after `version`.
    pub feed: broadcast::Receiver<Arc<News>>,
}

impl Hub {
    /// A hub filled from storage, which has packed with `packers`.
    pub fn new(packers: Packers, loaded: Loaded) -> Self {
        let slots = packers.0.len();
        let mut tables = vec![Table::new(); slots];
        for object in loaded.objects {
            if let Some(table) = tables.get_mut(object.key.slot) {
                table.insert(
                    (object.key.namespace.clone(), object.key.name.clone()),
                    object,
                );
            }
        }
        let state = State {
            version: loaded.version,
            compacted: loaded.compacted,
            tables,
            log: loaded.changes.into(),
        };
        let feeds = (0..slots)
            .map(|_| broadcast::channel(FEED_LENGTH).0)
            .collect();
        Self {
            state: RwLock::new(state),
            feeds,
            packers,
        }
    }

    /// Packs the text of an object of a slot.
    pub fn pack(&self, slot: usize, text: &str) -> Packed {
        self.packers.pack(slot, text)
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of slots.
    pub fn slots(&self) -> usize {
        self.feeds.len()
    }

    /// Newest version.
    pub fn version(&self) -> u64 {
        self.read().version
    }

    /// Versions up to this one cannot be watched from any more, and the newest version.
    pub fn window(&self) -> (u64, u64) {
        let state = self.read();
        (state.compacted, state.version)
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<Arc<Stored>> {
        let state = self.read();
        let table = state.tables.get(key.slot)?;
        table
            .get(&(key.namespace.clone(), key.name.clone()))
            .cloned()
    }

    /// Objects of a resource after `after`, in one namespace or in all.
    pub fn list(
        &self,
        slot: usize,
        namespace: Option<&str>,
        after: Option<&(String, String)>,
    ) -> Snapshot {
        let state = self.read();
        Snapshot {
            version: state.version,
            objects: state.objects(slot, namespace, after),
        }
    }

    /// Starts a watch: after version `since`, or with all objects when `None`.
    ///
    /// # Errors
    /// 410 when the log does not reach back to `since`, or never got there.
    pub fn subscribe(
        &self,
        slot: usize,
        namespace: Option<&str>,
        since: Option<u64>,
    ) -> Result<Subscription, ApiError> {
        let state = self.read();
        let feed = self
            .feeds
            .get(slot)
            .ok_or_else(ApiError::no_such_resource)?
            .subscribe();
        let (objects, replay) = match since {
            None => (state.objects(slot, namespace, None), Vec::new()),
            Some(since) if since < state.compacted || since > state.version => {
                let text = format!("too old resource version: {since} ({})", state.compacted);
                return Err(ApiError::expired(text));
            }
            Some(since) => {
                let from = state.log.partition_point(|change| change.version <= since);
                let later = state
                    .log
                    .range(from..)
                    .filter(|c| c.object.key.slot == slot);
                (Vec::new(), later.cloned().collect())
            }
        };
        Ok(Subscription {
            version: state.version,
            objects,
            replay,
            feed,
        })
    }

    /// The newest version, if `feed` has delivered everything up to it.
    pub fn drained(&self, feed: &broadcast::Receiver<Arc<News>>) -> Option<u64> {
        let state = self.read();
        feed.is_empty().then_some(state.version)
    }

    /// Where the log should be cut so that it keeps its length with `more` changes to come.
    pub fn compaction(&self, more: usize) -> Option<u64> {
        let state = self.read();
        // Cut rarely and then a quarter at once, so that most commits touch no old rows.
        if state.log.len() + more <= LOG_LENGTH + LOG_LENGTH / 4 {
            return None;
        }
        let drop = (state.log.len() + more).saturating_sub(LOG_LENGTH);
        state
            .log
            .get(drop.min(state.log.len()).checked_sub(1)?)
            .map(|change| change.version)
    }

    /// Makes committed changes visible and tells the watchers.
    pub fn publish(&self, news: Vec<News>, compacted: Option<u64>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        for news in news {
            let change = Arc::clone(&news.change);
            let key = &change.object.key;
            if let Some(table) = state.tables.get_mut(key.slot) {
                let place = (key.namespace.clone(), key.name.clone());
                match change.kind {
                    ChangeKind::Deleted => {
                        table.remove(&place);
                    }
                    ChangeKind::Added | ChangeKind::Modified => {
                        table.insert(place, Arc::clone(&change.object));
                    }
                }
            }
            state.version = change.version;
            if let Some(feed) = self.feeds.get(key.slot) {
                // No listener is no error.
                feed.send(Arc::new(news)).ok();
            }
            state.log.push_back(change);
        }
        if let Some(compacted) = compacted {
            let keep = state
                .log
                .partition_point(|change| change.version <= compacted);
            state.log.drain(..keep);
            state.compacted = compacted;
        }
    }
}

impl State {
    fn objects(
        &self,
        slot: usize,
        namespace: Option<&str>,
        after: Option<&(String, String)>,
    ) -> Vec<Arc<Stored>> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let Some(table) = self.tables.get(slot) else {
            return Vec::new();
        };
        let start = match (after, namespace) {
            (Some(after), _) => Excluded(after.clone()),
            (None, Some(namespace)) => Included((namespace.to_owned(), String::new())),
            (None, None) => Unbounded,
        };
        table
            .range((start, Unbounded))
            .map(|(_, object)| object)
            .take_while(|object| namespace.is_none_or(|ns| object.key.namespace == ns))
            .cloned()
            .collect()
    }
}
