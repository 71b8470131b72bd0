//! Calls to BMCs by the name of the Machine: finds the address, the account and the password, makes
//! the call, and remembers what was read in the site view.

use std::sync::Arc;

use jiff::Timestamp;
use metalman_api::machine::{Machine, PasswordRef};
use redfish::Fingerprint;
use tracing::warn;

use super::{
    AskIdentity, AskInventory, AskSensors, BmcAccess, BmcReport, Bmcs, Call, Certificates, Errand,
    Seen, Trust,
};
use crate::{
    domain::facts::Trouble,
    kube::secrets::{Freshness, REREAD_PAUSE, Secrets},
    site::{BmcReading, Site},
};

/// See the module.
#[derive(Debug, Clone)]
pub struct BmcDesk {
    /// Who the machines are, and where readings go.
    pub site: Arc<Site>,
    /// Passwords.
    pub secrets: Secrets,
    /// BMCs.
    pub bmcs: Bmcs,
    /// The process's one clock.
    pub clock: fn() -> Timestamp,
}

impl BmcDesk {
    /// Makes a call for somebody who waits for it; gives back the trouble, if any.
    pub async fn call(&self, machine: &str, call: &Call) -> Option<Trouble> {
        let machine_object = self.site.machine(machine)?;
        let outcome = self.call_newest(&machine_object, call).await;
        self.remember(machine, outcome)
    }

    /// Reads the system in passing; nothing is remembered while somebody else calls this BMC.
    pub async fn poll(&self, machine: &str) -> Option<Trouble> {
        let began = (self.clock)();
        let machine_object = self.site.machine(machine)?;
        let outcome = match self.access(&machine_object, Freshness::Recent).await {
            Ok(access) => {
                let outcome = self.bmcs.poll(&access).await?;
                outcome.map_err(|trouble| with_command(trouble, machine, &access))
            }
            Err(trouble) => Err(trouble),
        };
        match outcome {
            // A BMC that is left alone is no news, unless it failed in other hands.
            Err(trouble) if trouble.at < began && self.site.memory(machine).trouble.is_some() => {
                Some(trouble)
            }
            outcome => self.remember(machine, outcome),
        }
    }

    /// Does an errand of a person, who is told the outcome; what the site remembers of the BMC does
    /// not change.
    ///
    /// # Errors
    /// A [`Trouble`] with object and cure; `MachineNotFound` when this site has no such machine.
    pub async fn ask<E: Errand>(&self, machine: &str, errand: &E) -> Result<E::Answer, Trouble> {
        let object = self.owned(machine)?;
        self.call_newest(&object, errand).await
    }

    /// Does an errand; where the password is refused, once more with the one that is in the Secret by
    /// then, of which a watch may not have told yet.
    async fn call_newest<E: Errand>(
        &self,
        machine: &Machine,
        errand: &E,
    ) -> Result<E::Answer, Trouble> {
        let access = self.access(machine, Freshness::Now).await?;
        let mut outcome = self.bmcs.call(&access, errand).await;
        let is_refused = |t: &Trouble| t.reason == "Unauthorized";
        if outcome.as_ref().err().is_some_and(is_refused)
            && let Some(reference) = password_ref(machine)
            && (self.secrets)
                .has_changed(&reference.namespace, &reference.name, REREAD_PAUSE)
                .await
        {
            let access = self.access(machine, Freshness::Now).await?;
            outcome = self.bmcs.call(&access, errand).await;
        }
        let name = machine.metadata.name.as_deref().unwrap_or_default();
        outcome.map_err(|trouble| with_command(trouble, name, &access))
    }

    /// Does an errand in passing, for the rounds.
    pub(super) async fn glance<E: Errand>(
        &self,
        machine: &str,
        errand: &E,
    ) -> Option<Result<E::Answer, Trouble>> {
        let object = self.site.owned_machine(machine)?;
        match self.access(&object, Freshness::Recent).await {
            Ok(access) => self.bmcs.glance(&access, errand).await,
            Err(trouble) => Some(Err(trouble)),
        }
    }

