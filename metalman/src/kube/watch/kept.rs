//! What has been seen of a kind and is to be kept in the store.
//!
//! A start trusts the store up to the highest version in it. Invariant: nothing is written before
//! what was seen earlier; what could not be written is written together with what comes next.

use std::{
    collections::{HashMap, HashSet},
    future, mem,
    time::Duration,
};

use tokio::time::Instant;
use tracing::warn;

use super::Watched;
use crate::{
    clock,
    store::{SiteObject, Store, StoreError},
    supervisor::chain,
};

/// How long a change waits for others to be kept together with it.
const KEEP_WITHIN: Duration = Duration::from_millis(200);
/// So many changes do not wait.
const KEEP_AT: usize = 1024;
/// Pause before what could not be written is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// The objects of a kind, `None` for one that is gone.
type Changed<T> = HashMap<String, Option<<T as Watched>::Kept>>;

/// Brings the store up to what has been seen.
pub(super) struct Keeper<'s, T: Watched> {
    store: &'s Store,
    /// Seen and not in the store yet.
    owed: Changed<T>,
    /// What is owed is all there is of the kind.
    is_list: bool,
    /// When it has to be written.
    due: Option<Instant>,
    has_failed: bool,
}

impl<'s, T: Watched> Keeper<'s, T> {
    pub(super) fn new(store: &'s Store) -> Self {
        Self {
            store,
            owed: HashMap::new(),
            is_list: false,
            due: None,
            has_failed: false,
        }
    }

    /// Makes a finished list the whole of what the store knows.
    pub(super) async fn keep_list(&mut self, objects: Vec<T::Kept>) {
        let named = |object: T::Kept| (T::newness(&object).name, Some(object));
        self.owed = objects.into_iter().map(named).collect();
        self.is_list = true;
        self.pay().await;
    }

    /// Takes in a change, which is written soon.
    pub(super) fn add(&mut self, name: String, kept: Option<T::Kept>) {
        self.owed.insert(name, kept);
        self.due.get_or_insert_with(|| Instant::now() + KEEP_WITHIN);
    }

    /// Whether so much has come together that it should not wait.
    pub(super) fn is_full(&self) -> bool {
        !self.has_failed && self.owed.len() >= KEEP_AT
    }

    /// Until something has to be written; for ever if nothing has to.
    pub(super) async fn wait(&self) {
        match self.due {
            Some(due) => tokio::time::sleep_until(due).await,
            None => future::pending().await,
        }
    }

    /// Writes what is owed, all at once.
    pub(super) async fn keep(&mut self) {
        if self.is_list || !self.owed.is_empty() {
            self.pay().await;
        }
    }

    async fn pay(&mut self) {
        let written = if self.is_list {
            write_list::<T>(self.store, &self.owed).await
        } else {
            write_changed::<T>(self.store, &self.owed).await
        };
        self.has_failed = written.is_err();
        self.due = self.has_failed.then(|| Instant::now() + RETRY);
        match written {
            Ok(()) => {
                mem::take(&mut self.owed);
                self.is_list = false;
            }
            Err(error) => {
                warn!(
                    kind = T::KIND,
                    objects = self.owed.len(),
                    error = %chain(&error),
                    error.reason = error.reason(),
                    "site view was not kept in the store, will try again"
                );
            }
        }
    }
}

/// What the store has already is left alone, since most of a site does not change between two starts.
async fn write_list<T: Watched>(store: &Store, objects: &Changed<T>) -> Result<(), StoreError> {
    let kept = store.site_objects().versions(T::KIND).await?;
    let mut gone: HashSet<&str> = kept.keys().map(String::as_str).collect();
    let mut changed = Vec::new();
    for object in objects.values().flatten() {
        let version = T::newness(object);
        gone.remove(version.name.as_str());
        if kept.get(&version.name) != Some(&version) {
            changed.push(object);
        }
    }
    let rows = changed.into_iter().map(row::<T>);
    store.site_objects().update(T::KIND, rows, gone).await
}

