//! What a BMC answered, as text for people. Pure.

use std::fmt::Write as _;

use redfish::{EventLog, Reading};

use crate::{
    bmc::{BmcReport, CertificateFacts, override_words},
    cli::table::{or_dash, table},
};

/// `metalman bmc show`.
pub(super) fn report(report: &BmcReport) -> String {
    let mut text = String::new();
    for (label, value) in facts(report) {
        // Writing to a String does not fail.
        writeln!(text, "{label:<15}{value}").ok();
    }
    let parts = [
        ("PROCESSORS", processors(report)),
        ("MEMORY", memory(report)),
        ("DRIVES", drives(report)),
        ("NETWORK", network(report)),
        ("FIRMWARE", firmware(report)),
        ("SENSORS", sensors(report)),
        ("POWER SUPPLIES", supplies(report)),
    ];
    for (title, part) in parts {
        if let Some(part) = part {
            write!(text, "\n{title}\n{part}").ok();
        }
    }
    let gaps: Vec<&str> = [&report.inventory.gaps, &report.sensors.gaps]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    if !gaps.is_empty() {
        write!(text, "\nlisted, but not readable: {}\n", gaps.join(", ")).ok();
    }
    text
}

fn facts(report: &BmcReport) -> Vec<(&'static str, String)> {
    let (who, inventory) = (&report.identity, &report.inventory);
    let joined = |parts: &[Option<String>]| {
        let parts: Vec<&str> = parts.iter().flatten().map(String::as_str).collect();
        parts.join(", ")
    };
    let with = |label: &str, value: Option<&String>| value.map(|value| format!("{label} {value}"));
    let mut facts = vec![
        ("Machine", report.machine.clone()),
        (
            "BMC",
            joined(&[
                Some(report.address.clone()),
                who.product.clone(),
                with("Redfish", who.redfish_version.as_ref()),
                Some(format!("platform {}", who.platform)),
            ]),
        ),
    ];
    facts.extend(who.quirks.iter().map(|quirk| ("Quirk", quirk.clone())));
    if let Some(manager) = &who.manager {
        let manager = joined(&[
            Some(manager.id.clone()),
            manager.model.clone(),
            with("firmware", manager.firmware_version.as_ref()),
            with("health", manager.health.as_ref()),
            with("clock", manager.date_time.as_ref()),
        ]);
        facts.push(("Manager", manager));
    }
    facts.push((
        "System",
        joined(&[
            Some(who.system.id.clone()),
            inventory.manufacturer.clone(),
            inventory.model.clone(),
            with("serial", inventory.serial_number.as_ref()),
            with("UUID", inventory.uuid.as_ref()),
            with("BIOS", inventory.bios_version.as_ref()),
        ]),
    ));
    facts.push((
        "Power",
        joined(&[
            Some(who.system.power.to_string()),
            with("health", who.system.health.as_ref()),
            with("boot progress", who.system.boot_progress.as_ref()),
            report
                .sensors
                .power_watts
                .map(|watts| format!("draws {watts:.0} W")),
        ]),
    ));
    let boot = who.system.boot_override.as_ref().map(override_words);
    facts.push(("Boot override", or_dash(boot)));
    let lamp = who.indicator.map(|on| if on { "on" } else { "off" });
    facts.push(("Indicator", or_dash(lamp)));
    facts.push(("Sessions", or_dash(who.sessions)));
    facts.extend(
        who.certificate
            .as_ref()
            .map(|found| ("Certificate", certificate(found))),
    );
    facts
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

/// A certificate in one line.
pub(super) fn certificate(found: &CertificateFacts) -> String {
    match found.not_after {
        Some(end) => format!(
            "SHA-256 {}, valid until {}",
            found.fingerprint,
            end.strftime("%Y-%m-%d")
        ),
        None => format!("SHA-256 {}", found.fingerprint),
    }
}

fn some_table<const N: usize>(head: [&str; N], rows: Vec<[String; N]>) -> Option<String> {
    (!rows.is_empty()).then(|| table(head, rows))
}

fn processors(report: &BmcReport) -> Option<String> {
    let row = |cpu: &redfish::Processor| {
        [
            cpu.id.clone(),
            or_dash(cpu.kind.as_ref()),
            or_dash(cpu.model.as_ref()),
            or_dash(cpu.cores),
            or_dash(cpu.threads),
            or_dash(cpu.health.as_ref()),
        ]
    };
    let rows = report.inventory.processors.iter().map(row).collect();
    let head = ["ID", "KIND", "MODEL", "CORES", "THREADS", "HEALTH"];
    some_table(head, rows)
}

fn memory(report: &BmcReport) -> Option<String> {
    let row = |module: &redfish::MemoryModule| {
        [
            module.locator.clone().unwrap_or_else(|| module.id.clone()),
            or_dash(module.capacity_mib.map(|mib| format!("{} GiB", mib / 1024))),
            or_dash(module.kind.as_ref()),
            or_dash(module.part_number.as_ref()),
            or_dash(module.serial_number.as_ref()),
            or_dash(module.health.as_ref()),
        ]
    };
    let rows = report.inventory.memory.iter().map(row).collect();
    let head = ["SLOT", "SIZE", "KIND", "PART", "SERIAL", "HEALTH"];
    some_table(head, rows)
}

fn drives(report: &BmcReport) -> Option<String> {
    let row = |drive: &redfish::Drive| {
        [
            drive.id.clone(),
            or_dash(drive.model.as_ref()),
            or_dash(drive.serial_number.as_ref()),
            or_dash(
                drive
                    .capacity_bytes
                    .map(|bytes| format!("{} GB", bytes / 1_000_000_000)),
            ),
            or_dash(drive.protocol.as_ref()),
            or_dash(drive.firmware_version.as_ref()),
            or_dash(drive.wwn.as_ref()),
            or_dash(drive.health.as_ref()),
        ]
    };
    let rows = report.inventory.drives.iter().map(row).collect();
    let head = [
        "ID", "MODEL", "SERIAL", "SIZE", "PROTOCOL", "FIRMWARE", "WWN", "HEALTH",
    ];
    some_table(head, rows)
}

fn network(report: &BmcReport) -> Option<String> {
    let row = |nic: &redfish::Interface| {
        [
            nic.id.clone(),
            or_dash(nic.mac.as_ref()),
            or_dash(nic.permanent_mac.as_ref()),
            or_dash(nic.link.as_ref()),
            or_dash(nic.speed_mbps.map(|speed| format!("{speed} Mb/s"))),
        ]
    };
    let rows = report.inventory.interfaces.iter().map(row).collect();
    some_table(["ID", "MAC", "PERMANENT MAC", "LINK", "SPEED"], rows)
}

fn firmware(report: &BmcReport) -> Option<String> {
    let row = |item: &redfish::Firmware| {
        [
            item.id.clone(),
            or_dash(item.name.as_ref()),
            or_dash(item.version.as_ref()),
        ]
    };
    let rows = report.inventory.firmware.iter().map(row).collect();
    some_table(["ID", "NAME", "VERSION"], rows)
}

fn sensors(report: &BmcReport) -> Option<String> {
    let row = |reading: &Reading| {
        let unit = match reading.unit.as_str() {
            "Cel" => "°C",
            other => other,
        };
        [
            reading.name.clone(),
            or_dash(reading.value.map(|value| format!("{value} {unit}"))),
            or_dash(
                reading
                    .upper_critical
                    .map(|limit| format!("{limit} {unit}")),
            ),
            or_dash(reading.health.as_ref()),
        ]
    };
    let all = [&report.sensors.temperatures, &report.sensors.fans];
    let rows = all.into_iter().flatten().map(row).collect();
    some_table(["NAME", "READING", "CRITICAL AT", "HEALTH"], rows)
}

fn supplies(report: &BmcReport) -> Option<String> {
    let watts = |watts: Option<f64>| or_dash(watts.map(|watts| format!("{watts:.0} W")));
    let row = |supply: &redfish::PowerSupply| {
        [
            supply.name.clone(),
            or_dash(supply.state.as_ref()),
            watts(supply.capacity_watts),
            watts(supply.input_watts),
            or_dash(supply.health.as_ref()),
        ]
    };
    let rows = report.sensors.supplies.iter().map(row).collect();
    some_table(["NAME", "STATE", "CAPACITY", "INPUT", "HEALTH"], rows)
}

/// `metalman bmc sel`.
pub(super) fn log(log: &EventLog) -> String {
    let row = |entry: &redfish::LogEntry| {
        [
            or_dash(
                entry
                    .created
                    .map(|at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()),
            ),
            or_dash(entry.severity.as_ref()),
            entry.id.clone(),
            entry.message.clone(),
        ]
    };
    let shown = log.entries.len();
    let rows = log.entries.iter().map(row).collect();
    let mut text = if shown == 0 {
        "the event log is empty\n".to_owned()
    } else {
        table(["TIME", "SEVERITY", "ID", "MESSAGE"], rows)
    };
    if let Some(total) = log.total.filter(|total| *total > shown as u64) {
        writeln!(
            text,
            "{shown} of {total} entries of {}; more with --limit",
            log.service
        )
        .ok();
    }
    text
}
