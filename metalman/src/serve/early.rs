//! Lets DHCP answer before the objects of the site have been read, which takes a second for ten
//! thousand Machines.
//!
//! Invariant: what is answered from is what the store knows for certain. With the embedded API that
//! is every change that was acknowledged; where its log does not show that, nobody is answered yet.

use std::collections::HashMap;

use anyhow::{Context, Result};
use metalman_api::machine::Machine;
use tracing::{debug, warn};

use crate::{
    clock,
    config::{ClusterConfig, Config},
    site::{BootRecord, BootView},
    standalone::storage::{LoggedChange, Storage},
    store::Store,
};

/// Machines in the embedded API.
const MACHINES: (&str, &str) = ("unbounded-cloud.io", "machines");

/// Makes a first snapshot from the short records of Machines; `false` when they do not say all.
pub(super) async fn begin(config: &Config, store: &Store, boot: &BootView) -> Result<bool> {
    let objects = store.site_objects();
    let machines = objects.machines().await.context("count the Machines")?;
    let mut records = Records::with_capacity(machines);
    let known = objects.boot_lines(|lines| records.read(lines)).await;
    let known = known.context("read the boot records of Machines")?;
    if known.known != machines {
        return Ok(false);
    }
    let changes = match config.cluster {
        ClusterConfig::Embedded { .. } => {
            let changes = Storage::changes_since(store.pool(), MACHINES, known.version).await;
            let Some(changes) = changes.context("read the last changes of Machines")? else {
                return Ok(false);
            };
            changes
        }
        // What a cluster has changed meanwhile is known once it has been asked.
        ClusterConfig::Kubeconfig(_) | ClusterConfig::Inferred => Vec::new(),
    };
    let Some(records) = records.after(&changes) else {
        return Ok(false);
    };
    debug!(
        machines = records.len(),
        changes = changes.len(),
        "boot records read"
    );
    let begun = boot.begin(records, clock::now()).await;
    begun.context("load the install tokens")?;
    Ok(true)
}

/// The records as they are read.
#[derive(Debug, Default)]
struct Records {
    all: Vec<BootRecord>,
    is_damaged: bool,
}

impl Records {
    fn with_capacity(machines: usize) -> Self {
        Self {
            all: Vec::with_capacity(machines),
            is_damaged: false,
        }
    }

    fn read(&mut self, lines: &str) {
        for line in lines.lines().filter(|line| !line.is_empty()) {
            match serde_json::from_str(line) {
                Ok(record) => self.all.push(record),
                Err(error) => {
                    warn!(%error, line, "boot record of a Machine cannot be read");
                    self.is_damaged = true;
                }
            }
        }
    }

