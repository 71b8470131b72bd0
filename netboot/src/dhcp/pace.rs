//! How much one client may ask, and how much is told about it.
//!
//! A flood from one MAC or from thousands must neither starve the other clients nor fill the
//! timeline. Not a firewall: what is dropped has been received. Only repetitions are dropped, because
//! anybody can send in the name of a MAC, and its owner asks with a transaction id of its own.
//! Invariant: memory is fixed, and neither rule depends on what other MACs do, but for a hash
//! collision, which forgets.

use std::hash::{BuildHasher, RandomState};

use jiff::Timestamp;

use crate::mac::MacAddr;

/// Requests of one MAC with one transaction id that are looked at in one second, unless others come
/// between. Firmware sends one in seconds.
const REPEATS_PER_SECOND: u16 = 100;
/// Requests of one MAC that are told at once; a boot has about eight.
const TELLS: u16 = 32;
/// Requests of one MAC that are told per second beyond those.
const TELLS_PER_SECOND: u16 = 2;
/// Unknown MACs that are told per second. Anybody can send from as many as he likes.
const UNKNOWN_PER_SECOND: u16 = 100;
/// MACs that are remembered; a power of two.
const SLOTS: usize = 1 << 14;

/// What to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Answer it and tell about it.
    Tell,
    /// Answer it.
    Quiet,
    /// Drop it.
    Drop,
}

/// The memory of both rules.
#[derive(Debug)]
pub(crate) struct Pacer {
    slots: Vec<Slot>,
    hash: RandomState,
    unknown: Slot,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    mac: MacAddr,
    second: i64,
    xid: u32,
    /// Requests with that id, one after the other.
    repeats: u16,
    tells: u16,
}

impl Slot {
    const fn new(mac: MacAddr, second: i64, tells: u16) -> Self {
        Self {
            mac,
            second,
            xid: 0,
            repeats: 0,
            tells,
        }
    }

    /// Begins a new second, if it is one; a clock that went back counts as one second later.
    fn tick(&mut self, second: i64, tells: u16, per_second: u16) {
        if self.second != second {
            let passed = second.saturating_sub(self.second).clamp(1, 60);
            let passed = u16::try_from(passed).unwrap_or(1);
            self.tells = tells.min(self.tells.saturating_add(passed * per_second));
            self.repeats = 0;
            self.second = second;
        }
    }
}

impl Pacer {
    /// A memory without any MAC.
    pub(crate) fn new() -> Self {
        let nobody = Slot::new(MacAddr::new([0; 6]), i64::MIN, TELLS);
        Self {
            slots: vec![nobody; SLOTS],
            hash: RandomState::new(),
            unknown: Slot::new(MacAddr::new([0; 6]), i64::MIN, UNKNOWN_PER_SECOND),
        }
    }

    /// Counts a request.
    pub(crate) fn admit(&mut self, mac: MacAddr, xid: u32, now: Timestamp) -> Pace {
        let second = now.as_second();
        let place = self.hash.hash_one(mac) & (SLOTS as u64 - 1);
        let place = usize::try_from(place).unwrap_or_default();
        let Some(slot) = self.slots.get_mut(place) else {
            return Pace::Quiet;
        };
        if slot.mac != mac {
            *slot = Slot::new(mac, second, TELLS);
        }
        slot.tick(second, TELLS, TELLS_PER_SECOND);
        if slot.xid != xid {
            (slot.xid, slot.repeats) = (xid, 0);
        }
        if slot.repeats >= REPEATS_PER_SECOND {
            return Pace::Drop;
        }
        slot.repeats += 1;
        if slot.tells == 0 {
            return Pace::Quiet;
        }
        slot.tells -= 1;
        Pace::Tell
    }

    /// Counts the telling of an unknown MAC; false when there were enough this second.
    pub(crate) fn admit_unknown(&mut self, now: Timestamp) -> bool {
        self.unknown
            .tick(now.as_second(), UNKNOWN_PER_SECOND, UNKNOWN_PER_SECOND);
        let admitted = self.unknown.tells > 0;
        self.unknown.tells = self.unknown.tells.saturating_sub(1);
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);
    const B: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 2]);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn count(pacer: &mut Pacer, mac: MacAddr, second: i64, requests: usize) -> [usize; 3] {
        let mut seen = [0; 3];
        for _ in 0..requests {
            match pacer.admit(mac, 7, at(second)) {
                Pace::Tell => seen[0] += 1,
                Pace::Quiet => seen[1] += 1,
                Pace::Drop => seen[2] += 1,
            }
        }
        seen
    }

    #[test]
    fn a_boot_is_told_whole() {
        let mut pacer = Pacer::new();
        for boot in 0..10 {
            assert_eq!(count(&mut pacer, A, boot * 60, 8), [8, 0, 0]);
        }
    }

    #[test]
    fn a_flood_of_one_mac_is_told_in_part_answered_in_part_and_hurts_no_other() {
        let mut pacer = Pacer::new();
        assert_eq!(count(&mut pacer, A, 100, 5000), [32, 68, 4900]);
        assert_eq!(count(&mut pacer, B, 100, 8), [8, 0, 0]);
        assert_eq!(count(&mut pacer, A, 101, 5000), [2, 98, 4900]);
        assert_eq!(
            count(&mut pacer, A, 99, 10),
            [2, 8, 0],
            "the clock went back"
        );
    }

    /// Whoever forges the MAC, with one id or with many, the owner's own exchange goes through.
    #[test]
    fn the_owner_of_a_forged_mac_is_answered() {
        for forged in [|_| 7, |n| n] {
            let mut pacer = Pacer::new();
            for n in 0..50_000_u32 {
                pacer.admit(A, forged(n), at(100));
                if n % 1000 == 999 {
                    let own = 0x8000_0000 | n;
                    for _ in ["discover", "request"] {
                        assert_ne!(pacer.admit(A, own, at(100)), Pace::Drop, "{n}");
                    }
                }
            }
        }
    }

    #[test]
    fn unknown_macs_are_told_at_a_bounded_rate_however_many_there_are() {
        let mut pacer = Pacer::new();
        let told = |pacer: &mut Pacer, second| {
            (0..10_000)
                .filter(|_| pacer.admit_unknown(at(second)))
                .count()
        };
        assert_eq!(told(&mut pacer, 5), 100);
        assert_eq!(told(&mut pacer, 6), 100);
        assert_eq!(told(&mut pacer, 600), 100);
    }
}
