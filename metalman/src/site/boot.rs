//! What netboot sees of the site: a snapshot built from machines, images and install tokens.

use std::{net::Ipv4Addr, sync::Arc};

use jiff::Timestamp;
use metalman_api::machine::{Architecture, BootProtocol, DhcpLease, Machine};
use netboot::{
    directory::{self, BootDirectory, BootMachine, InstallGrant, Reservation, Snapshot},
    event::BootEvent,
    images::{ImageReference, ImageStore, UnpackedImage},
    mac::MacAddr,
};
use serde_json::json;

use super::Site;
use crate::{
    store::{InstallToken, Store, StoreError},
    timeline::Recorder,
};

/// Builds the snapshot that DHCP, TFTP and HTTP answer from.
#[derive(Debug, Clone)]
pub struct BootView {
    /// Site view.
    pub site: Arc<Site>,
    /// Install tokens.
    pub store: Store,
    /// Unpacked images.
    pub images: ImageStore,
    /// Netboot image of machines that name none.
    pub default_netboot_image: Option<String>,
    /// URL of the HTTP server as hosts reach it.
    pub serve_url: String,
}

impl BootView {
    /// Builds and swaps in a new snapshot.
    ///
    /// # Errors
    /// When the install tokens cannot be read; the old snapshot stays then.
    pub async fn rebuild(&self, now: Timestamp) -> Result<(), StoreError> {
        let tokens = self.store.install_tokens().live(now).await?;
        let machines = self
            .site
            .owned_machines()
            .iter()
            .filter_map(|machine| self.boot_machine(machine, &tokens))
            .collect();
        self.site.boot.store(Arc::new(Snapshot::new(machines)));
        Ok(())
    }

    fn boot_machine(&self, machine: &Machine, tokens: &[InstallToken]) -> Option<BootMachine> {
        let name = machine.metadata.name.clone()?;
        let pxe = machine.spec.pxe.as_ref()?;
        let token = tokens
            .iter()
            .filter(|t| t.machine == name)
            .max_by_key(|t| t.created_at);
        let install = token.and_then(|token| {
            Some(InstallGrant {
                token: token.token.clone(),
                claimed: token.claim.is_some(),
                image: self.images.get(&token.image_digest)?,
            })
        });
        Some(BootMachine {
            leases: pxe.dhcp_leases.iter().filter_map(reservation).collect(),
            architecture: architecture(pxe.architecture),
            protocol: match pxe.boot_protocol {
                BootProtocol::Pxe => directory::BootProtocol::Pxe,
                BootProtocol::Http => directory::BootProtocol::Http,
            },
            netboot: self.netboot_image(machine),
            install,
            context: json!({
                "site": self.site.name(),
                "serve_url": self.serve_url,
                "machine": machine,
            }),
            name,
        })
    }

    /// The netboot image a machine means now, if it is in the cache.
    fn netboot_image(&self, machine: &Machine) -> Option<Arc<UnpackedImage>> {
        let pxe = machine.spec.pxe.as_ref()?;
        let text = pxe
            .netboot_image
            .as_ref()
            .or(self.default_netboot_image.as_ref())?;
        let reference: ImageReference = text.parse().ok()?;
        let resolved = self
            .images
            .remembered(&reference, architecture(pxe.architecture))?;
        self.images.get(&resolved.digest)
    }
}

/// The architecture in netboot's terms.
pub(crate) fn architecture(architecture: Architecture) -> directory::Architecture {
    match architecture {
        Architecture::Amd64 => directory::Architecture::Amd64,
        Architecture::Arm64 => directory::Architecture::Arm64,
    }
}

/// A lease as netboot serves it; one that cannot be parsed is left out, the CRD refuses it anyway.
fn reservation(lease: &DhcpLease) -> Option<Reservation> {
    Some(Reservation {
        mac: lease.mac.parse().ok()?,
        ipv4: lease.ipv4.parse().ok()?,
        subnet_mask: lease.subnet_mask.parse().ok()?,
        gateway: lease
            .gateway
            .as_deref()
            .and_then(|gateway| gateway.parse().ok()),
        dns: lease
            .dns
            .iter()
            .filter_map(|server| server.parse().ok())
            .collect(),
    })
}

/// The site as netboot's port.
#[derive(Debug, Clone)]
pub struct SiteDirectory {
    site: Arc<Site>,
    recorder: Recorder,
}

impl SiteDirectory {
    /// Answers from `site`, records to `recorder`.
    pub fn new(site: Arc<Site>, recorder: Recorder) -> Self {
        Self { site, recorder }
    }
}

impl BootDirectory for SiteDirectory {
    fn by_mac(&self, mac: MacAddr) -> Option<Arc<BootMachine>> {
        self.site.boot.load().by_mac(mac)
    }

    fn by_ip(&self, ip: Ipv4Addr) -> Option<Arc<BootMachine>> {
        self.site.boot.load().by_ip(ip)
    }

    fn by_install_token(&self, token: &str) -> Option<Arc<BootMachine>> {
        self.site.boot.load().by_install_token(token)
    }

    fn record(&self, event: BootEvent) {
        self.recorder.record(event);
    }
}

impl Site {
    /// What another Machine disputes with this one, as text with both names.
    pub fn conflict_of(&self, machine: &str) -> Option<String> {
        let snapshot = self.boot.load();
        let conflict = snapshot
            .conflicts()
            .iter()
            .find(|c| c.machines.iter().any(|m| m == machine))?;
        let others: Vec<&str> = conflict
            .machines
            .iter()
            .map(String::as_str)
            .filter(|m| *m != machine)
            .collect();
        let (field, value) = match conflict.value {
            directory::Disputed::Mac(mac) => ("mac", mac.to_string()),
            directory::Disputed::Ip(ip) => ("ipv4", ip.to_string()),
        };
        Some(format!(
            "spec.pxe.dhcpLeases[].{field} {value} is also claimed by Machine {}; correct one of them, neither is served until then",
            others.join(", ")
        ))
    }

    /// The current snapshot.
    pub fn boot_snapshot(&self) -> Arc<Snapshot> {
        self.boot.load_full()
    }
}
