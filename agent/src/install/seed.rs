//! What the installer puts on the written root file system: the files of the plan, the agent
//! itself, and the unit that starts it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use metalman_api::install::SeedFile;

use super::error::InstallError;
use super::rootfs::RootFs;

/// Where the agent lives on an installed host.
const AGENT_PATH: &str = "/usr/local/bin/unbounded-agent";
const UNIT_NAME: &str = "unbounded-agent-daemon.service";
const UNIT: &str = include_str!("../../units/unbounded-agent-daemon.service");

/// Writes everything below `root`.
///
/// # Errors
/// The first file that could not be written.
pub fn seed(root: &Path, files: &[SeedFile], agent: &Path) -> Result<(), InstallError> {
    let root_fs = RootFs::open(root).map_err(failed("open the root file system"))?;
    for file in files {
        root_fs
            .write(&file.path, file.mode, &mut file.content.as_bytes())
            .map_err(failed(format!("write {}", file.path)))?;
    }
    let mut binary: Box<dyn Read> =
        Box::new(File::open(agent).map_err(failed(format!("read {}", agent.display())))?);
    root_fs
        .write(AGENT_PATH, 0o755, &mut binary)
        .map_err(failed(format!("write {AGENT_PATH}")))?;
    let unit = format!("/etc/systemd/system/{UNIT_NAME}");
    let wanted = format!("/etc/systemd/system/multi-user.target.wants/{UNIT_NAME}");
    root_fs
        .write(&unit, 0o644, &mut UNIT.as_bytes())
        .map_err(failed(format!("write {unit}")))?;
    root_fs
        .link(&wanted, &unit)
        .map_err(failed(format!("enable {UNIT_NAME}")))
}

fn failed(action: impl Into<String>) -> impl FnOnce(io::Error) -> InstallError {
    let action = action.into();
    move |source| InstallError::SeedFailed { action, source }
}
