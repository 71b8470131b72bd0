//! The one session of a BMC: begun when first needed, kept, begun anew when its account changes.
//!
//! Invariant: a password version that this BMC has refused never reaches a client.

use std::collections::HashMap;

use jiff::Timestamp;
use redfish::{Client, ClientConfig, Fingerprint, Timeouts, TlsTrust};
use tracing::{debug, info};
use url::Url;

use super::{
    BmcAccess,
    trust::{Authorities, Trust},
    words::{trouble, unauthorized},
};
use crate::{
    domain::facts::Trouble,
    store::{BmcPin, RefusedCredential, Store, StoreError},
    supervisor::chain,
};

/// A client and what it was made from. All systems behind one address share its session.
#[derive(Debug)]
pub(super) struct Open {
    client: Client,
    systems: HashMap<String, Client>,
    key: Key,
    /// A call has succeeded, and what it proved is in the store.
    proved: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Key {
    username: String,
    password: PasswordVersion,
    trust: Trust,
}

/// One version of a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PasswordVersion {
    secret_uid: String,
    resource_version: String,
}

/// How a client goes with what is wanted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// It was made from it.
    Same,
    /// Same account; the Secret has changed since.
    OtherPassword,
    /// Another account, or another way to judge the certificate.
    OtherAccount,
}

/// Where an account is used, and what is remembered about it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Account<'a> {
    pub(super) store: &'a Store,
    pub(super) authorities: &'a Authorities,
    pub(super) address: &'a str,
    pub(super) access: &'a BmcAccess,
    pub(super) timeouts: Timeouts,
    pub(super) now: Timestamp,
}

impl Open {
    /// How this client goes with what is wanted now.
    pub(super) fn fit(&self, access: &BmcAccess) -> Fit {
        let wanted = Key::of(access);
        if self.key == wanted {
            Fit::Same
        } else if self.key.username == wanted.username && self.key.trust == wanted.trust {
            Fit::OtherPassword
        } else {
            Fit::OtherAccount
        }
    }

    /// Which password it has.
    pub(super) fn password(&self) -> PasswordVersion {
        self.key.password.clone()
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
            system_id: None,
            trust,
            timeouts: account.timeouts,
        })
        .map_err(|error| bad(&chain(&error)))?;
        Ok(Self {
            client,
            systems: HashMap::new(),
            key: Key::of(access),
            proved: false,
        })
    }

    /// The client of one system, or of the one that is found when none is named.
    pub(super) fn system(&mut self, id: Option<&str>) -> &Client {
        match id {
            None => &self.client,
            Some(id) => {
                let client = &self.client;
                self.systems
                    .entry(id.to_owned())
                    .or_insert_with(|| client.for_system(id))
            }
        }
    }

    /// Requests sent so far, to all systems.
    pub(super) fn requests(&self) -> u64 {
        self.client.requests()
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

    /// Ends the session of the certificate that was trusted before.
    pub(super) async fn repin(self, fingerprint: Fingerprint) {
        self.client.repin(fingerprint).await;
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
            password: PasswordVersion {
                secret_uid: access.secret.uid.clone(),
                resource_version: access.secret.resource_version.clone(),
            },
            trust: access.trust.clone(),
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
    pub(super) async fn refuse(&self, password: PasswordVersion) -> Result<(), Trouble> {
        let refused = RefusedCredential {
            address: self.address.to_owned(),
            secret_uid: password.secret_uid,
            secret_resource_version: password.resource_version,
            refused_at: self.now,
        };
        self.store
            .bmc()
            .refuse(&refused)
            .await
            .map_err(|error| self.database(&error))
    }

    async fn accept(&self, fingerprint: Option<Fingerprint>) -> Result<(), StoreError> {
        if let (Some(fingerprint), Trust::FirstUse) = (fingerprint, &self.access.trust) {
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

    /// What is pinned: in the store, or in the status of the Machine where the store was lost.
    pub(super) async fn pinned(&self) -> Result<Option<String>, Trouble> {
        let stored = self.store.bmc().pin(self.address).await;
        let stored = stored.map_err(|error| self.database(&error))?;
        Ok(stored
            .map(|pin| pin.fingerprint)
            .or_else(|| self.access.pinned.clone()))
    }

    async fn trust(&self, base: &Url) -> Result<TlsTrust, Trouble> {
        if base.scheme() == "http" {
            return Ok(TlsTrust::Plaintext);
        }
        let bad = |field: &str, error: &dyn std::fmt::Display| {
            let what = format!("{field} cannot be used: {error}");
            trouble(self.address, "InvalidConfig", &what, false, self.now)
        };
        match &self.access.trust {
            Trust::FirstUse => {}
            Trust::Pin(text) => {
                let pin = text.parse().map(TlsTrust::Pin);
                return pin.map_err(|error| bad("spec.pxe.redfish.tls.fingerprint", &error));
            }
            Trust::Authority {
                bundle,
                server_name,
            } => {
                let authority = self.authorities.get(bundle, server_name.as_deref());
                return authority
                    .map(TlsTrust::Authority)
                    .map_err(|error| bad("spec.pxe.redfish.tls.caBundle", &chain(&error)));
            }
            Trust::Unverified => return Ok(TlsTrust::Unverified),
        }
        match self.pinned().await? {
            Some(pin) => pin
                .parse()
                .map(TlsTrust::Pin)
                .map_err(|error| bad("status.redfish.certFingerprint", &error)),
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
