//! Unpacks one layer into a staging directory and trusts nothing in it.
//!
//! Only the `disk/` subtree is written; every other entry is checked and skipped. Owners, modes
//! and times of the archive are ignored. Runs on a blocking thread. Invariant: no write goes
//! through a symbolic link, and none lands outside `<staging>/disk`.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use futures::StreamExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio_tar::{Archive, Entry, EntryType};

use super::entry::{EntryPath, Whiteout, check_link_target};
use super::error::ImageError;
use super::reader::{DigestReader, Gate, GateReader, LayerReader, SourceFailure};

/// Bytes the tar parser may read for one header with its extensions.
const HEADER_BYTES: u64 = 1 << 20;
/// Bytes of padding allowed after the end of an archive.
const TRAILER_BYTES: u64 = 1 << 20;
/// Bytes moved at once into a file.
const COPY_BYTES: usize = 256 << 10;
/// The only directory of an image that is unpacked.
pub(crate) const DISK_DIRECTORY: &str = "disk";

/// What an image may use up, over all its layers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    /// Bytes of file content left.
    pub(crate) bytes: u64,
    /// Entries left.
    pub(crate) entries: u64,
}

/// Why a layer was not unpacked.
#[derive(Debug)]
enum Refusal {
    Hostile { entry: String, problem: String },
    TooLarge { what: &'static str },
    Read(io::Error),
    Write { path: PathBuf, source: io::Error },
}

/// Unpacks the layer `digest` from `blob`, then reads `blob` to its end and verifies it.
pub(crate) async fn unpack_layer<R: AsyncRead + Unpin + Send>(
    layer: &super::manifest::Layer,
    blob: DigestReader<R>,
    staging: &Path,
    budget: &mut Budget,
) -> Result<(), ImageError> {
    let limits = *budget;
    let gate = Gate::default();
    let reader = GateReader::new(LayerReader::new(layer.compression, blob), gate.clone());
    let mut archive = Archive::new(reader);
    let mut unpacker = Unpacker {
        staging,
        budget,
        gate,
        created: HashSet::new(),
    };
    let outcome = unpacker.run(&mut archive).await;
    let gate = unpacker.gate;
    let Ok(reader) = archive.into_inner() else {
        return Err(ImageError::Cancelled);
    };
    let outcome = match outcome {
        Ok(()) => drain(reader, &gate).await,
        Err(refusal) => Err((refusal, Some(reader.into_inner().into_blob().into_inner()))),
    };
    match outcome {
        Ok(blob) => blob
            .finish(&layer.digest)
            .map_err(|problem| mismatch(layer, problem)),
        Err((Refusal::Read(source), Some(blob))) => Err(unreadable(layer, blob, source).await),
        Err((refusal, _)) => Err(match refusal {
            Refusal::Hostile { entry, problem } => hostile(layer, entry, problem),
            Refusal::TooLarge { what: "entries" } => ImageError::TooLarge {
                what: "number of entries",
                limit: limits.entries,
            },
            Refusal::TooLarge { .. } => ImageError::TooLarge {
                what: "unpacked size in bytes",
                limit: limits.bytes,
            },
            Refusal::Read(source) => hostile(layer, String::new(), source.to_string()),
            Refusal::Write { path, source } => ImageError::Cache {
                operation: "unpack",
                path,
                source,
            },
        }),
    }
}

/// A tar stream that could not be read: because its source failed, because the bytes are not the
/// blob, or because the blob is nonsense.
async fn unreadable<R: AsyncRead + Unpin>(
    layer: &super::manifest::Layer,
    mut blob: DigestReader<R>,
    source: io::Error,
) -> ImageError {
    if blob.failure().is_none() {
        // Its error, if any, is remembered in the reader.
        tokio::io::copy(&mut blob, &mut tokio::io::sink())
            .await
            .ok();
    }
    match blob.failure() {
        Some(SourceFailure::Corrupt(problem)) => mismatch(layer, problem.clone()),
        Some(SourceFailure::Broken(problem)) => ImageError::Unreachable {
            reference: layer.digest.clone(),
            operation: "give the whole layer",
            source: problem.clone().into(),
        },
        None => match blob.finish(&layer.digest) {
            Err(problem) => mismatch(layer, problem),
            Ok(()) => hostile(layer, String::new(), source.to_string()),
        },
    }
}

fn mismatch(layer: &super::manifest::Layer, problem: String) -> ImageError {
    ImageError::DigestMismatch {
        digest: layer.digest.clone(),
        problem,
    }
}

fn hostile(layer: &super::manifest::Layer, entry: String, problem: String) -> ImageError {
    ImageError::HostileLayer {
        layer: layer.digest.clone(),
        entry,
        problem,
    }
}

/// Reads what follows the archive, so that the whole blob is hashed.
async fn drain<R: AsyncRead + Unpin>(
    mut reader: GateReader<LayerReader<DigestReader<R>>>,
    gate: &Gate,
) -> Result<DigestReader<R>, (Refusal, Option<DigestReader<R>>)> {
    gate.allow(TRAILER_BYTES);
    let padding = tokio::io::copy(&mut reader, &mut tokio::io::sink()).await;
    let mut blob = reader.into_inner().into_blob();
    if let Err(source) = padding {
        return Err((Refusal::Read(source), Some(blob.into_inner())));
    }
    match tokio::io::copy(&mut blob, &mut tokio::io::sink()).await {
        Ok(_) => Ok(blob.into_inner()),
        Err(source) => Err((Refusal::Read(source), Some(blob.into_inner()))),
    }
}

struct Unpacker<'a> {
    staging: &'a Path,
    budget: &'a mut Budget,
    gate: Gate,
    /// Files, links and directories that this layer brought.
    created: HashSet<PathBuf>,
}

