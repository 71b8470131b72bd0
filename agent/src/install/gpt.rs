//! The partition table of the written image, and which partitions the installer needs from it.
//!
//! Not a partition editor. GPT: UEFI 2.10 §5.3; type GUIDs: UAPI Discoverable Partitions
//! Specification. Invariant: every partition lies behind the table and is at least one block.

use std::io::{Read, Seek};

use metalman_api::disk::{MARK_LBA, MARK_SECTOR_BYTES};

use super::efi::EspLocation;

const MARK_OFFSET: u64 = MARK_LBA * MARK_SECTOR_BYTES as u64;
/// c12a7328-f81f-11d2-ba4b-00a0c93ec93b
const TYPE_ESP: [u8; 16] = guid(0xc12a_7328, 0xf81f, 0x11d2, 0xba4b_00a0_c93e_c93b);
/// 0fc63daf-8483-4772-8e79-3d69d8477de4
const TYPE_LINUX: [u8; 16] = guid(0x0fc6_3daf, 0x8483, 0x4772, 0x8e79_3d69_d847_7de4);
/// 4f68bce3-e8cd-4db1-96e7-fbcaf984b709 (x86-64), b921b045-1df0-41c3-af44-4c6f280d3fae (arm64)
const TYPE_ROOT: [u8; 16] = if cfg!(target_arch = "aarch64") {
    guid(0xb921_b045, 0x1df0, 0x41c3, 0xaf44_4c6f_280d_3fae)
} else {
    guid(0x4f68_bce3, 0xe8cd, 0x4db1, 0x96e7_fbca_f984_b709)
};

/// A checked partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionTable {
    /// Bytes of a logical block.
    pub block_size: u64,
    /// Used entries by number.
    pub partitions: Vec<Partition>,
    /// First block behind the table.
    first_usable_lba: u64,
}

/// One used entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Number, from 1.
    pub number: u32,
    /// Type GUID as stored.
    pub kind: [u8; 16],
    /// Unique GUID as stored.
    pub guid: [u8; 16],
    /// First block.
    pub start_lba: u64,
    /// Number of blocks, at least 1.
    pub size_lba: u64,
    /// Name.
    pub name: String,
}

/// File systems a root can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// ext2, ext3 or ext4; all are mounted as ext4.
    Ext4,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
}

/// Why the disk cannot be used as an installed system.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// No readable GPT.
    #[error("the image has no usable GPT; build it with a GPT partition table")]
    Unreadable(#[source] gptman::Error),
    /// No root partition was recognised.
    #[error(
        "no root partition: give it the type of a root partition, the name \"root\", or the type \
         Linux file system"
    )]
    NoRoot,
    /// The root partition holds no file system that is supported.
    #[error("partition {number} holds neither ext4 nor XFS nor Btrfs")]
    UnknownFileSystem {
        /// Its number.
        number: u32,
    },
}

impl PartitionTable {
    /// Reads the primary table, or the backup when the primary is damaged.
    ///
    /// # Errors
    /// Neither is usable.
    pub fn read(mut disk: impl Read + Seek) -> Result<Self, TableError> {
        let table = gptman::GPT::find_from(&mut disk).map_err(TableError::Unreadable)?;
        let partitions = table
            .iter()
            .filter(|(_, entry)| entry.is_used())
            .filter_map(|(number, entry)| {
                let size_lba = entry
                    .ending_lba
                    .checked_sub(entry.starting_lba)?
                    .checked_add(1)?;
                (entry.starting_lba >= table.header.first_usable_lba).then(|| Partition {
                    number,
                    kind: entry.partition_type_guid,
                    guid: entry.unique_partition_guid,
                    start_lba: entry.starting_lba,
                    size_lba,
                    name: entry.partition_name.as_str().to_owned(),
                })
            })
            .collect();
        Ok(Self {
            block_size: table.sector_size,
            partitions,
            first_usable_lba: table.header.first_usable_lba,
        })
    }

    /// The partition to put files on: the one typed as root, else the one named `root`, else the
    /// largest Linux file system.
    ///
    /// # Errors
    /// There is none.
    pub fn root(&self) -> Result<&Partition, TableError> {
        let all = || self.partitions.iter();
        all()
            .find(|partition| partition.kind == TYPE_ROOT)
            .or_else(|| all().find(|partition| partition.name.eq_ignore_ascii_case("root")))
            .or_else(|| {
                all()
                    .filter(|partition| partition.kind == TYPE_LINUX)
                    .max_by_key(|partition| partition.size_lba)
            })
            .ok_or(TableError::NoRoot)
    }

    /// The EFI system partition, if there is one.
    pub fn esp(&self) -> Option<EspLocation> {
        self.partitions
            .iter()
            .find(|partition| partition.kind == TYPE_ESP)
            .map(|partition| EspLocation {
                number: partition.number,
                start_lba: partition.start_lba,
                size_lba: partition.size_lba,
                guid: partition.guid,
            })
    }

    /// First byte of a partition.
    pub fn start_bytes(&self, partition: &Partition) -> u64 {
        partition.start_lba.saturating_mul(self.block_size)
    }

    /// Where the install mark may be written: behind the table, before the first partition.
    pub fn mark_offset(&self) -> Option<u64> {
        let table_end = self.first_usable_lba.saturating_mul(self.block_size);
        let mark_end = MARK_OFFSET + MARK_SECTOR_BYTES as u64;
        let is_free = self
            .partitions
            .iter()
            .all(|partition| self.start_bytes(partition) >= mark_end);
        (table_end <= MARK_OFFSET && is_free).then_some(MARK_OFFSET)
    }
}

