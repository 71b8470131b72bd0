//! The netboot images of machines no operation works on: present, so that a machine which netboots
//! is told to start its disk, and fresh, so that a moved tag is followed.

use std::{
    collections::{HashMap, HashSet},
    sync::PoisonError,
};

use jiff::{SignedDuration, Timestamp};
use netboot::images::{ImageReference, ProgressSink};
use tracing::{info, warn};

use super::{ImageJobs, Wanted};
use crate::{clock, domain::facts::Trouble};

/// Pause before a netboot image that could not be fetched is tried again.
const RETRY: SignedDuration = SignedDuration::from_secs(30);

/// What is known of each netboot image, by reference, architecture and pull secret.
#[derive(Debug, Default)]
pub(super) struct Checks {
    running: HashSet<String>,
    checked: HashMap<String, Checked>,
}

#[derive(Debug)]
struct Checked {
    at: Timestamp,
    digest: Option<String>,
    /// Why the last check failed, told once.
    trouble: Option<String>,
}

impl ImageJobs {
    /// Fetches the netboot image of every machine that has none in the cache, and asks again what
    /// tags mean.
    pub(in crate::driver) fn keep_netboot_images(&self) {
        let snapshot = self.parts.site.boot_snapshot();
        let mut seen = HashSet::new();
        for machine in snapshot.machines() {
            let Some(object) = self.parts.site.kept(&machine.name) else {
                continue;
            };
            let default = self.parts.default_netboot_image.as_deref();
            let Some(wanted) = Wanted::netboot_of(&object, default) else {
                continue;
            };
            let key = key(&wanted);
            if seen.insert(key.clone()) && self.is_due(&key, &wanted, machine.netboot.is_none()) {
                self.check(key, wanted);
            }
        }
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .checked
            .retain(|key, _| seen.contains(key));
    }

    fn is_due(&self, key: &str, wanted: &Wanted, missing: bool) -> bool {
        let mut checks = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let last = checks.checked.get(key);
        let since = last.map(|last| clock::now().duration_since(last.at));
        let failed = last.is_some_and(|last| last.trouble.is_some());
        let pause = if missing || failed {
            RETRY.min(self.refresh())
        } else {
            self.refresh()
        };
        let pinned = wanted
            .text
            .parse::<ImageReference>()
            .is_ok_and(|reference| reference.is_pinned());
        let due = (missing || !pinned) && since.is_none_or(|since| since >= pause);
        due && checks.running.insert(key.to_owned())
    }

    fn refresh(&self) -> SignedDuration {
        SignedDuration::try_from(self.parts.refresh).unwrap_or(SignedDuration::MAX)
    }

    fn check(&self, key: String, wanted: Wanted) {
        let jobs = self.clone();
        self.parts.tasks.spawn(async move {
            let work = jobs.obtain(&wanted, ProgressSink::silent());
            let outcome = tokio::select! {
                () = jobs.stop.cancelled() => return,
                outcome = work => outcome.map(|image| image.digest.clone()),
            };
            if jobs.note(key, &wanted, outcome) {
                jobs.parts.site.poke();
            }
        });
    }

    /// Remembers how a check ended; true when the machines get another image now.
    fn note(&self, key: String, wanted: &Wanted, outcome: Result<String, Trouble>) -> bool {
        let mut checks = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        checks.running.remove(&key);
        let last = checks.checked.remove(&key);
        let (last_digest, last_trouble) =
            last.map_or((None, None), |last| (last.digest, last.trouble));
        let reference = &wanted.text;
        let (digest, trouble, changed) = match outcome {
            Ok(digest) => {
                let changed = last_digest.as_ref() != Some(&digest);
                if changed {
                    info!(image.digest = %digest, reference, "netboot image is ready");
                }
                (Some(digest), None, changed)
            }
            Err(trouble) => {
                if last_trouble.as_ref() != Some(&trouble.message) {
                    warn!(error.reason = %trouble.reason, "{}", trouble.message);
                }
                (last_digest, Some(trouble.message), false)
            }
        };
        let at = clock::now();
        let checked = Checked {
            at,
            digest,
            trouble,
        };
        checks.checked.insert(key, checked);
        changed
    }
}

fn key(wanted: &Wanted) -> String {
    let secret = wanted
        .secret
        .as_ref()
        .map(|secret| format!("{}/{}", secret.namespace, secret.name))
        .unwrap_or_default();
    format!("{} {:?} {secret}", wanted.text, wanted.architecture)
}
