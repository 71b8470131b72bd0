//! The boot timeline: turns what boot services, installer and host tell into entries for people
//! and evidence for the engine, and shows them.
//!
//! Deciding what an event means is pure; only [`Recorder`] writes. Invariant: text from the wire
//! never reaches an entry with control characters, and no token or capability ever does.

mod collapse;
mod describe;
mod print;
mod recorder;
mod refusal;
mod reports;
mod silence;
mod words;

pub use describe::{entries_of, observed_of};
pub use print::print;
pub use recorder::{LoaderWords, Recorder, RecorderTask, RunningOperation};
pub use reports::{boot_reported, install_claimed, install_reported};
