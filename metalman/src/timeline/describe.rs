//! What one event of the boot services means: at most one line for people and one fact for the
//! engine. Pure.

mod dhcp;

use netboot::dhcp::arch::BootClient;
use netboot::event::{BootDecision, BootEvent, BootEventKind};
use serde_json::{Value, json};

use super::words;
use crate::store::{
    EvidenceKind, LeaseSeen, NewEvidence, NewTimelineEntry, Observed, TimelineSource,
    UnknownMacSeen,
};

/// The line and the fact in an event. Events of unknown machines have neither.
pub fn entries_of(event: &BootEvent) -> (Option<NewTimelineEntry>, Option<NewEvidence>) {
    let Some(machine) = &event.machine else {
        return (None, None);
    };
    let detail = detail(event);
    let line = line(event).map(|(source, text)| NewTimelineEntry {
        machine: machine.clone(),
        at: event.at,
        source,
        text,
        detail: detail.clone(),
        operation: None,
    });
    let fact = fact(&event.kind).map(|kind| NewEvidence {
        machine: machine.clone(),
        at: event.at,
        kind,
        detail,
    });
    (line, fact)
}

/// Everything the store keeps of an event.
pub fn observed_of(event: &BootEvent) -> Observed {
    let (line, fact) = entries_of(event);
    Observed {
        timeline: line.into_iter().collect(),
        evidence: fact.into_iter().collect(),
        leases: lease(event).into_iter().collect(),
        unknown_macs: unknown_mac(event).into_iter().collect(),
    }
}

/// Whether GRUB fetched one of its many small parts, which are told as one line.
pub(super) fn is_grub_part(path: &str) -> bool {
    let extension = path.rsplit_once('.').map(|(_, extension)| extension);
    matches!(extension, Some("mod" | "lst"))
}

/// Whether loaders ask for this file just in case; its absence says nothing.
fn is_optional(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    is_grub_part(path)
        || name.starts_with("revocations")
        || name.starts_with("shim_certificate")
        || name.starts_with("grub.cfg-")
        || path.ends_with("-efi/grub.cfg")
}

fn detail(event: &BootEvent) -> Value {
    // A map with text keys always serialises; an empty object is only for the type.
    let mut detail = serde_json::to_value(&event.kind).unwrap_or_else(|_| json!({}));
    if let Some(fields) = detail.as_object_mut() {
        if let Some(path) = fields.get("file").and_then(Value::as_str) {
            let shown = words::file(path);
            fields.insert("file".to_owned(), json!(shown));
        }
        if let Some(mac) = event.mac {
            fields.insert("mac".to_owned(), json!(mac));
        }
        if let Some(client) = client(&event.kind) {
            fields.insert("client".to_owned(), json!(client));
        }
    }
    detail
}

/// `pxe` and `http` are firmware that boots from the network, `other` is an operating system.
fn client(kind: &BootEventKind) -> Option<&'static str> {
    let (BootEventKind::DhcpDiscover { vendor_class, .. }
    | BootEventKind::DhcpRequest { vendor_class, .. }) = kind
    else {
        return None;
    };
    Some(
        match BootClient::from_vendor_class(vendor_class.as_deref()) {
            BootClient::Pxe => "pxe",
            BootClient::Http => "http",
            BootClient::Other => "other",
        },
    )
}

fn fact(kind: &BootEventKind) -> Option<EvidenceKind> {
    match kind {
        BootEventKind::DhcpDiscover { .. } => Some(EvidenceKind::DhcpDiscover),
        BootEventKind::DhcpAck { .. } => Some(EvidenceKind::DhcpAck),
        BootEventKind::TftpDone { file, .. } | BootEventKind::TftpUnacknowledged { file, .. }
            if !is_grub_part(file) =>
        {
            Some(EvidenceKind::BootFileServed)
        }
        BootEventKind::HttpDone {
            file,
            status,
            bytes,
            expected,
            ..
        } if (200..300).contains(status)
            && *bytes > 0
            && bytes >= expected
            && !is_grub_part(file) =>
        {
            Some(EvidenceKind::BootFileServed)
        }
        BootEventKind::Rendered { file, .. } if file.ends_with("grub.cfg") => {
            Some(EvidenceKind::GrubDecision)
        }
        BootEventKind::Rendered { .. }
        | BootEventKind::TftpDone { .. }
        | BootEventKind::HttpDone { .. }
        | BootEventKind::DhcpOffer { .. }
        | BootEventKind::DhcpRequest { .. }
        | BootEventKind::DhcpNak { .. }
        | BootEventKind::DhcpDecline { .. }
        | BootEventKind::DhcpRelease { .. }
        | BootEventKind::DhcpInform { .. }
        | BootEventKind::UnknownMac { .. }
        | BootEventKind::AddressDisputed { .. }
        | BootEventKind::ForeignServer { .. }
        | BootEventKind::ProxyAnswer { .. }
        | BootEventKind::ProxySilence { .. }
        | BootEventKind::SiteLease { .. }
        | BootEventKind::TftpUnacknowledged { .. }
        | BootEventKind::TftpFailed { .. }
        | BootEventKind::RenderFailed { .. }
        | BootEventKind::ImageProgress { .. }
        | BootEventKind::ImageReady { .. }
        | BootEventKind::ImageFailed { .. } => None,
    }
}

