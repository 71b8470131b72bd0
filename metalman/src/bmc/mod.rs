//! Everything that talks to BMCs: one owner per BMC address, one call at a time, a pinned
//! certificate, and no second try with a password that was refused.
//!
//! Invariant: no other module builds a `redfish::Client`.

mod slot;

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use secrecy::SecretString;
use tokio::sync::Mutex;

use crate::{
    domain::facts::{BootOverride, Power, Trouble},
    store::Store,
};
use slot::Slot;

/// How to reach one system behind one BMC.
#[derive(Debug, Clone)]
pub struct BmcAccess {
    /// Base URL.
    pub url: String,
    /// Account name.
    pub username: String,
    /// Password.
    pub password: SecretString,
    /// Which Secret the password came from.
    pub secret: SecretVersion,
    /// Id of the `ComputerSystem`, if given.
    pub system_id: Option<String>,
    /// Fingerprint recorded on the Machine, if any.
    pub pinned: Option<String>,
}

/// One version of one Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretVersion {
    /// `namespace/name`, for messages.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Resource version.
    pub resource_version: String,
}

/// What to ask of a BMC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Read power state and boot override.
    Read,
    /// Power off at once.
    ForceOff,
    /// Power on.
    PowerOn,
    /// Boot from the network once; by UEFI HTTP boot when a URL is given.
    NetworkBoot {
        /// Loader URL for `UefiHttp`.
        http: Option<String>,
    },
    /// Remove the boot override.
    ClearBoot,
}

/// What was read back after a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Power state.
    pub power: Power,
    /// Boot override.
    pub boot_override: BootOverride,
    /// Leaf certificate of the BMC, lower-case hex with colons.
    pub fingerprint: Option<String>,
}

/// All BMCs of the site.
#[derive(Debug, Clone)]
pub struct Bmcs {
    store: Store,
    slots: Arc<Mutex<HashMap<String, Arc<Mutex<Slot>>>>>,
}

impl Bmcs {
    /// No connection is made yet.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            slots: Arc::default(),
        }
    }

    /// Makes one call and reads the system back; waits while another call to this BMC runs.
    ///
    /// # Errors
    /// A [`Trouble`] with object and cure.
    pub async fn call(
        &self,
        access: &BmcAccess,
        call: &Call,
        now: fn() -> Timestamp,
    ) -> Result<Seen, Trouble> {
        let address = access.url.trim_end_matches('/').to_ascii_lowercase();
        let slot = {
            let mut slots = self.slots.lock().await;
            Arc::clone(slots.entry(address.clone()).or_default())
        };
        let mut slot = slot.lock().await;
        slot.call(&self.store, &address, access, call, now).await
    }

    /// Ends all sessions; for the shutdown.
    pub async fn close(&self) {
        let slots: Vec<_> = self
            .slots
            .lock()
            .await
            .drain()
            .map(|(_, slot)| slot)
            .collect();
        futures::future::join_all(
            slots
                .iter()
                .map(async |slot| slot.lock().await.close().await),
        )
        .await;
    }
}
