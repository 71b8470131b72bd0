//! How a Machine says that its BMC's certificate is judged.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use metalman_api::machine::BmcTls;
use redfish::{Authority, AuthorityError};

/// `spec.pxe.redfish.tls`, as one of four ways.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trust {
    /// The first one seen is pinned, in the store and in the Machine's status.
    #[default]
    FirstUse,
    /// The one with this fingerprint, as written.
    Pin(String),
    /// Those that these authorities issued.
    Authority {
        /// PEM.
        bundle: String,
        /// Where it is not the host of the URL.
        server_name: Option<String>,
    },
    /// Any.
    Unverified,
}

impl Trust {
    /// Reads the setting; what it does not say is [`Trust::FirstUse`].
    pub fn of(tls: Option<&BmcTls>) -> Self {
        let Some(tls) = tls else {
            return Self::FirstUse;
        };
        // Validation lets at most one through; the strictest wins where it was not asked.
        if let Some(fingerprint) = &tls.fingerprint {
            Self::Pin(fingerprint.clone())
        } else if let Some(bundle) = &tls.ca_bundle {
            Self::Authority {
                bundle: bundle.clone(),
                server_name: tls.server_name.clone(),
            }
        } else if tls.insecure_skip_verify == Some(true) {
            Self::Unverified
        } else {
            Self::FirstUse
        }
    }
}

/// Bundles that are kept ready.
const KEPT: usize = 64;

/// Authorities by bundle: their TLS configuration costs more memory than all else of a client.
#[derive(Debug, Default)]
pub(super) struct Authorities(Mutex<HashMap<String, Authority>>);

impl Authorities {
    pub(super) fn get(
        &self,
        bundle: &str,
        server_name: Option<&str>,
    ) -> Result<Authority, AuthorityError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let authority = match kept.get(bundle) {
            Some(authority) => authority.clone(),
            None => {
                let authority = Authority::from_pem(bundle.as_bytes())?;
                if kept.len() >= KEPT {
                    kept.clear();
                }
                kept.insert(bundle.to_owned(), authority.clone());
                authority
            }
        };
        Ok(match server_name {
            Some(name) => authority.expecting(name),
            None => authority,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strictest_word_counts() {
        let all = BmcTls {
            fingerprint: Some("aa".into()),
            ca_bundle: Some("pem".into()),
            server_name: Some("bmc.rack".into()),
            insecure_skip_verify: Some(true),
        };
        assert_eq!(Trust::of(Some(&all)), Trust::Pin("aa".into()));
        let authority = BmcTls {
            fingerprint: None,
            ..all
        };
        assert_eq!(
            Trust::of(Some(&authority)),
            Trust::Authority {
                bundle: "pem".into(),
                server_name: Some("bmc.rack".into())
            }
        );
        let off = BmcTls {
            insecure_skip_verify: Some(false),
            ..BmcTls::default()
        };
        assert_eq!(Trust::of(Some(&off)), Trust::FirstUse);
        assert_eq!(Trust::of(None), Trust::FirstUse);
    }
}
