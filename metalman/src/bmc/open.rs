//! The one client of a BMC: made when first needed, kept, remade when its account changes.
//!
//! Invariant: a password version that this BMC has refused never reaches a client.

use jiff::Timestamp;
use redfish::{Client, ClientConfig, Fingerprint, Timeouts, TlsTrust};
use tracing::{debug, info};
use url::Url;

use super::{
    BmcAccess,
    words::{trouble, unauthorized},
};
use crate::{
    domain::facts::Trouble,
    store::{BmcPin, RefusedCredential, Store, StoreError},
    supervisor::chain,
};

/// A client and what it was made from.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) client: Client,
    key: Key,
    /// A call has succeeded, and what it proved is in the store.
    proved: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Key {
    username: String,
    secret_uid: String,
    secret_version: String,
    system_id: Option<String>,
}

/// Where an account is used, and what is remembered about it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Account<'a> {
    pub(super) store: &'a Store,
    pub(super) address: &'a str,
    pub(super) access: &'a BmcAccess,
    pub(super) now: Timestamp,
}

impl Open {
    /// Whether this client is still the right one.
    pub(super) fn fits(&self, access: &BmcAccess) -> bool {
        self.key == Key::of(access)
    }

    /// Makes a client, unless the BMC has refused this version of the password.
    pub(super) async fn new(account: Account<'_>) -> Result<Self, Trouble> {
        let Account {
            address, access, ..
        } = account;
        if account.is_refused().await? {
            return Err(unauthorized(address, access, account.now));
        }
        let bad = |what: &str| trouble(address, "InvalidConfig", what, false, account.now);
        let base: Url = access
            .url
            .parse()
            .map_err(|error| bad(&format!("spec.pxe.redfish.url is not a URL: {error}")))?;
        let trust = account.trust(&base).await?;
        let client = Client::new(ClientConfig {
            base,
            username: access.username.clone(),
            password: access.password.clone(),
            system_id: access.system_id.clone(),
            trust,
            timeouts: Timeouts::default(),
        })
        .map_err(|error| bad(&chain(&error)))?;
        Ok(Self {
            client,
            key: Key::of(access),
            proved: false,
        })
    }

    /// After the first good call: keeps the certificate and forgets earlier refusals.
    pub(super) async fn prove(&mut self, account: Account<'_>) -> Result<(), Trouble> {
        if self.proved {
            return Ok(());
        }
        account
            .accept(self.client.observed_fingerprint())
            .await
            .map_err(|error| account.database(&error))?;
        self.proved = true;
        Ok(())
    }

    /// Ends the session.
    pub(super) async fn close(self) {
        if let Err(error) = self.client.close().await {
            debug!(error = %chain(&error), "could not end a BMC session");
        }
    }
}

impl Key {
    fn of(access: &BmcAccess) -> Self {
        Self {
            username: access.username.clone(),
            secret_uid: access.secret.uid.clone(),
            secret_version: access.secret.resource_version.clone(),
            system_id: access.system_id.clone(),
        }
    }
}

impl Account<'_> {
    pub(super) fn database(&self, error: &StoreError) -> Trouble {
        trouble(self.address, error.reason(), &chain(error), true, self.now)
    }

    async fn is_refused(&self) -> Result<bool, Trouble> {
        let secret = &self.access.secret;
        self.store
            .bmc()
            .is_refused(self.address, &secret.uid, &secret.resource_version)
            .await
            .map_err(|error| self.database(&error))
    }

    /// Remembers that the BMC refused this version of the password.
    pub(super) async fn refuse(&self) -> Result<(), Trouble> {
        let refused = RefusedCredential {
            address: self.address.to_owned(),
            secret_uid: self.access.secret.uid.clone(),
            secret_resource_version: self.access.secret.resource_version.clone(),
            refused_at: self.now,
        };
        self.store
            .bmc()
            .refuse(&refused)
            .await
            .map_err(|error| self.database(&error))
    }

    async fn accept(&self, fingerprint: Option<Fingerprint>) -> Result<(), StoreError> {
        if let Some(fingerprint) = fingerprint {
            let pin = BmcPin {
                address: self.address.to_owned(),
                fingerprint: fingerprint.to_string(),
                pinned_at: self.now,
            };
            self.store.bmc().pin_first(&pin).await?;
        }
        let secret = &self.access.secret.uid;
        self.store.bmc().accept(self.address, secret).await
    }

    async fn trust(&self, base: &Url) -> Result<TlsTrust, Trouble> {
        if base.scheme() == "http" {
            return Ok(TlsTrust::Plaintext);
        }
        let stored = self.store.bmc().pin(self.address).await;
        let stored = stored.map_err(|error| self.database(&error))?;
        let pinned = self.access.pinned.clone();
        match pinned.or(stored.map(|pin| pin.fingerprint)) {
            Some(pin) => pin.parse().map(TlsTrust::Pin).map_err(|error| {
                let what = format!("status.redfish.certFingerprint cannot be read: {error}");
                trouble(self.address, "InvalidConfig", &what, false, self.now)
            }),
            None => {
                info!(
                    bmc.addr = self.address,
                    "first contact: the certificate will be pinned"
                );
                Ok(TlsTrust::FirstUse)
            }
        }
    }
}
