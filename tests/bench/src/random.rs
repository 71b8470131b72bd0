//! A small seeded generator (xorshift64*): the same seed loses the same packets.

/// Its state; never zero.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Starts from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// True once in `per_million` of a million times.
    pub fn happens(&mut self, per_million: u64) -> bool {
        per_million > 0 && (self.number() >> 20) % 1_000_000 < per_million
    }
}
