//! Whole installations into a file and a folder, over real HTTP.

mod appliance;

use std::fs;
use std::io::{self, Cursor, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::claim::claim;
use super::super::error::InstallError;
use super::super::gpt::{FileSystem, Partition};
use super::super::host::Host;
use super::super::report::Reporter;
use super::Pipeline;
use crate::backoff::Backoff;
use crate::client::Client;
use appliance::Appliance;
use flate2::write::GzEncoder;
use metalman_api::disk::{DiskFacts, DiskRule, InstallMark};
use metalman_api::install::{
    EfiEntry, ImageCompression, ImagePlan, InstallClaim, InstallPlan, InstallStage, SeedFile,
};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

const MIB: usize = 1 << 20;
const QUICK: Backoff = Backoff {
    first: Duration::from_millis(1),
    max: Duration::from_millis(2),
    tries: 5,
};

/// A machine of one disk, made of a file and folders.
struct FolderHost {
    folder: TempDir,
    disk: DiskFacts,
}

impl FolderHost {
    /// The disk holds old content everywhere.
    fn new(disk_size: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("vda"), vec![0xaa; disk_size]).unwrap();
        fs::create_dir(folder.path().join("root")).unwrap();
        fs::create_dir(folder.path().join("efivars")).unwrap();
        fs::write(folder.path().join("agent"), "agent binary").unwrap();
        let disk = DiskFacts {
            name: "vda".into(),
            size: disk_size as u64,
            removable: false,
            read_only: false,
            serial: Some("disk-1".into()),
            wwn: None,
            model: None,
            by_id: vec![],
            mark: None,
        };
        Self { folder, disk }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Host for FolderHost {
    fn disks(&self) -> io::Result<Vec<DiskFacts>> {
        Ok(vec![self.disk.clone()])
    }

    fn device(&self, disk: &DiskFacts) -> PathBuf {
        self.path(&disk.name)
    }

    fn mount(&self, _: &DiskFacts, partition: &Partition, kind: FileSystem) -> io::Result<PathBuf> {
        assert_eq!((partition.number, kind), (2, FileSystem::Ext4));
        Ok(self.path("root"))
    }

    fn unmount(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn efi_variables(&self) -> Option<PathBuf> {
        Some(self.path("efivars"))
    }

    fn agent_binary(&self) -> PathBuf {
        self.path("agent")
    }
}

/// An image with an ESP and an ext4 root, data and long runs of zeros; its size is not a
/// multiple of the block the writer uses.
fn image() -> Vec<u8> {
    let mut disk = Cursor::new(vec![0; 17 * MIB + 512]);
    let mut gpt = gptman::GPT::new_from(&mut disk, 512, [1; 16]).unwrap();
    let esp = [
        0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
    ];
    let root = [
        0xe3, 0xbc, 0x68, 0x4f, 0xcd, 0xe8, 0xb1, 0x4d, 0x96, 0xe7, 0xfb, 0xca, 0xf9, 0x84, 0xb7,
        0x09,
    ];
    for (number, kind, first, last) in [(1, esp, 2048, 4095), (2, root, 4096, 30000)] {
        gpt[number] = gptman::GPTPartitionEntry {
            partition_type_guid: kind,
            unique_partition_guid: [u8::try_from(number).unwrap(); 16],
            starting_lba: first,
            ending_lba: last,
            attribute_bits: 0,
            partition_name: "p".into(),
        };
    }
    gpt.write_into(&mut disk).unwrap();
    let mut bytes = disk.into_inner();
    bytes[2 * MIB + 0x438..][..2].copy_from_slice(&[0x53, 0xef]);
    let mut random = 1_u64;
    for byte in &mut bytes[3 * MIB..6 * MIB] {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        *byte = (random >> 56) as u8;
    }
    bytes
}

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn plan(appliance: &Appliance, raw: &[u8], compression: ImageCompression) -> InstallPlan {
    InstallPlan {
        machine: "node-1".into(),
        operation: "repave-1".into(),
        image: ImagePlan {
            url: format!("{}/disk", appliance.url),
            compression,
            compressed_size: appliance.state.lock().unwrap().file.len() as u64,
            raw_size: raw.len() as u64,
            raw_sha256: hex(&Sha256::digest(raw)),
            digest: "sha256:d".into(),
        },
        disk: DiskRule::default(),
        files: vec![SeedFile {
            path: "/etc/unbounded/agent/config.json".into(),
            mode: 0o600,
            content: "{}".into(),
        }],
        efi: EfiEntry {
            label: "unbounded".into(),
            loader: "/EFI/BOOT/BOOTX64.EFI".into(),
        },
        mark: InstallMark {
            site: "lab".into(),
            machine: "node-1".into(),
            ..InstallMark::default()
        },
        boot_report_url: format!("{}/boot", appliance.url),
        reboot_delay_seconds: 1,
    }
}

fn install(
    host: &FolderHost,
    appliance: &Appliance,
    plan: &InstallPlan,
) -> Result<String, InstallError> {
    let client = Client::new();
    let url = format!("{}/report", appliance.url);
    let reporter = Reporter::start(client.clone(), url, "boot".into());
    let result = Pipeline {
        host,
        client: &client,
        reporter: &reporter,
        download: QUICK,
    }
    .install(plan);
    let is_heard = match &result {
        Ok(sha256) => reporter.finish(sha256.clone(), QUICK),
        Err(failure) => reporter.fail(failure.to_failure(), QUICK),
    };
    assert!(is_heard);
    result
}

/// The disk holds the image, but for the mark, and zeros or old content behind it.
fn assert_installed(host: &FolderHost, raw: &[u8]) {
    let mut disk = fs::read(host.path("vda")).unwrap();
    let mark = InstallMark::parse_sector(&disk[64 * 512..65 * 512]).unwrap();
    assert_eq!(mark.machine, "node-1");
    disk[64 * 512..65 * 512].fill(0);
    assert!(disk[..raw.len()] == *raw, "the disk differs from the image");
    assert!(
        disk[disk.len() - MIB..].iter().all(|byte| *byte == 0),
        "old tables may survive"
    );
}

#[test]
fn a_zstd_image_becomes_an_installed_machine() {
    let raw = image();
    let appliance = Appliance::start(zstd(&raw));
    let host = FolderHost::new(24 * MIB);
    let plan = plan(&appliance, &raw, ImageCompression::Zstd);
    let sha256 = install(&host, &appliance, &plan).unwrap();
    assert_eq!(sha256, plan.image.raw_sha256);
    assert_installed(&host, &raw);

    let root = host.path("root");
    let config = root.join("etc/unbounded/agent/config.json");
    assert_eq!(
        fs::metadata(&config).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let agent = root.join("usr/local/bin/unbounded-agent");
    assert_eq!(fs::read_to_string(&agent).unwrap(), "agent binary");
    assert_eq!(
        fs::metadata(&agent).unwrap().permissions().mode() & 0o777,
        0o755
    );
    let wants =
        root.join("etc/systemd/system/multi-user.target.wants/unbounded-agent-daemon.service");
    assert!(
        fs::read_link(wants)
            .unwrap()
            .starts_with("/etc/systemd/system")
    );
    let guid = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
    let order = fs::read(host.path("efivars").join(format!("BootOrder-{guid}"))).unwrap();
    assert_eq!(order, [7, 0, 0, 0, 0, 0]);

    let stages: Vec<InstallStage> = appliance
        .state
        .lock()
        .unwrap()
        .reports
        .iter()
        .map(|report| report.stage)
        .collect();
    assert!(stages.is_sorted(), "{stages:?}");
    let last = appliance
        .state
        .lock()
        .unwrap()
        .reports
        .last()
        .cloned()
        .unwrap();
    assert_eq!(last.stage, InstallStage::Finished);
    assert_eq!(last.written_sha256, Some(sha256));
}

#[test]
fn a_gzip_image_of_several_members_is_written_whole() {
    let raw = image();
    let (first, second) = raw.split_at(5 * MIB + 17);
    let appliance = Appliance::start([gzip(first), gzip(second)].concat());
    let host = FolderHost::new(24 * MIB);
    install(
        &host,
        &appliance,
        &plan(&appliance, &raw, ImageCompression::Gzip),
    )
    .unwrap();
    assert_installed(&host, &raw);
}

#[test]
fn a_raw_image_is_written_as_it_is() {
    let raw = image();
    let appliance = Appliance::start(raw.clone());
    let host = FolderHost::new(24 * MIB);
    install(
        &host,
        &appliance,
        &plan(&appliance, &raw, ImageCompression::None),
    )
    .unwrap();
    assert_installed(&host, &raw);
}

#[test]
fn a_broken_download_goes_on_where_it_stopped() {
    let raw = image();
    let appliance = Appliance::start(zstd(&raw));
    // More breaks than tries without progress are allowed.
    appliance.state.lock().unwrap().cuts = (0..8).map(|_| 300_000).collect();
    let host = FolderHost::new(24 * MIB);
    install(
        &host,
        &appliance,
        &plan(&appliance, &raw, ImageCompression::Zstd),
    )
    .unwrap();
    assert_installed(&host, &raw);
    let state = appliance.state.lock().unwrap();
    assert_eq!(state.downloads.len(), 9);
    assert_eq!(state.downloads[0], (None, None));
    assert_eq!(
        state.downloads[1],
        (Some("bytes=300000-".into()), Some("\"one\"".into()))
    );
}

/// Installs what must fail and returns the reason; the same reason was reported.
fn failure(host: &FolderHost, appliance: &Appliance, plan: &InstallPlan) -> &'static str {
    let error = install(host, appliance, plan).unwrap_err();
    let report = appliance
        .state
        .lock()
        .unwrap()
        .reports
        .last()
        .cloned()
        .unwrap();
    assert_eq!(report.stage, InstallStage::Failed);
    assert_eq!(report.failure.unwrap().reason, error.reason());
    assert_eq!(
        fs::read_dir(host.path("root")).unwrap().count(),
        0,
        "nothing was seeded"
    );
    error.reason()
}

#[test]
fn a_download_without_progress_ends() {
    let raw = image();
    let appliance = Appliance::start(zstd(&raw));
    appliance.state.lock().unwrap().cuts = [300_000, 0, 0, 0, 0, 0, 0].into();
    let host = FolderHost::new(24 * MIB);
    let plan = plan(&appliance, &raw, ImageCompression::Zstd);
    assert_eq!(failure(&host, &appliance, &plan), "DownloadFailed");
}

#[test]
fn a_file_replaced_meanwhile_is_not_mixed() {
    let raw = image();
    let appliance = Appliance::start(zstd(&raw));
    {
        let mut state = appliance.state.lock().unwrap();
        state.cuts = [300_000].into();
        state.replaced_after = Some(1);
    }
    let host = FolderHost::new(24 * MIB);
    let plan = plan(&appliance, &raw, ImageCompression::Zstd);
    assert_eq!(failure(&host, &appliance, &plan), "DownloadFailed");
}

#[test]
fn a_missing_image_is_not_asked_for_again() {
    let raw = image();
    let appliance = Appliance::start(zstd(&raw));
    let host = FolderHost::new(24 * MIB);
    let mut plan = plan(&appliance, &raw, ImageCompression::Zstd);
    plan.image.url = format!("{}/gone", appliance.url);
    assert_eq!(failure(&host, &appliance, &plan), "DownloadFailed");
}

#[test]
fn a_short_file_and_a_cut_stream_are_truncated() {
    let raw = image();
    for (file, compression) in [
        (zstd(&raw), ImageCompression::Zstd),
        (gzip(&raw), ImageCompression::Gzip),
    ] {
        let full = file.len();
        let appliance = Appliance::start(file[..full / 2].to_vec());
        let host = FolderHost::new(24 * MIB);
        let mut plan = plan(&appliance, &raw, compression);
        assert_eq!(failure(&host, &appliance, &plan), "ImageTruncated");
        plan.image.compressed_size = full as u64;
        assert_eq!(failure(&host, &appliance, &plan), "ImageTruncated");
    }
    let appliance = Appliance::start(zstd(&raw[..MIB]));
    let plan = plan(&appliance, &raw, ImageCompression::Zstd);
    assert_eq!(
        failure(&FolderHost::new(24 * MIB), &appliance, &plan),
        "ImageTruncated"
    );
}

#[test]
fn a_long_or_damaged_image_is_corrupt() {
    let raw = image();
    let appliance = Appliance::start(zstd(&[&raw[..], b"more"].concat()));
    let host = FolderHost::new(24 * MIB);
    assert_eq!(
        failure(
            &host,
            &appliance,
            &plan(&appliance, &raw, ImageCompression::Zstd)
        ),
        "ImageCorrupt"
    );
    let mut damaged = gzip(&raw);
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    let appliance = Appliance::start(damaged);
    assert_eq!(
        failure(
            &host,
            &appliance,
            &plan(&appliance, &raw, ImageCompression::Gzip)
        ),
        "ImageCorrupt"
    );
}

#[test]
fn another_hash_is_a_mismatch() {
    let raw = image();
    let appliance = Appliance::start(zstd(&raw));
    let host = FolderHost::new(24 * MIB);
    let mut plan = plan(&appliance, &raw, ImageCompression::Zstd);
    plan.image.raw_sha256 = "0".repeat(64);
    assert_eq!(failure(&host, &appliance, &plan), "DigestMismatch");
}

#[test]
fn a_refused_disk_stays_untouched() {
    let raw = image();
    let appliance = Appliance::start(zstd(&raw));
    let host = FolderHost::new(24 * MIB);
    let mut plan = plan(&appliance, &raw, ImageCompression::Zstd);
    plan.disk.serial = Some("another".into());
    assert_eq!(failure(&host, &appliance, &plan), "NoSuitableDisk");
    let small = FolderHost::new(MIB);
    plan.disk.serial = None;
    assert_eq!(failure(&small, &appliance, &plan), "DiskTooSmall");
    for host in [&host, &small] {
        assert!(
            fs::read(host.path("vda"))
                .unwrap()
                .iter()
                .all(|byte| *byte == 0xaa)
        );
    }
    assert!(appliance.state.lock().unwrap().downloads.is_empty());
}

#[test]
fn a_claim_waits_for_the_appliance_and_obeys_a_refusal() {
    let appliance = Appliance::start(vec![]);
    let wanted = plan(&appliance, b"", ImageCompression::None);
    let granted = serde_json::to_string(&wanted).unwrap();
    let refused = r#"{"reason":"TokenExpired","message":"ask again"}"#.to_owned();
    appliance.state.lock().unwrap().claims = [
        (503, String::new()),
        (500, String::new()),
        (200, granted),
        (410, refused),
    ]
    .into();
    let message = InstallClaim {
        boot_id: "b".into(),
        mac: "52:54:00:77:00:11".into(),
        machine_uuid: None,
        agent_version: "0".into(),
        disks: vec![],
        secure_boot: false,
    };
    let url = format!("{}/claim", appliance.url);
    let plan = claim(&Client::new(), &url, &message, QUICK).unwrap();
    assert_eq!(plan, wanted);
    let error = claim(&Client::new(), &url, &message, QUICK).unwrap_err();
    assert!(
        error.to_string().contains("TokenExpired: ask again"),
        "{error}"
    );
    let nobody = claim(&Client::new(), "http://127.0.0.1:9/claim", &message, QUICK).unwrap_err();
    assert_eq!(nobody.reason(), "ClaimRefused");
}
