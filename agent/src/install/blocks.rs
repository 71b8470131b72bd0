//! Two threads that pass large aligned blocks in a circle: one fills, one drains.
//!
//! Bounded: four blocks exist, so a slow drain stops the filler. Invariant: blocks arrive in
//! order and each is full but the last.

use std::io::{self, Read};
use std::sync::mpsc;
use std::thread;

/// Bytes of a block. Large enough for one request to a disk, a multiple of every block size.
pub const BLOCK_BYTES: usize = 4 * 1024 * 1024;
/// Direct IO wants memory, offset and length to be multiples of the logical block size.
pub const ALIGNMENT: usize = 4096;
const BLOCKS: usize = 4;

/// A buffer whose start is aligned for direct IO.
#[derive(Debug)]
struct Block {
    storage: Vec<u8>,
    start: usize,
    length: usize,
}

impl Block {
    fn new() -> Self {
        let storage = vec![0; BLOCK_BYTES + ALIGNMENT];
        let start = storage.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self {
            storage,
            start,
            length: 0,
        }
    }

    fn fill(&mut self, mut fill: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<()> {
        let room = self
            .storage
            .get_mut(self.start..self.start + BLOCK_BYTES)
            .unwrap_or_default();
        self.length = fill(room)?.min(BLOCK_BYTES);
        Ok(())
    }

    fn bytes(&self) -> &[u8] {
        self.storage
            .get(self.start..self.start + self.length)
            .unwrap_or_default()
    }
}

/// Why [`pump`] stopped.
#[derive(Debug)]
pub enum PumpError<E> {
    /// The filling side failed.
    Fill(io::Error),
    /// The draining side failed.
    Drain(E),
}

/// Calls `fill` in a thread of its own until it fills less than a whole block, and `drain` here
/// with every block.
///
/// # Errors
/// The first failure of either side.
pub fn pump<E>(
    mut fill: impl FnMut(&mut [u8]) -> io::Result<usize> + Send,
    mut drain: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), PumpError<E>> {
    let (filled_sender, filled) = mpsc::sync_channel::<io::Result<Block>>(BLOCKS);
    let (empty_sender, empty) = mpsc::sync_channel::<Block>(BLOCKS);
    for _ in 0..BLOCKS {
        if empty_sender.send(Block::new()).is_err() {
            break;
        }
    }
    thread::scope(|scope| {
        scope.spawn(move || {
            // Ends when the drain has gone away or the source has ended.
            while let Ok(mut block) = empty.recv() {
                let outcome = block.fill(&mut fill);
                let is_last = outcome.is_err() || block.length < BLOCK_BYTES;
                if filled_sender.send(outcome.map(|()| block)).is_err() || is_last {
                    break;
                }
            }
        });
        // Owned here, so that an early return ends the filler.
        let (filled, empty_sender) = (filled, empty_sender);
        while let Ok(block) = filled.recv() {
            let block = block.map_err(PumpError::Fill)?;
            if !block.bytes().is_empty() {
                drain(block.bytes()).map_err(PumpError::Drain)?;
            }
            // The filler has ended after its last block.
            drop(empty_sender.send(block));
        }
        Ok(())
    })
}

/// Fills `room` as far as `source` goes.
///
/// # Errors
/// The source failed.
pub fn read_full(source: &mut impl Read, room: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = room.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_and_arrive_in_order() {
        let mut source = io::repeat(5).take(2 * BLOCK_BYTES as u64 + 3);
        let mut sizes = vec![];
        pump(
            |room| read_full(&mut source, room),
            |block| {
                assert!(block.as_ptr().align_offset(ALIGNMENT) == 0);
                assert!(block.iter().all(|byte| *byte == 5));
                sizes.push(block.len());
                Ok::<(), ()>(())
            },
        )
        .unwrap();
        assert_eq!(sizes, [BLOCK_BYTES, BLOCK_BYTES, 3]);
    }

    #[test]
    fn either_side_can_end_it() {
        let filled = pump(|_| Err(io::Error::other("no")), |_| Ok::<(), ()>(()));
        assert!(matches!(filled, Err(PumpError::Fill(_))));
        let drained = pump(|room| Ok(room.len()), |_| Err("full"));
        assert!(matches!(drained, Err(PumpError::Drain("full"))));
    }
}
