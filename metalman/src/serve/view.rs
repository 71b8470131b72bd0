//! The site view in the words of the web page. Reads memory only, apart from the timeline and
//! the cards that nobody owns.
//! Invariant: shows what is known and decides nothing.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use jiff::Timestamp;
use metalman_api::{
    machine::{Machine, MachineStatus},
    operation::{MachineOperation, Stage, TargetStatus},
};
use tokio::sync::watch;

use crate::{
    discovered,
    domain::facts,
    site::{MachineMemory, Site},
    store::{Store, TimelineEntry, UnknownMac},
    web::{
        Card, Fact, MachineFacts, MachineRow, PastOperation, Power, RunningOperation, SiteView,
        ViewError,
    },
};

/// When each machine was last heard of, by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard(Arc<RwLock<HashMap<String, Timestamp>>>);

impl Heard {
    /// Takes in entries of the timeline.
    pub(super) fn take(&self, entries: &[TimelineEntry]) {
        let mut heard = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for entry in entries {
            let last = heard.entry(entry.machine.clone()).or_insert(entry.at);
            *last = entry.at.max(*last);
        }
    }

    fn last(&self, machine: &str) -> Option<Timestamp> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(machine)
            .copied()
    }
}

/// What the pages are made of.
#[derive(Debug, Clone)]
pub(super) struct WebView {
    pub(super) site: Arc<Site>,
    pub(super) store: Store,
    pub(super) heard: Heard,
    pub(super) changes: watch::Receiver<u64>,
}

#[async_trait]
impl SiteView for WebView {
    fn site(&self) -> String {
        self.site.name().to_owned()
    }

    fn machines(&self) -> Vec<MachineRow> {
        let operations = self.site.operations();
        let machines = self.site.owned_machines();
        let machines = machines.iter().filter_map(|kept| kept.machine());
        machines.map(|m| self.row(&m, &operations)).collect()
    }

    fn machine(&self, name: &str) -> Option<MachineFacts> {
        let machine = self.site.owned_machine(name)?;
        let operations = self.site.operations();
        let mut past: Vec<_> = operations.iter().filter_map(|o| past(o, name)).collect();
        past.sort_by_key(|operation| std::cmp::Reverse(operation.ended_at));
        Some(MachineFacts {
            row: self.row(&machine, &operations),
            facts: [facts_of(&machine), vitals_of(&self.site.memory(name))].concat(),
            operations: past,
        })
    }

    async fn timeline(
        &self,
        machine: &str,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<TimelineEntry>, ViewError> {
        Ok(self.store.timeline().list(machine, before, limit).await?)
    }

    async fn discovered(&self) -> Result<Vec<Card>, ViewError> {
        let cards = discovered::unowned(&self.store).await?;
        Ok(cards.iter().map(|card| self.card(card)).collect())
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }
}

impl WebView {
    fn card(&self, seen: &UnknownMac) -> Card {
        let name = seen.mac.parse().map(discovered::name_of);
        let name = name.unwrap_or_else(|_| "node".to_owned());
        Card {
            mac: seen.mac.clone(),
            first_seen: seen.first_seen,
            last_seen: seen.last_seen,
            count: seen.count,
            arch: seen.arch.clone(),
            vendor_class: seen.vendor_class.clone(),
            relay: seen.relay.clone(),
            circuit_id: seen.circuit_id.clone(),
            yaml: discovered::machine(seen, &name, None, self.site.name()),
        }
    }

    fn broken_boot_files(&self, machine: &str) -> Option<String> {
        match self.site.boot_files_of(machine)? {
            facts::BootFiles::Broken { message, .. } => Some(message),
            facts::BootFiles::Good { .. } | facts::BootFiles::NotFetched => None,
        }
    }

