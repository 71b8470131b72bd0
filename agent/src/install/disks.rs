//! The disks of the machine as sysfs shows them.
//!
//! Names under `/dev/disk/by-id` are derived here as udev's rules would make them, because no
//! udev runs in the install ramdisk. Invariant: a fact that cannot be read is absent, never
//! guessed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use metalman_api::disk::{DiskFacts, InstallMark, MARK_LBA, MARK_SECTOR_BYTES};

use crate::facts::read_line;

/// Block devices that are not disks: memory, loops, optical and floppy drives, stacked devices.
const NOT_DISKS: [&str; 9] = [
    "loop", "ram", "zram", "sr", "fd", "dm-", "md", "nbd", "mtdblock",
];
/// sysfs counts sectors of 512 bytes whatever the device uses.
const SYSFS_SECTOR: u64 = 512;
/// Offset of the ATA IDENTIFY data in the ATA information page (SAT-4, page 89h).
const VPD89_IDENTIFY: usize = 60;

/// Every disk, sorted by name.
///
/// # Errors
/// sysfs is not there.
pub fn inventory(sys: &Path, dev: &Path) -> io::Result<Vec<DiskFacts>> {
    let mut disks = vec![];
    for entry in fs::read_dir(sys.join("block"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // NVMe multipath shows one hidden device per path beside the usable one.
        let is_hidden = read_line(&entry.path().join("hidden")).is_some_and(|text| text == "1");
        if is_hidden || NOT_DISKS.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        if let Some(disk) = describe(&entry.path(), &name, dev) {
            disks.push(disk);
        }
    }
    disks.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(disks)
}

/// Facts of one disk; `None` when it has no medium.
fn describe(folder: &Path, name: &str, dev: &Path) -> Option<DiskFacts> {
    let fact = |file: &str| read_line(&folder.join(file));
    let sectors: u64 = fact("size")?.parse().ok()?;
    let size = sectors.checked_mul(SYSFS_SECTOR).filter(|size| *size > 0)?;
    let ata = fs::read(folder.join("device/vpd_pg89"))
        .ok()
        .and_then(|page| ata_identity(&page));
    let (ata_model, ata_serial) = ata.clone().unzip();
    let serial = ata_serial
        .or_else(|| fact("serial"))
        .or_else(|| fact("device/serial"))
        .or_else(|| {
            fs::read(folder.join("device/vpd_pg80"))
                .ok()
                .and_then(|page| unit_serial(&page))
        });
    let wwn = fact("wwid").or_else(|| fact("device/wwid"));
    let model = ata_model.or_else(|| fact("device/model"));
    let facts = DiskFacts {
        name: name.to_owned(),
        size,
        removable: fact("removable").is_some_and(|text| text == "1"),
        read_only: fact("ro").is_some_and(|text| text == "1"),
        by_id: by_id_names(&ByIdSource {
            name,
            is_ata: ata.is_some(),
            serial: serial.as_deref(),
            model: model.as_deref(),
            wwn: wwn.as_deref(),
        }),
        serial,
        wwn,
        model,
        mark: read_mark(&dev.join(name)),
    };
    Some(facts)
}

#[derive(Debug, Clone, Copy)]
struct ByIdSource<'a> {
    name: &'a str,
    is_ata: bool,
    serial: Option<&'a str>,
    model: Option<&'a str>,
    wwn: Option<&'a str>,
}

/// Names as in systemd's `60-persistent-storage.rules`.
fn by_id_names(source: &ByIdSource<'_>) -> Vec<String> {
    let mut names = vec![];
    let with_model = |bus: &str| {
        let (model, serial) = (source.model?, source.serial?);
        Some(format!("{bus}-{}_{}", udev_name(model), udev_name(serial)))
    };
    if source.name.starts_with("vd") {
        names.extend(
            source
                .serial
                .map(|serial| format!("virtio-{}", udev_name(serial))),
        );
    } else if source.name.starts_with("nvme") {
        names.extend(with_model("nvme"));
        names.extend(source.wwn.map(|wwn| format!("nvme-{}", udev_name(wwn))));
    } else {
        if source.is_ata {
            names.extend(with_model("ata"));
        }
        if let Some(naa) = source.wwn.and_then(|wwn| wwn.strip_prefix("naa.")) {
            names.push(format!("scsi-3{naa}"));
            names.push(format!("wwn-0x{naa}"));
        }
    }
    names
}

/// Blanks become underscores, what udev does not allow in a name too.
fn udev_name(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "#+-.:=@_".contains(c);
    words
        .join("_")
        .chars()
        .map(|c| if is_allowed(c) { c } else { '_' })
        .collect()
}

