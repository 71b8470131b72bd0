//! Percentiles of times.
//!
//! Keeps every sample: a run has a few million at most. Invariant: the order of samples does not
//! change the result.

use std::time::Duration;

use serde_json::{Value, json};

/// Times in microseconds.
#[derive(Debug, Default)]
pub struct Hist(Vec<u32>);

impl Hist {
    /// Adds one time.
    pub fn add(&mut self, time: Duration) {
        self.0
            .push(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
    }

    /// The time below which this share (0 to 1000, in thousandths) of all lies, in microseconds.
    fn at(&self, thousandths: usize) -> u32 {
        let last = self.0.len().saturating_sub(1);
        self.0.get(last * thousandths / 1000).copied().unwrap_or(0)
    }

    /// `{"n", "min", "p50", "p90", "p99", "p999", "max"}` in microseconds.
    pub fn json(mut self) -> Value {
        self.0.sort_unstable();
        json!({
            "n": self.0.len(), "min": self.at(0), "p50": self.at(500), "p90": self.at(900),
            "p99": self.at(990), "p999": self.at(999), "max": self.at(1000),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_samples() {
        let mut hist = Hist::default();
        for micros in (0..=100).rev() {
            hist.add(Duration::from_micros(micros));
        }
        let json = hist.json();
        assert_eq!(
            (&json["p50"], &json["p99"], &json["max"]),
            (&50.into(), &99.into(), &100.into())
        );
        assert_eq!(Hist::default().json()["n"], 0);
    }
}
