//! How long to wait before sending again (RFC 6298, with bounds for a LAN).
//!
//! Invariant: the time to wait is never below [`KNOWN_FLOOR`] and never above the ceiling, which is what
//! the client asked for with the `timeout` option, or two seconds.

use std::time::Duration;

/// Before anything was measured.
const FIRST: Duration = Duration::from_millis(500);
/// Firmware polls its network card; below this we would resend what is only waiting to be read.
const FLOOR: Duration = Duration::from_millis(100);
/// Once this many answers have shown that the client is quick, lost packets are met sooner.
const KNOWN: u32 = 8;
const KNOWN_FLOOR: Duration = Duration::from_millis(50);
const CEILING: Duration = Duration::from_secs(2);
/// `FLOOR << 5` is beyond the ceiling.
const MOST_DOUBLINGS: u32 = 7;

/// Smoothed round-trip time and the back-off on top of it.
#[derive(Debug)]
pub(crate) struct RoundTrip {
    smoothed: Option<Duration>,
    variation: Duration,
    ceiling: Duration,
    doublings: u32,
    samples: u32,
}

impl RoundTrip {
    pub(crate) fn new(ceiling: Option<Duration>) -> Self {
        Self {
            smoothed: None,
            variation: Duration::ZERO,
            ceiling: ceiling.unwrap_or(CEILING),
            doublings: 0,
            samples: 0,
        }
    }

    /// A packet sent once was answered after this time; only that ends a back-off.
    pub(crate) fn measured(&mut self, sample: Duration) {
        self.doublings = 0;
        self.samples = self.samples.saturating_add(1);
        match self.smoothed {
            None => {
                self.smoothed = Some(sample);
                self.variation = sample / 2;
            }
            Some(smoothed) => {
                self.variation = (self.variation * 3 + smoothed.abs_diff(sample)) / 4;
                self.smoothed = Some((smoothed * 7 + sample) / 8);
            }
        }
    }

    pub(crate) fn resend_after(&self) -> Duration {
        let base = self
            .smoothed
            .map_or(FIRST, |smoothed| smoothed + self.variation * 4);
        let floor = if self.samples < KNOWN {
            FLOOR
        } else {
            KNOWN_FLOOR
        };
        (base.max(floor) * (1 << self.doublings)).min(self.ceiling)
    }

    pub(crate) fn back_off(&mut self) {
        self.doublings = (self.doublings + 1).min(MOST_DOUBLINGS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_wait_follows_the_network_and_doubles_on_silence() {
        let mut round_trip = RoundTrip::new(None);
        assert_eq!(round_trip.resend_after(), ms(500));
        round_trip.measured(ms(40));
        assert_eq!(round_trip.resend_after(), ms(120));
        for _ in 0..50 {
            round_trip.measured(ms(1));
        }
        assert_eq!(round_trip.resend_after(), ms(50));
        for want in [100, 200, 400, 800, 1600, 2000, 2000] {
            round_trip.back_off();
            assert_eq!(round_trip.resend_after(), ms(want));
        }
        round_trip.measured(ms(1));
        assert_eq!(round_trip.resend_after(), ms(50));
    }

    #[test]
    fn a_client_must_have_been_quick_several_times() {
        let mut round_trip = RoundTrip::new(None);
        for _ in 1..KNOWN {
            round_trip.measured(ms(1));
            assert_eq!(round_trip.resend_after(), FLOOR);
        }
        round_trip.measured(ms(1));
        assert_eq!(round_trip.resend_after(), KNOWN_FLOOR);
    }

    #[test]
    fn the_client_may_ask_for_another_ceiling() {
        let mut round_trip = RoundTrip::new(Some(ms(5000)));
        for _ in 0..20 {
            round_trip.back_off();
        }
        assert_eq!(round_trip.resend_after(), ms(5000));
    }
}
