//! The tree an image is unpacked into, and the only code that changes it.
//!
//! Paths come checked from [`super::entry`]; this is about what is on disk already. Invariant: no
//! operation passes through a symbolic link, and none leaves `<staging>/disk`.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::entry::Whiteout;
use super::unpack::DISK_DIRECTORY;

/// The `disk/` directory of a staging directory, while one layer is applied.
pub(crate) struct Tree<'a> {
    staging: &'a Path,
    /// Files, links and directories that this layer brought.
    created: HashSet<PathBuf>,
}

/// Refusal of a path, before the entry's name is put to it.
pub(crate) enum Problem {
    Refused(&'static str),
    Failed(PathBuf, io::Error),
}

impl<'a> Tree<'a> {
    pub(crate) fn new(staging: &'a Path) -> Self {
        Self {
            staging,
            created: HashSet::new(),
        }
    }

    fn disk(&self) -> PathBuf {
        self.staging.join(DISK_DIRECTORY)
    }

    /// Makes the parents of `relative` and removes what a lower layer left there.
    pub(crate) fn make_way(&mut self, relative: &Path) -> Result<PathBuf, Problem> {
        if !self.created.insert(relative.to_owned()) {
            return Err(Problem::Refused("is named twice in one layer"));
        }
        if let Some(parent) = relative.parent() {
            self.directory_path(parent)?;
        }
        let target = self.disk().join(relative);
        match fs::symlink_metadata(&target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Problem::Failed(target, source)),
            Ok(found) if found.is_dir() => {
                if self
                    .created
                    .iter()
                    .any(|path| path.starts_with(relative) && path != relative)
                {
                    return Err(Problem::Refused("replaces a directory of the same layer"));
                }
                fs::remove_dir_all(&target).map_err(|e| Problem::Failed(target.clone(), e))?;
            }
            Ok(_) => fs::remove_file(&target).map_err(|e| Problem::Failed(target.clone(), e))?,
        }
        Ok(target)
    }

    pub(crate) fn directory(&mut self, relative: &Path) -> Result<(), Problem> {
        self.directory_path(relative)?;
        self.created.insert(relative.to_owned());
        Ok(())
    }

    /// Creates a directory and its parents; refuses to pass through links and files.
    fn directory_path(&self, relative: &Path) -> Result<(), Problem> {
        let mut path = self.disk();
        let parts = std::iter::once(None).chain(relative.components().map(Some));
        for part in parts {
            if let Some(part) = part {
                path.push(part);
            }
            match fs::symlink_metadata(&path) {
                Ok(found) if found.is_dir() => {}
                Ok(found) if found.is_symlink() => {
                    return Err(Problem::Refused("passes through a symbolic link"));
                }
                Ok(_) => return Err(Problem::Refused("passes through a file")),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    fs::create_dir(&path).map_err(|e| Problem::Failed(path.clone(), e))?;
                }
                Err(source) => return Err(Problem::Failed(path, source)),
            }
        }
        Ok(())
    }

    /// A regular file reached through real directories only.
    pub(crate) fn existing_file(&self, relative: &Path) -> Result<PathBuf, Problem> {
        let mut path = self.disk();
        let parts: Vec<_> = relative.components().collect();
        for (index, part) in parts.iter().enumerate() {
            path.push(part);
            let found = fs::symlink_metadata(&path)
                .map_err(|_| Problem::Refused("links to a file that is not there"))?;
            let fits = if index + 1 == parts.len() {
                found.is_file()
            } else {
                found.is_dir()
            };
            if !fits {
                return Err(Problem::Refused(
                    "links to something that is not a plain file",
                ));
            }
        }
        Ok(path)
    }

    /// Removes what a lower layer brought (OCI image specification, layer.md, "Whiteouts").
    pub(crate) fn white_out(&self, relative: &Path, whiteout: &Whiteout) -> Result<(), Problem> {
        let parent = relative.parent().unwrap_or(Path::new(""));
        let directory = self.disk().join(parent);
        if !self.reaches_directory(parent) {
            return Ok(());
        }
        let victims: Vec<PathBuf> = match whiteout {
            Whiteout::One(name) => vec![parent.join(name)],
            Whiteout::Opaque => fs::read_dir(&directory)
                .and_then(Iterator::collect::<io::Result<Vec<_>>>)
                .map_err(|e| Problem::Failed(directory, e))?
                .into_iter()
                .map(|found| parent.join(found.file_name()))
                .collect(),
        };
        for victim in victims {
            if self.created.iter().any(|path| path.starts_with(&victim)) {
                continue;
            }
            let path = self.disk().join(victim);
            let removed = match fs::symlink_metadata(&path) {
                Ok(found) if found.is_dir() => fs::remove_dir_all(&path),
                Ok(_) => fs::remove_file(&path),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error),
            };
            removed.map_err(|e| Problem::Failed(path, e))?;
        }
        Ok(())
    }

    fn reaches_directory(&self, relative: &Path) -> bool {
        let mut path = self.disk();
        relative.components().all(|part| {
            path.push(part);
            fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir())
        })
    }
}
