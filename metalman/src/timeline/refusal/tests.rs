use std::net::Ipv4Addr;

use super::*;

const IP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);

/// Events one second apart; the second of each is its place in the list.
struct Story {
    watch: Watch,
    seen: Observed,
    second: i64,
}

impl Story {
    fn new() -> Self {
        Self {
            watch: Watch::default(),
            seen: Observed::default(),
            second: 0,
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.second).expect("a time")
    }

    fn event(&mut self, kind: BootEventKind) -> &mut Self {
        self.second += 1;
        let event = BootEvent {
            machine: Some("node-1".into()),
            mac: None,
            ip: Some(IP),
            at: self.now(),
            kind,
        };
        self.watch.push(&event, &mut self.seen);
        self
    }

    fn discover(&mut self, vendor_class: Option<&str>) -> &mut Self {
        self.event(BootEventKind::DhcpDiscover {
            arch: None,
            vendor_class: vendor_class.map(str::to_owned),
            uuid: None,
            via: netboot::event::Via::default(),
        })
    }

    fn ack(&mut self, boot_file: &str) -> &mut Self {
        self.event(BootEventKind::DhcpAck {
            address: IP,
            boot_file: Some(boot_file.into()),
            no_boot_file: None,
        })
    }

    fn tftp(&mut self, file: &str) -> &mut Self {
        self.event(BootEventKind::TftpDone {
            file: file.into(),
            bytes: 1,
            duration_ms: 1,
            blksize: 512,
            windowsize: 4,
            retransmits: 0,
        })
    }

    fn absent(&mut self, file: &str) -> &mut Self {
        self.event(BootEventKind::TftpFailed {
            file: file.into(),
            reason: "no file".into(),
        })
    }

    fn http(&mut self, file: &str, bytes: u64) -> &mut Self {
        self.event(BootEventKind::HttpDone {
            file: file.into(),
            bytes,
            expected: bytes,
            duration_ms: 1,
            status: 200,
        })
    }

    fn wait(&mut self, seconds: i64) -> &mut Self {
        self.second += seconds;
        let now = self.now();
        self.watch.settle(now, &mut self.seen);
        self
    }

    fn told(&self) -> Vec<&str> {
        assert_eq!(self.seen.timeline.len(), self.seen.evidence.len());
        let lines = self.seen.timeline.iter();
        lines.map(|line| line.text.as_str()).collect()
    }
}

const PXE: Option<&str> = Some("PXEClient:Arch:00007:UNDI:003000");
const HTTP: Option<&str> = Some("HTTPClient:Arch:00016:UNDI:003000");

#[test]
fn a_good_boot_by_tftp_is_not_suspected() {
    let mut story = Story::new();
    story.discover(PXE).ack("shimx64.efi");
    story.absent("shimx64.efi").tftp("shimx64.efi");
    story.absent("revocations_sku.efi").tftp("grubx64.efi");
    story.tftp("/grub/x86_64-efi/fs.lst").tftp("/grub/grub.cfg");
    story.tftp("/vmlinuz").tftp("/initrd").wait(600);
    story.discover(None).wait(600).discover(PXE);
    assert_eq!(story.told(), [""; 0]);
}

#[test]
fn a_good_boot_by_http_is_not_suspected() {
    let mut story = Story::new();
    story
        .discover(HTTP)
        .ack("http://10.77.0.1:8880/shimx64.efi");
    story.http("shimx64.efi", 0).http("shimx64.efi", 1_000_000);
    story
        .http("revocations_sku.efi", 20)
        .http("grubx64.efi", 800_000);
    // The site's GRUB asks for an address in its own name.
    story.discover(None).wait(600);
    story.http("grub/grub.cfg", 1200).wait(600).discover(HTTP);
    assert_eq!(story.told(), [""; 0]);
}

#[test]
fn firmware_that_asks_again_refused_the_first_loader() {
    let mut story = Story::new();
    story.discover(PXE).ack("shimx64.efi").tftp("shimx64.efi");
    story.discover(HTTP);
    assert_eq!(
        story.told(),
        [
            "firmware fetched shimx64.efi but did not start it (it asked for an address again): \
             signature refused by Secure Boot? its signer must be in db, its hash not in dbx"
        ]
    );
    assert_eq!(story.seen.evidence[0].kind, EvidenceKind::LoaderRefused);
    story.wait(600).discover(PXE);
    assert_eq!(story.told().len(), 1, "told once");
}

#[test]
fn shim_that_falls_silent_refused_grub() {
    let mut story = Story::new();
    story.discover(PXE).ack("shimx64.efi").tftp("shimx64.efi");
    story
        .absent("revocations_sbat.efi")
        .tftp("grubx64.efi")
        .wait(10);
    assert_eq!(story.told(), [""; 0], "GRUB may still begin");
    story.wait(20).wait(600);
    assert_eq!(
        story.told(),
        [
            "shimx64.efi fetched grubx64.efi but did not start it (nothing asked for 30 s): \
             signature refused by Secure Boot? its signer must be in db, MokList or shim, its SBAT \
             level not revoked"
        ]
    );
}

#[test]
fn a_repeated_fetch_of_the_same_loader_is_no_sign_of_life() {
    let mut story = Story::new();
    story.discover(PXE).ack("shimx64.efi").tftp("shimx64.efi");
    story.absent("shimx64.efi").tftp("shimx64.efi").wait(31);
    assert!(story.told()[0].starts_with("firmware fetched shimx64.efi"));
}

#[test]
fn other_machines_have_their_own_chain() {
    let mut story = Story::new();
    story.discover(PXE).ack("shimx64.efi").tftp("shimx64.efi");
    let other = BootEvent {
        machine: Some("node-2".into()),
        mac: None,
        ip: None,
        at: story.now(),
        kind: BootEventKind::DhcpDiscover {
            arch: None,
            vendor_class: PXE.map(str::to_owned),
            uuid: None,
            via: netboot::event::Via::default(),
        },
    };
    story.watch.push(&other, &mut story.seen);
    assert_eq!(story.told(), [""; 0]);
}
