//! A bad network in front of a generator: delay and seeded loss, each way.
//!
//! It stands inside the generator, so no kernel module and no tunnel is needed; a server cannot
//! tell the difference. Invariant: datagrams of one direction keep their order.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::random::Random;

/// What the link does to each datagram, each way.
#[derive(Debug, Clone, Copy, Default)]
pub struct Impairment {
    /// Time on the wire, one way.
    pub delay: Duration,
    /// Datagrams of a million that vanish.
    pub loss_per_million: u64,
}

/// Which way a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To the server.
    Out,
    /// From the server.
    In,
}

/// A datagram on the wire.
#[derive(Debug)]
pub struct Held {
    /// Whose it is.
    pub client: usize,
    /// Where it goes.
    pub way: Way,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The link.
#[derive(Debug)]
pub struct Link {
    impairment: Impairment,
    random: Random,
    wire: VecDeque<(Instant, Held)>,
    spare: Vec<Vec<u8>>,
}

impl Link {
    /// A link that loses by this seed.
    pub fn new(impairment: Impairment, seed: u64) -> Self {
        Self {
            impairment,
            random: Random::new(seed),
            wire: VecDeque::new(),
            spare: Vec::new(),
        }
    }

    /// Whether datagrams pass untouched, so that [`Self::put`] need not be called.
    pub fn is_clean(&self) -> bool {
        self.impairment.delay.is_zero() && self.impairment.loss_per_million == 0
    }

    /// Puts a datagram on the wire, or loses it.
    pub fn put(&mut self, now: Instant, client: usize, way: Way, bytes: &[u8]) {
        if self.random.happens(self.impairment.loss_per_million) {
            return;
        }
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(bytes);
        let held = Held {
            client,
            way,
            bytes: copy,
        };
        self.wire.push_back((now + self.impairment.delay, held));
    }

    /// The next datagram that has arrived. Give its bytes back with [`Self::recycle`].
    pub fn arrived(&mut self, now: Instant) -> Option<Held> {
        if self.wire.front().is_some_and(|(at, _)| *at <= now) {
            return self.wire.pop_front().map(|(_, held)| held);
        }
        None
    }

    /// Keeps the memory of a datagram for the next one.
    pub fn recycle(&mut self, held: Held) {
        self.spare.push(held.bytes);
    }

    /// When the next datagram arrives.
    pub fn next(&self) -> Option<Instant> {
        self.wire.front().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_arrive_late_in_order_and_a_share_is_lost() {
        let delay = Duration::from_micros(500);
        let impairment = Impairment {
            delay,
            loss_per_million: 100_000,
        };
        let (mut link, now) = (Link::new(impairment, 1), Instant::now());
        for number in 0..=255_u8 {
            link.put(now, 0, Way::In, &[number]);
        }
        assert!(link.arrived(now).is_none());
        let mut got = Vec::new();
        while let Some(held) = link.arrived(now + delay) {
            got.push(held.bytes[0]);
            link.recycle(held);
        }
        assert!((200..250).contains(&got.len()), "{}", got.len());
        assert!(got.is_sorted());
    }
}
