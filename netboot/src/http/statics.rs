//! Where the static files of an image are, and the content of small ones, kept in memory.
//!
//! An image never changes under its digest, so nothing here gets old. Invariant: what is kept is
//! bounded in files and bytes, and nothing outside an image's root is found.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use super::files::{BootFile, Modified};
use crate::images::UnpackedImage;
use crate::source::FileContent;

/// Larger files are read from the disk cache of the kernel, which costs less than copying them.
const SMALL_BYTES: u64 = 64 << 10;
/// Content kept of all images together.
const KEPT_BYTES: usize = 16 << 20;
/// Files known of all images together.
const KEPT_FILES: usize = 4096;

/// What is known of a name.
enum Known {
    /// Its file, or that there is none.
    Of(Option<Arc<BootFile>>),
    Not,
}

#[derive(Debug, Default)]
struct OfImage {
    root: PathBuf,
    /// None: there is no such file.
    files: HashMap<String, Option<Arc<BootFile>>>,
}

/// Static files by image digest and name.
#[derive(Debug, Default)]
pub(crate) struct StaticFiles {
    known: RwLock<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    images: HashMap<String, OfImage>,
    files: usize,
    bytes: usize,
}

impl StaticFiles {
    /// A plain file below the image's root, also through links that stay below it. With
    /// `keep_absence` a missing one is looked for once: for names that do not come from clients.
    pub(crate) async fn find(
        &self,
        image: &Arc<UnpackedImage>,
        name: &str,
        keep_absence: bool,
    ) -> Option<Arc<BootFile>> {
        if let Known::Of(known) = self.known(image, name) {
            return known;
        }
        let (of, relative) = (Arc::clone(image), name.to_owned());
        let looked = tokio::task::spawn_blocking(move || load(&of, &relative)).await;
        let found = looked.ok()?.map(Arc::new);
        if found.is_some() || keep_absence {
            self.keep(image, name, found.as_ref());
        }
        found
    }

    fn known(&self, image: &UnpackedImage, name: &str) -> Known {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let Some(of) = known.images.get(&image.digest) else {
            return Known::Not;
        };
        // The same image may have been fetched again, to another place.
        match of.files.get(name) {
            Some(found) if of.root == image.root => Known::Of(found.clone()),
            Some(_) | None => Known::Not,
        }
    }

    fn keep(&self, image: &UnpackedImage, name: &str, found: Option<&Arc<BootFile>>) {
        let size = found.map_or(0, |file| kept_bytes(file));
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.files >= KEPT_FILES || known.bytes + size > KEPT_BYTES {
            *known = Memory::default();
        }
        let of = known.images.entry(image.digest.clone()).or_default();
        if of.root != image.root {
            of.files.clear();
            of.root.clone_from(&image.root);
        }
        // Counted also when it replaces one: the counts are limits, not an account.
        of.files.insert(name.to_owned(), found.cloned());
        known.files += 1;
        known.bytes += size;
    }
}

fn kept_bytes(file: &BootFile) -> usize {
    match &file.content {
        FileContent::Bytes(bytes) => bytes.len(),
        FileContent::File { .. } => 0,
    }
}

fn load(image: &UnpackedImage, relative: &str) -> Option<BootFile> {
    let (path, found) = look_up(&image.root, relative)?;
    let content_type = content_type(relative);
    let small = (found.len() <= SMALL_BYTES)
        .then(|| fs::read(&path).ok())
        .flatten()
        .filter(|content| content.len() as u64 == found.len());
    let content = match small {
        Some(content) => FileContent::Bytes(Bytes::from(content)),
        None => FileContent::File {
            path,
            length: found.len(),
        },
    };
    let modified = Modified::of(&found);
    Some(BootFile::new(
        content,
        &image.digest,
        modified,
        content_type,
    ))
}

/// The plain file that `relative` names, if it lies below `root` after all links.
pub(crate) fn look_up(root: &Path, relative: &str) -> Option<(PathBuf, fs::Metadata)> {
    let root = fs::canonicalize(root).ok()?;
    let path = fs::canonicalize(root.join(relative)).ok()?;
    let found = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
    path.starts_with(&root).then_some((path, found))
}

fn content_type(name: &str) -> &'static str {
    let extension = Path::new(name).extension();
    if extension.is_some_and(|extension| extension.eq_ignore_ascii_case("efi")) {
        "application/efi"
    } else {
        "application/octet-stream"
    }
}
