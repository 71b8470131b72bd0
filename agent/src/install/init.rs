//! The installer as process 1 of the ramdisk (and, for trials, as an ordinary command).
//!
//! Invariant: as process 1 it never ends: every outcome, a defect included, restarts the machine.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use metalman_api::install::{InstallClaim, InstallStage};
use rustix::mount::MountFlags;
use rustix::system::RebootCommand;
use tracing::{error, info, warn};

use super::claim::{CLAIM_BACKOFF, claim};
use super::cmdline::BootArguments;
use super::error::{InstallError, chain};
use super::machine::{EFI_VARIABLES, ThisMachine};
use super::modules::ModuleLoader;
use super::pipeline::Pipeline;
use super::report::{LAST_REPORT_BACKOFF, Reporter};
use super::stream::DOWNLOAD_BACKOFF;
use super::{efivars, network};
use crate::VERSION;
use crate::client::Client;
use crate::facts::FactSource;
use crate::telemetry;

/// Wait after a failure for which no plan says another.
const REBOOT_DELAY: Duration = Duration::from_mins(1);
const SYS: &str = "/sys";

/// How an attempt ended.
struct Outcome {
    result: Result<(), InstallError>,
    reboot_delay: Duration,
}

/// Prepares the ramdisk, installs, restarts the machine. Does not return.
pub fn run_as_init() -> ! {
    mount_basics();
    telemetry::to_kernel_log();
    info!("unbounded-agent {VERSION} installs this machine");
    // A thread of its own: a defect ends the thread, not process 1.
    let attempt = thread::spawn(|| {
        ModuleLoader::system().load_all(Path::new(SYS));
        // The folder exists when the firmware is UEFI.
        if Path::new(EFI_VARIABLES).exists() {
            mount("efivarfs", EFI_VARIABLES, "efivarfs");
        }
        install()
    });
    let outcome = attempt.join().unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
        Outcome {
            result: Err(InstallError::Defect(text)),
            reboot_delay: REBOOT_DELAY,
        }
    });
    match outcome.result {
        Ok(()) => info!("installed, restarting"),
        Err(failure) => {
            error!(
                error.reason = failure.reason(),
                "{}; restarting in {} s",
                chain(&failure),
                outcome.reboot_delay.as_secs()
            );
            thread::sleep(outcome.reboot_delay);
        }
    }
    loop {
        rustix::fs::sync();
        if let Err(error) = rustix::system::reboot(RebootCommand::Restart) {
            error!(%error, "restart refused, trying again");
        }
        thread::sleep(REBOOT_DELAY);
    }
}

/// Installs without preparing or restarting the machine.
///
/// # Errors
/// The installation failed.
pub fn run_by_hand() -> anyhow::Result<()> {
    install().result.context("install")
}

fn install() -> Outcome {
    let facts = FactSource::system();
    let mut reboot_delay = REBOOT_DELAY;
    let result = prepare(&facts).and_then(|(arguments, boot_id)| {
        let client = Client::new();
        let base = format!("{}/install/{}", arguments.server, arguments.token);
        let message = InstallClaim {
            boot_id: boot_id.clone(),
            mac: arguments.mac.to_string(),
            machine_uuid: facts.machine_uuid(),
            agent_version: VERSION.to_owned(),
            disks: ThisMachine
                .settled_disks()
                .map_err(InstallError::DisksUnknown)?,
            secure_boot: efivars::is_secure_boot(Path::new(EFI_VARIABLES)),
        };
        info!(
            "disks found: {}; claiming from {}",
            disk_names(&message),
            arguments.server
        );
        let plan = claim(&client, &format!("{base}/claim"), &message, CLAIM_BACKOFF)?;
        reboot_delay = Duration::from_secs(u64::from(plan.reboot_delay_seconds));
        let reporter = Reporter::start(client.clone(), format!("{base}/report"), boot_id);
        reporter.stage(
            InstallStage::Starting,
            format!("operation {} on machine {}", plan.operation, plan.machine),
        );
        let pipeline = Pipeline {
            host: &ThisMachine,
            client: &client,
            reporter: &reporter,
            download: DOWNLOAD_BACKOFF,
        };
        let result = pipeline.install(&plan);
        let is_heard = match &result {
            Ok(sha256) => reporter.finish(sha256.clone(), LAST_REPORT_BACKOFF),
            Err(failure) => reporter.fail(failure.to_failure(), LAST_REPORT_BACKOFF),
        };
        if !is_heard {
            warn!("the appliance did not hear how the installation ended");
        }
        result.map(|_| ())
    });
    Outcome {
        result,
        reboot_delay,
    }
}

/// Reads the arguments and brings the network up.
fn prepare(facts: &FactSource) -> Result<(BootArguments, String), InstallError> {
    let defect = |what: &'static str| {
        move |error: std::io::Error| InstallError::Defect(format!("{what}: {error}"))
    };
    let line = fs::read_to_string("/proc/cmdline").map_err(defect("read /proc/cmdline"))?;
    let arguments = BootArguments::parse(&line).map_err(InstallError::Arguments)?;
    let boot_id = facts.boot_id().map_err(defect("read the boot id"))?;
    network::bring_up(Path::new(SYS), arguments.mac, &arguments.address)?;
    if !arguments.dns.is_empty() {
        let text = network::resolv_conf(&arguments.dns);
        if let Err(error) =
            fs::create_dir_all("/etc").and_then(|()| fs::write("/etc/resolv.conf", text))
        {
            warn!(%error, "name servers not set");
        }
    }
    Ok((arguments, boot_id))
}

fn disk_names(message: &InstallClaim) -> String {
    let names: Vec<String> = message.disks.iter().map(ToString::to_string).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

fn mount_basics() {
    for (kind, folder) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/run"),
        ("tmpfs", "/tmp"),
    ] {
        mount(kind, folder, kind);
    }
}

/// Mounts one file system; what is missing shows later by what cannot be read.
fn mount(source: &str, folder: &str, kind: &str) {
    let made = fs::create_dir_all(folder);
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    if let Err(error) =
        made.and_then(|()| Ok(rustix::mount::mount(source, folder, kind, flags, None)?))
    {
        info!(%error, "{folder} not mounted");
    }
}
