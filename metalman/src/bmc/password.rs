//! Changing the password of a BMC's account, together with the Secret that holds it.
//!
//! The new password is in the Secret, beside the old one, before the BMC hears of it. So whenever this
//! is broken off, one of the two is right, and [`BmcDesk::settle`] finds out with at most one wrong
//! attempt: the new one is tried, then the old one, and whichever is refused is not tried again.
//!
//! Invariant: while a password is changed nobody else uses it, and no password is ever only in memory.

use metalman_api::machine::{Machine, PasswordRef};
use redfish::{Client, Error};
use secrecy::{ExposeSecret as _, SecretString};
use tracing::{info, warn};

use super::{BmcAccess, BmcDesk, Call, Errand, SecretVersion};
use crate::{
    domain::facts::Trouble,
    kube::secrets::{Credential, Freshness},
};

/// Longest password that is sent, in bytes.
const LONGEST: usize = 128;

/// Changes the password of our own account and logs in with it.
struct ChangePassword(SecretString);

impl std::fmt::Debug for ChangePassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChangePassword")
    }
}

impl Errand for ChangePassword {
    type Answer = ();

    async fn run(&self, client: &Client) -> Result<(), Error> {
        client.change_own_password(&self.0).await
    }
}

/// What a machine's password is for.
struct Place {
    machine: Machine,
    reference: PasswordRef,
}

impl BmcDesk {
    /// Changes the password of a machine's BMC account to `new`, and its Secret with it.
    ///
    /// # Errors
    /// A [`Trouble`] with object and cure. The Secret holds whatever the BMC may accept, whatever
    /// happened.
    pub async fn change_password(&self, machine: &str, new: &SecretString) -> Result<(), Trouble> {
        self.check_new(new)?;
        // Proof that the BMC answers and the old password is right, before anything is written.
        let _known = self.ask(machine, &Call::Read).await?;
        let place = self.place(machine)?;
        self.check_alone(machine, &place)?;
        let busy = || self.refusal("PasswordChanging", "its password is being changed already");
        let _changing = self
            .secrets
            .begin_change(&place.reference)
            .ok_or_else(busy)?;
        let old = self
            .secrets
            .credential(&place.reference, Freshness::Now)
            .await?;
        let before = old.password.clone();
        let written = self
            .secrets
            .put_pending(&place.reference, &old.version, new)
            .await?;
        let access = self.access_with(&place.machine, before.clone(), written.version.clone())?;
        match self.bmcs.call(&access, &ChangePassword(new.clone())).await {
            Ok(()) => {
                info!(machine.id = machine, "password of the BMC changed");
                self.secrets
                    .settle(&place.reference, &written.version, new)
                    .await?;
                Ok(())
            }
            Err(trouble) if is_unchanged(&trouble) => {
                self.secrets
                    .settle(&place.reference, &written.version, &before)
                    .await?;
                Err(trouble)
            }
            Err(trouble) => {
                // It may have acted: the BMC is asked which one it takes.
                let settled = self
                    .settle(&place.machine, &place.reference, written)
                    .await?;
                if settled.password.expose_secret() == new.expose_secret() {
                    Ok(())
                } else {
                    Err(trouble)
                }
            }
        }
    }

    /// `namespace/name/key` of a machine's password.
    ///
    /// # Errors
    /// A [`Trouble`] when there is no such machine, or it has no BMC.
    pub fn secret_of(&self, machine: &str) -> Result<String, Trouble> {
        let PasswordRef {
            namespace,
            name,
            key,
        } = self.place(machine)?.reference;
        Ok(format!("{namespace}/{name}/{key}"))
    }

