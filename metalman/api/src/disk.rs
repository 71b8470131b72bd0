//! Which disk an image may be written to: facts, rules, and the one pure function that chooses.
//!
//! Invariant: without a rule that names a disk, a disk is chosen only when it is the single
//! candidate or already carries our install mark. The largest disk is never chosen silently.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Size of one sector that holds the install mark, in bytes.
pub const MARK_SECTOR_BYTES: usize = 512;
/// Logical block (512-byte units) that holds the install mark: inside the alignment gap between
/// the GPT entries (LBA 2–33, UEFI 2.10 §5.3) and the first partition (LBA 2048).
pub const MARK_LBA: u64 = 64;
const MARK_MAGIC: &str = "UNBOUNDED-INSTALL-MARK-1\n";

/// What the installer knows about one block device. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiskFacts {
    /// Kernel name, such as `vda` or `nvme0n1`.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// The kernel says the medium can be taken out (USB sticks, virtual media).
    #[serde(default)]
    pub removable: bool,
    /// The kernel refuses writes.
    #[serde(default)]
    pub read_only: bool,
    /// Serial number as the device reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// World Wide Name, such as `naa.5000c500a1b2c3d4` or `eui.0025388b710b1c2d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwn: Option<String>,
    /// Model text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Names under `/dev/disk/by-id/`, without the directory.
    #[serde(default)]
    pub by_id: Vec<String>,
    /// The install mark found on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<InstallMark>,
}

/// Which disk to install to. All conditions given must hold; none given means the safe default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DiskRule {
    /// Device path: `/dev/nvme0n1`, `/dev/disk/by-id/…` (the field `spec.pxe.targetDisk`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Name under `/dev/disk/by-id/`, with or without the directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub by_id: Option<String>,
    /// Serial number, compared without surrounding blanks and without regard to case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub serial: Option<String>,
    /// World Wide Name, compared without regard to case; `0x` and `naa.` prefixes are ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub wwn: Option<String>,
    /// Smallest allowed size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub min_size_bytes: Option<i64>,
    /// Largest allowed size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_size_bytes: Option<i64>,
}

impl DiskRule {
    /// Whether the rule points at a disk by identity, not only by size.
    pub fn names_a_disk(&self) -> bool {
        self.path.is_some() || self.by_id.is_some() || self.serial.is_some() || self.wwn.is_some()
    }

    fn admits(&self, disk: &DiskFacts) -> bool {
        let by_id = |wanted: &str| {
            let wanted = wanted.trim_start_matches("/dev/disk/by-id/");
            disk.by_id.iter().any(|name| name == wanted)
        };
        self.path.as_deref().is_none_or(|path| {
            path.strip_prefix("/dev/")
                .is_some_and(|name| name == disk.name)
                || (path.starts_with("/dev/disk/by-id/") && by_id(path))
        }) && self.by_id.as_deref().is_none_or(by_id)
            && self.serial.as_deref().is_none_or(|wanted| {
                disk.serial
                    .as_deref()
                    .is_some_and(|serial| serial.trim().eq_ignore_ascii_case(wanted.trim()))
            })
            && self.wwn.as_deref().is_none_or(|wanted| {
                disk.wwn
                    .as_deref()
                    .is_some_and(|wwn| plain_wwn(wwn) == plain_wwn(wanted))
            })
            && self
                .min_size_bytes
                .is_none_or(|min| i128::from(disk.size) >= i128::from(min))
            && self
                .max_size_bytes
                .is_none_or(|max| i128::from(disk.size) <= i128::from(max))
    }
}

fn plain_wwn(wwn: &str) -> String {
    let lower = wwn.trim().to_ascii_lowercase();
    ["naa.", "eui.", "0x", "wwn-0x"]
        .iter()
        .find_map(|prefix| lower.strip_prefix(prefix))
        .unwrap_or(&lower)
        .to_owned()
}

/// Why no disk was chosen. Nothing has been written when one of these is returned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiskRefusal {
    /// No disk meets the rule, or there is none at all.
    #[error(
        "no disk fits: {seen}; set spec.pxe.disk or spec.pxe.targetDisk of the Machine to one of them"
    )]
    NoSuitableDisk {
        /// Every disk with the reason it was passed over.
        seen: String,
    },
    /// The rule finds a disk, but the image does not fit.
    #[error("disk {disk} has {size} bytes, the image needs {needed}")]
    DiskTooSmall {
        /// Kernel name of the disk.
        disk: String,
        /// Its size in bytes.
        size: u64,
        /// Bytes the image needs.
        needed: u64,
    },
    /// Several disks qualify and nothing says which is meant.
    #[error(
        "more than one disk qualifies ({candidates}); name one by spec.pxe.disk.serial, .wwn or .byId of the Machine"
    )]
    AmbiguousDisk {
        /// The candidates.
        candidates: String,
    },
}

impl DiskRefusal {
    /// CamelCase reason for conditions and reports.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoSuitableDisk { .. } => "NoSuitableDisk",
            Self::DiskTooSmall { .. } => "DiskTooSmall",
            Self::AmbiguousDisk { .. } => "AmbiguousDisk",
        }
    }
}

