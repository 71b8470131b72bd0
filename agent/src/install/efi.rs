//! UEFI boot entries as bytes, and which variables an installation changes. Pure.
//!
//! `EFI_LOAD_OPTION`: UEFI 2.10 §3.1.3; device paths: §10.3. Invariant: exactly one entry with
//! our label remains, and it is first in `BootOrder`.

use std::collections::BTreeMap;

/// Suffix of the file name of every EFI global variable.
pub const GLOBAL_GUID: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Non-volatile, boot service and runtime access (UEFI 2.10 §8.2.1).
pub const ATTRIBUTES: u32 = 0x7;
const LOAD_OPTION_ACTIVE: u32 = 1;

/// The EFI system partition a boot entry points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EspLocation {
    /// Number of the partition, from 1.
    pub number: u32,
    /// First logical block.
    pub start_lba: u64,
    /// Number of logical blocks.
    pub size_lba: u64,
    /// Unique partition GUID as stored in the GPT.
    pub guid: [u8; 16],
}

/// `EFI_LOAD_OPTION` for a loader on a GPT partition; slashes of `loader` become backslashes.
pub fn load_option(label: &str, esp: &EspLocation, loader: &str) -> Vec<u8> {
    let mut path = vec![4, 1, 42, 0];
    path.extend(esp.number.to_le_bytes());
    path.extend(esp.start_lba.to_le_bytes());
    path.extend(esp.size_lba.to_le_bytes());
    path.extend(esp.guid);
    // Partition format GPT, signature type GUID.
    path.extend([2, 2]);
    let rooted = format!("/{}", loader.trim_start_matches(['/', '\\'])).replace('/', "\\");
    let name = utf16(&rooted);
    path.extend([4, 4]);
    path.extend(
        u16::try_from(name.len() + 4)
            .unwrap_or(u16::MAX)
            .to_le_bytes(),
    );
    path.extend(name);
    path.extend([0x7f, 0xff, 4, 0]);

    let mut option = LOAD_OPTION_ACTIVE.to_le_bytes().to_vec();
    option.extend(u16::try_from(path.len()).unwrap_or(u16::MAX).to_le_bytes());
    option.extend(utf16(label));
    option.extend(path);
    option
}

/// Description of an `EFI_LOAD_OPTION`; `None` when it is cut short.
pub fn label(option: &[u8]) -> Option<String> {
    let units: Vec<u16> = option
        .get(6..)?
        .chunks_exact(2)
        .filter_map(|pair| Some(u16::from_le_bytes(pair.try_into().ok()?)))
        .collect();
    let end = units.iter().position(|unit| *unit == 0)?;
    units.get(..end).map(String::from_utf16_lossy)
}

/// Changes to the boot variables, in the order they must be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootChange {
    /// Number and content of the entry to write.
    pub entry: (u16, Vec<u8>),
    /// `BootOrder` to write.
    pub order: Vec<u16>,
    /// Entries to delete.
    pub delete: Vec<u16>,
}

/// Decides how to put `option` first, given every `Boot####` and the present `BootOrder`.
///
/// The lowest old entry with the same label is overwritten, the others are deleted. Returns
/// `None` when all 65536 numbers are taken.
pub fn plan_boot(
    entries: &BTreeMap<u16, Vec<u8>>,
    order: &[u16],
    label_text: &str,
    option: Vec<u8>,
) -> Option<BootChange> {
    let mut ours = entries
        .iter()
        .filter(|(_, content)| label(content).as_deref() == Some(label_text))
        .map(|(number, _)| *number);
    let number = match ours.next() {
        Some(number) => number,
        None => (0..=u16::MAX).find(|number| !entries.contains_key(number))?,
    };
    let delete: Vec<u16> = ours.collect();
    let kept = order
        .iter()
        .copied()
        .filter(|n| *n != number && !delete.contains(n));
    Some(BootChange {
        entry: (number, option),
        order: [number].into_iter().chain(kept).collect(),
        delete,
    })
}

