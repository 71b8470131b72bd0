use proptest::prelude::*;

use super::*;

fn disk(name: &str, size: u64) -> DiskFacts {
    DiskFacts {
        name: name.into(),
        size,
        removable: false,
        read_only: false,
        serial: Some(format!("SER-{name}")),
        wwn: Some(format!("naa.5000{name}")),
        model: None,
        by_id: vec![format!("virtio-SER-{name}")],
        mark: None,
    }
}

fn mark() -> InstallMark {
    InstallMark {
        site: "lab".into(),
        machine: "node-1".into(),
        operation: "op".into(),
        digest: "sha256:00".into(),
    }
}

fn chosen(rule: &DiskRule, disks: &[DiskFacts]) -> Result<String, &'static str> {
    choose_disk(rule, disks, 100, &mark())
        .map(|d| d.name.clone())
        .map_err(|e| e.reason())
}

#[test]
fn the_only_candidate_is_taken() {
    assert_eq!(
        chosen(&DiskRule::default(), &[disk("vda", 100)]),
        Ok("vda".into())
    );
}

#[test]
fn two_candidates_are_refused_never_the_largest() {
    let disks = [disk("vda", 100), disk("vdb", 900)];
    assert_eq!(chosen(&DiskRule::default(), &disks), Err("AmbiguousDisk"));
}

#[test]
fn our_mark_decides_between_candidates() {
    let mut disks = [disk("vda", 100), disk("vdb", 900)];
    disks[1].mark = Some(mark());
    assert_eq!(chosen(&DiskRule::default(), &disks), Ok("vdb".into()));
}

#[test]
fn a_foreign_mark_decides_nothing() {
    let mut disks = [disk("vda", 100), disk("vdb", 900)];
    disks[1].mark = Some(InstallMark {
        machine: "node-2".into(),
        ..mark()
    });
    assert_eq!(chosen(&DiskRule::default(), &disks), Err("AmbiguousDisk"));
}

#[test]
fn removable_and_read_only_disks_are_no_candidates() {
    let mut disks = [disk("sda", 100), disk("sr0", 500), disk("vdb", 900)];
    disks[0].removable = true;
    disks[1].read_only = true;
    assert_eq!(chosen(&DiskRule::default(), &disks), Ok("vdb".into()));
}

#[test]
fn a_disk_smaller_than_the_image_says_so() {
    assert_eq!(
        chosen(&DiskRule::default(), &[disk("vda", 99)]),
        Err("DiskTooSmall")
    );
    let rule = DiskRule {
        serial: Some("ser-vda".into()),
        ..DiskRule::default()
    };
    assert_eq!(
        chosen(&rule, &[disk("vda", 99), disk("vdb", 900)]),
        Err("DiskTooSmall")
    );
}

#[test]
fn no_disk_at_all_is_named() {
    let refusal = choose_disk(&DiskRule::default(), &[], 1, &mark()).unwrap_err();
    assert!(refusal.to_string().contains("no disk at all"), "{refusal}");
}

#[test]
fn rules_name_disks_by_path_id_serial_and_wwn() {
    let disks = [disk("vda", 100), disk("vdb", 900)];
    let rules = [
        DiskRule {
            path: Some("/dev/vdb".into()),
            ..DiskRule::default()
        },
        DiskRule {
            path: Some("/dev/disk/by-id/virtio-SER-vdb".into()),
            ..DiskRule::default()
        },
        DiskRule {
            by_id: Some("virtio-SER-vdb".into()),
            ..DiskRule::default()
        },
        DiskRule {
            serial: Some(" ser-VDB ".into()),
            ..DiskRule::default()
        },
        DiskRule {
            wwn: Some("0x5000vdb".into()),
            ..DiskRule::default()
        },
    ];
    for rule in rules {
        assert_eq!(chosen(&rule, &disks), Ok("vdb".into()), "{rule:?}");
    }
}

#[test]
fn a_size_rule_alone_still_needs_a_single_candidate() {
    let rule = DiskRule {
        min_size_bytes: Some(200),
        ..DiskRule::default()
    };
    assert_eq!(
        chosen(&rule, &[disk("vda", 100), disk("vdb", 900)]),
        Ok("vdb".into())
    );
    assert_eq!(
        chosen(&rule, &[disk("vda", 300), disk("vdb", 900)]),
        Err("AmbiguousDisk")
    );
}

#[test]
fn the_mark_survives_its_sector() {
    let sector = mark().encode_sector().unwrap();
    assert_eq!(InstallMark::parse_sector(&sector), Some(mark()));
    let long = InstallMark {
        operation: "x".repeat(600),
        ..mark()
    };
    assert_eq!(long.encode_sector(), None);
}

proptest! {
    #[test]
    fn any_sector_parses_or_is_refused(sector in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _parsed = InstallMark::parse_sector(&sector);
    }

    /// Whatever the disks are: a choice without a naming rule is never one of several unmarked.
    #[test]
    fn a_choice_is_always_justified(
        sizes in proptest::collection::vec((1_u64..1000, any::<bool>(), any::<bool>(), any::<bool>()), 0..6),
        image in 1_u64..1000,
    ) {
        let disks: Vec<DiskFacts> = sizes
            .iter()
            .enumerate()
            .map(|(i, (size, removable, read_only, marked))| DiskFacts {
                removable: *removable,
                read_only: *read_only,
                mark: marked.then(mark),
                ..disk(&format!("d{i}"), *size)
            })
            .collect();
        if let Ok(chosen) = choose_disk(&DiskRule::default(), &disks, image, &mark()) {
            prop_assert!(!chosen.removable && !chosen.read_only && chosen.size >= image);
            let candidates: Vec<_> = disks
                .iter()
                .filter(|d| !d.removable && !d.read_only && d.size >= image)
                .collect();
            let marked = candidates.iter().filter(|d| d.mark.is_some()).count();
            prop_assert!(candidates.len() == 1 || (marked == 1 && chosen.mark.is_some()));
        }
    }
}
