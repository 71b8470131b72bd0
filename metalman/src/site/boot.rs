//! What netboot sees of the site: a snapshot built from machines, images and install tokens.

mod site_directory;
mod sources;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use jiff::{SignedDuration, Timestamp};
use metalman_api::machine::{Architecture, BootProtocol, DhcpLease, Machine, PxeSpec};
use netboot::{
    directory::{self, BootMachine, ExtraContext, InstallGrant, Reservation, Snapshot},
    images::{ImageReference, ImageStore, UnpackedImage},
};
use serde_json::{Value, json};

pub use self::site_directory::SiteDirectory;
use self::sources::{Found, Sources};
use super::{BootRecord, Changed, KeptMachine, NetbootWish, Site, changes::Change};
use crate::{
    domain::TargetState,
    store::{InstallToken, Store, StoreError, Target},
};

/// A snapshot is at most this old, since tokens end by time.
const LONGEST_AGE: SignedDuration = SignedDuration::from_secs(1);
/// A build is followed by a pause of this many times its length.
const PAUSE_FACTOR: i32 = 4;

/// Builds the snapshot that DHCP, TFTP and HTTP answer from.
#[derive(Debug, Clone)]
pub struct BootView {
    /// Site view.
    pub site: Arc<Site>,
    /// Install tokens.
    pub store: Store,
    /// Unpacked images.
    pub images: ImageStore,
    /// Netboot image of machines that name none.
    pub default_netboot_image: Option<String>,
    /// URL of the HTTP server as hosts reach it.
    pub serve_url: Arc<str>,
    /// URL firmware is told for UEFI HTTP boot; https when the operator says so.
    pub boot_url: String,
    /// What the last snapshot was made of; begins empty.
    pub cache: BootCache,
}

/// What a snapshot was made of: machines of which nothing changed are taken over into the next.
#[derive(Debug, Clone, Default)]
pub struct BootCache {
    parts: Arc<Mutex<Parts>>,
    /// Builds take turns, so that none is overtaken by an older one.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct Parts {
    made: HashMap<Box<str>, (Part, Option<Arc<BootMachine>>)>,
    built_at: Option<Timestamp>,
    /// How long the last build took.
    took: SignedDuration,
    /// Something changed after the last build.
    is_stale: bool,
    /// What else the last build was made of.
    sources: Sources,
    found: Found,
}

impl Parts {
    /// When the next build is due; `None` before the first.
    fn due(&self) -> Option<Timestamp> {
        let pause = if self.is_stale {
            (self.took * PAUSE_FACTOR).min(LONGEST_AGE)
        } else {
            LONGEST_AGE
        };
        self.built_at?.checked_add(pause).ok()
    }
}

/// What one machine of a snapshot is made of.
#[derive(Debug)]
struct Part {
    machine: Arc<KeptMachine>,
    grant: Option<InstallGrant>,
    netboot: Option<Arc<UnpackedImage>>,
}

impl BootCache {
    fn lock(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    /// Whether a machine made of this is the same as one made of `old`. A status changes often and
    /// no boot file depends on it.
    fn is(&self, old: &Self) -> bool {
        let grant = |part: &Self| {
            let grant = part.grant.as_ref();
            grant.map(|g| (g.token.clone(), g.claimed, g.image.digest.clone()))
        };
        let netboot = |part: &Self| part.netboot.as_ref().map(|image| image.digest.clone());
        let is_same = Arc::ptr_eq(&self.machine, &old.machine)
            || self.machine.is_but_for_status(&old.machine);
        is_same && grant(self) == grant(old) && netboot(self) == netboot(old)
    }
}

impl BootView {
    /// Builds a new snapshot if something it is made of has changed: soon for objects, images and
    /// tokens that were told of; every second it looks for what only time ends. A site of thousands
    /// of machines that change together is not built anew for each: a build that takes long is
    /// followed by a pause of a few times as long. `true` when it looked.
    ///
    /// # Errors
    /// As for [`BootView::rebuild`].
    pub async fn refresh(&self, changed: &Changed, now: Timestamp) -> Result<bool, StoreError> {
        let is_due = {
            let mut cache = self.cache.lock();
            cache.is_stale |= changed.all || changed.objects;
            cache
                .due()
                .is_none_or(|due| now >= due || due > now + LONGEST_AGE)
        };
        if is_due {
            self.build_unless(|sources| self.is_fresh(sources, now), now)
                .await?;
        }
        Ok(is_due)
    }

