//! What the disk really holds: the hash of its first bytes as read back from the medium.

use sha2::{Digest, Sha256};

use super::blocks::{self, PumpError};
use super::error::InstallError;
use super::target::Target;

/// SHA-256 of the first `length` bytes in lower-case hexadecimal; reading and hashing overlap.
///
/// # Errors
/// The device cannot be read.
pub fn hash_target(
    target: &Target,
    device: &str,
    length: u64,
    mut progress: impl FnMut(u64),
) -> Result<String, InstallError> {
    let mut offset = 0;
    let mut done = 0;
    let mut hasher = Sha256::new();
    let pumped = blocks::pump(
        |room| {
            let count = usize::try_from(length - offset)
                .unwrap_or(usize::MAX)
                .min(room.len());
            target.read_at(room.get_mut(..count).unwrap_or_default(), offset)?;
            offset += count as u64;
            Ok(count)
        },
        |block| {
            hasher.update(block);
            done += block.len() as u64;
            progress(done);
            Ok::<(), InstallError>(())
        },
    );
    pumped.map_err(|error| match error {
        PumpError::Drain(error) => error,
        PumpError::Fill(source) => InstallError::WriteFailed {
            action: "reading back",
            device: device.to_owned(),
            source,
        },
    })?;
    let digits: Vec<String> = hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(digits.concat())
}
