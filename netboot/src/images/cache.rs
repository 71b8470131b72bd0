//! The cache on disk: one directory per digest and one file of remembered references.
//!
//! ```text
//! <cache>/oci/sha256_<hex>/disk/…      content of the image
//! <cache>/oci/sha256_<hex>/image.json  what was measured
//! <cache>/oci/references.json          reference and architecture → digest
//! <cache>/oci/uses.json                digest → when it was last used
//! <cache>/oci/signatures.json          digest → key its signature was verified with
//! <cache>/oci/.tmp-…                   a fetch under way; removed at start
//! ```
//! Invariant: a directory with the name of a digest is complete, because it got its name by one
//! rename after everything in it was verified.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::digest::{hex_part, is_digest};
use super::error::{ImageError, cache_failure as failed};
use super::store::ResolvedImage;
use super::unpack::DISK_DIRECTORY;
use super::unpacked::{Compression, DiskArtifact, ImageMetadata, UnpackedImage};

const RECORD_NAME: &str = "image.json";
const REFERENCES_NAME: &str = "references.json";
const SIGNATURES_NAME: &str = "signatures.json";
const USES_NAME: &str = "uses.json";
const STAGING_PREFIX: &str = ".tmp-";
const STAGING_FILE_PREFIX: &str = ".new-";
const RECORD_VERSION: u32 = 1;

/// The directory `<cache>/oci`.
#[derive(Debug)]
pub(crate) struct Cache {
    root: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    version: u32,
    digest: String,
    metadata: ImageMetadata,
    disk: Option<DiskRecord>,
}

/// What a reference meant; an older form of the file has the digest alone.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Remembered {
    Both { digest: String, index: String },
    Digest(String),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DiskRecord {
    name: String,
    compression: Compression,
    compressed_size: u64,
    raw_size: u64,
    raw_sha256: String,
}

impl Cache {
    /// Creates the directory and removes what an interrupted fetch left.
    pub(crate) fn open(cache_dir: &Path) -> Result<Self, ImageError> {
        let cache = Self {
            root: cache_dir.join("oci"),
        };
        fs::create_dir_all(&cache.root).map_err(|e| failed("create", &cache.root, e))?;
        for path in cache.entries()? {
            if file_name(&path).starts_with(STAGING_PREFIX) {
                fs::remove_dir_all(&path).map_err(|e| failed("remove", &path, e))?;
            } else if file_name(&path).starts_with(STAGING_FILE_PREFIX) {
                fs::remove_file(&path).map_err(|e| failed("remove", &path, e))?;
            }
        }
        Ok(cache)
    }

    fn entries(&self) -> Result<Vec<PathBuf>, ImageError> {
        fs::read_dir(&self.root)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
            .map_err(|e| failed("list", &self.root, e))
    }

    /// All complete images with the bytes they take. One whose record cannot be read or whose disk has another size is left
    /// out and removed: it will be fetched again.
    pub(crate) fn load(&self) -> Result<HashMap<String, (UnpackedImage, u64)>, ImageError> {
        let mut images = HashMap::new();
        for path in self.entries()? {
            let Some(hex) = file_name(&path).strip_prefix("sha256_").map(str::to_owned) else {
                continue;
            };
            let digest = format!("sha256:{hex}");
            match self.load_one(&digest) {
                Some(image) => {
                    let bytes = tree_size(&path).map_err(|e| failed("measure", &path, e))?;
                    images.insert(digest, (image, bytes));
                }
                None => {
                    tracing::warn!(image.digest = %digest, "removing unusable image from the cache");
                    fs::remove_dir_all(&path).map_err(|e| failed("remove", &path, e))?;
                }
            }
        }
        Ok(images)
    }

