//! The bytes of a file, block by block.
//!
//! Not a cache: one buffer per transfer. Invariant: a block that was read before and lies in the
//! buffer costs no system call, and a file shorter than announced is an error, not a short block.

use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc};

use bytes::Bytes;
use tokio::task::spawn_blocking;

use crate::source::FileContent;

/// Read at once; at the usual block sizes one blocking call serves a hundred blocks or more.
const CHUNK: usize = 128 << 10;

/// A file open for one transfer.
#[derive(Debug)]
pub(crate) enum Reader {
    Memory(Bytes),
    Disk {
        file: Arc<File>,
        chunk: Vec<u8>,
        start: u64,
    },
}

impl Reader {
    pub(crate) async fn open(content: FileContent) -> io::Result<Self> {
        match content {
            FileContent::Bytes(bytes) => Ok(Self::Memory(bytes)),
            FileContent::File { path, .. } => {
                let file = blocking(move || File::open(path)).await?;
                Ok(Self::Disk {
                    file: Arc::new(file),
                    chunk: Vec::new(),
                    start: 0,
                })
            }
        }
    }

    /// Exactly `length` bytes from `offset`.
    pub(crate) async fn read(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        match self {
            Self::Memory(bytes) => part(bytes, offset, length),
            Self::Disk { file, chunk, start } => {
                let held = offset
                    .checked_sub(*start)
                    .and_then(|at| part(chunk, at, length).ok());
                if held.is_none() {
                    let (file, mut buffer) = (Arc::clone(file), std::mem::take(chunk));
                    *chunk = blocking(move || {
                        fill(&file, offset, length, &mut buffer)?;
                        Ok(buffer)
                    })
                    .await?;
                    *start = offset;
                }
                part(chunk, offset - *start, length)
            }
        }
    }
}

fn part(bytes: &[u8], offset: u64, length: usize) -> io::Result<&[u8]> {
    let offset = usize::try_from(offset).map_err(io::Error::other)?;
    offset
        .checked_add(length)
        .and_then(|end| bytes.get(offset..end))
        .ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter"))
}

/// Reads a chunk from `offset`, at least `length` bytes of it.
fn fill(file: &File, offset: u64, length: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.resize(CHUNK.max(length), 0);
    let mut held = 0;
    while held < buffer.len() {
        let at = offset + u64::try_from(held).map_err(io::Error::other)?;
        match file.read_at(buffer.get_mut(held..).unwrap_or_default(), at) {
            Ok(0) => break,
            Ok(count) => held += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(held);
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn blocks_come_back_in_any_order_and_across_chunks() -> io::Result<()> {
        let bytes: Vec<u8> = (0..400_000_u32).map(|n| (n % 251) as u8).collect();
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(&bytes)?;
        let content = FileContent::File {
            path: file.path().to_owned(),
            length: 400_000,
        };
        let memory = FileContent::Bytes(bytes.clone().into());
        for content in [content, memory] {
            let mut reader = Reader::open(content).await?;
            for offset in [0, 1000, 130_000, 131_000, 130_500, 0, 399_000, 398_999] {
                let want = &bytes[offset..offset + 1000];
                assert_eq!(reader.read(offset as u64, 1000).await?, want, "{offset}");
            }
            assert_eq!(reader.read(400_000, 0).await?, b"");
            assert!(reader.read(399_001, 1000).await.is_err());
        }
        Ok(())
    }
}
