//! Emptying a disk and writing an image to it.
//!
//! Invariant: a byte of the image is left unwritten only if it is zero and lies below the mark
//! up to which the device itself has promised zeros.

use std::io::Read;
use std::time::{Duration, Instant};

use super::blocks::{self, PumpError};
use super::error::InstallError;
use super::stream::StreamError;
use super::target::Target;

/// Zero runs are found in steps of this many bytes.
const GRAIN: usize = 64 * 1024;
/// Bytes emptied by one call: a slow device is noticed after one of them.
const PUNCH_STEP: u64 = 1 << 30;
/// Emptying saves writing; a device that needs longer writes zeros itself and saves nothing.
const LONGEST_PUNCH: Duration = Duration::from_mins(1);
/// The backup partition table of an older installation lies at the very end.
const TAIL: u64 = 1 << 20;

/// A disk being written.
#[derive(Debug)]
pub struct DiskWriter<'a> {
    /// Open device.
    pub target: &'a Target,
    /// Its path, for messages.
    pub device: &'a str,
    /// Its size in bytes.
    pub size: u64,
}

impl DiskWriter<'_> {
    fn failed(&self, action: &'static str) -> impl Fn(std::io::Error) -> InstallError {
        let device = self.device.to_owned();
        move |source| InstallError::WriteFailed {
            action,
            device: device.clone(),
            source,
        }
    }

    /// Empties the disk from its start as far as the device can do it quickly, and wipes its end.
    /// Returns the offset below which the disk reads as zeros.
    ///
    /// # Errors
    /// The end of the disk cannot be written.
    pub fn discard(&self, mut progress: impl FnMut(u64)) -> Result<u64, InstallError> {
        let started = Instant::now();
        let mut zeroed = 0;
        while zeroed < self.size && started.elapsed() < LONGEST_PUNCH {
            let step = PUNCH_STEP.min(self.size - zeroed);
            if self.target.punch(zeroed, step).is_err() {
                break;
            }
            zeroed += step;
            progress(zeroed);
        }
        if zeroed < self.size {
            let tail = TAIL.min(self.size);
            let zeros = vec![0; usize::try_from(tail).unwrap_or_default()];
            self.target
                .write_at(&zeros, self.size - tail)
                .map_err(self.failed("wiping the end of"))?;
        }
        Ok(zeroed)
    }

    /// Writes `image`, which must have exactly `raw_size` bytes, and waits until the device has it.
    /// `progress` is told the bytes done.
    ///
    /// # Errors
    /// The image cannot be fetched, is damaged, or has another size; the device failed.
    pub fn write(
        &self,
        mut image: impl Read + Send,
        raw_size: u64,
        zeroed: u64,
        mut progress: impl FnMut(u64),
    ) -> Result<(), InstallError> {
        let mut done = 0;
        let pumped = blocks::pump(
            |room| blocks::read_full(&mut image, room),
            |block| {
                if done + block.len() as u64 > raw_size {
                    return Err(InstallError::ImageCorrupt {
                        detail: format!("it is longer than the announced {raw_size} bytes"),
                    });
                }
                for run in runs(block) {
                    let at = done + run.offset as u64;
                    let end = at + run.bytes.len() as u64;
                    if !(run.is_zero && end <= zeroed) {
                        self.target
                            .write_at(run.bytes, at)
                            .map_err(self.failed("writing"))?;
                    }
                }
                done += block.len() as u64;
                progress(done);
                Ok(())
            },
        );
        pumped.map_err(|error| match error {
            PumpError::Drain(error) => error,
            PumpError::Fill(error) => source_error(error, raw_size, done),
        })?;
        if done < raw_size {
            return Err(InstallError::ImageTruncated {
                expected: raw_size,
                got: done,
            });
        }
        self.target.settle().map_err(self.failed("writing"))
    }
}

/// Tells a broken download from a damaged image.
fn source_error(error: std::io::Error, raw_size: u64, done: u64) -> InstallError {
    let stream = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<StreamError>());
    match stream {
        Some(StreamError::WrongSize {
            expected, found, ..
        }) if found < expected => InstallError::ImageTruncated {
            expected: *expected,
            got: *found,
        },
        Some(
            StreamError::GaveUp { .. } | StreamError::Refused { .. } | StreamError::Changed { .. },
        ) => InstallError::DownloadFailed(error),
        None if error.kind() == std::io::ErrorKind::UnexpectedEof => InstallError::ImageTruncated {
            expected: raw_size,
            got: done,
        },
        Some(StreamError::WrongSize { .. }) | None => InstallError::ImageCorrupt {
            detail: error.to_string(),
        },
    }
}

/// A stretch of a block that is all zero or not.
#[derive(Debug, PartialEq, Eq)]
struct Run<'a> {
    offset: usize,
    bytes: &'a [u8],
    is_zero: bool,
}

/// Splits a block into runs of zero and of other grains.
fn runs(block: &[u8]) -> Vec<Run<'_>> {
    let mut runs: Vec<Run<'_>> = vec![];
    for (index, grain) in block.chunks(GRAIN).enumerate() {
        let offset = index * GRAIN;
        let is_zero = is_zero(grain);
        match runs.last_mut() {
            Some(last) if last.is_zero == is_zero => {
                last.bytes = block
                    .get(last.offset..offset + grain.len())
                    .unwrap_or_default();
            }
            Some(_) | None => runs.push(Run {
                offset,
                bytes: grain,
                is_zero,
            }),
        }
    }
    runs
}

fn is_zero(bytes: &[u8]) -> bool {
    // Folding short pieces lets the compiler use wide registers and still stop early.
    bytes
        .chunks(512)
        .all(|piece| piece.iter().fold(0, |all, byte| all | byte) == 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbouring_grains_of_one_kind_are_one_run() {
        let mut block = vec![0; 4 * GRAIN + 7];
        block[2 * GRAIN] = 1;
        block[3 * GRAIN - 1] = 1;
        let found: Vec<_> = runs(&block)
            .iter()
            .map(|run| (run.offset, run.bytes.len(), run.is_zero))
            .collect();
        assert_eq!(
            found,
            [
                (0, 2 * GRAIN, true),
                (2 * GRAIN, GRAIN, false),
                (3 * GRAIN, GRAIN + 7, true)
            ]
        );
    }

    proptest! {
        #[test]
        fn runs_cover_the_block_in_order(
            kinds in proptest::collection::vec(0_u8..2, 0..6),
            rest in 0..GRAIN,
        ) {
            let mut block: Vec<u8> = kinds.iter().flat_map(|kind| vec![*kind; GRAIN]).collect();
            block.extend(vec![0; rest]);
            let joined: Vec<u8> = runs(&block).iter().flat_map(|run| run.bytes.to_vec()).collect();
            prop_assert_eq!(joined, block);
        }
    }
}
