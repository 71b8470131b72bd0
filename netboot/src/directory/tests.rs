use std::path::PathBuf;

use super::*;
use crate::images::ImageMetadata;

fn machine(name: &str, last: u8, token: Option<&str>) -> BootMachine {
    let image = Arc::new(UnpackedImage {
        digest: "sha256:00".into(),
        root: PathBuf::from("/nowhere"),
        metadata: ImageMetadata::default(),
        disk: None,
    });
    BootMachine {
        name: name.into(),
        leases: vec![Reservation {
            mac: MacAddr::new([0x52, 0x54, 0, 0x77, 0, last]),
            ipv4: Ipv4Addr::new(10, 77, 0, last),
            subnet_mask: Ipv4Addr::new(255, 255, 255, 0),
            gateway: None,
            dns: vec![],
        }],
        architecture: Architecture::Amd64,
        protocol: BootProtocol::Pxe,
        netboot: None,
        install: token.map(|token| InstallGrant {
            token: token.into(),
            claimed: false,
            image,
        }),
        context: serde_json::Value::Null,
    }
}

fn name(found: Option<Arc<BootMachine>>) -> Option<String> {
    found.map(|machine| machine.name.clone())
}

#[test]
fn a_machine_is_found_by_mac_address_and_token() {
    let directory = InMemory::new(vec![]);
    directory.replace(vec![
        machine("a", 11, Some("secret")),
        machine("b", 12, None),
    ]);
    assert_eq!(
        name(directory.by_mac(MacAddr::new([0x52, 0x54, 0, 0x77, 0, 12]))),
        Some("b".into())
    );
    assert_eq!(
        name(directory.by_ip(Ipv4Addr::new(10, 77, 0, 11))),
        Some("a".into())
    );
    assert_eq!(name(directory.by_install_token("secret")), Some("a".into()));
    assert_eq!(name(directory.by_install_token("")), None);
}

#[test]
fn a_disputed_mac_or_address_is_served_to_nobody() {
    let mut thief = machine("thief", 12, None);
    thief.leases[0].mac = MacAddr::new([0x52, 0x54, 0, 0x77, 0, 11]);
    let snapshot = Snapshot::new(vec![machine("a", 11, None), thief]);
    assert_eq!(
        name(snapshot.by_mac(MacAddr::new([0x52, 0x54, 0, 0x77, 0, 11]))),
        None
    );
    assert_eq!(
        name(snapshot.by_ip(Ipv4Addr::new(10, 77, 0, 11))),
        Some("a".into())
    );
    assert_eq!(
        snapshot.conflicts(),
        [Conflict {
            value: Disputed::Mac(MacAddr::new([0x52, 0x54, 0, 0x77, 0, 11])),
            machines: vec!["a".into(), "thief".into()],
        }]
    );
}

#[test]
fn one_machine_may_name_a_nic_twice_for_two_subnets() {
    let mut two = machine("two", 11, None);
    let mut other = two.leases[0].clone();
    other.ipv4 = Ipv4Addr::new(10, 78, 0, 11);
    let mac = other.mac;
    two.leases.push(other);
    let snapshot = Snapshot::new(vec![two]);
    assert!(snapshot.conflicts().is_empty());
    let machine = snapshot.by_mac(mac).expect("indexed");
    let on = |link| machine.reservation(mac, link).map(|lease| lease.ipv4);
    assert_eq!(
        on(Ipv4Addr::new(10, 78, 0, 1)),
        Some(Ipv4Addr::new(10, 78, 0, 11))
    );
    assert_eq!(
        on(Ipv4Addr::new(10, 79, 0, 1)),
        Some(Ipv4Addr::new(10, 77, 0, 11))
    );
}

#[test]
fn the_token_is_not_printed() {
    assert!(!format!("{:?}", machine("a", 11, Some("hush"))).contains("hush"));
}