/// File name of a boot entry's variable in efivarfs.
pub fn entry_file(number: u16) -> String {
    format!("Boot{number:04X}-{GLOBAL_GUID}")
}

/// Number of a boot entry from its file name.
pub fn entry_number(file: &str) -> Option<u16> {
    let digits = file
        .strip_prefix("Boot")?
        .strip_suffix(GLOBAL_GUID)?
        .strip_suffix('-')?;
    (digits.len() == 4)
        .then(|| u16::from_str_radix(digits, 16).ok())
        .flatten()
}

/// `BootOrder` from its content.
pub fn parse_order(content: &[u8]) -> Vec<u16> {
    content
        .chunks_exact(2)
        .filter_map(|pair| Some(u16::from_le_bytes(pair.try_into().ok()?)))
        .collect()
}

/// Content of `BootOrder`.
pub fn encode_order(order: &[u16]) -> Vec<u8> {
    order
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect()
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ESP: EspLocation = EspLocation {
        number: 1,
        start_lba: 2048,
        size_lba: 0x1_0000,
        guid: [
            0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe, 1, 2, 3, 4, 5, 6, 7, 8,
        ],
    };

    #[test]
    fn a_load_option_is_byte_exact() {
        let expected: Vec<u8> = [
            &[1, 0, 0, 0][..],          // active
            &[60, 0],                   // length of the path list: HD 42, file 14, end 4
            &[b'u', 0, b'b', 0, 0, 0],  // description
            &[4, 1, 42, 0, 1, 0, 0, 0], // HD node, partition 1
            &[0, 8, 0, 0, 0, 0, 0, 0],  // start
            &[0, 0, 1, 0, 0, 0, 0, 0],  // size
            &ESP.guid[..],
            &[2, 2],        // GPT, GUID
            &[4, 4, 14, 0], // file path node
            &[b'\\', 0, b'E', 0, b'\\', 0, b'X', 0, 0, 0],
            &[0x7f, 0xff, 4, 0], // end
        ]
        .concat();
        let option = load_option("ub", &ESP, "/E/X");
        assert_eq!(option, expected);
        assert_eq!(
            load_option("ub", &ESP, "E\\X"),
            option,
            "either slash, rooted or not"
        );
        assert_eq!(label(&option).as_deref(), Some("ub"));
    }

    #[test]
    fn the_first_entry_takes_a_free_number_and_the_head_of_the_order() {
        let entries = BTreeMap::from([(0, load_option("ui", &ESP, "/a")), (1, vec![])]);
        let change = plan_boot(&entries, &[1, 0], "unbounded", vec![9]).unwrap();
        assert_eq!(
            change,
            BootChange {
                entry: (2, vec![9]),
                order: vec![2, 1, 0],
                delete: vec![]
            }
        );
    }

    #[test]
    fn a_second_installation_leaves_one_entry_of_ours() {
        let ours = load_option("unbounded", &ESP, "/a");
        let entries = BTreeMap::from([
            (3, ours.clone()),
            (4, load_option("ui", &ESP, "/a")),
            (7, ours),
        ]);
        let change = plan_boot(&entries, &[4, 7, 3], "unbounded", vec![9]).unwrap();
        assert_eq!(
            change,
            BootChange {
                entry: (3, vec![9]),
                order: vec![3, 4],
                delete: vec![7]
            }
        );
    }

    #[test]
    fn file_names_and_order_are_read_back() {
        assert_eq!(entry_number(&entry_file(0x1a)), Some(0x1a));
        assert_eq!(entry_number(&format!("BootOrder-{GLOBAL_GUID}")), None);
        assert_eq!(entry_number(&format!("Boot001-{GLOBAL_GUID}")), None);
        assert_eq!(parse_order(&encode_order(&[1, 0xabcd])), [1, 0xabcd]);
        assert_eq!(label(&[0; 3]), None);
        assert_eq!(label(&[0, 0, 0, 0, 0, 0, b'x', 0]), None);
    }
}
