//! The raw image as a reader over the compressed one.
//!
//! Invariant: memory is bounded by the largest zstd window allowed here (128 MiB), whatever the
//! image asks for.

use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use metalman_api::install::ImageCompression;

const INPUT_BUFFER: usize = 256 * 1024;
/// log2 of the largest window; `zstd --long` makes 27.
const LARGEST_WINDOW_LOG: u32 = 27;

/// Unpacks `source`: every gzip member, every zstd frame.
///
/// # Errors
/// The decoder cannot be made (out of memory).
pub fn decompress<'a>(
    compression: ImageCompression,
    source: impl Read + Send + 'a,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let source = BufReader::with_capacity(INPUT_BUFFER, source);
    Ok(match compression {
        ImageCompression::Gzip => Box::new(MultiGzDecoder::new(source)),
        ImageCompression::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(source)?;
            decoder.window_log_max(LARGEST_WINDOW_LOG)?;
            Box::new(decoder)
        }
        ImageCompression::None => Box::new(source),
    })
}
