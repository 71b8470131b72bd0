//! Writing into the installed root file system without ever leaving it.
//!
//! The image may hold any symbolic link; every path is resolved by the kernel with the mounted
//! root as `/` (`openat2(2)`, `RESOLVE_IN_ROOT`). Invariant: nothing outside the root is touched.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

const FOLDER_MODE: Mode = Mode::from_raw_mode(0o755);

/// An open root file system.
#[derive(Debug)]
pub struct RootFs {
    root: OwnedFd,
}

impl RootFs {
    /// Opens a mounted root.
    ///
    /// # Errors
    /// It is not a folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            root: rustix::fs::open(path, flags, Mode::empty())?,
        })
    }

    /// Puts a file with exactly these permission bits at an absolute path, instead of whatever
    /// was there; parents are made.
    ///
    /// # Errors
    /// The path is not absolute and plain, or the file system refused.
    pub fn write(&self, path: &str, mode: u32, content: &mut impl Read) -> io::Result<()> {
        let (parent, name) = self.prepare(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode & 0o7777);
        let mut file = File::from(rustix::fs::openat(&parent, &name, flags, Mode::RUSR)?);
        io::copy(content, &mut file)?;
        rustix::fs::fchmod(&file, mode)?;
        file.sync_all()
    }

    /// Puts a symbolic link at an absolute path, instead of whatever was there.
    ///
    /// # Errors
    /// As for [`Self::write`].
    pub fn link(&self, path: &str, destination: &str) -> io::Result<()> {
        let (parent, name) = self.prepare(path)?;
        Ok(rustix::fs::symlinkat(destination, &parent, &name)?)
    }

    /// Makes the parents and removes what is at the path.
    fn prepare(&self, path: &str) -> io::Result<(OwnedFd, String)> {
        let names = plain_names(path)?;
        let Some((name, folders)) = names.split_last() else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the path names no file",
            ));
        };
        let mut parent = self.root.try_clone()?;
        let mut so_far = String::new();
        for folder in folders {
            so_far.push('/');
            so_far.push_str(folder);
            parent = match self.open_folder(&so_far) {
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(&parent, *folder, FOLDER_MODE)?;
                    self.open_folder(&so_far)?
                }
                other => other?,
            };
        }
        match rustix::fs::unlinkat(&parent, *name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok((parent, (*name).to_owned())),
            Err(error) => Err(error.into()),
        }
    }

    fn open_folder(&self, path: &str) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve)
    }
}

/// Names of an absolute path without `.` and `..`.
fn plain_names(path: &str) -> io::Result<Vec<&str>> {
    let refuse = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    if !path.starts_with('/') {
        return refuse("the path is not absolute");
    }
    let mut names = vec![];
    for component in Path::new(path).components() {
        match component {
            Component::RootDir => {}
            Component::Normal(name) => names.extend(name.to_str()),
            Component::CurDir | Component::ParentDir | Component::Prefix(_) => {
                return refuse("the path leads out of its folder");
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn parents_and_permissions_are_made_and_old_files_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let root = RootFs::open(folder.path()).unwrap();
        root.write("/etc/a/b.json", 0o600, &mut "one".as_bytes())
            .unwrap();
        root.write("/etc/a/b.json", 0o755, &mut "two".as_bytes())
            .unwrap();
        let file = folder.path().join("etc/a/b.json");
        assert_eq!(fs::read_to_string(&file).unwrap(), "two");
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o7777,
            0o755
        );
        root.link("/etc/a/c", "b.json").unwrap();
        root.link("/etc/a/c", "b.json").unwrap();
        assert_eq!(
            fs::read_to_string(folder.path().join("etc/a/c")).unwrap(),
            "two"
        );
    }

    #[test]
    fn no_path_and_no_link_leads_out() {
        let outside = tempfile::tempdir().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let root = RootFs::open(folder.path()).unwrap();
        for path in ["etc/x", "/../x", "/etc/../../x", "/", ""] {
            let refused = root.write(path, 0o644, &mut "x".as_bytes()).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{path}");
        }
        // An absolute link means the same folder inside the root; there is none, so it fails.
        symlink(outside.path(), folder.path().join("away")).unwrap();
        root.write("/away/x", 0o644, &mut "x".as_bytes())
            .unwrap_err();
        symlink("../../..", folder.path().join("up")).unwrap();
        root.write("/up/x", 0o644, &mut "x".as_bytes()).unwrap();
        assert!(
            folder.path().join("x").exists(),
            "dot-dot stops at the root"
        );
        // A link as last part is replaced, not followed.
        symlink(outside.path().join("y"), folder.path().join("y")).unwrap();
        root.write("/y", 0o644, &mut "x".as_bytes()).unwrap();
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
