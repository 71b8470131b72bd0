//! Images of running operations: resolved, fetched and verified in the background, one job per
//! target; plus the netboot images that idle machines need to start their disks, and the removal of
//! images that nobody needs any more.

mod collect;
mod idle;
mod pull;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use netboot::images::{ImageStore, UnpackedImage};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::Driver;
use crate::{
    clock,
    domain::{
        facts::{Images, Trouble},
        state::FrozenInput,
    },
    kube::secrets::Secrets,
    site::{BootFileChecks, Site},
    timeline::Recorder,
};
use pull::Wanted;

/// Background fetches.
#[derive(Debug, Clone)]
pub struct ImageJobs {
    parts: ImageParts,
    stop: CancellationToken,
    jobs: Arc<Mutex<HashMap<String, Images>>>,
    idle: Arc<Mutex<idle::Checks>>,
    collector: Arc<Mutex<collect::Schedule>>,
}

/// What image jobs work with.
#[derive(Debug, Clone)]
pub struct ImageParts {
    /// Cache.
    pub store: ImageStore,
    /// Pull secrets.
    pub secrets: Secrets,
    /// Site view.
    pub site: Arc<Site>,
    /// What a netboot image is judged by besides its bytes.
    pub boot_files: BootFileChecks,
    /// Boot timeline.
    pub recorder: Recorder,
    /// Tasks, joined at the end.
    pub tasks: TaskTracker,
    /// Netboot image of machines that name none.
    pub default_netboot_image: Option<String>,
    /// Pause between two questions what the tag of a netboot image means.
    pub refresh: Duration,
}

impl ImageJobs {
    /// No job runs yet.
    pub fn new(parts: ImageParts) -> Self {
        Self {
            parts,
            stop: CancellationToken::new(),
            jobs: Arc::default(),
            idle: Arc::default(),
            collector: Arc::default(),
        }
    }

    /// Gives up all running fetches.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// How far the images of a target are.
    pub(super) fn fact(&self, uid: &str, machine: &str) -> Images {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.get(&key(uid, machine))
            .cloned()
            .unwrap_or(Images::Unknown)
    }

    /// Names of the targets that something is known of.
    fn known(&self) -> HashSet<String> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.keys().cloned().collect()
    }

    /// Forgets those of `known` that are not `unfinished`. What began since stays.
    fn forget(&self, known: &HashSet<String>, unfinished: &HashSet<String>) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        forget_finished(&mut jobs, known, unfinished);
    }

    fn set(&self, key: &str, images: Images) {
        self.jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key.to_owned(), images);
        let machine = key.split_once('/').map_or(key, |(_, machine)| machine);
        self.parts.site.poke_machine(machine);
    }

    /// Starts fetching the images of a target, unless that is under way or done.
    pub(super) fn prepare(&self, driver: &Driver, uid: &str, machine: &str) {
        let key = key(uid, machine);
        let before = {
            let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
            if matches!(jobs.get(&key), Some(Images::Working(_) | Images::Ready(_))) {
                return;
            }
            jobs.insert(key.clone(), Images::Working("resolving images".into()))
        };
        let (jobs, name, driver) = (self.clone(), machine.to_owned(), driver.clone());
        self.parts.tasks.spawn(async move {
            let work = jobs.prepare_now(&key, &name);
            let outcome = tokio::select! {
                () = jobs.stop.cancelled() => return,
                outcome = work => outcome,
            };
            match outcome {
                Ok((input, held)) => {
                    jobs.set(&key, Images::Ready(input));
                    // From here on the input says that the images are needed; a removal that began
                    // before could not know and sees that they were used.
                    for image in held {
                        jobs.parts.store.get(&image.digest);
                    }
                }
                Err(trouble) => {
                    jobs.tell_failure(&name, before.as_ref(), &trouble);
                    if trouble.reason == "ImageCacheFull" {
                        jobs.make_room(&driver).await;
                    }
                    jobs.set(&key, Images::Failed(trouble));
                }
            }
        });
    }

    async fn prepare_now(
        &self,
        key: &str,
        name: &str,
    ) -> Result<(FrozenInput, [Arc<UnpackedImage>; 2]), Trouble> {
        let gone = |what: &str| trouble("InvalidInput", format!("Machine {name}: {what}"), false);
        let machine = self
            .parts
            .site
            .machine(name)
            .ok_or_else(|| gone("does not exist any more"))?;
        let netboot_wanted = Wanted::netboot(&machine, self.parts.default_netboot_image.as_deref())
            .ok_or_else(|| gone("spec.pxe.netbootImage is missing"))?;
        let host_wanted =
            Wanted::host(&machine).ok_or_else(|| gone("spec.pxe.image is missing"))?;
        let netboot = self.obtain_for(key, &netboot_wanted).await?;
        if netboot.metadata.dhcp_boot_image_name.is_none() {
            let field = netboot_wanted.field.name();
            return Err(gone(&format!(
                "the image of {field} names no dhcpBootImageName in its metadata.yaml"
            )));
        }
        let broken = self
            .parts
            .boot_files
            .problem_of(name, Arc::clone(&netboot))
            .await;
        if let Some((reason, message)) = broken {
            return Err(trouble(reason, format!("Machine {name}: {message}"), false));
        }
        let host = self.obtain_for(key, &host_wanted).await?;
        let disk = host
            .disk
            .as_ref()
            .ok_or_else(|| gone("the image of spec.pxe.image has no /disk/disk.img.zst or .gz"))?;
        let input = FrozenInput {
            host_image: host_wanted.text,
            host_image_digest: host.digest.clone(),
            netboot_image: netboot_wanted.text,
            netboot_image_digest: netboot.digest.clone(),
            raw_sha256: disk.raw_sha256.clone(),
        };
        Ok((input, [netboot, host]))
    }
}

fn forget_finished<V>(
    jobs: &mut HashMap<String, V>,
    known: &HashSet<String>,
    unfinished: &HashSet<String>,
) {
    jobs.retain(|key, _| unfinished.contains(key) || !known.contains(key));
}

fn key(uid: &str, machine: &str) -> String {
    format!("{uid}/{machine}")
}

fn trouble(reason: &str, message: String, transient: bool) -> Trouble {
    Trouble {
        reason: reason.into(),
        message,
        transient,
        at: clock::now(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finished_targets_are_forgotten_and_what_began_meanwhile_is_not() {
        let set = |keys: &[&str]| keys.iter().map(|&key| key.to_owned()).collect();
        let mut jobs: HashMap<String, u8> = ["done/a", "runs/a", "new/a"]
            .map(|key| (key.to_owned(), 0))
            .into();
        forget_finished(&mut jobs, &set(&["done/a", "runs/a"]), &set(&["runs/a"]));
        let mut left: Vec<_> = jobs.into_keys().collect();
        left.sort();
        assert_eq!(left, ["new/a", "runs/a"]);
    }
}
