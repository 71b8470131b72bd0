//! The state folder: private, and used by one process at a time. Invariant: while the lock lives,
//! no other metalman works on the same folder.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use anyhow::{Context, Result, bail};

/// Held for the life of the process; the kernel lets go of it even after SIGKILL.
#[derive(Debug)]
pub(super) struct StateLock {
    _file: File,
}

/// Makes the folder (0700) if needed and locks it.
///
/// # Errors
/// It cannot be made or written, or another metalman uses it.
pub(super) fn prepare(dir: &Path) -> Result<StateLock> {
    private_dir(dir)
        .with_context(|| format!("make the state folder {} (--state-dir)", dir.display()))?;
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("write to the state folder: open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(StateLock { _file: file }),
        Err(TryLockError::WouldBlock) => bail!(
            "another metalman uses the state folder {}; stop it or choose another with --state-dir",
            dir.display()
        ),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("lock {}", path.display()))
        }
    }
}

/// Makes a folder only this user can enter. An existing one keeps its mode.
pub(super) fn private_dir(dir: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_folder_is_private_and_used_by_one() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        let lock = prepare(&dir).unwrap();
        assert_eq!(
            std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777,
            0o700
        );
        let refusal = prepare(&dir).unwrap_err().to_string();
        assert!(
            refusal.starts_with("another metalman uses the state folder"),
            "{refusal}"
        );
        drop(lock);
        prepare(&dir).unwrap();
    }
}