    /// What is pinned and what the BMC presents now.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn certificates(&self, machine: &str) -> Result<Certificates, Trouble> {
        let access = self.access_of(machine).await?;
        self.bmcs.certificates(&access).await
    }

    /// Pins the certificate with this fingerprint, which the BMC must present now, and reads the
    /// system over it. Tells what was pinned before.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn repin(&self, machine: &str, wanted: Fingerprint) -> Result<Certificates, Trouble> {
        let access = self.access_of(machine).await?;
        let before = self.bmcs.repin(&access, wanted).await?;
        // So that status and page show it at once.
        if let Some(trouble) = self.call(machine, &Call::Read).await {
            warn!(machine.id = machine, error = %trouble.message, "pinned, but not readable yet");
        }
        Ok(before)
    }

    async fn access_of(&self, machine: &str) -> Result<BmcAccess, Trouble> {
        let object = self.owned(machine)?;
        self.access(&object, Freshness::Now).await
    }

    fn owned(&self, machine: &str) -> Result<Arc<Machine>, Trouble> {
        self.site.owned_machine(machine).ok_or_else(|| Trouble {
            reason: "MachineNotFound".into(),
            message: format!(
                "site {:?} has no Machine {machine}; `kubectl get machines` lists them",
                self.site.name()
            ),
            transient: false,
            at: (self.clock)(),
        })
    }

    /// Everything there is to say about a machine's BMC, in three turns.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn report(&self, machine: &str) -> Result<BmcReport, Trouble> {
        let identity = self.ask(machine, &AskIdentity).await?;
        let inventory = self.ask(machine, &AskInventory).await?;
        let sensors = self.ask(machine, &AskSensors).await?;
        let object = self.site.owned_machine(machine);
        let address = object
            .and_then(|object| Some(object.spec.pxe.as_ref()?.redfish.as_ref()?.url.clone()))
            .unwrap_or_default();
        Ok(BmcReport {
            machine: machine.to_owned(),
            address,
            identity,
            inventory,
            sensors,
        })
    }

    fn remember(&self, machine: &str, outcome: Result<Seen, Trouble>) -> Option<Trouble> {
        let (reading, trouble) = match outcome {
            Ok(seen) => (BmcReading::Seen(seen), None),
            Err(trouble) => (BmcReading::Trouble(trouble.clone()), Some(trouble)),
        };
        self.site.remember(machine, reading, (self.clock)());
        trouble
    }

    /// How to reach the BMC of a machine.
    async fn access(&self, machine: &Machine, fresh: Freshness) -> Result<BmcAccess, Trouble> {
        let name = machine.metadata.name.as_deref().unwrap_or_default();
        let redfish = machine.spec.pxe.as_ref().and_then(|p| p.redfish.as_ref());
        let Some(redfish) = redfish else {
            return Err(Trouble {
                reason: "UnsupportedTarget".into(),
                message: format!("Machine {name} has no BMC: set spec.pxe.redfish"),
                transient: false,
                at: (self.clock)(),
            });
        };
        let reference = &redfish.password_ref;
        let mut credential = self.secrets.password(reference, fresh).await?;
        if credential.pending.is_some() {
            let busy = || Trouble {
                reason: "PasswordChanging".into(),
                message: format!("the password of Machine {name} is being changed"),
                transient: true,
                at: (self.clock)(),
            };
            let _changing = self.secrets.begin_change(reference).ok_or_else(busy)?;
            credential = self.settle(machine, reference, credential).await?;
        }
        self.access_with(machine, credential.password, credential.version)
    }
}

fn password_ref(machine: &Machine) -> Option<&PasswordRef> {
    let redfish = machine.spec.pxe.as_ref()?.redfish.as_ref()?;
    Some(&redfish.password_ref)
}

/// Says which command accepts a certificate that changed; nobody else may.
fn with_command(mut trouble: Trouble, machine: &str, access: &BmcAccess) -> Trouble {
    if trouble.reason == "CertificateMismatch" {
        let cure = match access.trust {
            Trust::FirstUse => format!("To accept it: metalman bmc repin {machine}"),
            Trust::Pin(_) | Trust::Authority { .. } | Trust::Unverified => {
                format!("It is set in spec.pxe.redfish.tls of Machine {machine}")
            }
        };
        trouble.message = format!("{} {cure}", trouble.message);
    }
    trouble
}
