//! The task that follows changes and carries out what is decided.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use serde_json::Value;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::CancellationToken;

use super::decide::{OwnerState, decide};
use super::index::{Index, owner_uids};
use crate::standalone::fields::Fields as _;
use crate::standalone::hub::{ChangeKind, Hub, Key, News, Stored};
use crate::standalone::ops::{self, FOREGROUND, ORPHAN, Step, has_finalizer};
use crate::standalone::resource::{Catalog, Family};
use crate::standalone::status::ApiError;
use crate::standalone::writer::{Reply, Submitter, Transaction};

/// Pause after a write that failed.
const RETRY: Duration = Duration::from_secs(1);

/// Collects what nobody owns any more.
#[derive(Debug)]
pub struct Collector {
    /// What is served.
    pub catalog: Arc<Catalog>,
    /// Objects.
    pub hub: Arc<Hub>,
    /// Where writes go.
    pub writer: Submitter,
}

/// What a subscription tells; `None` when it was too slow and everything must be read again.
type Heard = Option<Arc<News>>;

impl Collector {
    /// Works until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        loop {
            let restart = tokio::select! {
                () = shutdown.cancelled() => return,
                restart = self.follow() => restart,
            };
            if !restart {
                return;
            }
            tracing::debug!("reading all owners again");
        }
    }

    /// Reads all, then follows; true when it lost track and has to begin anew.
    async fn follow(&self) -> bool {
        let mut index = Index::default();
        let mut due = BTreeSet::new();
        let mut feeds = Vec::new();
        for slot in 0..self.hub.slots() {
            let Ok(found) = self.hub.subscribe(slot, None, None) else {
                continue;
            };
            for object in &found.objects {
                if is_tied(&object.body.text()) {
                    due.extend(note(&mut index, object));
                }
            }
            feeds.push(heard(found.feed));
        }
        let mut feeds = stream::select_all(feeds);
        loop {
            self.work(&index, &mut due).await;
            let Some(heard) = feeds.next().await else {
                return false;
            };
            let Some(news) = heard else {
                return true;
            };
            let key = &news.change.object.key;
            let text = std::str::from_utf8(&news.text).unwrap_or_default();
            let lives = news.change.kind != ChangeKind::Deleted;
            if lives && !is_tied(text) && !index.knows(key) {
                continue;
            }
            let value = news.value();
            due.extend(index.update(key, uid(value), lives.then_some(value)));
        }
    }

    /// Does what is due; what a step changes comes back as news.
    async fn work(&self, index: &Index, due: &mut BTreeSet<Key>) {
        while let Some(key) = due.pop_first() {
            let Some(stored) = self.hub.get(&key) else {
                continue;
            };
            let dependents = index.dependents(uid(&stored.value()));
            let get = |key: &Key| self.hub.get(key);
            for (key, step) in steps(&self.catalog, &stored, &dependents, &get) {
                if let Err(error) = self.take(&key, &step, dependents.clone()).await {
                    tracing::warn!(%error, name = %key.name, "cannot collect an object");
                    tokio::time::sleep(RETRY).await;
                    due.insert(key);
                }
            }
        }
    }

    async fn take(&self, key: &Key, planned: &Step, dependents: Vec<Key>) -> Result<(), ApiError> {
        let (catalog, key, planned) = (Arc::clone(&self.catalog), key.clone(), planned.clone());
        let job = move |tx: &mut Transaction<'_>| {
            let reply = Reply {
                code: 200,
                body: Value::Null,
                is_object: false,
                warnings: Vec::new(),
            };
            let Some(stored) = tx.get(&key) else {
                return Ok(reply);
            };
            // Between the plan and now the object or its owners may have changed.
            let still = {
                let get = |key: &Key| tx.get(key);
                // Forgetting an owner that orphans is decided with the owner, not here.
                matches!(planned, Step::Forget(_))
                    || steps(&catalog, &stored, &dependents, &get)
                        .contains(&(key.clone(), planned.clone()))
            };
            if still {
                tracing::info!(name = %key.name, step = ?planned, "collecting");
                ops::collect(tx, &stored, &planned);
            }
            Ok(reply)
        };
        self.writer.submit(job).await.map(drop)
    }
}

/// The steps that are due for an object: its own, or those of dependents it leaves behind.
fn steps(
    catalog: &Catalog,
    stored: &Stored,
    dependents: &[Key],
    get: &dyn Fn(&Key) -> Option<Arc<Stored>>,
) -> Vec<(Key, Step)> {
    let value = stored.value();
    let own = uid(&value).to_owned();
    let present: Vec<(Key, Value)> = dependents
        .iter()
        .filter_map(|key| Some((key.clone(), get(key)?.value())))
        .filter(|(_, dependent)| owner_uids(dependent).contains(&own))
        .collect();
    let leaves = value.at("metadata").at("deletionTimestamp").is_string();
    if leaves && has_finalizer(&value, ORPHAN) && !present.is_empty() {
        let forget = |(key, _): (Key, Value)| (key, Step::Forget(vec![own.clone()]));
        return present.into_iter().map(forget).collect();
    }
    let values: Vec<Value> = present.into_iter().map(|(_, value)| value).collect();
    let state = |owner: &Value| owner_state(catalog, &stored.key, owner, get);
    let step = decide(&value, state, &values);
    step.map(|step| (stored.key.clone(), step))
        .into_iter()
        .collect()
}

fn owner_state(
    catalog: &Catalog,
    dependent: &Key,
    owner: &Value,
    get: &dyn Fn(&Key) -> Option<Arc<Stored>>,
) -> OwnerState {
    let version = owner.at("apiVersion").as_str().unwrap_or_default();
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let served = catalog.all().iter().find(|r| {
        r.family != Family::EventView && r.group == group && owner.at("kind") == r.kind.as_str()
    });
    let Some(resource) = served else {
        return OwnerState::Solid;
    };
    if resource.namespaced && dependent.namespace.is_empty() {
        // The real collector cannot resolve this either, and leaves it alone.
        return OwnerState::Solid;
    }
    let namespace = if resource.namespaced {
        dependent.namespace.clone()
    } else {
        String::new()
    };
    let key = Key {
        slot: resource.slot,
        namespace,
        name: owner.at("name").as_str().unwrap_or_default().to_owned(),
    };
    let Some(found) = get(&key).map(|found| found.value()) else {
        return OwnerState::Gone;
    };
    let metadata = found.at("metadata");
    if metadata.at("uid") != owner.at("uid") {
        OwnerState::Gone
    } else if metadata.at("deletionTimestamp").is_string() && has_finalizer(&found, FOREGROUND) {
        OwnerState::Waiting
    } else {
        OwnerState::Solid
    }
}

/// May an object have owners, or be on its way out? Most are neither, and need not be parsed.
fn is_tied(text: &str) -> bool {
    text.contains("\"ownerReferences\"") || text.contains("\"deletionTimestamp\"")
}

fn note(index: &mut Index, object: &Stored) -> Vec<Key> {
    let value = object.value();
    index.update(&object.key, uid(&value), Some(&value))
}

fn uid(object: &Value) -> &str {
    object.at("metadata").at("uid").as_str().unwrap_or_default()
}

fn heard(feed: Receiver<Arc<News>>) -> BoxStream<'static, Heard> {
    stream::unfold(feed, |mut feed| async move {
        match feed.recv().await {
            Ok(news) => Some((Some(news), feed)),
            Err(RecvError::Lagged(_)) => Some((None, feed)),
            Err(RecvError::Closed) => None,
        }
    })
    .boxed()
}