    /// Whether the last snapshot is what a build would make now; then it is as good as new.
    fn is_fresh(&self, sources: &Sources, now: Timestamp) -> bool {
        let mut cache = self.cache.lock();
        let is_fresh = cache.built_at.is_some()
            && !cache.is_stale
            && cache.sources == *sources
            && cache.found.is_still_so(self);
        if is_fresh {
            cache.built_at = Some(now);
        }
        is_fresh
    }

    /// When [`BootView::refresh`] has something to do even if nothing changes until then.
    pub fn refresh_due(&self) -> Option<Timestamp> {
        self.cache.lock().due()
    }

    /// Builds and swaps in a new snapshot.
    ///
    /// # Errors
    /// When the install tokens cannot be read; the old snapshot stays then.
    pub async fn rebuild(&self, now: Timestamp) -> Result<(), StoreError> {
        self.build_unless(|_| false, now).await
    }

    async fn build_unless(
        &self,
        is_fresh: impl FnOnce(&Sources) -> bool + Send,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let turn = self.cache.turn.clone().lock_owned().await;
        let sources = self.sources(now).await?;
        if is_fresh(&sources) {
            return Ok(());
        }
        let view = self.clone();
        // Thousands of machines take a while, in which others answer.
        let built = tokio::task::spawn_blocking(move || {
            view.build(sources, now);
            drop(turn);
        });
        match built.await {
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // Without a runtime nobody is answered any more.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn build(&self, sources: Sources, now: Timestamp) {
        let begun = Instant::now();
        let mut newest: HashMap<&str, &InstallToken> = HashMap::new();
        for token in &sources.tokens {
            let newest = newest.entry(token.machine.as_str()).or_insert(token);
            if token.created_at > newest.created_at {
                *newest = token;
            }
        }
        let owned = self.site.owned_machines();
        let wishes = owned.iter().filter_map(|machine| machine.netboot.as_ref());
        let found = Found::of(self, &sources, wishes);
        let mut cache = self.cache.lock();
        let mut parts = HashMap::with_capacity(owned.len());
        let mut machines = Vec::with_capacity(owned.len());
        let mut is_new = cache.built_at.is_none();
        for machine in owned {
            let name = machine.name.clone();
            let token = newest.get(&*name).copied();
            let part = Part {
                grant: token.and_then(|token| self.grant(token)),
                netboot: sources
                    .frozen
                    .get(&*name)
                    .and_then(|digest| self.images.get(digest))
                    .or_else(|| self.netboot_image(machine.netboot.as_ref()?)),
                machine,
            };
            let kept = cache.made.remove(&name).filter(|(old, _)| part.is(old));
            let built = match kept {
                Some((_, built)) => built,
                None => {
                    is_new = true;
                    self.boot_machine(&part).map(Arc::new)
                }
            };
            machines.extend(built.clone());
            parts.insert(name, (part, built));
        }
        // What is left in the old parts belongs to machines that are gone.
        is_new |= !cache.made.is_empty();
        cache.made = parts;
        cache.built_at = Some(now);
        cache.is_stale = false;
        cache.found = found;
        if is_new {
            let new = Arc::new(Snapshot::of(machines));
            let old = self.site.boot.swap(new.clone());
            self.site.tell_disputes(&old, &new);
            self.site.boot_files.news.notify_one();
        }
        drop(newest);
        cache.sources = sources;
        cache.took = SignedDuration::try_from(begun.elapsed()).unwrap_or(LONGEST_AGE);
    }

    /// A first snapshot, from which DHCP answers until [`BootView::rebuild`] has read the Machines.
    /// It has no contexts: who answers from it renders nothing.
    ///
    /// # Errors
    /// As for [`BootView::rebuild`].
    pub async fn begin(&self, records: Vec<BootRecord>, now: Timestamp) -> Result<(), StoreError> {
        let frozen = self.sources(now).await?.frozen;
        let nothing: Arc<dyn ExtraContext> = Arc::new(Value::Null);
        // Most machines want the same image.
        let mut wanted = HashMap::new();
        let machine = |record: BootRecord| {
            let frozen = frozen.get(&record.name);
            let frozen = frozen.and_then(|digest| self.images.get(digest));
            let wish = record.wish();
            let find = || {
                let key = (wish.image.clone(), record.architecture);
                let found = wanted.entry(key).or_insert_with(|| self.find_image(&wish));
                found.clone()
            };
            Arc::new(BootMachine {
                netboot: frozen.or_else(find),
                architecture: architecture(record.architecture),
                protocol: protocol(record.protocol),
                install: None,
                context: nothing.clone(),
                name: record.name,
                leases: record.leases.into_vec(),
            })
        };
        let ours = records.into_iter().filter(|r| r.is_of(self.site.name()));
        let machines = ours.map(machine).collect();
        self.site.boot.store(Arc::new(Snapshot::of(machines)));
        Ok(())
    }

    /// Netboot image digests of machines that are being installed. A tag that moves meanwhile does
    /// not change what they boot.
    async fn frozen(&self, tokens: &[InstallToken]) -> Result<HashMap<String, String>, StoreError> {
        if tokens.is_empty() {
            return Ok(HashMap::new());
        }
        let digest = |row: Target| {
            let state: TargetState = serde_json::from_value(row.state).ok()?;
            Some((row.machine, state.input?.netboot_image_digest))
        };
        let rows = self.store.targets().unfinished().await?;
        Ok(rows.into_iter().filter_map(digest).collect())
    }

    fn grant(&self, token: &InstallToken) -> Option<InstallGrant> {
        Some(InstallGrant {
            token: token.token.clone(),
            claimed: token.claim.is_some(),
            image: self.images.get(&token.image_digest)?,
        })
    }

    fn boot_machine(&self, part: &Part) -> Option<BootMachine> {
        let machine = part.machine.machine()?;
        let pxe = machine.spec.pxe.as_ref()?;
        Some(BootMachine {
            leases: reservations(pxe),
            architecture: architecture(pxe.architecture),
            protocol: protocol(pxe.boot_protocol),
            netboot: part.netboot.clone(),
            install: part.grant.clone(),
            context: Arc::new(MachineExtra {
                site: self.site.clone(),
                serve_url: self.serve_url.clone(),
                machine: part.machine.clone(),
            }),
            name: machine.metadata.name.clone()?,
        })
    }

    /// The netboot image a machine means now, if it is in the cache.
    fn netboot_image(&self, wish: &NetbootWish) -> Option<Arc<UnpackedImage>> {
        let image = self.find_image(wish)?;
        self.site.loaders().learn(&image);
        Some(image)
    }

    fn find_image(&self, wish: &NetbootWish) -> Option<Arc<UnpackedImage>> {
        let own = wish.image.as_deref();
        let text = own.or(self.default_netboot_image.as_deref())?;
        let reference: ImageReference = text.parse().ok()?;
        let resolved = self
            .images
            .remembered(&reference, architecture(wish.architecture))?;
        self.images.get(&resolved.digest)
    }
}

/// `extra` of a machine's templates, made when a file is asked for.
#[derive(Debug)]
struct MachineExtra {
    site: Arc<Site>,
    serve_url: Arc<str>,
    machine: Arc<KeptMachine>,
}

impl ExtraContext for MachineExtra {
    fn value(&self) -> Value {
        let machine = self.machine.machine().map(|machine| Machine {
            status: None,
            ..machine.as_ref().clone()
        });
        json!({ "site": self.site.name(), "serve_url": &*self.serve_url, "machine": machine })
    }
}

/// What templates may use, for their authors; `templates/README.md` is this text.
pub fn template_reference() -> String {
    netboot::render::reference(&[
        (
            "extra.site",
            "text",
            "value of the site label; empty when there is none",
        ),
        ("extra.serve_url", "text", "the same as `server.http_url`"),
        (
            "extra.machine",
            "object",
            "the Machine object without its status, as `kubectl get machine -o json` shows it: \
             `extra.machine.spec.pxe.image`, `extra.machine.metadata.labels`",
        ),
    ])
}

/// The architecture in netboot's terms.
pub(crate) fn architecture(architecture: Architecture) -> directory::Architecture {
    match architecture {
        Architecture::Amd64 => directory::Architecture::Amd64,
        Architecture::Arm64 => directory::Architecture::Arm64,
    }
}

/// The protocol in netboot's terms.
fn protocol(protocol: BootProtocol) -> directory::BootProtocol {
    match protocol {
        BootProtocol::Pxe => directory::BootProtocol::Pxe,
        BootProtocol::Http => directory::BootProtocol::Http,
    }
}

/// The leases of a Machine as netboot serves them.
pub(super) fn reservations(pxe: &PxeSpec) -> Vec<Reservation> {
    let mut leases: Vec<_> = pxe.dhcp_leases.iter().filter_map(reservation).collect();
    // Kept for each machine.
    leases.shrink_to_fit();
    leases
}

/// A lease as netboot serves it; one that cannot be parsed is left out, the CRD refuses it anyway.
fn reservation(lease: &DhcpLease) -> Option<Reservation> {
    Some(Reservation {
        mac: lease.mac.parse().ok()?,
        ipv4: lease.ipv4.parse().ok()?,
        subnet_mask: lease.subnet_mask.parse().ok()?,
        gateway: lease
            .gateway
            .as_deref()
            .and_then(|gateway| gateway.parse().ok()),
        dns: lease
            .dns
            .iter()
            .filter_map(|server| server.parse().ok())
            .collect(),
        mtu: lease.mtu.and_then(|mtu| u16::try_from(mtu).ok()),
    })
}

impl Site {
    /// What other Machines dispute with this one, as text with their names and the cure.
    pub fn conflict_of(&self, machine: &str) -> Option<String> {
        let snapshot = self.boot.load();
        let claims: Vec<_> = snapshot
            .conflicts()
            .iter()
            .filter(|c| c.machines.iter().any(|m| m == machine))
            .map(|conflict| {
                let others: Vec<_> = conflict
                    .machines
                    .iter()
                    .filter(|m| *m != machine)
                    .map(String::as_str)
                    .collect();
                let (field, value) = match conflict.value {
                    directory::Disputed::Mac(mac) => ("mac", mac.to_string()),
                    directory::Disputed::Ip(ip) => ("ipv4", ip.to_string()),
                };
                let others = others.join(" and ");
                format!("spec.pxe.dhcpLeases[].{field} {value} is also claimed by Machine {others}")
            })
            .collect();
        (!claims.is_empty()).then(|| {
            let claims = claims.join("; ");
            format!("{claims}: nobody is served it until one of them is corrected or deleted")
        })
    }

    /// A dispute begins and ends with a change of one Machine and concerns others too.
    fn tell_disputes(&self, old: &Snapshot, new: &Snapshot) {
        let gone = old
            .conflicts()
            .iter()
            .filter(|c| !new.conflicts().contains(c));
        let come = new
            .conflicts()
            .iter()
            .filter(|c| !old.conflicts().contains(c));
        for machine in gone.chain(come).flat_map(|conflict| &conflict.machines) {
            self.tell(Change::Reading(machine));
        }
    }

    /// The current snapshot.
    pub fn boot_snapshot(&self) -> Arc<Snapshot> {
        self.boot.load_full()
    }
}