    /// The complete image of a digest, if the cache has it.
    pub(crate) fn load_one(&self, digest: &str) -> Option<UnpackedImage> {
        let directory = self.directory(digest)?;
        let bytes = fs::read(directory.join(RECORD_NAME)).ok()?;
        let record: Record = serde_json::from_slice(&bytes).ok()?;
        let root = directory.join(DISK_DIRECTORY);
        if record.version != RECORD_VERSION || record.digest != digest || !root.is_dir() {
            return None;
        }
        let disk = match record.disk {
            None => None,
            Some(disk) => {
                let path = root.join(&disk.name);
                let found = fs::symlink_metadata(&path).ok()?;
                if !found.is_file() || found.len() != disk.compressed_size {
                    return None;
                }
                Some(DiskArtifact {
                    path,
                    compression: disk.compression,
                    compressed_size: disk.compressed_size,
                    raw_size: disk.raw_size,
                    raw_sha256: disk.raw_sha256,
                })
            }
        };
        Some(UnpackedImage {
            digest: record.digest,
            root,
            metadata: record.metadata,
            disk,
        })
    }

    /// A private directory to unpack into; removed when dropped.
    pub(crate) fn staging(&self) -> Result<TempDir, ImageError> {
        tempfile::Builder::new()
            .prefix(STAGING_PREFIX)
            .tempdir_in(&self.root)
            .map_err(|e| failed("create staging directory in", &self.root, e))
    }

