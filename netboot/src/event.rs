//! What netboot tells its owner about machines that boot: the raw material of the boot timeline.
//!
//! Not a log and not a metric. Invariant: an event is a fact that has happened (a reply that was
//! sent, a transfer that ended), never an intention.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    dhcp::arch::{ClientArch, NoBootFile},
    mac::MacAddr,
};

/// One fact, with as much of the machine's identity as the packet gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BootEvent {
    /// The machine's name, when the packet belongs to one.
    pub machine: Option<String>,
    /// Hardware address, when the packet carried one.
    pub mac: Option<MacAddr>,
    /// The client's address: leased to it or seen as the peer.
    pub ip: Option<Ipv4Addr>,
    /// When it happened.
    pub at: Timestamp,
    /// What happened; its fields stand beside the others in JSON, tagged by `kind`.
    #[serde(flatten)]
    pub kind: BootEventKind,
}

/// The kinds of [`BootEvent`]; in JSON `{"kind":"dhcpDiscover", …}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum BootEventKind {
    /// A machine of ours looks for an address.
    DhcpDiscover {
        arch: Option<ClientArch>,
        vendor_class: Option<String>,
        /// The firmware's UUID of the machine (option 97), as RFC 4578 sends it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uuid: Option<String>,
        #[serde(flatten)]
        via: Via,
    },
    /// We offered its reservation. `boot_file` and `no_boot_file` exclude each other.
    DhcpOffer {
        address: Ipv4Addr,
        boot_file: Option<String>,
        no_boot_file: Option<NoBootFile>,
    },
    /// A machine of ours asks for an address from us.
    DhcpRequest {
        requested: Option<Ipv4Addr>,
        arch: Option<ClientArch>,
        vendor_class: Option<String>,
    },
    /// We confirmed its reservation.
    DhcpAck {
        address: Ipv4Addr,
        boot_file: Option<String>,
        no_boot_file: Option<NoBootFile>,
    },
    /// We refused the address it asked for.
    DhcpNak { reason: String },
    /// The client says somebody else uses its address.
    DhcpDecline { address: Option<Ipv4Addr> },
    /// The client gives its address back.
    DhcpRelease { address: Option<Ipv4Addr> },
    /// A client with an address asked for the other options.
    DhcpInform { address: Option<Ipv4Addr> },
    /// A MAC that belongs to no machine (or to two) asked; it was not answered.
    UnknownMac {
        vendor_class: Option<String>,
        arch: Option<ClientArch>,
        #[serde(flatten)]
        via: Via,
    },
    /// A MAC was not answered because two machines claim it or its address.
    AddressDisputed {
        disputed: String,
        machines: Vec<String>,
    },
    /// Another DHCP server on our segment spoke to a client, or a client to it.
    ForeignServer {
        server: Ipv4Addr,
        sent: ForeignMessage,
        /// What the client was given or asks for.
        address: Option<Ipv4Addr>,
    },
    /// Beside another DHCP server: we told the client its boot file.
    ProxyAnswer {
        boot_file: String,
        /// Our address, where the loaders must ask next.
        server: Ipv4Addr,
    },
    /// Beside another DHCP server: a client that wants to boot was told nothing.
    ProxySilence { no_boot_file: NoBootFile },
    /// Beside another DHCP server: the client takes an address from it.
    SiteLease {
        server: Ipv4Addr,
        address: Ipv4Addr,
        /// What the Machine reserves.
        reserved: Ipv4Addr,
    },
    /// A whole file was read by TFTP and its last block was acknowledged.
    TftpDone {
        file: String,
        bytes: u64,
        duration_ms: u64,
        blksize: u16,
        windowsize: u16,
        retransmits: u32,
    },
    /// A whole file was sent by TFTP to a client that answered, but not its last blocks: it fell
    /// silent, left or asked anew. It most likely has the file, for a last acknowledgement that is
    /// lost is not repeated. `duration_ms` ends with the last acknowledgement that came.
    TftpUnacknowledged {
        file: String,
        /// Length of the file.
        bytes: u64,
        unacknowledged_blocks: u64,
        duration_ms: u64,
        blksize: u16,
        windowsize: u16,
        retransmits: u32,
    },
    /// A TFTP read failed: refused, aborted by the client half-way, or given up after retries.
    TftpFailed { file: String, reason: String },
    /// An HTTP answer to a GET ended. `expected` is the length its head announced, `bytes` what
    /// the network took of it: fewer when the client left or was too slow.
    HttpDone {
        file: String,
        bytes: u64,
        expected: u64,
        duration_ms: u64,
        status: u16,
    },
    /// A template was rendered for the machine.
    Rendered {
        file: String,
        sha256: String,
        decision: BootDecision,
    },
    /// A template could not be rendered; nothing was served.
    RenderFailed {
        template: String,
        line: Option<usize>,
        reason: String,
    },
    /// Part of an image for an operation on the machine has been fetched.
    ImageProgress {
        field: String,
        percent: u8,
        total_bytes: u64,
    },
    /// An image for an operation on the machine is complete and verified.
    ImageReady {
        field: String,
        image: String,
        digest: String,
        duration_ms: u64,
    },
    /// An image for an operation on the machine cannot be had.
    ImageFailed { reason: String, message: String },
}

