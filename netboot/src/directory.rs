//! The port through which netboot knows machines, and the snapshot that answers it.
//!
//! Not a store and not a watch: the owner builds a [`Snapshot`] whenever something changed and
//! swaps it in. Invariant: no method blocks, waits or touches a disk, and a MAC or an address
//! claimed by two machines is served to neither.

use std::{
    collections::{HashMap, VecDeque},
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use crate::{event::BootEvent, images::UnpackedImage, mac::MacAddr};

/// What netboot asks of its owner. All methods answer from memory and never block.
pub trait BootDirectory: Send + Sync + 'static {
    /// The machine that has a reservation for this MAC.
    fn by_mac(&self, mac: MacAddr) -> Option<Arc<BootMachine>>;
    /// The machine that has a reservation of this address.
    fn by_ip(&self, ip: Ipv4Addr) -> Option<Arc<BootMachine>>;
    /// Why this MAC is not served although a machine claims it, if so.
    fn withheld(&self, _mac: MacAddr) -> Option<Arc<Conflict>> {
        None
    }
    /// The machine that holds this unexpired install token (claimed or not), if any.
    fn by_install_token(&self, token: &str) -> Option<Arc<BootMachine>>;
    /// Bounded queue behind it; drops with a counter when full.
    fn record(&self, event: BootEvent);
}

/// All that netboot needs to know about one machine.
#[derive(Debug, Clone)]
pub struct BootMachine {
    /// Name of the Machine object.
    pub name: String,
    /// Reserved addresses, one per NIC and subnet.
    pub leases: Vec<Reservation>,
    /// What its processor runs.
    pub architecture: Architecture,
    /// How it is meant to boot from the network.
    pub protocol: BootProtocol,
    /// The verified netboot image; `None` = not fetched yet.
    pub netboot: Option<Arc<UnpackedImage>>,
    /// Present only while a HostReplace has minted an unclaimed or claimed token.
    pub install: Option<InstallGrant>,
    /// Extra template context (Machine object, site name, serve URL …).
    pub context: Arc<dyn ExtraContext>,
}

/// What the owner adds to the context of a machine's templates. Only machines that ask for a
/// rendered file need it as a tree. Invariant: it is the same at every call.
pub trait ExtraContext: std::fmt::Debug + Send + Sync {
    /// The context.
    fn value(&self) -> serde_json::Value;
}

impl ExtraContext for serde_json::Value {
    fn value(&self) -> serde_json::Value {
        self.clone()
    }
}

/// An address kept for one NIC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reservation {
    /// The NIC.
    pub mac: MacAddr,
    /// Its address.
    pub ipv4: Ipv4Addr,
    /// Option 1.
    pub subnet_mask: Ipv4Addr,
    /// Option 3, when there is a router.
    pub gateway: Option<Ipv4Addr>,
    /// Option 6, in order of preference.
    pub dns: Vec<Ipv4Addr>,
    /// Option 26, when it is not Ethernet's 1500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
}

/// What a machine's processor runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// x86-64.
    Amd64,
    /// AArch64.
    Arm64,
}

/// How a machine is meant to boot from the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum BootProtocol {
    /// UEFI PXE: DHCP, then TFTP.
    Pxe,
    /// UEFI HTTP boot: DHCP, then HTTP.
    Http,
}

/// Leave to install, minted by a running HostReplace.
#[derive(Clone)]
pub struct InstallGrant {
    /// 32 random bytes, URL-safe base64.
    pub token: String,
    /// GRUB is offered "install" only while false.
    pub claimed: bool,
    /// The machine image (its `disk` is `Some`).
    pub image: Arc<UnpackedImage>,
}

impl std::fmt::Debug for InstallGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InstallGrant")
            .field("token", &"…")
            .field("claimed", &self.claimed)
            .field("image", &self.image.digest)
            .finish()
    }
}

impl BootMachine {
    /// The reservation of this NIC; with several, the one whose subnet holds `link` (the relay's or
    /// the server's address), else the first.
    pub fn reservation(&self, mac: MacAddr, link: Ipv4Addr) -> Option<&Reservation> {
        let mut of_nic = self.leases.iter().filter(|lease| lease.mac == mac);
        let first = of_nic.clone().next();
        of_nic.find(|lease| lease.is_on_link(link)).or(first)
    }
}