fn line(event: &BootEvent) -> Option<(TimelineSource, String)> {
    use TimelineSource::{Dhcp, Grub, Http, Operation, Tftp};
    match &event.kind {
        BootEventKind::DhcpDiscover { .. }
        | BootEventKind::DhcpOffer { .. }
        | BootEventKind::DhcpRequest { .. }
        | BootEventKind::DhcpAck { .. }
        | BootEventKind::DhcpNak { .. }
        | BootEventKind::DhcpDecline { .. }
        | BootEventKind::DhcpRelease { .. }
        | BootEventKind::DhcpInform { .. }
        | BootEventKind::AddressDisputed { .. }
        | BootEventKind::ForeignServer { .. }
        | BootEventKind::ProxyAnswer { .. }
        | BootEventKind::ProxySilence { .. }
        | BootEventKind::SiteLease { .. }
        | BootEventKind::UnknownMac { .. } => dhcp::line(event).map(|text| (Dhcp, text)),
        BootEventKind::TftpDone { .. }
        | BootEventKind::TftpUnacknowledged { .. }
        | BootEventKind::TftpFailed { .. } => tftp_line(&event.kind).map(|text| (Tftp, text)),
        BootEventKind::HttpDone {
            file,
            bytes,
            expected,
            duration_ms,
            status,
        } => http_line(file, *bytes, *expected, *duration_ms, *status).map(|text| (Http, text)),
        BootEventKind::Rendered { file, decision, .. } => Some(if file.ends_with("grub.cfg") {
            let text = match decision {
                BootDecision::Install => "GRUB is told to start the installer",
                BootDecision::LocalDisk => "GRUB is told to start from the local disk",
            };
            (Grub, text.to_owned())
        } else {
            (Http, format!("rendered {}", words::file(file)))
        }),
        BootEventKind::RenderFailed {
            template,
            line,
            reason,
        } => {
            let place = line.map(|line| format!(" line {line}")).unwrap_or_default();
            let (template, reason) = (words::clean(template), words::clean(reason));
            Some((Grub, format!("cannot render {template}{place}: {reason}")))
        }
        BootEventKind::ImageProgress { .. }
        | BootEventKind::ImageReady { .. }
        | BootEventKind::ImageFailed { .. } => {
            image_line(&event.kind).map(|text| (Operation, text))
        }
    }
}

fn tftp_line(kind: &BootEventKind) -> Option<String> {
    if let BootEventKind::TftpFailed { file, reason } = kind {
        let (shown, reason) = (words::file(file), words::clean(reason));
        return (!is_optional(file)).then(|| format!("TFTP {shown} failed: {reason}"));
    }
    let (BootEventKind::TftpDone {
        file,
        bytes,
        duration_ms,
        blksize,
        windowsize,
        retransmits,
    }
    | BootEventKind::TftpUnacknowledged {
        file,
        bytes,
        duration_ms,
        blksize,
        windowsize,
        retransmits,
        ..
    }) = kind
    else {
        return None;
    };
    let lacks = if let BootEventKind::TftpUnacknowledged {
        unacknowledged_blocks,
        ..
    } = kind
    {
        match unacknowledged_blocks {
            1 => ": all sent, the last block was not acknowledged".to_owned(),
            many => format!(": all sent, the last {many} blocks were not acknowledged"),
        }
    } else {
        String::new()
    };
    let again = match retransmits {
        0 => String::new(),
        1 => ", 1 retransmit".to_owned(),
        many => format!(", {many} retransmits"),
    };
    let (file, transfer) = (words::file(file), words::transfer(*bytes, *duration_ms));
    Some(format!(
        "TFTP {file} {transfer}{lacks} (blksize {blksize}, window {windowsize}{again})"
    ))
}

