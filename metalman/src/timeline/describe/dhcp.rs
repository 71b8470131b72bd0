//! What the events of DHCP mean, in words.

use netboot::dhcp::arch::{BootClient, ClientArch, NoBootFile};
use netboot::event::{BootEvent, BootEventKind, ForeignMessage, Via};

use super::words;

/// The line of a DHCP event, if it is worth one.
pub(super) fn line(event: &BootEvent) -> Option<String> {
    let mac = event.mac.map(|mac| mac.to_string()).unwrap_or_default();
    match &event.kind {
        BootEventKind::DhcpDiscover {
            arch,
            vendor_class,
            via,
            ..
        } => {
            let client = match BootClient::from_vendor_class(vendor_class.as_deref()) {
                BootClient::Pxe | BootClient::Http => arch.map_or("network boot", arch_words),
                // GRUB 2.06 names no class in its own DHCP, and not every operating system does.
                BootClient::Other if vendor_class.is_none() => "GRUB or operating system",
                BootClient::Other => "operating system",
            };
            let via = via_words(via);
            Some(format!("DHCP DISCOVER from {mac} ({client}){via}"))
        }
        BootEventKind::DhcpOffer {
            address,
            boot_file,
            no_boot_file,
        } => Some(format!(
            "DHCP OFFER {address}{}",
            boot_file_words(boot_file.as_deref(), *no_boot_file)
        )),
        BootEventKind::DhcpAck {
            address,
            boot_file,
            no_boot_file,
        } => Some(format!(
            "DHCP ACK {address}{}",
            boot_file_words(boot_file.as_deref(), *no_boot_file)
        )),
        BootEventKind::DhcpNak { reason } => Some(format!("DHCP NAK: {}", words::clean(reason))),
        BootEventKind::DhcpDecline { address } => Some(match address {
            Some(address) => format!("DHCP DECLINE: {mac} says {address} is used by another host"),
            None => format!("DHCP DECLINE from {mac}"),
        }),
        BootEventKind::AddressDisputed { .. }
        | BootEventKind::ForeignServer { .. }
        | BootEventKind::ProxyAnswer { .. }
        | BootEventKind::ProxySilence { .. }
        | BootEventKind::SiteLease { .. } => Some(neighbour_line(&mac, &event.kind)),
        // An ACK or a NAK follows a REQUEST; RELEASE and INFORM are the daily life of a host.
        BootEventKind::DhcpRequest { .. }
        | BootEventKind::DhcpRelease { .. }
        | BootEventKind::DhcpInform { .. }
        | BootEventKind::UnknownMac { .. }
        | BootEventKind::TftpDone { .. }
        | BootEventKind::TftpUnacknowledged { .. }
        | BootEventKind::TftpFailed { .. }
        | BootEventKind::HttpDone { .. }
        | BootEventKind::Rendered { .. }
        | BootEventKind::RenderFailed { .. }
        | BootEventKind::ImageProgress { .. }
        | BootEventKind::ImageReady { .. }
        | BootEventKind::ImageFailed { .. } => None,
    }
}

/// What other servers, and other machines with the same address, have to do with it.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "called for these kinds only; the caller's match is exhaustive"
)]
fn neighbour_line(mac: &str, kind: &BootEventKind) -> String {
    match kind {
        BootEventKind::AddressDisputed { disputed, machines } => format!(
            "DHCP not answered: {disputed} is claimed by the Machines {}; correct or delete one",
            machines.join(" and ")
        ),
        BootEventKind::ForeignServer {
            server,
            sent: ForeignMessage::Request,
            ..
        } => format!("{mac} chose another DHCP server, {server}"),
        BootEventKind::ForeignServer {
            server,
            sent,
            address,
        } => {
            let address = address.map(|a| format!(" of {a}")).unwrap_or_default();
            let sent = sent.label();
            format!("another DHCP server, {server}, sent {mac} an {sent}{address}")
        }
        BootEventKind::ProxyAnswer { boot_file, .. } => {
            format!("ProxyDHCP, boot file {}", words::clean(boot_file))
        }
        BootEventKind::ProxySilence { no_boot_file } => {
            format!("ProxyDHCP not answered: {}", no_boot_file.explanation())
        }
        BootEventKind::SiteLease {
            server,
            address,
            reserved,
        } if address == reserved => format!("the site's DHCP server {server} gives {address}"),
        BootEventKind::SiteLease {
            server,
            address,
            reserved,
        } => format!(
            "the site's DHCP server {server} gives {address}, the Machine reserves {reserved}: \
             boot files are served to the reserved address only; make the two equal"
        ),
        other => other.name().to_owned(),
    }
}

fn via_words(via: &Via) -> String {
    let relay = via.relay.map(|relay| format!(" through relay {relay}"));
    let port = via.circuit_id.as_deref().map(words::clean);
    let port = port.map(|port| format!(", port {port}"));
    relay.unwrap_or_default() + &port.unwrap_or_default()
}

fn boot_file_words(boot_file: Option<&str>, no_boot_file: Option<NoBootFile>) -> String {
    match (boot_file, no_boot_file) {
        (Some(file), _) => format!(", boot file {}", words::clean(file)),
        (None, Some(NoBootFile::NotAsked) | None) => String::new(),
        (None, Some(why)) => format!(", no boot file: {}", why.explanation()),
    }
}

pub(super) const fn arch_words(arch: ClientArch) -> &'static str {
    match arch {
        ClientArch::BiosX86 => "legacy BIOS PXE",
        ClientArch::UefiX86 => "32-bit UEFI PXE",
        ClientArch::UefiX64 => "x86-64 UEFI PXE",
        ClientArch::UefiArm32 => "32-bit ARM UEFI PXE",
        ClientArch::UefiArm64 => "arm64 UEFI PXE",
        ClientArch::HttpX86 => "32-bit UEFI HTTP boot",
        ClientArch::HttpX64 => "x86-64 UEFI HTTP boot",
        ClientArch::HttpArm32 => "32-bit ARM UEFI HTTP boot",
        ClientArch::HttpArm64 => "arm64 UEFI HTTP boot",
        ClientArch::HttpBios => "legacy BIOS HTTP boot",
        ClientArch::Other(_) => "network boot, unknown architecture",
    }
}
