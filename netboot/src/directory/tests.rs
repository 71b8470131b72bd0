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
            mtu: None,
        }],
        architecture: Architecture::Amd64,
        protocol: BootProtocol::Pxe,
        netboot: None,
        install: token.map(|token| InstallGrant {
            token: token.into(),
            claimed: false,
            image,
        }),
        context: Arc::new(serde_json::Value::Null),
    }
}

fn mac(last: u8) -> MacAddr {
    MacAddr::new([0x52, 0x54, 0, 0x77, 0, last])
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
fn a_disputed_mac_is_served_to_neither_machine() {
    let mut thief = machine("thief", 12, None);
    thief.leases[0].mac = mac(11);
    let mut second_nic = machine("", 13, None).leases[0].clone();
    second_nic.ipv4 = Ipv4Addr::new(10, 77, 0, 13);
    thief.leases.push(second_nic);
    let snapshot = Snapshot::new(vec![machine("a", 11, None), thief]);
    assert_eq!(name(snapshot.by_mac(mac(11))), None);
    assert_eq!(name(snapshot.by_ip(Ipv4Addr::new(10, 77, 0, 11))), None);
    assert_eq!(
        name(snapshot.by_mac(mac(13))),
        Some("thief".into()),
        "what is not disputed is served"
    );
    let conflict = Conflict {
        value: Disputed::Mac(mac(11)),
        machines: vec!["a".into(), "thief".into()],
    };
    assert_eq!(snapshot.withheld(mac(11)).as_deref(), Some(&conflict));
    assert_eq!(snapshot.withheld(mac(13)), None);
    assert_eq!(snapshot.conflicts(), [Arc::new(conflict)]);
}

#[test]
fn a_disputed_address_is_offered_to_neither_card() {
    let mut thief = machine("thief", 12, None);
    thief.leases[0].ipv4 = Ipv4Addr::new(10, 77, 0, 11);
    let snapshot = Snapshot::new(vec![machine("a", 11, None), thief]);
    for last in [11, 12] {
        assert_eq!(name(snapshot.by_mac(mac(last))), None);
        let conflict = snapshot.withheld(mac(last)).expect("is told why");
        assert_eq!(conflict.value.to_string(), "address 10.77.0.11");
    }
    assert_eq!(name(snapshot.by_ip(Ipv4Addr::new(10, 77, 0, 11))), None);
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