/// Bytes from the start of a file system that [`FileSystem::recognise`] needs.
pub const SUPERBLOCK_BYTES: usize = 0x1_0048;

impl FileSystem {
    /// Recognises a file system by its superblock.
    pub fn recognise(start: &[u8]) -> Option<Self> {
        let has = |at: usize, magic: &[u8]| start.get(at..at + magic.len()) == Some(magic);
        if has(0x438, &[0x53, 0xef]) {
            Some(Self::Ext4)
        } else if has(0, b"XFSB") {
            Some(Self::Xfs)
        } else if has(0x1_0040, b"_BHRfS_M") {
            Some(Self::Btrfs)
        } else {
            None
        }
    }

    /// Name for `mount(2)`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }
}

/// A GUID in the mixed byte order of the GPT (UEFI 2.10 Appendix A).
const fn guid(a: u32, b: u16, c: u16, d: u64) -> [u8; 16] {
    let [a0, a1, a2, a3] = a.to_le_bytes();
    let [b0, b1] = b.to_le_bytes();
    let [c0, c1] = c.to_le_bytes();
    let [d0, d1, d2, d3, d4, d5, d6, d7] = d.to_be_bytes();
    [
        a0, a1, a2, a3, b0, b1, c0, c1, d0, d1, d2, d3, d4, d5, d6, d7,
    ]
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn partition(
        number: u32,
        kind: [u8; 16],
        start_lba: u64,
        size_lba: u64,
        name: &str,
    ) -> Partition {
        Partition {
            number,
            kind,
            guid: [7; 16],
            start_lba,
            size_lba,
            name: name.into(),
        }
    }

    fn table(partitions: Vec<Partition>) -> PartitionTable {
        PartitionTable {
            block_size: 512,
            partitions,
            first_usable_lba: 34,
        }
    }

    #[test]
    fn the_root_is_found_by_type_then_name_then_size() {
        let linux_small = partition(1, TYPE_LINUX, 2048, 10, "boot");
        let linux_large = partition(2, TYPE_LINUX, 4096, 100, "data");
        let named = partition(3, TYPE_LINUX, 8192, 1, "Root");
        let typed = partition(4, TYPE_ROOT, 9000, 1, "x");
        let esp = partition(15, TYPE_ESP, 100, 1000, "esp");
        let root = |list: &[&Partition]| {
            table(list.iter().map(|p| (*p).clone()).collect())
                .root()
                .map(|p| p.number)
                .ok()
        };
        assert_eq!(
            root(&[&esp, &linux_small, &linux_large, &named, &typed]),
            Some(4)
        );
        assert_eq!(root(&[&esp, &linux_small, &linux_large, &named]), Some(3));
        assert_eq!(root(&[&esp, &linux_small, &linux_large]), Some(2));
        assert_eq!(root(&[&esp]), None);
    }

    #[test]
    fn the_mark_needs_the_gap_before_the_first_partition() {
        assert_eq!(
            table(vec![partition(1, TYPE_ESP, 2048, 1, "")]).mark_offset(),
            Some(64 * 512)
        );
        assert_eq!(
            table(vec![partition(1, TYPE_ESP, 64, 1, "")]).mark_offset(),
            None
        );
        assert_eq!(
            table(vec![partition(1, TYPE_ESP, 65, 1, "")]).mark_offset(),
            Some(64 * 512)
        );
        let large_table = PartitionTable {
            first_usable_lba: 70,
            ..table(vec![])
        };
        assert_eq!(large_table.mark_offset(), None);
    }

    #[test]
    fn a_written_table_is_read() {
        let mut disk = Cursor::new(vec![0; 4 << 20]);
        let mut gpt = gptman::GPT::new_from(&mut disk, 512, [1; 16]).unwrap();
        gpt[1] = gptman::GPTPartitionEntry {
            partition_type_guid: TYPE_ESP,
            unique_partition_guid: [9; 16],
            starting_lba: 2048,
            ending_lba: 4095,
            attribute_bits: 0,
            partition_name: "esp".into(),
        };
        gpt.write_into(&mut disk).unwrap();
        let table = PartitionTable::read(&mut disk).unwrap();
        assert_eq!(
            table.esp(),
            Some(EspLocation {
                number: 1,
                start_lba: 2048,
                size_lba: 2048,
                guid: [9; 16]
            })
        );
        assert!(matches!(table.root(), Err(TableError::NoRoot)));
        assert!(PartitionTable::read(Cursor::new(vec![0; 1 << 20])).is_err());
    }

    #[test]
    fn superblocks_are_recognised() {
        let mut start = vec![0; SUPERBLOCK_BYTES];
        assert_eq!(FileSystem::recognise(&start), None);
        start[0x1_0040..0x1_0048].copy_from_slice(b"_BHRfS_M");
        assert_eq!(FileSystem::recognise(&start), Some(FileSystem::Btrfs));
        start[0x438..0x43a].copy_from_slice(&[0x53, 0xef]);
        assert_eq!(FileSystem::recognise(&start), Some(FileSystem::Ext4));
        assert_eq!(FileSystem::recognise(b"XFSB"), Some(FileSystem::Xfs));
    }
}
