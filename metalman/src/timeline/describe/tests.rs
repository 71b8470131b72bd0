//! One event, one line, one fact.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use netboot::dhcp::arch::{ClientArch, NoBootFile};
use netboot::event::{ForeignMessage, Via};
use netboot::mac::MacAddr;

use super::*;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);

fn event(kind: BootEventKind) -> BootEvent {
    BootEvent {
        machine: Some("node-1".into()),
        mac: Some(MacAddr::new([0x52, 0x54, 0, 0x77, 0, 0x11])),
        ip: Some(ADDRESS),
        at: Timestamp::UNIX_EPOCH,
        kind,
    }
}

fn tftp(file: &str, retransmits: u32) -> BootEventKind {
    BootEventKind::TftpDone {
        file: file.into(),
        bytes: 1_048_504,
        duration_ms: 200,
        blksize: 1468,
        windowsize: 4,
        retransmits,
    }
}

fn http(file: &str, status: u16) -> BootEventKind {
    BootEventKind::HttpDone {
        file: file.into(),
        bytes: 14_186_432,
        expected: 14_186_432,
        duration_ms: 900,
        status,
    }
}

fn rendered(file: &str, decision: BootDecision) -> BootEventKind {
    BootEventKind::Rendered {
        file: file.into(),
        sha256: "aa".into(),
        decision,
    }
}

fn site_lease(address: Ipv4Addr) -> BootEventKind {
    BootEventKind::SiteLease {
        server: Ipv4Addr::new(10, 77, 0, 2),
        address,
        reserved: ADDRESS,
    }
}

fn lines(kinds: Vec<BootEventKind>) -> String {
    let told: Vec<String> = kinds
        .into_iter()
        .map(|kind| {
            let (line, fact) = entries_of(&event(kind));
            let line = line.expect("is told");
            let fact = fact.map_or("-", |fact| fact.kind.as_str());
            format!("{:<5} {:<15} {}", line.source.as_str(), fact, line.text)
        })
        .collect();
    told.join("\n")
}

