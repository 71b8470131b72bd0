//! Which first file a client is told to load.
//!
//! Not whether it may install: that is decided when GRUB's file is rendered. Invariant: a client
//! gets a file only for the architecture that both it and its Machine name.

use std::net::Ipv4Addr;

use super::{
    arch::{BootClient, NoBootFile},
    request::BootRequest,
};
use crate::directory::{BootMachine, BootProtocol};

/// The first file, in the form its client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BootFile {
    /// A TFTP path, or an absolute URL for HTTP boot.
    pub(crate) name: String,
    /// By which protocol.
    pub(crate) protocol: BootProtocol,
}

impl BootFile {
    /// Whether it is a URL with an address for a host, for which firmware needs no name server.
    ///
    /// Telling it none matters: EDK2 then leaves the DNS node out of the device path, and only
    /// without that node does GRUB 2.06 take over the address the firmware booted with. Otherwise
    /// it asks for one again, and whatever server is first answers.
    pub(crate) fn is_at_literal_address(&self) -> bool {
        let host = self.name.split_once("://").map(|(_, rest)| {
            let end = rest.find(['/', ':']).unwrap_or(rest.len());
            rest.get(..end).unwrap_or(rest)
        });
        self.protocol == BootProtocol::Http
            && host.is_some_and(|host| host.parse::<Ipv4Addr>().is_ok())
    }
}

/// Chooses by option 60, option 93, the Machine and the metadata of its netboot image.
pub(crate) fn choose(
    serve_url: &str,
    machine: &BootMachine,
    request: &BootRequest,
) -> Result<BootFile, NoBootFile> {
    let client = BootClient::from_vendor_class(request.vendor_class.as_deref());
    let protocol = client.protocol().ok_or(NoBootFile::NotAsked)?;
    let arch = request.arch().ok_or(NoBootFile::ArchitectureUnknown)?;
    if arch.machine()? != machine.architecture {
        return Err(NoBootFile::ArchitectureMismatch);
    }
    // Firmware that tries HTTP after a failed PXE must go on to its disk: a GRUB without HTTP, such
    // as the distribution's signed one, would stop at its prompt.
    if protocol != machine.protocol {
        return Err(NoBootFile::ProtocolMismatch);
    }
    let metadata = &machine
        .netboot
        .as_ref()
        .ok_or(NoBootFile::ImageNotReady)?
        .metadata;
    let named = match protocol {
        BootProtocol::Pxe => metadata.dhcp_boot_image_name.as_deref(),
        BootProtocol::Http => metadata.http_boot_file(),
    };
    let path = named
        .filter(|name| !name.is_empty())
        .ok_or(NoBootFile::ImageNamesNoFile)?;
    let name = match protocol {
        BootProtocol::Pxe => path.to_owned(),
        BootProtocol::Http => {
            format!(
                "{}/{}",
                serve_url.trim_end_matches('/'),
                path.trim_start_matches('/')
            )
        }
    };
    Ok(BootFile { name, protocol })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        dhcp::testing::{Packet, discover, machine},
        directory::Architecture,
        images::{ImageMetadata, UnpackedImage},
    };

    const URL: &str = "http://10.77.0.1:8880/shimx64.efi";

    fn chosen(machine: &BootMachine, packet: &Packet) -> Result<String, NoBootFile> {
        let request = BootRequest::parse(&packet.bytes()).expect("parses");
        choose("http://10.77.0.1:8880", machine, &request).map(|file| file.name)
    }

    fn class(class: &str, arch: u16) -> Packet {
        discover()
            .set(60, class.as_bytes())
            .set(93, &arch.to_be_bytes())
    }

    #[test]
    fn the_file_follows_the_client() {
        let shim = Ok("shimx64.efi".to_owned());
        let silent = discover().set(60, b"PXEClient").unset(93);
        for (what, packet, want) in [
            ("pxe", class("PXEClient:Arch:00007", 7), shim.clone()),
            ("old number", class("PXEClient:Arch:00009", 9), shim),
            (
                "http boot",
                class("HTTPClient:Arch:00016", 16),
                Err(NoBootFile::ProtocolMismatch),
            ),
            (
                "bios",
                class("PXEClient:Arch:00000", 0),
                Err(NoBootFile::LegacyBios),
            ),
            (
                "arm",
                class("PXEClient", 11),
                Err(NoBootFile::ArchitectureMismatch),
            ),
            ("host", class("udhcp 1.35", 7), Err(NoBootFile::NotAsked)),
            ("no arch", silent, Err(NoBootFile::ArchitectureUnknown)),
        ] {
            assert_eq!(chosen(&machine(), &packet), want, "{what}");
        }
    }

    #[test]
    fn the_file_follows_the_machine() {
        let mut http = machine();
        http.protocol = BootProtocol::Http;
        assert_eq!(chosen(&http, &class("HTTPClient", 16)), Ok(URL.to_owned()));
        assert_eq!(
            chosen(&http, &class("PXEClient", 7)),
            Err(NoBootFile::ProtocolMismatch)
        );

        let mut arm = machine();
        arm.architecture = Architecture::Arm64;
        assert_eq!(
            chosen(&arm, &class("PXEClient", 11)),
            Ok("shimx64.efi".to_owned())
        );
        assert_eq!(
            chosen(&arm, &class("PXEClient", 7)),
            Err(NoBootFile::ArchitectureMismatch)
        );
    }

    #[test]
    fn only_a_url_with_a_name_needs_a_name_server() {
        for (name, protocol, literal) in [
            (
                "http://10.77.0.1:8880/shimx64.efi",
                BootProtocol::Http,
                true,
            ),
            ("http://10.77.0.1", BootProtocol::Http, true),
            ("https://10.77.0.1/x", BootProtocol::Http, true),
            (
                "http://rack.example:8880/shimx64.efi",
                BootProtocol::Http,
                false,
            ),
            ("http://10.77.0.1.example/x", BootProtocol::Http, false),
            ("shimx64.efi", BootProtocol::Pxe, false),
        ] {
            let file = BootFile {
                name: name.into(),
                protocol,
            };
            assert_eq!(file.is_at_literal_address(), literal, "{name}");
        }
    }

    #[test]
    fn the_file_follows_the_image() {
        let mut unready = machine();
        let image = unready
            .netboot
            .take()
            .map(Arc::unwrap_or_clone)
            .expect("has one");
        assert_eq!(
            chosen(&unready, &class("PXEClient", 7)),
            Err(NoBootFile::ImageNotReady)
        );
        let nameless = UnpackedImage {
            metadata: ImageMetadata::default(),
            ..image
        };
        unready.netboot = Some(Arc::new(nameless));
        assert_eq!(
            chosen(&unready, &class("PXEClient", 7)),
            Err(NoBootFile::ImageNamesNoFile)
        );
        unready.protocol = BootProtocol::Http;
        assert_eq!(
            chosen(&unready, &class("HTTPClient", 16)),
            Err(NoBootFile::ImageNamesNoFile)
        );
    }
}
