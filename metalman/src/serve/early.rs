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
    store::{BootLines, Store},
};

/// Machines in the embedded API.
const MACHINES: (&str, &str) = ("unbounded-cloud.io", "machines");

/// Makes a first snapshot from the short records of Machines; `false` when they do not say all.
pub(super) async fn begin(config: &Config, store: &Store, boot: &BootView) -> Result<bool> {
    let known = store.site_objects().boot_lines().await;
    let Some(known) = known.context("read the boot records of Machines")? else {
        return Ok(false);
    };
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
    let Some(records) = records(&known, &changes) else {
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

/// The records after the changes; `None` when one cannot be read.
fn records(known: &BootLines, changes: &[LoggedChange]) -> Option<Vec<BootRecord>> {
    let mut records = Vec::new();
    for line in known.lines.lines().filter(|line| !line.is_empty()) {
        match serde_json::from_str::<BootRecord>(line) {
            Ok(record) => records.push(record),
            Err(error) => {
                warn!(%error, line, "boot record of a Machine cannot be read");
                return None;
            }
        }
    }
    let mut last: HashMap<&str, &LoggedChange> = HashMap::new();
    for change in changes {
        last.insert(&change.name, change);
    }
    records.retain(|record| !last.contains_key(record.name.as_str()));
    for change in last.values().filter(|change| !change.is_deleted) {
        let machine: Machine = serde_json::from_str(&change.body)
            .inspect_err(|error| warn!(%error, name = change.name, "Machine cannot be read"))
            .ok()?;
        records.extend(BootRecord::of(&machine));
    }
    Some(records)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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

    fn known(machines: &[Machine]) -> BootLines {
        let lines: Vec<String> = machines.iter().map(BootRecord::line).collect();
        BootLines {
            lines: lines.join("\n"),
            version: 7,
        }
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
        let found = addresses(records(&known, &changes));
        let expected = [("a", "10.0.0.12"), ("c", "10.0.0.3"), ("e", "10.0.0.6")];
        assert_eq!(found, expected.map(|(n, a)| (n.to_owned(), a.to_owned())));
    }

    #[test]
    fn what_cannot_be_read_is_not_answered_from() {
        let broken = BootLines {
            lines: "{".into(),
            version: 1,
        };
        assert_eq!(records(&broken, &[]), None);
        let change = LoggedChange {
            is_deleted: false,
            name: "a".into(),
            body: "{}".into(),
        };
        assert_eq!(records(&known(&[]), &[change]), None);
    }
}