impl Reservation {
    /// Whether `address` is in the reservation's subnet.
    pub fn is_on_link(&self, address: Ipv4Addr) -> bool {
        (address & self.subnet_mask) == (self.ipv4 & self.subnet_mask)
    }
}

/// An immutable index of all machines.
#[derive(Debug, Default)]
pub struct Snapshot {
    machines: Vec<Arc<BootMachine>>,
    by_mac: HashMap<MacAddr, Arc<BootMachine>>,
    by_ip: HashMap<Ipv4Addr, Arc<BootMachine>>,
    by_token: HashMap<String, Arc<BootMachine>>,
    conflicts: Vec<Arc<Conflict>>,
    /// Why a MAC that is claimed is not served.
    withheld: HashMap<MacAddr, Arc<Conflict>>,
}

/// A value that several machines claim; it is served to none of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// What is disputed.
    pub value: Disputed,
    /// Names of the claimants, sorted.
    pub machines: Vec<String>,
}

/// The value two machines cannot share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Disputed {
    /// A hardware address.
    Mac(MacAddr),
    /// An IPv4 address.
    Ip(Ipv4Addr),
}

impl std::fmt::Display for Disputed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mac(mac) => write!(f, "MAC {mac}"),
            Self::Ip(ip) => write!(f, "address {ip}"),
        }
    }
}

impl Snapshot {
    /// Indexes `machines` by MAC, address and install token, leaving out what is disputed.
    pub fn new(machines: Vec<BootMachine>) -> Self {
        Self::of(machines.into_iter().map(Arc::new).collect())
    }

    /// As [`Snapshot::new`], for machines that an earlier snapshot had too.
    pub fn of(machines: Vec<Arc<BootMachine>>) -> Self {
        let mut by_mac = HashMap::with_capacity(machines.len());
        let mut by_ip = HashMap::with_capacity(machines.len());
        let mut is_disputed = false;
        for machine in &machines {
            for lease in &machine.leases {
                let others = [
                    by_mac.insert(lease.mac, Arc::clone(machine)),
                    by_ip.insert(lease.ipv4, Arc::clone(machine)),
                ];
                let mut others = others.iter().flatten();
                is_disputed |= others.any(|other| !Arc::ptr_eq(other, machine));
            }
        }
        let by_token = machines
            .iter()
            .filter_map(|machine| {
                let grant = machine.install.as_ref()?;
                Some((grant.token.clone(), Arc::clone(machine)))
            })
            .collect();
        let all = Self {
            machines,
            by_mac,
            by_ip,
            by_token,
            conflicts: Vec::new(),
            withheld: HashMap::new(),
        };
        if is_disputed { all.settled() } else { all }
    }

    /// Without what several machines claim.
    fn settled(self) -> Self {
        let machines = self.machines;
        let conflicts = conflicts(&machines);
        let disputes: HashMap<Disputed, &Arc<Conflict>> =
            conflicts.iter().map(|c| (c.value, c)).collect();
        let dispute = |lease: &Reservation| {
            let values = [Disputed::Mac(lease.mac), Disputed::Ip(lease.ipv4)];
            values.iter().find_map(|value| disputes.get(value).copied())
        };
        let mut withheld = HashMap::new();
        let mut by_mac = HashMap::with_capacity(machines.len());
        let mut by_ip = HashMap::with_capacity(machines.len());
        for machine in &machines {
            let mut served = Arc::clone(machine);
            if machine.leases.iter().any(|lease| dispute(lease).is_some()) {
                for lease in &machine.leases {
                    if let Some(dispute) = dispute(lease) {
                        withheld.insert(lease.mac, Arc::clone(dispute));
                    }
                }
                let leases = &mut Arc::make_mut(&mut served).leases;
                leases.retain(|lease| dispute(lease).is_none());
            }
            for lease in &served.leases {
                by_mac.insert(lease.mac, Arc::clone(&served));
                by_ip.insert(lease.ipv4, Arc::clone(&served));
            }
        }
        Self {
            machines,
            by_mac,
            by_ip,
            by_token: self.by_token,
            conflicts,
            withheld,
        }
    }