async fn write_changed<T: Watched>(store: &Store, changed: &Changed<T>) -> Result<(), StoreError> {
    let rows = changed.values().flatten().map(row::<T>);
    let gone = changed.iter().filter(|(_, kept)| kept.is_none());
    let gone: Vec<&str> = gone.map(|(name, _)| name.as_str()).collect();
    store.site_objects().update(T::KIND, rows, gone).await
}

fn row<T: Watched>(kept: &T::Kept) -> SiteObject {
    let version = T::newness(kept);
    SiteObject {
        kind: T::KIND.to_owned(),
        namespace: String::new(),
        name: version.name,
        uid: version.uid,
        resource_version: version.resource_version,
        body: T::text(kept),
        boot: T::boot_line(kept),
        updated_at: clock::now(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use metalman_api::machine::Machine;
    use serde_json::json;

    use super::*;
    use crate::site::{KeptMachine, Site};

    fn kept(site: &Site, name: &str, version: u32, last: u8) -> Arc<KeptMachine> {
        let machine: Machine = serde_json::from_value(json!({
            "apiVersion": "unbounded-cloud.io/v1alpha3", "kind": "Machine",
            "metadata": { "name": name, "uid": name, "resourceVersion": version.to_string() },
            "spec": { "pxe": { "dhcpLeases": [{
                "mac": "52:54:00:00:00:01", "ipv4": format!("10.0.0.{last}"),
                "subnetMask": "255.255.255.0" }] } },
        }))
        .unwrap();
        Arc::new(site.pack(&machine).unwrap())
    }

    type Machines<'s> = Keeper<'s, Machine>;

    async fn change(keeper: &mut Machines<'_>, site: &Site, name: &str, version: u32, last: u8) {
        keeper.add(name.into(), Some(kept(site, name, version, last)));
        keeper.keep().await;
    }

    /// Makes the store refuse to write lines of Machines, or not.
    async fn refuse(store: &Store, refuse: bool) {
        let statement = if refuse {
            "CREATE TRIGGER refuse BEFORE INSERT ON site_boot BEGIN SELECT RAISE(ABORT, 'full'); END"
        } else {
            "DROP TRIGGER refuse"
        };
        sqlx::query(statement).execute(store.pool()).await.unwrap();
    }

    /// Version, and which of these addresses the store has.
    async fn known(store: &Store) -> (u64, Vec<u8>) {
        let mut text = String::new();
        let read = store.site_objects().boot_lines(|lines| text += lines).await;
        let has = |last: &u8| text.contains(&format!("\"10.0.0.{last}\""));
        (read.unwrap().version, (1..10).filter(has).collect())
    }

    #[tokio::test]
    async fn a_change_that_was_not_kept_is_kept_before_later_ones() {
        let store = Store::open("sqlite::memory:").await.unwrap();
        let site = Site::new("");
        let mut keeper = Machines::new(&store);
        let all = vec![kept(&site, "a", 5, 1), kept(&site, "b", 6, 2)];
        keeper.keep_list(all).await;
        assert_eq!(known(&store).await, (6, vec![1, 2]));

        refuse(&store, true).await;
        change(&mut keeper, &site, "a", 7, 3).await;
        assert!(keeper.due.is_some(), "tried again by itself");
        keeper.add("b".into(), None);
        change(&mut keeper, &site, "c", 9, 4).await;
        assert_eq!(known(&store).await, (6, vec![1, 2]), "nothing in part");
        refuse(&store, false).await;
        change(&mut keeper, &site, "d", 10, 5).await;
        assert_eq!(known(&store).await, (10, vec![3, 4, 5]));
        assert!(keeper.owed.is_empty() && keeper.due.is_none());
    }

    #[tokio::test]
    async fn a_list_that_was_not_kept_is_still_the_whole() {
        let store = Store::open("sqlite::memory:").await.unwrap();
        let site = Site::new("");
        let before = vec![kept(&site, "a", 5, 1), kept(&site, "b", 6, 2)];
        Machines::new(&store).keep_list(before).await;

        let mut keeper = Machines::new(&store);
        refuse(&store, true).await;
        keeper.keep_list(vec![kept(&site, "a", 8, 3)]).await;
        refuse(&store, false).await;
        change(&mut keeper, &site, "c", 9, 4).await;
        assert_eq!(known(&store).await, (9, vec![3, 4]), "b is gone");
    }
}