    /// Gives a complete staging directory its final name, durably.
    pub(crate) fn commit(
        &self,
        staging: TempDir,
        digest: &str,
        metadata: ImageMetadata,
        disk: Option<&DiskArtifact>,
    ) -> Result<(UnpackedImage, u64), ImageError> {
        let target = self
            .directory(digest)
            .ok_or_else(|| ImageError::InvalidManifest {
                subject: digest.to_owned(),
                problem: "it is not a sha256 digest".to_owned(),
            })?;
        let record = Record {
            version: RECORD_VERSION,
            digest: digest.to_owned(),
            metadata,
            disk: disk.map(|disk| DiskRecord {
                name: file_name(&disk.path).to_owned(),
                compression: disk.compression,
                compressed_size: disk.compressed_size,
                raw_size: disk.raw_size,
                raw_sha256: disk.raw_sha256.clone(),
            }),
        };
        write_json(&staging.path().join(RECORD_NAME), &record)?;
        sync_tree(staging.path()).map_err(|e| failed("sync", staging.path(), e))?;
        // A leftover under the final name is unusable, or the image would have been found.
        match fs::remove_dir_all(&target) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("replace", &target, error)),
        }
        fs::rename(staging.path(), &target).map_err(|e| failed("rename into", &target, e))?;
        // The directory no longer has its temporary name: nothing is left to remove.
        let _renamed = staging.keep();
        sync(&self.root).map_err(|e| failed("sync", &self.root, e))?;
        let image = self.load_one(digest).ok_or_else(|| {
            failed(
                "read back",
                &target,
                io::Error::other("the record does not match"),
            )
        })?;
        let bytes = tree_size(&target).map_err(|e| failed("measure", &target, e))?;
        Ok((image, bytes))
    }

    /// Takes an image out of the cache at once; its files go when the answer is dropped.
    pub(crate) fn take_out(&self, digest: &str) -> Result<Option<TempDir>, ImageError> {
        let Some(directory) = self.directory(digest) else {
            return Ok(None);
        };
        let grave = self.staging()?;
        match fs::rename(&directory, grave.path().join("image")) {
            Ok(()) => Ok(Some(grave)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("remove", &directory, error)),
        }
    }

    fn directory(&self, digest: &str) -> Option<PathBuf> {
        Some(self.root.join(format!("sha256_{}", hex_part(digest)?)))
    }

    /// What references resolved to, from the last run; empty when there is none.
    pub(crate) fn load_references(&self) -> BTreeMap<String, ResolvedImage> {
        let remembered: BTreeMap<String, Remembered> = self.load_map(REFERENCES_NAME);
        remembered
            .into_iter()
            .map(|(key, remembered)| match remembered {
                Remembered::Both { digest, index } => (key, ResolvedImage { digest, index }),
                Remembered::Digest(digest) => {
                    let index = digest.clone();
                    (key, ResolvedImage { digest, index })
                }
            })
            .filter(|(_, image)| is_digest(&image.digest) && is_digest(&image.index))
            .collect()
    }

    /// When each image was last used, as a count that only grows.
    pub(crate) fn load_uses(&self) -> BTreeMap<String, u64> {
        self.load_map(USES_NAME)
    }

    /// Replaces what [`Self::load_uses`] gives.
    pub(crate) fn save_uses(&self, uses: &BTreeMap<String, u64>) -> Result<(), ImageError> {
        self.save_map(USES_NAME, uses)
    }

    /// Which key the signature of each image was verified with.
    pub(crate) fn load_signatures(&self) -> BTreeMap<String, String> {
        self.load_map(SIGNATURES_NAME)
    }

    /// Replaces what [`Self::load_signatures`] gives.
    pub(crate) fn save_signatures(
        &self,
        signatures: &BTreeMap<String, String>,
    ) -> Result<(), ImageError> {
        self.save_map(SIGNATURES_NAME, signatures)
    }

    fn load_map<V: DeserializeOwned>(&self, name: &str) -> BTreeMap<String, V> {
        let Ok(bytes) = fs::read(self.root.join(name)) else {
            return BTreeMap::new();
        };
        serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::warn!(file = name, error = %error, "file of the image cache is unreadable, starting without");
            BTreeMap::new()
        })
    }

    /// Replaces the remembered references, durably.
    pub(crate) fn save_references(
        &self,
        references: &BTreeMap<String, ResolvedImage>,
    ) -> Result<(), ImageError> {
        let remembered: BTreeMap<&str, Remembered> = references
            .iter()
            .map(|(key, image)| {
                let (digest, index) = (image.digest.clone(), image.index.clone());
                (key.as_str(), Remembered::Both { digest, index })
            })
            .collect();
        self.save_map(REFERENCES_NAME, &remembered)
    }

    fn save_map(&self, name: &str, map: &impl Serialize) -> Result<(), ImageError> {
        let path = self.root.join(name);
        let staging = tempfile::Builder::new()
            .prefix(STAGING_FILE_PREFIX)
            .tempfile_in(&self.root)
            .map_err(|e| failed("write", &path, e))?;
        serde_json::to_writer_pretty(staging.as_file(), map)
            .map_err(|e| failed("write", &path, e.into()))?;
        staging
            .as_file()
            .sync_all()
            .map_err(|e| failed("write", &path, e))?;
        staging
            .persist(&path)
            .map_err(|e| failed("replace", &path, e.error))?;
        Ok(())
    }
}

fn file_name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), ImageError> {
    let text = serde_json::to_vec_pretty(value).map_err(|e| failed("write", path, e.into()))?;
    let mut file = File::create_new(path).map_err(|e| failed("write", path, e))?;
    file.write_all(&text).map_err(|e| failed("write", path, e))
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Flushes every file and directory, so that the later rename cannot outlive their content.
fn sync_tree(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            sync_tree(&entry.path())?;
        } else if kind.is_file() {
            sync(&entry.path())?;
        }
    }
    sync(directory)
}

/// Bytes of all files, each counted once however many names it has.
fn tree_size(directory: &Path) -> io::Result<u64> {
    fn walk(directory: &Path, seen: &mut HashSet<u64>) -> io::Result<u64> {
        let mut bytes = 0;
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let found = entry.metadata()?;
            if found.is_dir() {
                bytes += walk(&entry.path(), seen)?;
            } else if seen.insert(found.ino()) {
                bytes += found.len();
            }
        }
        Ok(bytes)
    }
    walk(directory, &mut HashSet::new())
}