fn image_line(kind: &BootEventKind) -> Option<String> {
    if let BootEventKind::ImageProgress {
        field,
        percent,
        total_bytes,
    } = kind
    {
        let total = words::bytes(*total_bytes);
        return Some(format!("image of {field}: {percent} % of {total}"));
    }
    if let BootEventKind::ImageReady {
        field,
        image,
        digest,
        duration_ms,
    } = kind
    {
        let (image, took) = (words::clean(image), words::duration(*duration_ms));
        return Some(format!(
            "image of {field} is ready after {took}: {image} is {digest}"
        ));
    }
    let BootEventKind::ImageFailed { message, .. } = kind else {
        return None;
    };
    Some(format!("no image: {}", words::clean(message)))
}

fn http_line(
    file: &str,
    bytes: u64,
    expected: u64,
    duration_ms: u64,
    status: u16,
) -> Option<String> {
    let shown = words::file(file);
    match status {
        200..300 if bytes < expected => Some(format!(
            "HTTP {shown} broke off after {} of {} ({})",
            words::bytes(bytes),
            words::bytes(expected),
            words::duration(duration_ms),
        )),
        206 => Some(format!(
            "HTTP {shown} {} (range)",
            words::transfer(bytes, duration_ms)
        )),
        200..300 if bytes == 0 => None,
        200..300 => Some(format!(
            "HTTP {shown} {}",
            words::transfer(bytes, duration_ms)
        )),
        404 if is_optional(file) => None,
        503 => Some(format!("HTTP {shown} is not ready (503)")),
        _ => Some(format!("HTTP {shown} answered {status}")),
    }
}

fn lease(event: &BootEvent) -> Option<LeaseSeen> {
    let (last_message, ip) = match &event.kind {
        BootEventKind::DhcpDiscover { .. } => ("DHCPDISCOVER", None),
        BootEventKind::DhcpOffer { address, .. } => ("DHCPOFFER", Some(*address)),
        BootEventKind::DhcpRequest { .. } => ("DHCPREQUEST", None),
        BootEventKind::DhcpAck { address, .. } => ("DHCPACK", Some(*address)),
        BootEventKind::DhcpNak { .. } => ("DHCPNAK", None),
        BootEventKind::DhcpDecline { .. } => ("DHCPDECLINE", None),
        BootEventKind::DhcpRelease { .. } => ("DHCPRELEASE", None),
        BootEventKind::DhcpInform { .. } => ("DHCPINFORM", None),
        BootEventKind::UnknownMac { .. }
        | BootEventKind::AddressDisputed { .. }
        | BootEventKind::ForeignServer { .. }
        | BootEventKind::ProxyAnswer { .. }
        | BootEventKind::ProxySilence { .. }
        | BootEventKind::SiteLease { .. }
        | BootEventKind::TftpDone { .. }
        | BootEventKind::TftpUnacknowledged { .. }
        | BootEventKind::TftpFailed { .. }
        | BootEventKind::HttpDone { .. }
        | BootEventKind::Rendered { .. }
        | BootEventKind::RenderFailed { .. }
        | BootEventKind::ImageProgress { .. }
        | BootEventKind::ImageReady { .. }
        | BootEventKind::ImageFailed { .. } => return None,
    };
    Some(LeaseSeen {
        machine: event.machine.clone()?,
        mac: event.mac?.to_string(),
        ip: ip.map(|ip| ip.to_string()),
        last_seen: event.at,
        last_message: last_message.to_owned(),
    })
}

fn unknown_mac(event: &BootEvent) -> Option<UnknownMacSeen> {
    let BootEventKind::UnknownMac {
        vendor_class,
        arch,
        via,
    } = &event.kind
    else {
        return None;
    };
    Some(UnknownMacSeen {
        mac: event.mac?.to_string(),
        at: event.at,
        arch: arch.map(|arch| dhcp::arch_words(arch).to_owned()),
        vendor_class: vendor_class.as_deref().map(words::clean),
        relay: via.relay.map(|relay| relay.to_string()),
        circuit_id: via.circuit_id.as_deref().map(words::clean),
    })
}

#[cfg(test)]
mod tests;
