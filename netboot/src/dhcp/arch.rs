//! What kind of client asks: architecture (option 93, RFC 4578 and the IANA registry) and how it
//! wants to boot (option 60).
//!
//! Not the machine's declared architecture: firmware says this about itself, and the two are
//! compared before a boot file is named. Invariant: an unknown number is kept, never guessed.

use serde::{Deserialize, Serialize};

use crate::directory::{Architecture, BootProtocol};

/// Client system architecture, option 93.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ClientArch {
    /// 0: legacy PC BIOS.
    BiosX86,
    /// 6: 32-bit UEFI PXE.
    UefiX86,
    /// 7, and 9 as sent by firmware that follows the text of RFC 4578: x86-64 UEFI PXE.
    UefiX64,
    /// 10: 32-bit ARM UEFI PXE.
    UefiArm32,
    /// 11: 64-bit ARM UEFI PXE.
    UefiArm64,
    /// 15: 32-bit UEFI HTTP boot.
    HttpX86,
    /// 16: x86-64 UEFI HTTP boot.
    HttpX64,
    /// 18: 32-bit ARM UEFI HTTP boot.
    HttpArm32,
    /// 19: 64-bit ARM UEFI HTTP boot.
    HttpArm64,
    /// 20: PC BIOS with HTTP boot.
    HttpBios,
    /// Any other number of the registry.
    Other(u16),
}

/// Why a client that was given an address was given no boot file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NoBootFile {
    /// It did not ask to boot from the network (no PXEClient or HTTPClient): normal for a host.
    NotAsked,
    /// Legacy BIOS: set the machine to UEFI.
    LegacyBios,
    /// It says neither by option 93 nor by option 60 what it runs.
    ArchitectureUnknown,
    /// An architecture for which there are no boot files.
    UnsupportedArchitecture,
    /// The firmware's architecture is not the Machine's `architecture`.
    ArchitectureMismatch,
    /// The firmware boots by another protocol than the Machine's `bootProtocol`.
    ProtocolMismatch,
    /// The netboot image is not fetched yet.
    ImageNotReady,
    /// The netboot image's `metadata.yaml` names no file for this kind of boot.
    ImageNamesNoFile,
}

impl NoBootFile {
    /// One sentence for the timeline, with the cure where there is one.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::NotAsked => "the client did not ask to boot from the network",
            Self::LegacyBios => {
                "legacy BIOS is not supported: switch the machine's firmware to UEFI boot"
            }
            Self::ArchitectureUnknown => "the client does not say its architecture (option 93)",
            Self::UnsupportedArchitecture => "there are no boot files for this architecture",
            Self::ArchitectureMismatch => {
                "the firmware's architecture differs from the Machine's pxe.architecture: correct it"
            }
            Self::ProtocolMismatch => {
                "the firmware does not boot by the Machine's bootProtocol: correct one of them"
            }
            Self::ImageNotReady => "the netboot image is not fetched yet",
            Self::ImageNamesNoFile => {
                "metadata.yaml of the netboot image names no file for this kind of boot"
            }
        }
    }
}

/// How a client wants to boot, as it says in option 60 (or 93).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BootClient {
    /// `PXEClient…`.
    Pxe,
    /// `HTTPClient…`.
    Http,
    /// An operating system or anything else.
    Other,
}

impl ClientArch {
    /// The architecture with this number in the IANA registry "Processor Architecture Types".
    pub const fn from_number(number: u16) -> Self {
        match number {
            0 => Self::BiosX86,
            6 => Self::UefiX86,
            7 | 9 => Self::UefiX64,
            10 => Self::UefiArm32,
            11 => Self::UefiArm64,
            15 => Self::HttpX86,
            16 => Self::HttpX64,
            18 => Self::HttpArm32,
            19 => Self::HttpArm64,
            20 => Self::HttpBios,
            other => Self::Other(other),
        }
    }

    /// The architecture in a class identifier such as `PXEClient:Arch:00007:UNDI:003000`.
    pub fn from_vendor_class(class: &str) -> Option<Self> {
        let mut parts = class.split(':');
        match (parts.next(), parts.next()) {
            (Some("PXEClient" | "HTTPClient"), Some("Arch")) => {
                parts.next()?.parse().ok().map(Self::from_number)
            }
            _ => None,
        }
    }

    /// The Machine architecture whose boot files it runs, or why there are none.
    pub const fn machine(self) -> Result<Architecture, NoBootFile> {
        match self {
            Self::UefiX64 | Self::HttpX64 => Ok(Architecture::Amd64),
            Self::UefiArm64 | Self::HttpArm64 => Ok(Architecture::Arm64),
            Self::BiosX86 | Self::HttpBios => Err(NoBootFile::LegacyBios),
            Self::UefiX86 | Self::UefiArm32 | Self::HttpX86 | Self::HttpArm32 | Self::Other(_) => {
                Err(NoBootFile::UnsupportedArchitecture)
            }
        }
    }

    /// Whether the number itself means HTTP boot.
    pub const fn is_http(self) -> bool {
        match self {
            Self::HttpX86 | Self::HttpX64 | Self::HttpArm32 | Self::HttpArm64 | Self::HttpBios => {
                true
            }
            Self::BiosX86
            | Self::UefiX86
            | Self::UefiX64
            | Self::UefiArm32
            | Self::UefiArm64
            | Self::Other(_) => false,
        }
    }
}

impl BootClient {
    /// Reads option 60.
    pub fn from_vendor_class(class: Option<&str>) -> Self {
        match class {
            Some(class) if class.starts_with("PXEClient") => Self::Pxe,
            Some(class) if class.starts_with("HTTPClient") => Self::Http,
            Some(_) | None => Self::Other,
        }
    }

    /// What option 60 of the reply must say for this client to accept it as a boot offer.
    pub const fn echoed_class(self) -> Option<&'static str> {
        match self {
            Self::Pxe => Some("PXEClient"),
            Self::Http => Some("HTTPClient"),
            Self::Other => None,
        }
    }

    /// The protocol by which it will fetch its first file.
    pub const fn protocol(self) -> Option<BootProtocol> {
        match self {
            Self::Pxe => Some(BootProtocol::Pxe),
            Self::Http => Some(BootProtocol::Http),
            Self::Other => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_registry_are_known() {
        for (number, machine) in [
            (0, Err(NoBootFile::LegacyBios)),
            (6, Err(NoBootFile::UnsupportedArchitecture)),
            (7, Ok(Architecture::Amd64)),
            (9, Ok(Architecture::Amd64)),
            (11, Ok(Architecture::Arm64)),
            (16, Ok(Architecture::Amd64)),
            (19, Ok(Architecture::Arm64)),
            (20, Err(NoBootFile::LegacyBios)),
            (27, Err(NoBootFile::UnsupportedArchitecture)),
        ] {
            assert_eq!(
                ClientArch::from_number(number).machine(),
                machine,
                "{number}"
            );
        }
    }

    #[test]
    fn the_class_identifier_stands_in_for_option_93() {
        let of = ClientArch::from_vendor_class;
        assert_eq!(
            of("PXEClient:Arch:00007:UNDI:003000"),
            Some(ClientArch::UefiX64)
        );
        assert_eq!(
            of("HTTPClient:Arch:00016:UNDI:003000"),
            Some(ClientArch::HttpX64)
        );
        assert_eq!(of("PXEClient"), None);
        assert_eq!(of("PXEClient:Arch:seven"), None);
        assert_eq!(of("udhcp 1.35"), None);
    }
}
