//! Certificates of a BMC: the pinned one and the one it presents now; and pinning another.
//!
//! Invariant: a handshake is all that is done here, so no password reaches a certificate that an
//! operator has not accepted.

use redfish::{Client, ClientConfig, Fingerprint, TlsTrust};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tracing::warn;
use url::Url;

use super::{CertificateFacts, open::Account, trust::Trust, words::trouble};
use crate::{domain::facts::Trouble, store::BmcPin, supervisor::chain};

/// What is pinned and what is presented.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificates {
    /// SHA-256, lower-case hex with colons; `None` before the first contact.
    pub pinned: Option<String>,
    /// What the BMC presents now; `None` in plaintext.
    pub presented: Option<CertificateFacts>,
}

impl Certificates {
    /// Whether the BMC presents what is pinned.
    pub fn is_pinned(&self) -> bool {
        let presented = self.presented.as_ref().map(|found| &found.fingerprint);
        presented.is_some() && presented == self.pinned.as_ref()
    }
}

/// Shakes hands with the BMC.
pub(super) async fn certificates(account: Account<'_>) -> Result<Certificates, Trouble> {
    let bad = |what: &str| trouble(account.address, "InvalidConfig", what, false, account.now);
    let base: Url = account
        .access
        .url
        .parse()
        .map_err(|error| bad(&format!("spec.pxe.redfish.url is not a URL: {error}")))?;
    if base.scheme() == "http" {
        return Err(bad("it is reached without TLS and has no certificate"));
    }
    let client = Client::new(ClientConfig {
        base,
        username: String::new(),
        password: SecretString::from(""),
        system_id: None,
        trust: TlsTrust::FirstUse,
        timeouts: account.timeouts,
    })
    .map_err(|error| bad(&chain(&error)))?;
    let presented = client.presented_certificate().await.map_err(|error| {
        let (what, transient) = (chain(&error), error.is_transient());
        trouble(
            account.address,
            error.reason(),
            &what,
            transient,
            account.now,
        )
    })?;
    Ok(Certificates {
        pinned: account.pinned().await?,
        presented: presented.map(CertificateFacts::from),
    })
}

/// Pins `wanted` if the BMC presents it; tells what was pinned before.
pub(super) async fn pin_anew(
    account: Account<'_>,
    wanted: Fingerprint,
) -> Result<Certificates, Trouble> {
    let refuse =
        |reason: &str, what: &str| trouble(account.address, reason, what, false, account.now);
    if account.access.trust != Trust::FirstUse {
        let what =
            "spec.pxe.redfish.tls of the Machine says which certificate is good; change it there";
        return Err(refuse("InvalidConfig", what));
    }
    let found = certificates(account).await?;
    let fingerprint = wanted.to_string();
    let presented = found.presented.as_ref().map(|found| &found.fingerprint);
    if presented != Some(&fingerprint) {
        let what = format!(
            "it presents the certificate {}, not {fingerprint}; nothing was changed",
            presented.map_or("none", String::as_str)
        );
        return Err(refuse("CertificateMismatch", &what));
    }
    let pin = BmcPin {
        address: account.address.to_owned(),
        fingerprint,
        pinned_at: account.now,
    };
    let kept = account.store.bmc().pin_anew(&pin).await;
    kept.map_err(|error| account.database(&error))?;
    warn!(
        bmc.addr = account.address,
        old = found.pinned.as_deref().unwrap_or("none"),
        new = pin.fingerprint,
        "an operator pinned another certificate"
    );
    Ok(found)
}