/// Serial number of the SCSI page 80h: length in bytes 2–3, then text.
fn unit_serial(page: &[u8]) -> Option<String> {
    let length = u16::from_be_bytes(page.get(2..4)?.try_into().ok()?);
    text(page.get(4..4 + usize::from(length))?)
}

/// Model and serial of ATA IDENTIFY data: words 27–46 and 10–19, bytes swapped in pairs.
fn ata_identity(page: &[u8]) -> Option<(String, String)> {
    let identify = page.get(VPD89_IDENTIFY..)?;
    let words = |from: usize, to: usize| {
        let bytes = identify.get(from * 2..to * 2)?;
        let swapped: Vec<u8> = bytes
            .chunks_exact(2)
            .flat_map(|pair| pair.iter().rev().copied())
            .collect();
        text(&swapped)
    };
    Some((words(27, 47)?, words(10, 20)?))
}

fn text(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

fn read_mark(device: &Path) -> Option<InstallMark> {
    let mut sector = [0; MARK_SECTOR_BYTES];
    let offset = MARK_LBA * MARK_SECTOR_BYTES as u64;
    File::open(device)
        .ok()?
        .read_exact_at(&mut sector, offset)
        .ok()?;
    InstallMark::parse_sector(&sector)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(name: &str, is_ata: bool, model: &str, wwn: Option<&str>) -> Vec<String> {
        by_id_names(&ByIdSource {
            name,
            is_ata,
            serial: Some("S 1/2"),
            model: Some(model),
            wwn,
        })
    }

    #[test]
    fn names_are_those_udev_would_make() {
        assert_eq!(names("vda", false, "", None), ["virtio-S_1_2"]);
        assert_eq!(
            names(
                "nvme0n1",
                false,
                "Samsung SSD  980",
                Some("eui.0025388b710b1c2d")
            ),
            ["nvme-Samsung_SSD_980_S_1_2", "nvme-eui.0025388b710b1c2d"]
        );
        assert_eq!(
            names("sda", true, "ST4000NM", Some("naa.5000c500a1b2c3d4")),
            [
                "ata-ST4000NM_S_1_2",
                "scsi-35000c500a1b2c3d4",
                "wwn-0x5000c500a1b2c3d4"
            ]
        );
        assert_eq!(
            names("sdb", false, "X", Some("t10.ATA x")),
            Vec::<String>::new()
        );
    }

    #[test]
    fn scsi_and_ata_pages_are_read() {
        assert_eq!(unit_serial(b"\0\x80\0\x04 AB \0").as_deref(), Some("AB"));
        assert_eq!(unit_serial(b"\0\x80\0\x09AB"), None);
        let mut page = vec![b' '; VPD89_IDENTIFY + 512];
        page[VPD89_IDENTIFY + 20..][..4].copy_from_slice(b"1S32");
        page[VPD89_IDENTIFY + 54..][..4].copy_from_slice(b"TS4A");
        assert_eq!(ata_identity(&page), Some(("STA4".into(), "S123".into())));
        assert_eq!(ata_identity(&page[..100]), None);
    }

    #[test]
    fn the_inventory_reads_sysfs_and_the_mark() {
        let folder = tempfile::tempdir().unwrap();
        let (sys, dev) = (folder.path().join("sys"), folder.path().join("dev"));
        for (name, size) in [("vda", "8192"), ("loop0", "8"), ("sr0", "8"), ("sdx", "0")] {
            let block = sys.join("block").join(name);
            fs::create_dir_all(&block).unwrap();
            fs::write(block.join("size"), format!("{size}\n")).unwrap();
            fs::write(block.join("ro"), "0\n").unwrap();
            fs::write(block.join("serial"), "disk-1").unwrap();
        }
        fs::create_dir_all(&dev).unwrap();
        let mark = InstallMark {
            machine: "node-1".into(),
            ..InstallMark::default()
        };
        let mut content = vec![0; 4 << 20];
        content[64 * 512..65 * 512].copy_from_slice(&mark.encode_sector().unwrap());
        fs::write(dev.join("vda"), content).unwrap();
        let disks = inventory(&sys, &dev).unwrap();
        assert_eq!(disks.len(), 1);
        assert_eq!(disks[0].size, 4 << 20);
        assert_eq!(disks[0].by_id, ["virtio-disk-1"]);
        assert_eq!(disks[0].mark.as_ref(), Some(&mark));
        assert!(!disks[0].removable && !disks[0].read_only);
    }
}
