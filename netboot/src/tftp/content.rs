//! The bytes of files, in chunks that all transfers share.
//!
//! Small on purpose: the page cache holds the files, this only saves a system call per block.
//! Invariants: a block lies in one chunk whole; no method waits; at most [`BUDGET`] bytes are kept
//! beyond what running transfers hold; a file shorter than announced is an error.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;

/// Bytes between the beginnings of two chunks.
const CHUNK: u64 = 256 << 10;
/// Kept for the next reader.
const BUDGET: usize = 24 << 20;

/// What makes two opened files the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Identity {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    length: u64,
}

/// A file open for reading.
#[derive(Debug, Clone)]
pub(super) struct Open {
    file: Arc<File>,
    identity: Identity,
}

impl Open {
    /// Opens; call it where waiting is allowed.
    pub(super) fn new(path: &Path, length: u64) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let identity = Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            length,
        };
        if metadata.len() < length {
            return Err(shorter());
        }
        Ok(Self {
            file: Arc::new(file),
            identity,
        })
    }
}

/// One chunk of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ChunkKey {
    identity: Identity,
    index: u64,
}

/// A chunk that must be read from disk.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) key: ChunkKey,
    file: Arc<File>,
    overlap: u16,
}

impl Load {
    /// Reads it; call it where waiting is allowed. A chunk overlaps the next by one block.
    pub(super) fn read(&self) -> io::Result<Bytes> {
        let start = self.key.index * CHUNK;
        let length = (self.key.identity.length - start).min(CHUNK + u64::from(self.overlap));
        let mut buffer = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut buffer, start)?;
        Ok(buffer.into())
    }
}

/// What a transfer reads.
#[derive(Debug)]
pub(super) enum Content {
    Memory(Bytes),
    File {
        open: Open,
        /// The chunk in use.
        chunk: Option<(u64, Bytes)>,
        /// The chunk after it, if nobody has been told yet.
        ahead: Option<ChunkKey>,
    },
}

/// An answer to a transfer that wants bytes.
#[derive(Debug)]
pub(super) enum Part<'a> {
    /// They are in these bytes, from here on.
    Here(&'a Bytes, usize),
    /// They must be read first.
    Missing(ChunkKey),
}

impl Content {
    pub(super) fn file(open: Open) -> Self {
        Self::File {
            open,
            chunk: None,
            ahead: None,
        }
    }

    /// The bytes of a block.
    pub(super) fn get(
        &mut self,
        chunks: &mut Chunks,
        offset: u64,
        length: u16,
    ) -> io::Result<Part<'_>> {
        match self {
            Self::Memory(bytes) => part(bytes, offset, length),
            Self::File { open, chunk, ahead } => {
                let index = offset / CHUNK;
                if chunk.as_ref().is_none_or(|(held, _)| *held != index) {
                    let key = ChunkKey {
                        identity: open.identity,
                        index,
                    };
                    let Some(bytes) = chunks.take(key) else {
                        *chunk = None;
                        return Ok(Part::Missing(key));
                    };
                    *chunk = Some((index, bytes));
                    *ahead = Self::after(key);
                }
                let (_, bytes) = chunk.as_ref().ok_or_else(shorter)?;
                part(bytes, offset - index * CHUNK, length)
            }
        }
    }

    /// The chunk that will be wanted next; told once, when the one before it comes into use.
    pub(super) fn take_ahead(&mut self) -> Option<ChunkKey> {
        match self {
            Self::Memory(_) => None,
            Self::File { ahead, .. } => ahead.take(),
        }
    }

    /// What to read from disk for this chunk, unless that has begun.
    pub(super) fn load(&self, chunks: &mut Chunks, key: ChunkKey, overlap: u16) -> Option<Load> {
        let Self::File { open, .. } = self else {
            return None;
        };
        let begun = chunks.held.contains_key(&key) || !chunks.loading.insert(key);
        (!begun).then(|| Load {
            key,
            file: Arc::clone(&open.file),
            overlap,
        })
    }

    /// The chunk after this one, if the file has one.
    pub(super) fn after(key: ChunkKey) -> Option<ChunkKey> {
        let index = key.index + 1;
        (index * CHUNK < key.identity.length).then_some(ChunkKey { index, ..key })
    }
}

fn part(bytes: &Bytes, offset: u64, length: u16) -> io::Result<Part<'_>> {
    let start = usize::try_from(offset).map_err(io::Error::other)?;
    if start.saturating_add(usize::from(length)) > bytes.len() {
        return Err(shorter());
    }
    Ok(Part::Here(bytes, start))
}

fn shorter() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter")
}

/// The chunks in memory.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    held: HashMap<ChunkKey, Held>,
    loading: std::collections::HashSet<ChunkKey>,
    bytes: usize,
    clock: u64,
}