    /// Finds out which of two passwords a BMC takes, after a change that did not come to its end, and
    /// leaves that one in the Secret.
    ///
    /// # Errors
    /// A [`Trouble`]: the BMC does not answer now, or takes neither.
    pub(super) async fn settle(
        &self,
        machine: &Machine,
        reference: &PasswordRef,
        credential: Credential,
    ) -> Result<Credential, Trouble> {
        let Some(pending) = credential.pending.clone() else {
            return Ok(credential);
        };
        // A version of its own, so that a refusal of one says nothing about the other.
        let version = SecretVersion {
            uid: format!("{}#pending", credential.version.uid),
            ..credential.version.clone()
        };
        let access = self.access_with(machine, pending.clone(), version)?;
        let right = match self.bmcs.prove(&access).await {
            Ok(_) => pending,
            Err(trouble) if trouble.reason == "Unauthorized" => {
                let (password, version) = (credential.password.clone(), credential.version.clone());
                let access = self.access_with(machine, password.clone(), version)?;
                self.bmcs.prove(&access).await?;
                password
            }
            Err(trouble) => return Err(trouble),
        };
        warn!(
            secret = credential.version.name,
            "an unfinished change of a BMC password was settled"
        );
        self.secrets
            .settle(reference, &credential.version, &right)
            .await
    }

    fn place(&self, machine: &str) -> Result<Place, Trouble> {
        let unknown = || self.refusal("MachineNotFound", "this site has no such Machine");
        let object = self.site.owned_machine(machine).ok_or_else(unknown)?;
        let redfish = object.spec.pxe.as_ref().and_then(|p| p.redfish.as_ref());
        let none = || self.refusal("UnsupportedTarget", "it has no BMC: set spec.pxe.redfish");
        let reference = redfish.ok_or_else(none)?.password_ref.clone();
        Ok(Place {
            machine: (*object).clone(),
            reference,
        })
    }

    /// A Secret that other BMCs use too would lock them out.
    fn check_alone(&self, machine: &str, place: &Place) -> Result<(), Trouble> {
        let redfish = |machine: &Machine| machine.spec.pxe.as_ref()?.redfish.clone();
        let Some(own) = redfish(&place.machine) else {
            return Ok(());
        };
        let mut others = Vec::new();
        for kept in self.site.machines() {
            let Some(other) = kept.machine().as_deref().and_then(redfish) else {
                continue;
            };
            let same_account = (&other.url, &other.username) == (&own.url, &own.username);
            if *kept.name != *machine && other.password_ref == own.password_ref && !same_account {
                others.push(kept.name.to_string());
            }
        }
        if others.is_empty() {
            return Ok(());
        }
        others.truncate(5);
        let what = format!(
            "key {} of Secret {}/{} is also the password of {}; give this Machine a Secret of its own first",
            own.password_ref.key,
            own.password_ref.namespace,
            own.password_ref.name,
            others.join(", ")
        );
        Err(self.refusal("SecretShared", &what))
    }

    fn check_new(&self, new: &SecretString) -> Result<(), Trouble> {
        let text = new.expose_secret();
        if text.is_empty() || text.len() > LONGEST || text.chars().any(char::is_control) {
            let what = format!(
                "the new password must have 1 to {LONGEST} bytes and no control characters"
            );
            return Err(self.refusal("InvalidConfig", &what));
        }
        Ok(())
    }

    fn refusal(&self, reason: &str, what: &str) -> Trouble {
        Trouble {
            reason: reason.into(),
            message: what.into(),
            transient: false,
            at: (self.clock)(),
        }
    }

    pub(super) fn access_with(
        &self,
        machine: &Machine,
        password: SecretString,
        secret: SecretVersion,
    ) -> Result<BmcAccess, Trouble> {
        let redfish = machine.spec.pxe.as_ref().and_then(|p| p.redfish.as_ref());
        let none = || self.refusal("UnsupportedTarget", "it has no BMC: set spec.pxe.redfish");
        let redfish = redfish.ok_or_else(none)?;
        let status = machine.status.as_ref();
        Ok(BmcAccess {
            url: redfish.url.clone(),
            username: redfish.username.clone(),
            password,
            secret,
            system_id: redfish.device_id.clone(),
            trust: super::Trust::of(redfish.tls.as_ref()),
            pinned: status
                .and_then(|status| status.redfish.as_ref())
                .and_then(|redfish| redfish.cert_fingerprint.clone()),
        })
    }
}

/// Whether the BMC understood and declined, so that the old password is still right.
fn is_unchanged(trouble: &Trouble) -> bool {
    matches!(
        trouble.reason.as_str(),
        "Rejected" | "Unsupported" | "ResourceNotFound" | "AccountNotFound" | "AccessDenied"
    )
}
