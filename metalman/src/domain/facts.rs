//! What the world looks like to a step: readings with their time, never wishes.

use jiff::Timestamp;

/// A reading and when it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading<T> {
    /// What was read.
    pub value: T,
    /// When.
    pub at: Timestamp,
}

/// Power state as the BMC reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// Fully on.
    On,
    /// Fully off.
    Off,
    /// Between the two, or not known.
    Other,
}

impl Power {
    /// The DSP0268 word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::On => "On",
            Self::Off => "Off",
            Self::Other => "Unknown",
        }
    }
}

/// Boot override as the BMC reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootOverride {
    /// No override is in force.
    None,
    /// The next boot, or every one, goes to the network.
    Network,
    /// Something else is in force.
    Other,
}

/// Why a BMC call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// CamelCase.
    pub reason: String,
    /// Object and cure.
    pub message: String,
    /// Trying again may help.
    pub transient: bool,
    /// When it happened.
    pub at: Timestamp,
}

/// State of the images a repave needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Images {
    /// Nobody has asked yet.
    Unknown,
    /// Being resolved or fetched.
    Working(String),
    /// Fetched and verified.
    Ready(super::state::FrozenInput),
    /// Cannot be had.
    Failed(Trouble),
}

/// What the boot loaders of a machine say of themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootLoaders {
    /// None of them is revoked.
    Current,
    /// At least one is.
    Revoked,
    /// At least one does not say which generation it is.
    NoSbat,
    /// There are none that firmware could start.
    NoLoaders,
}

/// Whether the boot files of a machine can be made from its netboot image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootFiles {
    /// The image is not in the cache.
    NotFetched,
    /// Every template renders for this machine.
    Good {
        /// Of the image.
        digest: String,
    },
    /// At least one template fails.
    Broken {
        /// CamelCase.
        reason: String,
        /// Template, line, variable and cure.
        message: String,
    },
}

/// What the Machine object says, as far as operations care.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineFacts {
    /// Machine name.
    pub name: String,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// It carries this appliance's site label and no provider.
    pub owned: bool,
    /// `spec.pxe.redfish` is present.
    pub has_redfish: bool,
    /// Number of leases.
    pub leases: usize,
    /// `spec.pxe.image`.
    pub image: Option<String>,
    /// `spec.pxe.netbootImage` or the appliance's default.
    pub netboot_image: Option<String>,
    /// It is meant to join Kubernetes.
    pub kubernetes: bool,
    /// Another Machine claims its MAC or IP: what and who.
    pub conflict: Option<String>,
}

/// What the network and the host told about one machine since the operation began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// What kind.
    pub kind: SightingKind,
    /// When.
    pub at: Timestamp,
    /// Detail for people.
    pub detail: String,
}

/// Kinds of sightings that count as evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SightingKind {
    /// The firmware or a boot loader asked for an address.
    Dhcp,
    /// A boot file was fetched.
    BootFile,
    /// A boot file was fetched completely and did not start.
    LoaderRefused,
    /// GRUB was told to install.
    GrubInstall,
    /// GRUB was told to start the disk.
    GrubLocalDisk,
    /// The installer claimed its token.
    Claimed,
    /// The installer made progress; percent of the write.
    Progress(Option<u8>),
    /// The installer wrote and verified the disk; hash as read back.
    Written(String),
    /// The installer gave up: reason.
    InstallFailed(String),
}

/// The last boot the installed host reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootSeen {
    /// Its boot id.
    pub boot_id: String,
    /// When it was first reported.
    pub first_seen: Timestamp,
}

/// The Node of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSeen {
    /// When the object was created.
    pub created_at: Timestamp,
    /// `status.nodeInfo.bootID`.
    pub boot_id: String,
}

/// Everything a step may look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The Machine; `None` when it is gone.
    pub machine: Option<MachineFacts>,
    /// `spec.suspend` of the operation.
    pub suspended: bool,
    /// An older operation that must end first.
    pub waiting_for: Option<String>,
    /// Last power reading of this process.
    pub power: Option<Reading<Power>>,
    /// Last boot override reading of this process.
    pub boot_override: Option<Reading<BootOverride>>,
    /// Last failed BMC call, if no later one succeeded.
    pub trouble: Option<Trouble>,
    /// Images.
    pub images: Images,
    /// Sightings since the target started, oldest first.
    pub sightings: Vec<Sighting>,
    /// Last boot of the installed host.
    pub boot: Option<BootSeen>,
    /// Node of the machine.
    pub node: Option<NodeSeen>,
}

impl Facts {
    /// Power reading taken at or after `since`.
    pub fn power_since(&self, since: Timestamp) -> Option<(Power, Timestamp)> {
        self.power
            .as_ref()
            .filter(|r| r.at >= since)
            .map(|r| (r.value, r.at))
    }

    /// Boot override reading taken at or after `since`.
    pub fn boot_override_since(&self, since: Timestamp) -> Option<BootOverride> {
        self.boot_override
            .as_ref()
            .filter(|r| r.at >= since)
            .map(|r| r.value)
    }

    /// Failure of a BMC call at or after `since`.
    pub fn trouble_since(&self, since: Timestamp) -> Option<&Trouble> {
        self.trouble.as_ref().filter(|t| t.at >= since)
    }
}
