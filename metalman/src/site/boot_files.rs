//! Whether the boot files of each machine can be made, found out before the machine asks for them.
//!
//! Every template of a machine's netboot image is rendered for that machine as soon as the image is
//! there and whenever either changes. Not what serves boot files. Invariant: a verdict belongs to
//! the very snapshot entry it was made for; for a newer entry there is none until it was checked.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use netboot::{
    directory::BootMachine,
    images::UnpackedImage,
    render::{RenderError, Renderer, ServerContext, check_for_machine},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Site;
use crate::domain::facts::BootFiles;

/// Mistakes named in one condition.
const NAMED: usize = 3;

/// What was found out, by machine.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    /// Told when the snapshot changes.
    pub(super) news: Notify,
    found: RwLock<HashMap<String, (Arc<BootMachine>, BootFiles)>>,
}

/// Renders for machines what they will be served.
#[derive(Debug, Clone)]
pub struct BootFileChecks {
    /// Site view.
    pub site: Arc<Site>,
    /// Compiled templates.
    pub renderer: Arc<Renderer>,
    /// Where machines reach us.
    pub server: ServerContext,
}

impl BootFileChecks {
    /// Checks for the machines of `site`, which reach us at `server`.
    pub fn new(site: Arc<Site>, server: ServerContext) -> Self {
        Self {
            site,
            renderer: Arc::new(Renderer::new()),
            server,
        }
    }

    /// Checks machines whenever the snapshot changes, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let checks = self.clone();
            // Reads templates from disk and renders: not for the async threads.
            let checked = tokio::task::spawn_blocking(move || checks.check_changed()).await;
            if let Err(error) = checked {
                warn!(%error, "boot files were not checked");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.site.boot_files.news.notified() => {}
            }
        }
    }

    fn check_changed(&self) {
        let snapshot = self.site.boot_snapshot();
        let mut old = self.site.boot_files.take();
        let mut found = HashMap::with_capacity(old.len());
        let mut changed = Vec::new();
        for machine in snapshot.machines() {
            let before = old.remove(&machine.name);
            let entry = match before {
                Some((of, verdict)) if Arc::ptr_eq(&of, machine) => (of, verdict),
                before => {
                    let verdict = self.verdict(machine);
                    if before.is_none_or(|(_, old)| old != verdict) {
                        changed.push(machine.name.clone());
                    }
                    (Arc::clone(machine), verdict)
                }
            };
            found.insert(machine.name.clone(), entry);
        }
        self.site.boot_files.put(found);
        for name in changed {
            self.site.poke_machine(&name);
        }
    }

    fn verdict(&self, machine: &BootMachine) -> BootFiles {
        let Some(image) = &machine.netboot else {
            return BootFiles::NotFetched;
        };
        match self.problem(machine, image) {
            None => BootFiles::Good {
                digest: image.digest.clone(),
            },
            Some((reason, message)) => {
                warn!(machine.id = %machine.name, image.digest = %image.digest, error.reason = reason, "boot files cannot be made: {message}");
                BootFiles::Broken {
                    reason: reason.to_owned(),
                    message,
                }
            }
        }
    }

    /// Why `image` would not boot `machine`: reason and text with template, line and variable.
    fn problem(
        &self,
        machine: &BootMachine,
        image: &UnpackedImage,
    ) -> Option<(&'static str, String)> {
        let failed = check_for_machine(&self.renderer, image, machine, &self.server);
        let reason = failed.first()?.reason();
        Some((reason, told(&failed, image)))
    }

    /// The same for an image that the machine is about to get; `None` as long as the machine is not
    /// known to the boot services.
    pub async fn problem_of(
        &self,
        machine: &str,
        image: Arc<UnpackedImage>,
    ) -> Option<(&'static str, String)> {
        let snapshot = self.site.boot_snapshot();
        let machine = Arc::clone(snapshot.machines().iter().find(|m| m.name == machine)?);
        let checks = self.clone();
        let checked = tokio::task::spawn_blocking(move || checks.problem(&machine, &image)).await;
        checked.unwrap_or_else(|error| {
            info!(%error, "a check of boot files was stopped");
            None
        })
    }
}

fn told(failed: &[RenderError], image: &UnpackedImage) -> String {
    let mut named: Vec<String> = failed.iter().take(NAMED).map(ToString::to_string).collect();
    if failed.len() > NAMED {
        named.push(format!("{} more", failed.len() - NAMED));
    }
    format!(
        "{}; mend the netboot image {} (metalman templates check DIR) or name another in spec.pxe.netbootImage",
        named.join("; "),
        image.digest.get(..19).unwrap_or(&image.digest),
    )
}

impl Verdicts {
    fn take(&self) -> HashMap<String, (Arc<BootMachine>, BootFiles)> {
        let found = self.found.read().unwrap_or_else(PoisonError::into_inner);
        found.clone()
    }

    fn put(&self, found: HashMap<String, (Arc<BootMachine>, BootFiles)>) {
        *self.found.write().unwrap_or_else(PoisonError::into_inner) = found;
    }
}

impl Site {
    /// Whether the boot files of a machine can be made, once that was checked.
    pub fn boot_files_of(&self, machine: &str) -> Option<BootFiles> {
        let found = self
            .boot_files
            .found
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        found.get(machine).map(|(_, verdict)| verdict.clone())
    }
}