/// Chooses the disk for an image of `image_size` bytes on the machine named in `mark`.
///
/// A rule that names a disk must find exactly one. Without one, removable, read-only and too
/// small disks are passed over; the smallest remaining disk is taken when it is the only
/// candidate, or when it carries our mark for this machine.
///
/// # Errors
/// A [`DiskRefusal`] that lists what was seen; nothing may be written then.
pub fn choose_disk<'a>(
    rule: &DiskRule,
    disks: &'a [DiskFacts],
    image_size: u64,
    mark: &InstallMark,
) -> Result<&'a DiskFacts, DiskRefusal> {
    let admitted: Vec<&DiskFacts> = disks
        .iter()
        .filter(|disk| rule.admits(disk) && !disk.read_only)
        .collect();
    if rule.names_a_disk() {
        return match admitted.as_slice() {
            [] => Err(DiskRefusal::NoSuitableDisk {
                seen: describe(disks, rule, image_size),
            }),
            [only] if only.size < image_size => Err(DiskRefusal::DiskTooSmall {
                disk: only.name.clone(),
                size: only.size,
                needed: image_size,
            }),
            [only] => Ok(only),
            several => Err(DiskRefusal::AmbiguousDisk {
                candidates: names(several),
            }),
        };
    }
    let mut candidates: Vec<&DiskFacts> = admitted
        .iter()
        .copied()
        .filter(|disk| !disk.removable && disk.size >= image_size)
        .collect();
    candidates.sort_by(|a, b| a.size.cmp(&b.size).then_with(|| a.name.cmp(&b.name)));
    let ours: Vec<&DiskFacts> = candidates
        .iter()
        .copied()
        .filter(|disk| disk.is_marked_for(mark))
        .collect();
    match (candidates.as_slice(), ours.as_slice()) {
        ([], _) => match admitted.iter().find(|disk| !disk.removable) {
            Some(disk) if admitted.len() == 1 => Err(DiskRefusal::DiskTooSmall {
                disk: disk.name.clone(),
                size: disk.size,
                needed: image_size,
            }),
            _ => Err(DiskRefusal::NoSuitableDisk {
                seen: describe(disks, rule, image_size),
            }),
        },
        ([only], _) | (_, [only]) => Ok(only),
        (several, _) => Err(DiskRefusal::AmbiguousDisk {
            candidates: names(several),
        }),
    }
}

fn names(disks: &[&DiskFacts]) -> String {
    let each: Vec<String> = disks.iter().map(ToString::to_string).collect();
    each.join(", ")
}

fn describe(disks: &[DiskFacts], rule: &DiskRule, image_size: u64) -> String {
    if disks.is_empty() {
        return "the machine shows no disk at all".to_owned();
    }
    let each: Vec<String> = disks
        .iter()
        .map(|disk| {
            let why = if disk.read_only {
                "read-only"
            } else if disk.removable && !rule.names_a_disk() {
                "removable"
            } else if disk.size < image_size {
                "too small"
            } else {
                "not what the rule asks for"
            };
            format!("{disk}: {why}")
        })
        .collect();
    each.join(", ")
}

impl DiskFacts {
    fn is_marked_for(&self, mark: &InstallMark) -> bool {
        self.mark
            .as_ref()
            .is_some_and(|found| found.site == mark.site && found.machine == mark.machine)
    }
}

impl fmt::Display for DiskFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes", self.name, self.size)?;
        if let Some(serial) = &self.serial {
            write!(f, ", serial {serial}")?;
        }
        write!(f, ")")
    }
}

/// Our mark on a disk we have installed: who it belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstallMark {
    /// Site of the appliance, may be empty.
    pub site: String,
    /// Machine name.
    pub machine: String,
    /// Name of the operation that wrote the disk.
    pub operation: String,
    /// Digest of the image written.
    pub digest: String,
}

impl InstallMark {
    /// The sector to write at [`MARK_LBA`]; `None` when the names are too long for one sector.
    pub fn encode_sector(&self) -> Option<[u8; MARK_SECTOR_BYTES]> {
        let body = serde_json::to_vec(self).ok()?;
        let mut sector = [0_u8; MARK_SECTOR_BYTES];
        let text = [MARK_MAGIC.as_bytes(), &body].concat();
        // One NUL must remain, so that the end can be found.
        if text.len() >= MARK_SECTOR_BYTES {
            return None;
        }
        sector.get_mut(..text.len())?.copy_from_slice(&text);
        Some(sector)
    }

    /// Reads the mark from a sector; anything that is not exactly ours is `None`.
    pub fn parse_sector(sector: &[u8]) -> Option<Self> {
        let body = sector.strip_prefix(MARK_MAGIC.as_bytes())?;
        let end = body.iter().position(|byte| *byte == 0)?;
        serde_json::from_slice(body.get(..end)?).ok()
    }
}

#[cfg(test)]
mod tests;
