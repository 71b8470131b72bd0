//! What waits to be sent on one port.
//!
//! Invariant: datagrams of one transfer leave in the order in which they were put here, and file
//! bytes are not copied before the kernel does.

use std::{collections::VecDeque, net::SocketAddrV4};

use bytes::Bytes;

use super::{packet::DATA_HEADER, table::Id};

/// Most blocks handed to the kernel in one piece; it takes 64 segments.
const MOST_BLOCKS: u16 = 64;
/// Most bytes of them: what fits one datagram, whole frames left over.
const MOST_BYTES: usize = 65_000;

/// One or more datagrams to one client.
#[derive(Debug)]
pub(super) struct Out {
    pub(super) to: SocketAddrV4,
    /// Whose it is; `None` for refusals.
    pub(super) transfer: Option<Id>,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    /// A whole packet.
    Packet(Bytes),
    /// Blocks that follow each other.
    Blocks(Blocks),
}

/// Blocks that follow each other in number and in memory; only the last may be shorter.
#[derive(Debug)]
pub(super) struct Blocks {
    first: u16,
    count: u16,
    blksize: u16,
    bytes: Bytes,
    start: usize,
    end: usize,
}

impl Blocks {
    /// The `length` bytes from `start` as one block.
    pub(super) fn one(block: u16, blksize: u16, bytes: &Bytes, start: usize, length: u16) -> Self {
        Self {
            first: block,
            count: 1,
            blksize,
            bytes: bytes.clone(),
            start,
            end: start + usize::from(length),
        }
    }

    /// Adds the next block, if it follows the others in number and in memory.
    pub(super) fn extend(&mut self, block: u16, bytes: &Bytes, start: usize, length: u16) -> bool {
        let length = usize::from(length);
        let whole = self.end - self.start == usize::from(self.count) * usize::from(self.blksize);
        let follows = block == self.first.wrapping_add(self.count)
            && start == self.end
            && std::ptr::eq(bytes.as_ptr(), self.bytes.as_ptr());
        let size = self.end - self.start + length + (usize::from(self.count) + 1) * DATA_HEADER;
        // An empty block has no bytes to tell it from the end of the one before.
        let fits = self.count < MOST_BLOCKS && size <= MOST_BYTES && length > 0;
        if !(whole && follows && fits) {
            return false;
        }
        self.count += 1;
        self.end += length;
        true
    }

    pub(super) fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// Bytes of one full packet.
    pub(super) fn packet_size(&self) -> u16 {
        self.blksize + u16::try_from(DATA_HEADER).unwrap_or_default()
    }

    /// Number and bytes of each block.
    pub(super) fn each(&self) -> impl Iterator<Item = (u16, &[u8])> {
        let (size, end) = (usize::from(self.blksize), self.end);
        (0..self.count).map(move |at| {
            let from = self.start + usize::from(at) * size;
            let to = (from + size).min(end);
            let bytes = self.bytes.get(from..to).unwrap_or_default();
            (self.first.wrapping_add(at), bytes)
        })
    }

    /// Forgets the first `count` blocks.
    pub(super) fn skip(&mut self, count: u16) {
        self.first = self.first.wrapping_add(count);
        self.count -= count.min(self.count);
        self.start = (self.start + usize::from(count) * usize::from(self.blksize)).min(self.end);
    }
}

/// Datagrams in the order of sending.
pub(super) type Outbox = VecDeque<Out>;

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(blocks: &Blocks) -> Vec<(u16, Vec<u8>)> {
        blocks
            .each()
            .map(|(number, bytes)| (number, bytes.to_vec()))
            .collect()
    }

    #[test]
    fn blocks_join_only_when_they_follow_each_other() {
        let file = Bytes::from_static(b"aabbcc.");
        let mut blocks = Blocks::one(u16::MAX, 2, &file, 0, 2);
        assert!(!blocks.extend(1, &file, 2, 2), "number");
        assert!(!blocks.extend(0, &file, 4, 2), "place");
        assert!(
            !blocks.extend(0, &Bytes::from_static(b"xxbb"), 2, 2),
            "chunk"
        );
        assert!(blocks.extend(0, &file, 2, 2));
        assert!(blocks.extend(1, &file, 4, 2));
        assert!(
            !blocks.extend(2, &file, 6, 0),
            "an empty block stands alone"
        );
        assert!(blocks.extend(2, &file, 6, 1));
        assert!(
            !blocks.extend(3, &file, 7, 0),
            "nothing follows a short one"
        );
        let want = [(u16::MAX, "aa"), (0, "bb"), (1, "cc"), (2, ".")];
        assert_eq!(numbers(&blocks), want.map(|(n, text)| (n, text.into())));
        blocks.skip(2);
        assert_eq!(
            numbers(&blocks),
            want[2..]
                .iter()
                .map(|(n, t)| (*n, (*t).into()))
                .collect::<Vec<_>>()
        );
        assert_eq!(numbers(&Blocks::one(9, 2, &file, 7, 0)), [(9, vec![])]);
    }

    #[test]
    fn a_piece_stays_within_what_the_kernel_takes() {
        let file = Bytes::from(vec![0; 1 << 20]);
        let mut blocks = Blocks::one(1, 1468, &file, 0, 1468);
        let mut next = 1;
        while blocks.extend(next + 1, &file, usize::from(next) * 1468, 1468) {
            next += 1;
        }
        assert_eq!(blocks.count(), 44);
    }
}
