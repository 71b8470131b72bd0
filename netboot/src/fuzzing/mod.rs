//! Hostile inputs, each with an oracle: what must hold whatever the bytes are.
//!
//! One function per input of the outside world. cargo-fuzz calls them (`tests/fuzz`), and so do
//! ordinary tests, with the kept corpus and with random bytes. Compiled for these two only.
//! Invariant: a function here returns for good behaviour, also for a refusal, and panics for a
//! finding.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how an oracle reports a finding"
)]

mod dhcp;
mod http;
mod images;
mod request;
mod template;
mod tftp;
mod words;

pub use dhcp::dhcp;
pub use http::http;
pub use images::images;
pub use request::request;
pub use template::template;
pub use tftp::tftp;
#[cfg(test)]
pub(crate) use words::{grub_words, kernel_arguments};

/// Takes choices out of fuzzer bytes; zeros when they are used up.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or_default()
    }

    fn number(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// The next `count` bytes, or as many as there are.
    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn rest(&mut self) -> &'a [u8] {
        self.bytes(usize::MAX)
    }
}

#[cfg(test)]
mod tests;
