//! Watches Machines, MachineOperations and Nodes; keeps site view and store in step with them.

mod kept;

use std::{collections::HashSet, fmt::Debug, mem, sync::Arc};

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client, Resource, ResourceExt as _,
    runtime::{WatchStreamExt as _, watcher},
};
use metalman_api::{
    machine::{MACHINE_LABEL, Machine},
    operation::MachineOperation,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::kept::Keeper;
use crate::{
    domain::facts::NodeSeen,
    site::{BootRecord, KeptMachine, Site, SiteNode},
    store::{SiteObject, SiteVersion, Store, StoreError},
    supervisor::chain,
};

/// Events taken in at one time.
const TOGETHER: usize = 256;
/// Kind under which Machines are kept in the store.
const MACHINE: &str = "Machine";
/// Kind under which operations are kept in the store.
const OPERATION: &str = "MachineOperation";

/// Fills the site view with what the store knew last, so that the site boots before (or without)
/// the API server's first answer.
///
/// # Errors
/// When the store cannot be read.
pub async fn load(site: &Site, store: &Store) -> Result<(), StoreError> {
    let mut known = false;
    let take = |row: SiteObject| {
        known = true;
        match serde_json::from_str(&row.body) {
            Ok(machine) => site.apply_machine(&machine),
            Err(error) => warn!(%error, name = row.name, "kept Machine cannot be read"),
        }
    };
    store.site_objects().each(MACHINE, take).await?;
    for row in store.site_objects().all(OPERATION).await? {
        match serde_json::from_str(&row.body) {
            Ok(operation) => site.apply_operation(operation),
            Err(error) => warn!(%error, name = row.name, "kept operation cannot be read"),
        }
    }
    if known {
        site.set_synced();
    }
    Ok(())
}

/// Something the site view takes in.
trait Watched: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize {
    const KIND: &'static str;
    /// An object as the site keeps it.
    type Kept: Clone + Send + Sync;
    fn keep(self, site: &Site) -> Option<Self::Kept>;
    /// What tells this version from others.
    fn newness(kept: &Self::Kept) -> SiteVersion;
    fn text(kept: &Self::Kept) -> String;
    /// What DHCP needs of it, if it may need anything.
    fn boot_line(_kept: &Self::Kept) -> Option<String> {
        None
    }
    fn apply(kept: Self::Kept, site: &Site);
    fn remove(name: &str, site: &Site);
    /// As [`Self::remove`], for a deletion that the watch tells of.
    fn delete(gone: &Self, site: &Site) {
        Self::remove(&gone.name_any(), site);
    }
    fn names(site: &Site) -> Vec<String>;
}

impl Watched for Machine {
    const KIND: &'static str = MACHINE;
    type Kept = Arc<KeptMachine>;

    fn keep(self, site: &Site) -> Option<Self::Kept> {
        site.pack(&self).map(Arc::new)
    }

    fn newness(kept: &Self::Kept) -> SiteVersion {
        SiteVersion {
            name: kept.name.to_string(),
            uid: kept.uid.to_string(),
            resource_version: kept.version.to_string(),
        }
    }

    fn text(kept: &Self::Kept) -> String {
        kept.text()
    }

    fn boot_line(kept: &Self::Kept) -> Option<String> {
        kept.machine().map(|machine| BootRecord::line(&machine))
    }

    fn apply(kept: Self::Kept, site: &Site) {
        site.apply_kept(kept);
    }

    fn remove(name: &str, site: &Site) {
        site.remove_machine(name);
    }

    fn delete(gone: &Self, site: &Site) {
        let version = gone.resource_version().unwrap_or_default();
        site.delete_machine(&gone.name_any(), &version);
    }

    fn names(site: &Site) -> Vec<String> {
        site.machines().iter().map(|m| m.name.to_string()).collect()
    }
}

impl Watched for MachineOperation {
    const KIND: &'static str = OPERATION;
    type Kept = Self;

    fn keep(self, _site: &Site) -> Option<Self::Kept> {
        self.metadata.name.is_some().then_some(self)
    }

    fn newness(kept: &Self::Kept) -> SiteVersion {
        let meta = &kept.metadata;
        SiteVersion {
            name: kept.name_any(),
            uid: meta.uid.clone().unwrap_or_default(),
            resource_version: meta.resource_version.clone().unwrap_or_default(),
        }
    }

    fn text(kept: &Self::Kept) -> String {
        serde_json::to_string(kept).unwrap_or_default()
    }

    fn apply(kept: Self::Kept, site: &Site) {
        site.apply_operation(kept);
    }

    fn remove(name: &str, site: &Site) {
        site.remove_operation(name);
    }

    fn names(site: &Site) -> Vec<String> {
        site.operations()
            .iter()
            .filter_map(|o| o.metadata.name.clone())
            .collect()
    }
}

/// Watches everything until `stop`; `synced` is called once both lists have been taken in.
///
/// # Errors
/// Never today; the type is that of a task.
pub async fn run(
    client: Client,
    site: Arc<Site>,
    store: Store,
    synced: impl Fn() + Send + Sync + 'static,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let both = tokio::sync::Barrier::new(2);
    let machines = watch::<Machine>(client.clone(), &site, &store, &both, &stop);
    let operations = watch::<MachineOperation>(client.clone(), &site, &store, &both, &stop);
    let aside = async {
        let synced = async {
            let mut changes = site.changes();
            while !site.is_synced() && changes.changed().await.is_ok() {}
            synced();
        };
        futures::future::join(watch_nodes(client, &site), synced).await;
    };
    tokio::select! {
        // These two end by themselves, when they have kept what they saw.
        _ = futures::future::join(machines, operations) => {}
        () = async { aside.await; std::future::pending().await } => {}
    }
    Ok(())
}

async fn watch<T>(
    client: Client,
    site: &Site,
    store: &Store,
    both: &tokio::sync::Barrier,
    stop: &CancellationToken,
) where
    T: Watched + Send + Sync + Unpin + 'static,
{
    let stream = watcher(Api::<T>::all(client), watcher::Config::default()).default_backoff();
    let mut stream = std::pin::pin!(stream.ready_chunks(TOGETHER));
    let mut listed: Vec<T::Kept> = Vec::new();
    let mut first = true;
    let mut keeper = Keeper::<T>::new(store);
    loop {
        let events = tokio::select! {
            () = stop.cancelled() => break,
            () = keeper.wait() => {
                keeper.keep().await;
                continue;
            }
            events = stream.next() => events,
        };
        let Some(events) = events else { break };
        for event in events {
            match event {
                Ok(watcher::Event::Init) => listed.clear(),
                Ok(watcher::Event::InitApply(object)) => {
                    listed.extend(without_managers(object).keep(site));
                }
                Ok(watcher::Event::InitDone) => {
                    // The list says all there was until now.
                    let objects = mem::take(&mut listed);
                    let count = objects.len();
                    take_in::<T>(site, &objects);
                    keeper.keep_list(objects).await;
                    if first {
                        first = false;
                        info!(kind = T::KIND, objects = count, "list taken in");
                        let both = stop.run_until_cancelled(both.wait()).await;
                        if both.is_some_and(|both| both.is_leader()) {
                            site.set_synced();
                        }
                    }
                }
                Ok(watcher::Event::Apply(object)) => {
                    let name = object.name_any();
                    if let Some(kept) = without_managers(object).keep(site) {
                        T::apply(kept.clone(), site);
                        keeper.add(name, Some(kept));
                    }
                }
                Ok(watcher::Event::Delete(object)) => {
                    T::delete(&object, site);
                    keeper.add(object.name_any(), None);
                }
                Err(error) => {
                    warn!(kind = T::KIND, error = %chain(&error), "watch broke, will go on");
                }
            }
        }
        if keeper.is_full() {
            keeper.keep().await;
        }
    }
    keeper.keep().await;
}

/// An object without its managed fields: nobody here asks who wrote what, and they are half of it.
fn without_managers<T: Watched>(mut object: T) -> T {
    object.meta_mut().managed_fields = None;
    object
}

/// Makes a finished list the whole of what the site knows of a kind.
fn take_in<T: Watched>(site: &Site, objects: &[T::Kept]) {
    let there: HashSet<String> = objects.iter().map(|o| T::newness(o).name).collect();
    for name in T::names(site) {
        if !there.contains(&name) {
            T::remove(&name, site);
        }
    }
    for object in objects {
        T::apply(object.clone(), site);
    }
}

async fn watch_nodes(client: Client, site: &Site) {
    let stream = watcher(Api::<Node>::all(client), watcher::Config::default()).default_backoff();
    let mut stream = std::pin::pin!(stream);
    while let Some(event) = stream.next().await {
        match event {
            Ok(watcher::Event::InitApply(node) | watcher::Event::Apply(node)) => {
                site.apply_node(node.name_any(), seen(&node));
            }
            Ok(watcher::Event::Delete(node)) => site.remove_node(&node.name_any()),
            Ok(watcher::Event::Init | watcher::Event::InitDone) => {}
            Err(error) => warn!(kind = "Node", error = %chain(&error), "watch broke, will go on"),
        }
    }
}

fn seen(node: &Node) -> SiteNode {
    let info = node
        .status
        .as_ref()
        .and_then(|status| status.node_info.as_ref());
    SiteNode {
        machine: node.labels().get(MACHINE_LABEL).cloned(),
        seen: NodeSeen {
            created_at: node
                .metadata
                .creation_timestamp
                .as_ref()
                .map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            boot_id: info.map(|info| info.boot_id.clone()).unwrap_or_default(),
        },
    }
}