    fn row(&self, machine: &Machine, operations: &[Arc<MachineOperation>]) -> MachineRow {
        let name = name_of(machine).to_owned();
        let memory = self.site.memory(&name);
        let status = machine.status.clone().unwrap_or_default();
        let running = operations.iter().find_map(|o| running(o, &name));
        let problem = self
            .site
            .conflict_of(&name)
            .or_else(|| self.broken_boot_files(&name))
            .or_else(|| memory.trouble.map(|trouble| trouble.message))
            .or_else(|| failure(&status));
        MachineRow {
            power: memory
                .power
                .map_or(Power::Unknown, |reading| power(reading.value)),
            phase: status.phase.unwrap_or_default(),
            operation: running,
            last_seen: self.heard.last(&name),
            problem,
            name,
        }
    }
}

fn name_of(machine: &Machine) -> &str {
    machine.metadata.name.as_deref().unwrap_or_default()
}

fn power(power: facts::Power) -> Power {
    match power {
        facts::Power::On => Power::On,
        facts::Power::Off => Power::Off,
        facts::Power::Other => Power::Unknown,
    }
}

fn failure(status: &MachineStatus) -> Option<String> {
    use metalman_api::machine::MachinePhase as Phase;
    match status.phase? {
        Phase::Failed => status.message.clone(),
        Phase::Pending | Phase::Rebooting | Phase::Provisioning | Phase::Joining | Phase::Ready => {
            None
        }
    }
}

fn target<'o>(operation: &'o MachineOperation, machine: &str) -> Option<&'o TargetStatus> {
    operation
        .status
        .as_ref()?
        .targets
        .iter()
        .find(|target| target.machine_ref == machine)
}

fn running(operation: &MachineOperation, machine: &str) -> Option<RunningOperation> {
    let target = target(operation, machine).filter(|target| !target.phase.is_terminal())?;
    Some(RunningOperation {
        name: operation.metadata.name.clone()?,
        kind: operation.spec.operation_kind.as_str().to_owned(),
        stage: target.stage.map_or("Waiting", words).to_owned(),
        percent: target
            .percent
            .and_then(|percent| u8::try_from(percent).ok()),
        waits_for: target.message.clone(),
        deadline: target.deadline.as_ref().map(|time| time.0),
    })
}

fn past(operation: &MachineOperation, machine: &str) -> Option<PastOperation> {
    let target = target(operation, machine).filter(|target| target.phase.is_terminal())?;
    Some(PastOperation {
        name: operation.metadata.name.clone()?,
        kind: operation.spec.operation_kind.as_str().to_owned(),
        phase: target.phase,
        message: target.message.clone(),
        started_at: target.started_at.as_ref().map(|time| time.0),
        ended_at: target.completed_at.as_ref().map(|time| time.0),
    })
}

fn words(stage: Stage) -> &'static str {
    match stage {
        Stage::Preparing => "Preparing images",
        Stage::PoweringOff => "Powering off",
        Stage::WaitingOff => "Waiting for power off",
        Stage::SettingBoot => "Setting the boot override",
        Stage::PoweringOn => "Powering on",
        Stage::WaitingOn => "Waiting for power on",
        Stage::WaitingRepave => "Installing",
        Stage::ClearingBoot => "Removing the boot override",
        Stage::WaitingBoot => "Waiting for the first boot",
        Stage::WaitingCloudInit => "Waiting for cloud-init",
        Stage::WaitingNode => "Waiting for the Node",
    }
}

fn facts_of(machine: &Machine) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut add = |label: &str, value: Option<String>| {
        if let Some(value) = value {
            facts.push(Fact {
                label: label.to_owned(),
                value,
            });
        }
    };
    if let Some(pxe) = &machine.spec.pxe {
        for lease in &pxe.dhcp_leases {
            add("Network", Some(format!("{} at {}", lease.ipv4, lease.mac)));
        }
        add(
            "BMC",
            pxe.redfish.as_ref().map(|redfish| redfish.url.clone()),
        );
        add("Image", pxe.image.clone());
    }
    let status = machine.status.clone().unwrap_or_default();
    add("Installed image", status.image.map(|image| image.digest));
    if let Some(boot) = status.boot {
        add("Kernel", boot.kernel);
        add("Boot id", Some(boot.boot_id));
        add("Running since", boot.since.map(|since| since.0.to_string()));
    }
    add("Agent", status.agent.and_then(|agent| agent.version));
    let fingerprint = status.redfish.and_then(|redfish| redfish.cert_fingerprint);
    add("BMC certificate", fingerprint);
    facts
}

