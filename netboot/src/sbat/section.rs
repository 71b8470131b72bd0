//! Finds two named sections of a PE file (Microsoft's PE format, "COFF File Header" and "Section
//! Table"). Reads the headers and those sections, nothing else.

use std::io::{self, Read, Seek, SeekFrom};

use super::{Component, Level, level};

/// More than any section of this kind has.
const MAX_SECTION: u64 = 64 * 1024;
/// More sections than any boot loader has.
const MAX_SECTIONS: u16 = 96;
const COFF_HEADER: usize = 20;
const SECTION_HEADER: usize = 40;

/// What a boot loader says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loader {
    /// Its `.sbat` section; empty when it has none, and shim then refuses it.
    pub components: Vec<Component>,
    /// The newest revocation list it carries; only shim has one.
    pub level: Option<Level>,
}

/// Reads a loader; `None` when the file is no PE file.
///
/// # Errors
/// The file cannot be read. One that ends too early is no PE file.
pub fn read(file: &mut (impl Read + Seek)) -> io::Result<Option<Loader>> {
    match sections(file) {
        Ok(loader) => Ok(loader),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

fn sections(file: &mut (impl Read + Seek)) -> io::Result<Option<Loader>> {
    let mut dos = [0_u8; 64];
    file.seek(SeekFrom::Start(0))?;
    file.read_exact(&mut dos)?;
    if !dos.starts_with(b"MZ") {
        return Ok(None);
    }
    let pe = word(&dos, 60).unwrap_or_default();
    file.seek(SeekFrom::Start(u64::from(pe)))?;
    let mut coff = [0_u8; 4 + COFF_HEADER];
    file.read_exact(&mut coff)?;
    if !coff.starts_with(b"PE\0\0") {
        return Ok(None);
    }
    let count = half(&coff, 6).unwrap_or_default().min(MAX_SECTIONS);
    let optional = half(&coff, 20).unwrap_or_default();
    file.seek(SeekFrom::Current(i64::from(optional)))?;
    let mut table = vec![0_u8; usize::from(count) * SECTION_HEADER];
    file.read_exact(&mut table)?;

    let mut loader = Loader {
        components: Vec::new(),
        level: None,
    };
    for header in table.chunks_exact(SECTION_HEADER) {
        let name = header.get(..8).unwrap_or_default();
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        // `.sbatlevel` has more than eight letters and stands in the string table, so it is known
        // by what is in it.
        let is_long = name.starts_with(b"/");
        if name != b".sbat" && !is_long && name != b".sbatlev" {
            continue;
        }
        let content = content(file, header)?;
        if name == b".sbat" {
            loader.components = level::parse_components(&content);
        } else if let Some(found) = level::of_section(&content) {
            loader.level = Some(found);
        }
    }
    Ok(Some(loader))
}

/// The bytes of a section in the file: as long as in memory, or shorter in the file.
fn content(file: &mut (impl Read + Seek), header: &[u8]) -> io::Result<Vec<u8>> {
    let [virtual_size, raw_size, offset] = [8, 16, 20].map(|at| word(header, at).unwrap_or(0));
    let size = match virtual_size {
        0 => raw_size,
        size => size.min(raw_size),
    };
    let mut content = Vec::new();
    file.seek(SeekFrom::Start(u64::from(offset)))?;
    file.by_ref()
        .take(u64::from(size).min(MAX_SECTION))
        .read_to_end(&mut content)?;
    Ok(content)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(four.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes(two.try_into().ok()?))
}

#[cfg(test)]
pub(super) mod testing {
    use super::SECTION_HEADER;

    /// A PE file with nothing but these sections.
    pub(in super::super) fn pe(sections: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut file = vec![0; 64];
        file[..2].copy_from_slice(b"MZ");
        file[60] = 64;
        file.extend(b"PE\0\0");
        let count = u16::try_from(sections.len()).unwrap();
        file.extend([0x64, 0x86]);
        file.extend(count.to_le_bytes());
        file.extend([0; 12]);
        file.extend([8, 0, 0, 0]);
        file.extend([0; 8]);
        let mut at = file.len() + sections.len() * SECTION_HEADER;
        for (name, content) in sections {
            let mut header = [0; SECTION_HEADER];
            header[..name.len()].copy_from_slice(name);
            let size = u32::try_from(content.len()).unwrap();
            header[8..12].copy_from_slice(&size.to_le_bytes());
            header[16..20].copy_from_slice(&size.to_le_bytes());
            header[20..24].copy_from_slice(&u32::try_from(at).unwrap().to_le_bytes());
            file.extend(header);
            at += content.len();
        }
        for (_, content) in sections {
            file.extend(*content);
        }
        file
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::testing::pe;
    use super::*;

    const SBAT: &str = "sbat,1,SBAT Version,sbat,1,https://example.org\n\
                        grub,5,Free Software Foundation,grub,2.06,https://example.org\n\
                        grub.debian,5,Debian,grub2,2.06-13+deb12u2,https://example.org\n";

    fn loader(file: &[u8]) -> Option<Loader> {
        read(&mut Cursor::new(file)).unwrap()
    }

    #[test]
    fn the_components_of_a_loader_are_read() {
        let file = pe(&[(b".text", b"code"), (b".sbat", SBAT.as_bytes())]);
        let found = loader(&file).unwrap();
        let told: Vec<_> = found
            .components
            .iter()
            .map(|c| (c.name.as_str(), c.generation, c.version.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                ("sbat", 1, "1"),
                ("grub", 5, "2.06"),
                ("grub.debian", 5, "2.06-13+deb12u2"),
            ]
        );
        assert_eq!(found.level, None);
    }

    #[test]
    fn shim_brings_a_list_under_a_long_name() {
        let mut section = [0_u32, 8, 8].map(u32::to_le_bytes).concat();
        section.extend(b"sbat,1,2030010100\nshim,9\n\0");
        let file = pe(&[(b"/4", &section)]);
        assert_eq!(loader(&file).unwrap().level.unwrap().date(), "2030010100");
    }

    #[test]
    fn other_files_are_none() {
        assert_eq!(loader(b""), None);
        assert_eq!(loader(b"#!/bin/sh"), None);
        assert_eq!(loader(&[b'M'; 100]), None);
        let mut far = vec![0xff; 64];
        far[..2].copy_from_slice(b"MZ");
        assert_eq!(loader(&far), None);
    }

    proptest! {
        #[test]
        fn any_bytes_end(at in 0_usize..400, byte: u8, cut in 0_usize..600) {
            let mut file = pe(&[(b".sbat", SBAT.as_bytes()), (b"/4", b"\0\0\0\0")]);
            if let Some(place) = file.get_mut(at) {
                *place = byte;
            }
            file.truncate(cut);
            drop(loader(&file));
        }
    }
}