    /// All machines, in the order given.
    pub fn machines(&self) -> &[Arc<BootMachine>] {
        &self.machines
    }

    /// The machine of this MAC, unless disputed.
    pub fn by_mac(&self, mac: MacAddr) -> Option<Arc<BootMachine>> {
        self.by_mac.get(&mac).cloned()
    }

    /// The machine of this address, unless disputed.
    pub fn by_ip(&self, ip: Ipv4Addr) -> Option<Arc<BootMachine>> {
        self.by_ip.get(&ip).cloned()
    }

    /// The machine of this install token.
    pub fn by_install_token(&self, token: &str) -> Option<Arc<BootMachine>> {
        self.by_token.get(token).cloned()
    }

    /// Values claimed by several machines, sorted.
    pub fn conflicts(&self) -> &[Arc<Conflict>] {
        &self.conflicts
    }

    /// Why this MAC, though a machine claims it, is not served.
    pub fn withheld(&self, mac: MacAddr) -> Option<Arc<Conflict>> {
        self.withheld.get(&mac).cloned()
    }
}

/// Every MAC and address that more than one machine claims.
fn conflicts(machines: &[Arc<BootMachine>]) -> Vec<Arc<Conflict>> {
    let mut claims: HashMap<Disputed, &str> = HashMap::with_capacity(machines.len() * 2);
    // Hardly any: only these have a list.
    let mut disputed: HashMap<Disputed, Vec<&str>> = HashMap::new();
    for machine in machines {
        for lease in &machine.leases {
            for value in [Disputed::Mac(lease.mac), Disputed::Ip(lease.ipv4)] {
                let name = machine.name.as_str();
                let first = *claims.entry(value).or_insert(name);
                if first == name {
                    continue;
                }
                let claimants = disputed.entry(value).or_insert_with(|| vec![first]);
                if claimants.last() != Some(&name) {
                    claimants.push(name);
                }
            }
        }
    }
    let mut conflicts: Vec<_> = disputed
        .into_iter()
        .map(|(value, mut claimants)| {
            claimants.sort_unstable();
            let machines = claimants.into_iter().map(str::to_owned).collect();
            Arc::new(Conflict { value, machines })
        })
        .collect();
    conflicts.sort_by_key(|conflict| conflict.value);
    conflicts
}

/// A directory that lives in memory alone: for tests, and for tools without an owner.
#[derive(Debug)]
pub struct InMemory {
    snapshot: ArcSwap<Snapshot>,
    events: Mutex<VecDeque<BootEvent>>,
}

impl InMemory {
    /// Events kept; older ones go first.
    pub const EVENTS: usize = 4096;

    /// A directory of these machines.
    pub fn new(machines: Vec<BootMachine>) -> Self {
        Self {
            snapshot: ArcSwap::from_pointee(Snapshot::new(machines)),
            events: Mutex::new(VecDeque::new()),
        }
    }

    /// Replaces all machines at once; readers see either all old or all new ones.
    pub fn replace(&self, machines: Vec<BootMachine>) {
        self.snapshot.store(Arc::new(Snapshot::new(machines)));
    }

    /// The machines as they are now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// A copy of the recorded events, oldest first.
    pub fn events(&self) -> Vec<BootEvent> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.iter().cloned().collect()
    }
}

impl BootDirectory for InMemory {
    fn by_mac(&self, mac: MacAddr) -> Option<Arc<BootMachine>> {
        self.snapshot.load().by_mac(mac)
    }

    fn by_ip(&self, ip: Ipv4Addr) -> Option<Arc<BootMachine>> {
        self.snapshot.load().by_ip(ip)
    }

    fn withheld(&self, mac: MacAddr) -> Option<Arc<Conflict>> {
        self.snapshot.load().withheld(mac)
    }

    fn by_install_token(&self, token: &str) -> Option<Arc<BootMachine>> {
        self.snapshot.load().by_install_token(token)
    }

    fn record(&self, event: BootEvent) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() >= Self::EVENTS {
            events.pop_front();
        }
        events.push_back(event);
    }
}

#[cfg(test)]
mod tests;