#[derive(Debug)]
struct Held {
    bytes: Bytes,
    used: u64,
}

impl Chunks {
    fn take(&mut self, key: ChunkKey) -> Option<Bytes> {
        self.clock += 1;
        let held = self.held.get_mut(&key)?;
        held.used = self.clock;
        Some(held.bytes.clone())
    }

    /// A chunk was read, or could not be.
    pub(super) fn loaded(&mut self, key: ChunkKey, bytes: Option<Bytes>) {
        self.loading.remove(&key);
        let Some(bytes) = bytes else { return };
        self.clock += 1;
        self.bytes += bytes.len();
        let used = self.clock;
        if let Some(earlier) = self.held.insert(key, Held { bytes, used }) {
            self.bytes -= earlier.bytes.len();
        }
        while self.bytes > BUDGET {
            let oldest = self.held.iter().min_by_key(|(_, held)| held.used);
            let Some(key) = oldest.map(|(key, _)| *key) else {
                break;
            };
            if let Some(gone) = self.held.remove(&key) {
                self.bytes -= gone.bytes.len();
            }
        }
    }

    /// Nobody has read for a while.
    pub(super) fn clear(&mut self) {
        self.held = HashMap::new();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const BLOCK: u16 = 1000;

    fn read(content: &mut Content, chunks: &mut Chunks, offset: u64, length: u16) -> Bytes {
        loop {
            match content.get(chunks, offset, length).expect("reads") {
                Part::Here(bytes, start) => {
                    return bytes.slice(start..start + usize::from(length));
                }
                Part::Missing(key) => {
                    let load = content.load(chunks, key, BLOCK).expect("not begun");
                    assert!(content.load(chunks, key, BLOCK).is_none(), "read once");
                    let bytes = load.read().expect("reads");
                    chunks.loaded(key, Some(bytes));
                }
            }
        }
    }

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("creates");
        file.write_all(bytes).expect("writes");
        file
    }

    #[test]
    fn blocks_come_back_in_any_order_and_across_chunks() {
        let bytes: Vec<u8> = (0..700_000_u32).map(|n| (n % 251) as u8).collect();
        let file = file(&bytes);
        let open = Open::new(file.path(), 700_000).expect("opens");
        for mut content in [Content::file(open), Content::Memory(bytes.clone().into())] {
            let mut chunks = Chunks::default();
            for offset in [0, 262_000, 262_143, 262_144, 262_500, 0, 699_000, 525_000] {
                let want = &bytes[offset..offset + 1000];
                assert_eq!(read(&mut content, &mut chunks, offset as u64, BLOCK), want);
            }
            assert_eq!(read(&mut content, &mut chunks, 700_000, 0), b""[..]);
            assert!(content.get(&mut chunks, 699_001, BLOCK).is_err());
        }
    }

    #[test]
    fn the_next_chunk_is_told_once_before_it_is_wanted() {
        let file = file(&vec![1; 600_000]);
        let mut content = Content::file(Open::new(file.path(), 600_000).expect("opens"));
        let mut chunks = Chunks::default();
        assert_eq!(content.take_ahead(), None);
        let mut told = Vec::new();
        for offset in (0..600_000).step_by(1000) {
            read(&mut content, &mut chunks, offset, BLOCK);
            told.extend(content.take_ahead().map(|key| (offset / CHUNK, key.index)));
        }
        assert_eq!(told, [(0, 1), (1, 2)]);
    }

    #[test]
    fn a_file_that_is_a_whole_number_of_chunks_ends_with_an_empty_block() {
        let bytes = vec![7; usize::try_from(CHUNK).expect("fits")];
        let file = file(&bytes);
        let mut content = Content::file(Open::new(file.path(), CHUNK).expect("opens"));
        assert_eq!(
            read(&mut content, &mut Chunks::default(), CHUNK, 0),
            b""[..]
        );
    }

    #[test]
    fn a_file_that_is_too_short_is_refused() {
        assert!(Open::new(file(b"abc").path(), 4).is_err());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let length = 64 << 20;
        let file = tempfile::NamedTempFile::new().expect("creates");
        file.as_file().set_len(length).expect("grows");
        let mut content = Content::file(Open::new(file.path(), length).expect("opens"));
        let mut chunks = Chunks::default();
        for index in 0..length / CHUNK {
            read(&mut content, &mut chunks, index * CHUNK, BLOCK);
        }
        assert!(
            chunks.bytes <= BUDGET && chunks.bytes > BUDGET / 2,
            "{}",
            chunks.bytes
        );
        chunks.clear();
        assert!(chunks.held.is_empty());
    }
}