    /// The records after the changes; `None` when one cannot be read.
    fn after(self, changes: &[LoggedChange]) -> Option<Vec<BootRecord>> {
        if self.is_damaged {
            return None;
        }
        let mut records = self.all;
        let mut last: HashMap<&str, &LoggedChange> = HashMap::new();
        for change in changes {
            last.insert(&change.name, change);
        }
        if !last.is_empty() {
            records.retain(|record| !last.contains_key(record.name.as_str()));
        }
        for change in last.values().filter(|change| !change.is_deleted) {
            let machine: Machine = serde_json::from_str(&change.body)
                .inspect_err(|error| warn!(%error, name = change.name, "Machine cannot be read"))
                .ok()?;
            records.extend(BootRecord::of(&machine));
        }
        Some(records)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use netboot::images::ImageStore;
    use serde_json::json;

    use super::*;
    use crate::site::Site;

    fn machine(name: &str, last: u8) -> Machine {
        serde_json::from_value(json!({
            "apiVersion": "unbounded-cloud.io/v1alpha3", "kind": "Machine",
            "metadata": { "name": name },
            "spec": { "pxe": { "dhcpLeases": [{
                "mac": format!("52:54:00:00:00:{last:02x}"), "ipv4": format!("10.0.0.{last}"),
                "subnetMask": "255.255.255.0" }] } },
        }))
        .unwrap()
    }

    fn known(machines: &[Machine]) -> Records {
        let lines: Vec<String> = machines.iter().map(BootRecord::line).collect();
        let mut records = Records::default();
        records.read(&lines.join("\n"));
        records
    }

    fn change(name: &str, last: u8, is_deleted: bool) -> LoggedChange {
        LoggedChange {
            is_deleted,
            name: name.into(),
            body: serde_json::to_string(&machine(name, last)).unwrap(),
        }
    }

    fn addresses(records: Option<Vec<BootRecord>>) -> Vec<(String, String)> {
        let mut all: Vec<_> = records
            .unwrap()
            .into_iter()
            .map(|r| (r.name, r.leases[0].ipv4.to_string()))
            .collect();
        all.sort();
        all
    }

    #[test]
    fn the_last_change_of_a_machine_counts() {
        let known = known(&[machine("a", 1), machine("b", 2), machine("c", 3)]);
        let changes = [
            change("a", 11, false),
            change("b", 2, true),
            change("d", 4, false),
            change("d", 4, true),
            change("a", 12, false),
            change("e", 5, true),
            change("e", 6, false),
        ];
        let found = addresses(known.after(&changes));
        let expected = [("a", "10.0.0.12"), ("c", "10.0.0.3"), ("e", "10.0.0.6")];
        assert_eq!(found, expected.map(|(n, a)| (n.to_owned(), a.to_owned())));
    }

    #[test]
    fn what_cannot_be_read_is_not_answered_from() {
        let mut broken = known(&[machine("a", 1)]);
        broken.read("{");
        assert_eq!(broken.after(&[]), None);
        let change = LoggedChange {
            is_deleted: false,
            name: "a".into(),
            body: "{}".into(),
        };
        assert_eq!(known(&[]).after(&[change]), None);
    }

    /// A state folder with what an appliance that was killed left there.
    struct Left {
        folder: tempfile::TempDir,
        store: Store,
    }

    impl Left {
        async fn new() -> Self {
            Self {
                folder: tempfile::tempdir().unwrap(),
                store: Store::open("sqlite::memory:").await.unwrap(),
            }
        }

        /// A Machine as the watch kept it.
        async fn kept(self, name: &str, version: u32, last: u8) -> Self {
            let machine = machine(name, last);
            let object = crate::store::SiteObject {
                kind: "Machine".into(),
                namespace: String::new(),
                name: name.into(),
                uid: name.into(),
                resource_version: version.to_string(),
                body: serde_json::to_string(&machine).unwrap(),
                boot: Some(BootRecord::line(&machine)),
                updated_at: clock::now(),
            };
            self.store.site_objects().put(&object).await.unwrap();
            self
        }

        /// A change that the API acknowledged.
        async fn acknowledged(self, version: i64, word: &str, name: &str, last: u8) -> Self {
            sqlx::query(
                "INSERT INTO api_changes (resource_version, change, api_group, resource, \
                 namespace, name, written_at, body) \
                 VALUES ($1, $2, 'unbounded-cloud.io', 'machines', '', $3, 0, $4)",
            )
            .bind(version)
            .bind(word)
            .bind(name)
            .bind(serde_json::to_string(&machine(name, last)).unwrap())
            .execute(self.store.pool())
            .await
            .unwrap();
            self.log(version, 1).await
        }

        async fn log(self, current: i64, compacted: i64) -> Self {
            sqlx::query("UPDATE api_versions SET current = $1, compacted = $2")
                .bind(current)
                .bind(compacted)
                .execute(self.store.pool())
                .await
                .unwrap();
            self
        }

        /// Who is answered after [`begin`]; `None` when it waits for the objects.
        async fn answered(&self, settings: &str) -> Option<Vec<(String, String)>> {
            let config = crate::config::parse(settings).unwrap();
            let config = Config::try_from(config).unwrap();
            let images = ImageStore::open(self.folder.path(), config.images.store_options());
            let boot = BootView {
                site: Arc::new(Site::new("")),
                store: self.store.clone(),
                images: images.unwrap(),
                default_netboot_image: None,
                serve_url: "http://10.0.0.250".into(),
                cache: crate::site::BootCache::default(),
                boot_url: "http://10.0.0.250".into(),
            };
            if !begin(&config, &self.store, &boot).await.unwrap() {
                assert!(boot.site.boot_snapshot().machines().is_empty());
                return None;
            }
            let snapshot = boot.site.boot_snapshot();
            let served = snapshot.machines().iter().filter_map(|machine| {
                let lease = machine.leases.first()?;
                snapshot.by_mac(lease.mac)?;
                Some((machine.name.clone(), lease.ipv4.to_string()))
            });
            let mut served: Vec<_> = served.collect();
            served.sort();
            Some(served)
        }
    }

    fn served(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let pairs = pairs.iter();
        pairs.map(|(n, a)| ((*n).into(), (*a).into())).collect()
    }

    #[tokio::test]
    async fn a_start_answers_from_the_records_and_what_the_log_has_after_them() {
        let left = Left::new().await.kept("a", 5, 1).await;
        let left = left.kept("b", 6, 2).await.log(6, 1).await;
        let expected = [("a", "10.0.0.1"), ("b", "10.0.0.2")];
        let answered = left.answered("standalone = true").await;
        assert_eq!(answered, Some(served(&expected)));

        let left = left.acknowledged(7, "MODIFIED", "a", 11).await;
        let left = left.acknowledged(8, "DELETED", "b", 2).await;
        let left = left.acknowledged(9, "ADDED", "c", 3).await;
        let expected = [("a", "10.0.0.11"), ("c", "10.0.0.3")];
        let answered = left.answered("standalone = true").await;
        assert_eq!(answered, Some(served(&expected)));
    }

    #[tokio::test]
    async fn a_start_waits_for_the_objects_where_the_records_do_not_say_all() {
        // The log has been cut after the last record was written.
        let left = Left::new().await.kept("a", 5, 1).await.log(9, 8).await;
        assert_eq!(left.answered("standalone = true").await, None);
        // A cluster's log is not ours: what it changed is known once it has been asked.
        let cluster = "kubeconfig = '/etc/kubeconfig'";
        let expected = served(&[("a", "10.0.0.1")]);
        assert_eq!(left.answered(cluster).await, Some(expected));
        // Before the upgrade there were no records.
        sqlx::query("DELETE FROM site_boot")
            .execute(left.store.pool())
            .await
            .unwrap();
        assert_eq!(left.answered(cluster).await, None);
    }

    #[tokio::test]
    async fn what_two_machines_claim_is_given_to_nobody_from_the_start() {
        let left = Left::new().await.kept("a", 5, 1).await;
        let left = left.kept("b", 6, 2).await.log(6, 1).await;
        let left = left.acknowledged(7, "ADDED", "c", 2).await;
        let expected = served(&[("a", "10.0.0.1")]);
        assert_eq!(left.answered("standalone = true").await, Some(expected));
    }
}