impl Unpacker<'_> {
    async fn run<R: AsyncRead + Unpin>(&mut self, archive: &mut Archive<R>) -> Result<(), Refusal> {
        let mut entries = archive.entries().map_err(Refusal::Read)?;
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            self.gate.allow(HEADER_BYTES);
            let Some(entry) = entries.next().await else {
                return Ok(());
            };
            let mut entry = entry.map_err(Refusal::Read)?;
            self.budget.entries = self
                .budget
                .entries
                .checked_sub(1)
                .ok_or(Refusal::TooLarge { what: "entries" })?;
            let size = entry.effective_size();
            self.budget.bytes = self
                .budget
                .bytes
                .checked_sub(size)
                .ok_or(Refusal::TooLarge { what: "bytes" })?;
            self.gate.allow(size.saturating_add(HEADER_BYTES));
            self.place(&mut entry, &mut buffer).await?;
            // Whatever was not wanted of this entry is read, so that the next one starts right.
            tokio::io::copy(&mut entry, &mut tokio::io::sink())
                .await
                .map_err(Refusal::Read)?;
        }
    }

    async fn place<R: AsyncRead + Unpin>(
        &mut self,
        entry: &mut Entry<Archive<R>>,
        buffer: &mut [u8],
    ) -> Result<(), Refusal> {
        let raw = entry.path_bytes().map_err(Refusal::Read)?.into_owned();
        let name = String::from_utf8_lossy(&raw).into_owned();
        let refuse = |problem: &str| Refusal::Hostile {
            entry: name.chars().take(200).collect(),
            problem: problem.to_owned(),
        };
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let path = EntryPath::parse(&raw).map_err(refuse)?;
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::Directory => {}
            EntryType::Symlink | EntryType::Link => {}
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                return Err(refuse("is a device or a pipe"));
            }
            _ => return Err(refuse("is of a kind that images do not need")),
        }
        let Some(relative) = path.below(DISK_DIRECTORY) else {
            if path.is(DISK_DIRECTORY) && kind != EntryType::Directory {
                return Err(refuse("replaces the disk directory"));
            }
            return Ok(());
        };
        if let Some(whiteout) = path.whiteout() {
            return self
                .white_out(&relative, &whiteout)
                .map_err(|problem| problem.name(refuse));
        }
        if kind == EntryType::Directory {
            return self
                .directory(&relative)
                .map_err(|problem| problem.name(refuse));
        }
        let link = match kind {
            EntryType::Symlink | EntryType::Link => {
                let target = entry.link_name_bytes().map_err(Refusal::Read)?;
                Some(
                    target
                        .ok_or_else(|| refuse("is a link to nothing"))?
                        .into_owned(),
                )
            }
            _ => None,
        };
        let target = self
            .make_way(&relative)
            .map_err(|problem| problem.name(refuse))?;
        match (kind, link) {
            (EntryType::Symlink, Some(link)) => {
                let link =
                    check_link_target(&link, relative.components().count() - 1).map_err(refuse)?;
                symlink(link, &target).map_err(|source| Refusal::Write {
                    path: target,
                    source,
                })
            }
            (EntryType::Link, Some(link)) => {
                let link = EntryPath::parse(&link).map_err(|_| refuse("links out of the image"))?;
                let source = link
                    .below(DISK_DIRECTORY)
                    .ok_or_else(|| refuse("links out of the disk directory"))?;
                let source = self
                    .existing_file(&source)
                    .map_err(|problem| problem.name(refuse))?;
                fs::hard_link(source, &target).map_err(|source| Refusal::Write {
                    path: target,
                    source,
                })
            }
            _ => write_file(entry, &target, buffer).await,
        }
    }

    fn disk(&self) -> PathBuf {
        self.staging.join(DISK_DIRECTORY)
    }

    /// Makes the parents of `relative` and removes what a lower layer left there.
    fn make_way(&mut self, relative: &Path) -> Result<PathBuf, Problem> {
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

    fn directory(&mut self, relative: &Path) -> Result<(), Problem> {
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
    fn existing_file(&self, relative: &Path) -> Result<PathBuf, Problem> {
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
    fn white_out(&self, relative: &Path, whiteout: &Whiteout) -> Result<(), Problem> {
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

/// Refusal of a path, before the entry's name is put to it.
enum Problem {
    Refused(&'static str),
    Failed(PathBuf, io::Error),
}

impl Problem {
    fn name(self, refuse: impl Fn(&str) -> Refusal) -> Refusal {
        match self {
            Self::Refused(problem) => refuse(problem),
            Self::Failed(path, source) => Refusal::Write { path, source },
        }
    }
}

async fn write_file<R: AsyncRead + Unpin>(
    entry: &mut Entry<Archive<R>>,
    target: &Path,
    buffer: &mut [u8],
) -> Result<(), Refusal> {
    let failed = |source| Refusal::Write {
        path: target.to_owned(),
        source,
    };
    let size = entry.effective_size();
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(target)
        .map_err(failed)?;
    let mut written = 0;
    loop {
        let read = entry.read(buffer).await.map_err(Refusal::Read)?;
        let Some(block) = buffer.get(..read).filter(|block| !block.is_empty()) else {
            break;
        };
        file.write_all(block).map_err(failed)?;
        written += read as u64;
    }
    if written == size {
        Ok(())
    } else {
        Err(Refusal::Read(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("file ends after {written} of {size} bytes"),
        )))
    }
}

#[cfg(test)]
mod tests;
