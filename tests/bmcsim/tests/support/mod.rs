//! A disk that boots a few machine instructions, for machines without an operating system.
//!
//! The image is one FAT16 file system with `EFI/BOOT/BOOTX64.EFI`, built here byte by byte so that
//! the test needs no tools. The programs talk to the chipset directly.

/// What the disk boots.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Program {
    /// Says READY on the serial port, then turns off when the power button is pressed.
    ObeyPowerButton,
    /// Resets the machine at once.
    Reset,
}

/// The image of a disk that boots `program`.
pub(crate) fn disk(program: Program) -> Vec<u8> {
    fat16(&efi_application(&code(program)))
}

fn code(program: Program) -> Vec<u8> {
    match program {
        Program::ObeyPowerButton => {
            let mut code = vec![0x66, 0xba, 0xf8, 0x03]; // mov dx, 0x3f8 (serial port)
            for letter in b"READY\n" {
                code.extend([0xb0, *letter, 0xee]); // mov al, letter; out dx, al
            }
            code.extend([0x66, 0xba, 0x02, 0x06]); // mov dx, 0x602 (PM1 enable)
            code.extend([0x66, 0xb8, 0x00, 0x01]); // mov ax, 0x100 (power button)
            code.extend([0x66, 0xef]); // out dx, ax
            code.extend([0x66, 0xba, 0x00, 0x06]); // mov dx, 0x600 (PM1 status)
            code.extend([0x66, 0xed]); // in ax, dx
            code.extend([0xf6, 0xc4, 0x01]); // test ah, 1
            code.extend([0x74, 0xf9]); // jz in
            code.extend([0x66, 0xba, 0x04, 0x06]); // mov dx, 0x604 (PM1 control)
            code.extend([0x66, 0xb8, 0x00, 0x20]); // mov ax, 0x2000 (sleep, S5)
            code.extend([0x66, 0xef]); // out dx, ax
            code.extend([0xeb, 0xfe]); // jmp $
            code
        }
        Program::Reset => vec![
            0x66, 0xba, 0xf9, 0x0c, // mov dx, 0xcf9 (reset control)
            0xb0, 0x06, 0xee, // mov al, 6; out dx, al
            0xeb, 0xfe, // jmp $
        ],
    }
}

/// A PE32+ file with one section and nothing else.
fn efi_application(code: &[u8]) -> Vec<u8> {
    let mut file = vec![0_u8; 0x400];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x00, b"MZ");
    put(0x3c, &0x40_u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    put(0x44, &0x8664_u16.to_le_bytes()); // x86-64
    put(0x46, &1_u16.to_le_bytes()); // sections
    put(0x54, &0xf0_u16.to_le_bytes()); // size of the optional header
    put(0x56, &0x0022_u16.to_le_bytes()); // executable, large addresses
    let optional = 0x58;
    put(optional, &0x020b_u16.to_le_bytes()); // PE32+
    put(optional + 4, &0x200_u32.to_le_bytes()); // size of code
    put(optional + 16, &0x1000_u32.to_le_bytes()); // entry point
    put(optional + 20, &0x1000_u32.to_le_bytes()); // base of code
    put(optional + 32, &0x1000_u32.to_le_bytes()); // section alignment
    put(optional + 36, &0x200_u32.to_le_bytes()); // file alignment
    put(optional + 56, &0x2000_u32.to_le_bytes()); // size of image
    put(optional + 60, &0x200_u32.to_le_bytes()); // size of headers
    put(optional + 68, &10_u16.to_le_bytes()); // EFI application
    put(optional + 108, &16_u32.to_le_bytes()); // data directories
    let section = optional + 0xf0;
    put(section, b".text\0\0\0");
    put(section + 8, &0x200_u32.to_le_bytes()); // virtual size
    put(section + 12, &0x1000_u32.to_le_bytes()); // virtual address
    put(section + 16, &0x200_u32.to_le_bytes()); // raw size
    put(section + 20, &0x200_u32.to_le_bytes()); // raw offset
    put(section + 36, &0x6000_0020_u32.to_le_bytes()); // code, execute, read
    put(0x200, code);
    file
}

const SECTOR: usize = 512;
const SECTORS: u16 = 16384;
const FAT_SECTORS: u16 = 64;
const ROOT_ENTRIES: u16 = 512;

fn fat16(file: &[u8]) -> Vec<u8> {
    let mut disk = vec![0_u8; usize::from(SECTORS) * SECTOR];
    let mut put = |at: usize, bytes: &[u8]| disk[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &[0xeb, 0x3c, 0x90]);
    put(3, b"BMCSIM  ");
    put(11, &512_u16.to_le_bytes());
    put(13, &[1]); // sectors per cluster
    put(14, &1_u16.to_le_bytes()); // reserved sectors
    put(16, &[1]); // FATs
    put(17, &ROOT_ENTRIES.to_le_bytes());
    put(19, &SECTORS.to_le_bytes());
    put(21, &[0xf8]);
    put(22, &FAT_SECTORS.to_le_bytes());
    put(24, &63_u16.to_le_bytes());
    put(26, &255_u16.to_le_bytes());
    put(36, &[0x80, 0, 0x29]);
    put(43, b"BMCSIM     FAT16   ");
    put(510, &[0x55, 0xaa]);
    // Clusters: 2 = EFI, 3 = BOOT, 4 and 5 = the file.
    for (cluster, next) in [0xfff8_u16, 0xffff, 0xffff, 0xffff, 5, 0xffff]
        .iter()
        .enumerate()
    {
        put(SECTOR + 2 * cluster, &next.to_le_bytes());
    }
    let root = SECTOR * (1 + usize::from(FAT_SECTORS));
    let data = root + usize::from(ROOT_ENTRIES) * 32;
    let cluster = |number: usize| data + (number - 2) * SECTOR;
    put(root, &entry(b"EFI        ", true, 2, 0));
    put(cluster(2), &entry(b".          ", true, 2, 0));
    put(cluster(2) + 32, &entry(b"..         ", true, 0, 0));
    put(cluster(2) + 64, &entry(b"BOOT       ", true, 3, 0));
    put(cluster(3), &entry(b".          ", true, 3, 0));
    put(cluster(3) + 32, &entry(b"..         ", true, 2, 0));
    put(cluster(3) + 64, &entry(b"BOOTX64 EFI", false, 4, 0x400));
    put(cluster(4), file);
    disk
}

fn entry(name: &[u8; 11], is_folder: bool, cluster: u16, size: u32) -> [u8; 32] {
    let mut entry = [0_u8; 32];
    entry[..11].copy_from_slice(name);
    entry[11] = if is_folder { 0x10 } else { 0x20 };
    entry[26..28].copy_from_slice(&cluster.to_le_bytes());
    entry[28..].copy_from_slice(&size.to_le_bytes());
    entry
}
