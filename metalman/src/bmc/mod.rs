//! Everything that talks to BMCs: one owner per BMC address, one call at a time, a pinned
//! certificate, no second try with a password that was refused, and peace for a BMC that fails.
//!
//! Invariant: while the appliance serves, no other module builds a `redfish::Client`.

mod breaker;
mod budget;
mod carry_out;
mod desk;
mod errand;
mod governor;
mod lanes;
mod open;
mod pace;
mod password;
mod poller;
pub mod qualify;
mod questions;
mod repin;
mod rounds;
mod trust;
mod vitals;
mod words;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use redfish::{Fingerprint, Timeouts};
use secrecy::SecretString;

use crate::{
    domain::facts::{BootOverride, Power, Trouble},
    store::Store,
};
use governor::{Common, Governor};
use lanes::Lanes;
use trust::Authorities;

pub use desk::BmcDesk;
pub use errand::Errand;
pub use poller::Poller;
pub use questions::{
    AskConsoles, AskIdentity, AskInventory, AskLog, AskSensors, BmcReport, CertificateFacts,
    Identity, SetIndicator, SystemIdentity, override_words,
};
pub use repin::Certificates;
pub use rounds::Rounds;
pub use trust::Trust;
pub use vitals::{Hottest, ReadVitals, SensorSummary, Vitals};

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
    /// How its certificate is judged.
    pub trust: Trust,
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
    /// Ask the operating system to shut down; power off at once where the BMC cannot ask.
    ShutDown,
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
    lanes: Lanes,
    authorities: Arc<Authorities>,
    timeouts: Timeouts,
    clock: fn() -> Timestamp,
    governors: Arc<Mutex<HashMap<String, Arc<Governor>>>>,
}

impl Bmcs {
    /// At most `calls` BMCs are called at one time. No connection is made yet.
    pub fn new(store: Store, calls: usize, clock: fn() -> Timestamp) -> Self {
        Self {
            store,
            lanes: Lanes::new(calls),
            authorities: Arc::default(),
            timeouts: Timeouts::default(),
            clock,
            governors: Arc::default(),
        }
    }

    /// With other bounds of waiting.
    #[must_use]
    pub fn with_timeouts(self, timeouts: Timeouts) -> Self {
        Self { timeouts, ..self }
    }

    /// Does one errand, such as a [`Call`], which reads the system back; waits while another call to
    /// this BMC runs.
    ///
    /// # Errors
    /// A [`Trouble`] with object and cure.
    pub async fn call<E: Errand>(
        &self,
        access: &BmcAccess,
        errand: &E,
    ) -> Result<E::Answer, Trouble> {
        let (address, governor) = self.governor(access);
        governor.call(self.common(), &address, access, errand).await
    }

    /// Reads the system after a login with this very password.
    ///
    /// # Errors
    /// A [`Trouble`] with object and cure.
    pub(crate) async fn prove(&self, access: &BmcAccess) -> Result<Seen, Trouble> {
        let (address, governor) = self.governor(access);
        let common = self.common();
        governor
            .call_anew(common, &address, access, &Call::Read)
            .await
    }

    /// Reads the system in passing; `None` while this BMC is being called anyway.
    ///
    /// # Errors
    /// A [`Trouble`] with object and cure.
    pub async fn poll(&self, access: &BmcAccess) -> Option<Result<Seen, Trouble>> {
        self.glance(access, &Call::Read).await
    }

    /// Does an errand in passing; `None` while this BMC is being called anyway.
    ///
    /// # Errors
    /// A [`Trouble`] with object and cure.
    pub async fn glance<E: Errand>(
        &self,
        access: &BmcAccess,
        errand: &E,
    ) -> Option<Result<E::Answer, Trouble>> {
        let (address, governor) = self.governor(access);
        governor.poll(self.common(), &address, access, errand).await
    }

    /// What is pinned and what the BMC presents now, by a handshake alone.
    ///
    /// # Errors
    /// A [`Trouble`] with object and cure.
    pub async fn certificates(&self, access: &BmcAccess) -> Result<Certificates, Trouble> {
        let (address, governor) = self.governor(access);
        let common = self.common();
        governor.certificates(common, &address, access).await
    }

    /// Pins this certificate, which the BMC must present now; tells what was pinned before.
    ///
    /// # Errors
    /// A [`Trouble`] with object and cure.
    pub async fn repin(
        &self,
        access: &BmcAccess,
        wanted: Fingerprint,
    ) -> Result<Certificates, Trouble> {
        let (address, governor) = self.governor(access);
        let common = self.common();
        governor.repin(common, &address, access, wanted).await
    }

    /// Ends all sessions, and begins none from now on; for the shutdown. The pollers and the
    /// operations have ended before, or are told so by their calls.
    pub async fn close(&self) {
        let governors: Vec<_> = self
            .governors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect();
        futures::future::join_all(governors.iter().map(|governor| governor.close())).await;
    }

    fn governor(&self, access: &BmcAccess) -> (String, Arc<Governor>) {
        let address = access.url.trim_end_matches('/').to_ascii_lowercase();
        let mut governors = self
            .governors
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let governor = Arc::clone(governors.entry(address.clone()).or_default());
        (address, governor)
    }

    fn common(&self) -> Common<'_> {
        Common {
            store: &self.store,
            lanes: &self.lanes,
            authorities: &self.authorities,
            timeouts: self.timeouts,
            clock: self.clock,
        }
    }
}