#[test]
fn other_servers_and_machines_are_named_with_the_cure() {
    let told = lines(vec![
        BootEventKind::ForeignServer {
            server: Ipv4Addr::new(10, 77, 0, 2),
            sent: ForeignMessage::Request,
            address: None,
        },
        BootEventKind::ForeignServer {
            server: Ipv4Addr::new(10, 77, 0, 2),
            sent: ForeignMessage::Offer,
            address: Some(Ipv4Addr::new(10, 77, 0, 50)),
        },
        BootEventKind::AddressDisputed {
            disputed: "MAC 52:54:00:77:00:11".into(),
            machines: vec!["node-1".into(), "node-2".into()],
        },
        BootEventKind::ProxyAnswer {
            boot_file: "shimx64.efi".into(),
            server: Ipv4Addr::new(10, 77, 0, 1),
        },
        BootEventKind::ProxySilence {
            no_boot_file: NoBootFile::LegacyBios,
        },
        site_lease(ADDRESS),
        site_lease(Ipv4Addr::new(10, 77, 0, 50)),
    ]);
    insta::assert_snapshot!(told, @r"
    dhcp  -               52:54:00:77:00:11 chose another DHCP server, 10.77.0.2
    dhcp  -               another DHCP server, 10.77.0.2, sent 52:54:00:77:00:11 an OFFER of 10.77.0.50
    dhcp  -               DHCP not answered: MAC 52:54:00:77:00:11 is claimed by the Machines node-1 and node-2; correct or delete one
    dhcp  -               ProxyDHCP, boot file shimx64.efi
    dhcp  -               ProxyDHCP not answered: legacy BIOS is not supported: switch the machine's firmware to UEFI boot
    dhcp  -               the site's DHCP server 10.77.0.2 gives 10.77.0.11
    dhcp  -               the site's DHCP server 10.77.0.2 gives 10.77.0.50, the Machine reserves 10.77.0.11: boot files are served to the reserved address only; make the two equal
    ");
}

#[test]
fn a_boot_reads_as_a_story() {
    let discover = BootEventKind::DhcpDiscover {
        arch: Some(ClientArch::UefiX64),
        vendor_class: Some("PXEClient:Arch:00007:UNDI:003000".into()),
        uuid: None,
        via: Via {
            relay: Some(Ipv4Addr::new(10, 1, 0, 1)),
            circuit_id: Some("Eth1/7".into()),
            remote_id: None,
        },
    };
    let host = BootEventKind::DhcpDiscover {
        arch: None,
        vendor_class: None,
        uuid: None,
        via: Via::default(),
    };
    let ack = BootEventKind::DhcpAck {
        address: ADDRESS,
        boot_file: Some("shimx64.efi".into()),
        no_boot_file: None,
    };
    let bios = BootEventKind::DhcpOffer {
        address: ADDRESS,
        boot_file: None,
        no_boot_file: Some(NoBootFile::LegacyBios),
    };
    let told = lines(vec![
        discover,
        host,
        ack,
        bios,
        tftp("shimx64.efi", 0),
        tftp("grubx64.efi", 3),
        rendered("grub/grub.cfg", BootDecision::Install),
        rendered("grub/grub.cfg", BootDecision::LocalDisk),
        http("/vmlinuz", 200),
        http("/install/s3cret/disk", 206),
        http("/initrd", 503),
        BootEventKind::TftpFailed {
            file: "shimx64.efi".into(),
            reason: "client\u{1b}[2J".into(),
        },
        BootEventKind::RenderFailed {
            template: "grub/grub.cfg.j2".into(),
            line: Some(12),
            reason: "undefined value".into(),
        },
    ]);
    insta::assert_snapshot!(told, @r"
    dhcp  DhcpDiscover    DHCP DISCOVER from 52:54:00:77:00:11 (x86-64 UEFI PXE) through relay 10.1.0.1, port Eth1/7
    dhcp  DhcpDiscover    DHCP DISCOVER from 52:54:00:77:00:11 (GRUB or operating system)
    dhcp  DhcpAck         DHCP ACK 10.77.0.11, boot file shimx64.efi
    dhcp  -               DHCP OFFER 10.77.0.11, no boot file: legacy BIOS is not supported: switch the machine's firmware to UEFI boot
    tftp  BootFileServed  TFTP shimx64.efi 1.0 MB in 0.2 s, 5.2 MB/s (blksize 1468, window 4)
    tftp  BootFileServed  TFTP grubx64.efi 1.0 MB in 0.2 s, 5.2 MB/s (blksize 1468, window 4, 3 retransmits)
    grub  GrubDecision    GRUB is told to start the installer
    grub  GrubDecision    GRUB is told to start from the local disk
    http  BootFileServed  HTTP vmlinuz 14.2 MB in 0.9 s, 15.8 MB/s
    http  BootFileServed  HTTP machine image 14.2 MB in 0.9 s, 15.8 MB/s (range)
    http  -               HTTP initrd is not ready (503)
    tftp  -               TFTP shimx64.efi failed: client�[2J
    grub  -               cannot render grub/grub.cfg.j2 line 12: undefined value
    ");
}

#[test]
fn a_file_that_broke_off_is_told_and_proves_nothing() {
    let BootEventKind::HttpDone {
        file, duration_ms, ..
    } = http("/vmlinuz", 200)
    else {
        unreachable!()
    };
    let broken = BootEventKind::HttpDone {
        file,
        bytes: 1_000_000,
        expected: 14_186_432,
        duration_ms,
        status: 200,
    };
    let (line, fact) = entries_of(&event(broken));
    assert_eq!(
        line.unwrap().text,
        "HTTP vmlinuz broke off after 1.0 MB of 14.2 MB (0.9 s)"
    );
    assert!(fact.is_none());
}

#[test]
fn a_file_whose_last_acknowledgement_is_lost_was_served() {
    let unacknowledged = |unacknowledged_blocks| BootEventKind::TftpUnacknowledged {
        file: "grubx64.efi".into(),
        bytes: 1_048_504,
        unacknowledged_blocks,
        duration_ms: 200,
        blksize: 1468,
        windowsize: 4,
        retransmits: 5,
    };
    let told = lines(vec![unacknowledged(1), unacknowledged(3)]);
    insta::assert_snapshot!(told, @r"
    tftp  BootFileServed  TFTP grubx64.efi 1.0 MB in 0.2 s, 5.2 MB/s: all sent, the last block was not acknowledged (blksize 1468, window 4, 5 retransmits)
    tftp  BootFileServed  TFTP grubx64.efi 1.0 MB in 0.2 s, 5.2 MB/s: all sent, the last 3 blocks were not acknowledged (blksize 1468, window 4, 5 retransmits)
    ");
}

#[test]
fn noise_is_not_told_and_proves_nothing() {
    for kind in [
        BootEventKind::TftpFailed {
            file: "revocations_sku.efi".into(),
            reason: "absent".into(),
        },
        BootEventKind::TftpFailed {
            file: "shim_certificate_0.efi".into(),
            reason: "no".into(),
        },
        BootEventKind::TftpFailed {
            file: "/grub/x86_64-efi/fs.lst".into(),
            reason: "no".into(),
        },
        BootEventKind::DhcpRelease { address: None },
        BootEventKind::DhcpInform { address: None },
        http("/revocations_sku.efi", 404),
    ] {
        assert_eq!(entries_of(&event(kind.clone())), (None, None), "{kind:?}");
    }
    let (line, fact) = entries_of(&event(tftp("/grub/x86_64-efi/http.mod", 0)));
    assert!(line.is_some() && fact.is_none(), "a module is no boot file");
    let (line, fact) = entries_of(&event(http("/vmlinuz", 404)));
    assert!(
        line.is_some() && fact.is_none(),
        "a missing kernel was not served"
    );
}

#[test]
fn the_token_is_in_neither_text_nor_detail() {
    let observed = observed_of(&event(http("/install/s3cret/disk", 200)));
    assert_eq!(observed.timeline.len() + observed.evidence.len(), 2);
    assert!(!format!("{observed:?}").contains("s3cret"));
}

#[test]
fn a_card_of_nobody_is_a_sighting_only() {
    let mut unknown = event(BootEventKind::UnknownMac {
        vendor_class: Some("x\0".into()),
        arch: None,
        via: Via {
            relay: Some(Ipv4Addr::new(10, 1, 0, 1)),
            circuit_id: Some("Eth1/7".into()),
            remote_id: None,
        },
    });
    unknown.machine = None;
    let observed = observed_of(&unknown);
    assert_eq!(
        (
            observed.timeline.len(),
            observed.evidence.len(),
            observed.leases.len()
        ),
        (0, 0, 0)
    );
    let [card] = observed.unknown_macs.try_into().expect("one card");
    assert_eq!(card.mac, "52:54:00:77:00:11");
    assert_eq!(card.vendor_class.as_deref(), Some("x\u{FFFD}"));
    assert_eq!(card.relay.as_deref(), Some("10.1.0.1"));
    assert_eq!(card.circuit_id.as_deref(), Some("Eth1/7"));
}

#[test]
fn the_engine_can_tell_firmware_from_an_operating_system() {
    let class = |class: Option<&str>| {
        let kind = BootEventKind::DhcpDiscover {
            arch: None,
            vendor_class: class.map(Into::into),
            uuid: None,
            via: Via::default(),
        };
        let (_, fact) = entries_of(&event(kind));
        fact.expect("a discover is a fact").detail["client"].clone()
    };
    assert_eq!(class(Some("PXEClient:Arch:00007")), "pxe");
    assert_eq!(class(Some("HTTPClient:Arch:00016")), "http");
    assert_eq!(class(Some("systemd")), "other");
    assert_eq!(class(None), "other");
}

#[test]
fn a_lease_keeps_the_last_message() {
    let ack = BootEventKind::DhcpAck {
        address: ADDRESS,
        boot_file: None,
        no_boot_file: None,
    };
    let [lease] = observed_of(&event(ack))
        .leases
        .try_into()
        .expect("one lease");
    assert_eq!(
        (lease.ip.as_deref(), &*lease.last_message),
        (Some("10.77.0.11"), "DHCPACK")
    );
}
