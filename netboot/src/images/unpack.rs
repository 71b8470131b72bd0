//! Unpacks one layer into a staging directory and trusts nothing in it.
//!
//! Only the `disk/` subtree is written; every other entry is checked and skipped. Owners, modes
//! and times of the archive are ignored. Runs on a blocking thread. Invariant: no write goes
//! through a symbolic link, and none lands outside `<staging>/disk`.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use futures::StreamExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio_tar::{Archive, Entry, EntryType};

use super::entry::{EntryPath, check_link_target};
use super::error::{ImageError, cache_failure};
use super::reader::{DigestReader, Gate, GateReader, LayerReader, SourceFailure};
use super::tree::{Problem, Tree};

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
        tree: Tree::new(staging),
        budget,
        gate,
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
        Err((refusal @ Refusal::Write { .. }, _) | (refusal, None)) => {
            Err(told(layer, refusal, limits))
        }
        Err((refusal, Some(blob))) => {
            let verdict = told(layer, refusal, limits);
            Err(blamed(layer, blob, verdict).await)
        }
    }
}

fn told(layer: &super::manifest::Layer, refusal: Refusal, limits: Budget) -> ImageError {
    match refusal {
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
        Refusal::Write { path, source } => cache_failure("unpack", &path, source),
    }
}

/// What is to blame for a layer that was refused: its source, which failed or gave other bytes than
/// the digest names, or the layer itself, of which `verdict` is the judgement. For that it is read to
/// its end, which is no further than its announced size.
async fn blamed<R: AsyncRead + Unpin>(
    layer: &super::manifest::Layer,
    mut blob: DigestReader<R>,
    verdict: ImageError,
) -> ImageError {
    if blob.failure().is_none() {
        // Its error, if any, is remembered in the reader.
        tokio::io::copy(&mut blob, &mut tokio::io::sink())
            .await
            .ok();
    }
    match blob.failure() {
        Some(SourceFailure(problem)) => ImageError::Unreachable {
            reference: layer.digest.clone(),
            operation: "give the whole layer",
            source: problem.clone().into(),
        },
        None => match blob.finish(&layer.digest) {
            Err(problem) => mismatch(layer, problem),
            Ok(()) => verdict,
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
    tree: Tree<'a>,
    budget: &'a mut Budget,
    gate: Gate,
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
        let kind = Kind::of(entry.header().entry_type());
        if kind == Kind::Global {
            return Ok(());
        }
        let path = EntryPath::parse(&raw).map_err(refuse)?;
        match kind {
            Kind::Device => return Err(refuse("is a device or a pipe")),
            Kind::Strange => return Err(refuse("is of a kind that images do not need")),
            Kind::Global | Kind::File | Kind::Directory | Kind::Symlink | Kind::HardLink => {}
        }
        if path.is(DISK_DIRECTORY) {
            if kind != Kind::Directory {
                return Err(refuse("replaces the disk directory"));
            }
            return self
                .tree
                .directory(Path::new(""))
                .map_err(|problem| problem.name(refuse));
        }
        let Some(relative) = path.below(DISK_DIRECTORY) else {
            return Ok(());
        };
        if let Some(whiteout) = path.whiteout() {
            let done = self.tree.white_out(&relative, &whiteout);
            return done.map_err(|problem| problem.name(refuse));
        }
        if kind == Kind::Directory {
            return self
                .tree
                .directory(&relative)
                .map_err(|problem| problem.name(refuse));
        }
        let link = entry
            .link_name_bytes()
            .map_err(Refusal::Read)?
            .unwrap_or_default()
            .into_owned();
        let target = self
            .tree
            .make_way(&relative)
            .map_err(|problem| problem.name(refuse))?;
        match kind {
            Kind::Symlink => {
                let depth = relative.components().count() - 1;
                let link = check_link_target(&link, depth).map_err(refuse)?;
                symlink(link, &target).map_err(|source| Refusal::Write {
                    path: target,
                    source,
                })
            }
            Kind::HardLink => {
                let link = EntryPath::parse(&link).map_err(|_| refuse("links out of the image"))?;
                let source = link
                    .below(DISK_DIRECTORY)
                    .ok_or_else(|| refuse("links out of the disk directory"))?;
                let source = self
                    .tree
                    .existing_file(&source)
                    .map_err(|problem| problem.name(refuse))?;
                fs::hard_link(source, &target).map_err(|source| Refusal::Write {
                    path: target,
                    source,
                })
            }
            Kind::File | Kind::Directory | Kind::Device | Kind::Global | Kind::Strange => {
                write_file(entry, &target, buffer).await
            }
        }
    }
}

/// What an entry is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Directory,
    Symlink,
    HardLink,
    Device,
    /// Defaults for later entries; nothing of it matters here.
    Global,
    /// Sparse files, volume labels and whatever else there is.
    Strange,
}

impl Kind {
    fn of(entry_type: EntryType) -> Self {
        if entry_type.is_file() || entry_type.is_contiguous() {
            Self::File
        } else if entry_type.is_dir() {
            Self::Directory
        } else if entry_type.is_symlink() {
            Self::Symlink
        } else if entry_type.is_hard_link() {
            Self::HardLink
        } else if entry_type.is_character_special()
            || entry_type.is_block_special()
            || entry_type.is_fifo()
        {
            Self::Device
        } else if entry_type.is_pax_global_extensions() {
            Self::Global
        } else {
            Self::Strange
        }
    }
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
pub(in crate::images) mod tests;