/// What was last read of the BMC, in words.
fn vitals_of(memory: &MachineMemory) -> Vec<Fact> {
    let Some(read) = &memory.vitals else {
        return Vec::new();
    };
    let vitals = &read.value;
    let hottest = vitals.sensors.hottest.as_ref().map(|hottest| {
        let limit = hottest.critical_at;
        let limit = limit.map_or_else(String::new, |limit| format!(", critical at {limit} °C"));
        format!("{} {} °C{limit}", hottest.name, hottest.celsius)
    });
    let event = vitals.log_head.as_ref().map(|entry| {
        let severity = entry.severity.as_deref().unwrap_or("event");
        let at = entry.created.map(|at| at.to_string()).unwrap_or_default();
        format!("{at} {severity}: {}", entry.message)
            .trim()
            .to_owned()
    });
    let expiry = vitals
        .certificate
        .as_ref()
        .and_then(|found| found.not_after);
    let unwell = &vitals.sensors.unwell;
    let facts = [
        (
            "Health",
            memory
                .bmc_facts()
                .health
                .map(|health| health.as_str().to_owned()),
        ),
        ("Not well", (!unwell.is_empty()).then(|| unwell.join(", "))),
        ("Temperature", hottest),
        (
            "Power draw",
            vitals.sensors.watts.map(|watts| format!("{watts:.0} W")),
        ),
        ("System firmware", vitals.bios_version.clone()),
        ("BMC firmware", vitals.firmware_version.clone()),
        ("Last BMC event", event),
        (
            "BMC sessions",
            vitals.sessions.map(|count| count.to_string()),
        ),
        (
            "BMC certificate ends",
            expiry.map(|at| at.strftime("%Y-%m-%d").to_string()),
        ),
        ("BMC read at", Some(read.at.to_string())),
    ];
    let told = facts.into_iter().filter_map(|(label, value)| {
        Some(Fact {
            label: label.to_owned(),
            value: value?,
        })
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_running_and_a_past_operation_are_shown_with_their_machine() {
        let site = Arc::new(Site::new("lab"));
        let store = Store::open("sqlite::memory:").await.unwrap();
        let view = WebView {
            site: site.clone(),
            store,
            heard: Heard::default(),
            changes: watch::channel(0).1,
        };
        let machine = json!({
            "apiVersion": "unbounded-cloud.io/v1alpha3", "kind": "Machine",
            "metadata": { "name": "node-1", "labels": { "unbounded-cloud.io/site": "lab" } },
            "spec": { "pxe": { "dhcpLeases": [
                { "ipv4": "10.0.0.11", "mac": "52:54:00:00:00:01", "subnetMask": "255.255.255.0" }
            ] } },
            "status": { "phase": "Provisioning" },
        });
        site.apply_machine(&serde_json::from_value(machine).unwrap());
        for (name, phase, stage) in [
            ("now", "InProgress", Some("WaitingRepave")),
            ("then", "Complete", None),
        ] {
            let operation = json!({
                "apiVersion": "unbounded-cloud.io/v1alpha3", "kind": "MachineOperation",
                "metadata": { "name": name },
                "spec": { "machineRef": "node-1", "operationKind": "HostReplace" },
                "status": { "phase": phase, "targets": [
                    { "machineRef": "node-1", "phase": phase, "stage": stage, "percent": 40 }
                ] },
            });
            site.apply_operation(serde_json::from_value(operation).unwrap());
        }
        let facts = view.machine("node-1").unwrap();
        let running = facts.row.operation.unwrap();
        assert_eq!((running.name.as_str(), running.percent), ("now", Some(40)));
        assert_eq!(running.stage, "Installing");
        assert_eq!(facts.operations.len(), 1);
        assert_eq!(facts.operations[0].name, "then");
        assert_eq!(facts.facts[0].value, "10.0.0.11 at 52:54:00:00:00:01");
        assert_eq!(view.machines().len(), 1);
        assert!(view.machine("node-2").is_none());
    }
}