/// How a request came: through which relay, and where that relay saw the client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Via {
    /// `giaddr`; `None` on our own link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<Ipv4Addr>,
    /// Port of the switch (RFC 3046 circuit id).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_id: Option<String>,
    /// The switch (RFC 3046 remote id).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_id: Option<String>,
}

/// By which message another DHCP server was noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ForeignMessage {
    /// Its OFFER, broadcast on our segment.
    Offer,
    /// Its ACK.
    Ack,
    /// Its NAK.
    Nak,
    /// A client's REQUEST (or DECLINE, RELEASE) that names it.
    Request,
}

impl ForeignMessage {
    /// Bounded label for metrics, and the word for people.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Offer => "OFFER",
            Self::Ack => "ACK",
            Self::Nak => "NAK",
            Self::Request => "REQUEST",
        }
    }
}

/// What the rendered boot file tells GRUB to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BootDecision {
    /// Start the installer.
    Install,
    /// Chain-load the local disk.
    LocalDisk,
}

impl BootEventKind {
    /// Stable name for metrics and logs, equal to the JSON tag.
    pub fn name(&self) -> &'static str {
        match self {
            Self::DhcpDiscover { .. } => "dhcpDiscover",
            Self::DhcpOffer { .. } => "dhcpOffer",
            Self::DhcpRequest { .. } => "dhcpRequest",
            Self::DhcpAck { .. } => "dhcpAck",
            Self::DhcpNak { .. } => "dhcpNak",
            Self::DhcpDecline { .. } => "dhcpDecline",
            Self::DhcpRelease { .. } => "dhcpRelease",
            Self::DhcpInform { .. } => "dhcpInform",
            Self::UnknownMac { .. } => "unknownMac",
            Self::AddressDisputed { .. } => "addressDisputed",
            Self::ForeignServer { .. } => "foreignServer",
            Self::ProxyAnswer { .. } => "proxyAnswer",
            Self::ProxySilence { .. } => "proxySilence",
            Self::SiteLease { .. } => "siteLease",
            Self::TftpDone { .. } => "tftpDone",
            Self::TftpUnacknowledged { .. } => "tftpUnacknowledged",
            Self::TftpFailed { .. } => "tftpFailed",
            Self::HttpDone { .. } => "httpDone",
            Self::Rendered { .. } => "rendered",
            Self::RenderFailed { .. } => "renderFailed",
            Self::ImageProgress { .. } => "imageProgress",
            Self::ImageReady { .. } => "imageReady",
            Self::ImageFailed { .. } => "imageFailed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_flat_tagged_camel_case_json() -> Result<(), serde_json::Error> {
        let event = BootEvent {
            machine: Some("node-1".into()),
            mac: Some(MacAddr::new([0x52, 0x54, 0, 0x77, 0, 0x11])),
            ip: Some(Ipv4Addr::new(10, 77, 0, 11)),
            at: Timestamp::UNIX_EPOCH,
            kind: BootEventKind::DhcpAck {
                address: Ipv4Addr::new(10, 77, 0, 11),
                boot_file: None,
                no_boot_file: Some(NoBootFile::LegacyBios),
            },
        };
        let json = serde_json::to_value(&event)?;
        assert_eq!(
            json,
            serde_json::json!({
                "machine": "node-1", "mac": "52:54:00:77:00:11", "ip": "10.77.0.11",
                "at": "1970-01-01T00:00:00Z", "kind": "dhcpAck", "address": "10.77.0.11",
                "bootFile": null, "noBootFile": "legacyBios",
            })
        );
        assert_eq!(
            json.get("kind").and_then(|k| k.as_str()),
            Some(event.kind.name())
        );
        assert_eq!(serde_json::from_value::<BootEvent>(json)?, event);
        Ok(())
    }
}
