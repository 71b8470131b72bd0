//! The options of a request as RFC 3396 wants them read: every part of an option joined, wherever it stands.

use std::{borrow::Cow, ops::Range};

use super::{
    option,
    request::{FIXED_PART, Refusal},
};

const SNAME: Range<usize> = 44..108;
const FILE: Range<usize> = 108..236;

/// The options of a message, the parts of each in one (RFC 3396 section 7): an option of fixed length
/// that is sent twice is thereby too long, whatever the two say.
pub(super) struct Joined<'a> {
    pub(super) options: Vec<(u8, Cow<'a, [u8]>)>,
    /// Where in `options` a code is, `UNSEEN` where it is not.
    places: [u16; 256],
}

const UNSEEN: u16 = u16::MAX;

impl Default for Joined<'_> {
    fn default() -> Self {
        Self {
            options: Vec::with_capacity(16),
            places: [UNSEEN; 256],
        }
    }
}

impl<'a> Joined<'a> {
    /// All options of a datagram, with those in `file` and `sname` when option 52 says that they
    /// are there (RFC 2131 section 4.1).
    pub(super) fn read(datagram: &'a [u8]) -> Result<Self, Refusal> {
        let mut joined = Self::default();
        joined.walk(datagram.get(FIXED_PART..).unwrap_or_default())?;
        let overload = match joined.get(option::OVERLOAD) {
            None => 0,
            Some([areas @ 1..=3]) => *areas,
            Some(_) => return Err(Refusal::BadOption(option::OVERLOAD)),
        };
        for (bit, area) in [(1, FILE), (2, SNAME)] {
            if overload & bit != 0 {
                joined.walk(datagram.get(area).unwrap_or_default())?;
            }
        }
        Ok(joined)
    }

    /// Refuses options that end in the middle of one. A missing end option is forgiven.
    fn walk(&mut self, mut rest: &'a [u8]) -> Result<(), Refusal> {
        while let Some((code, tail)) = rest.split_first() {
            rest = match *code {
                0 => tail,
                option::END => return Ok(()),
                code => {
                    let bad = Refusal::BadOption(code);
                    let (length, tail) = tail.split_first().ok_or(bad)?;
                    let (data, tail) = tail.split_at_checked(usize::from(*length)).ok_or(bad)?;
                    self.add(code, data)?;
                    tail
                }
            };
        }
        Ok(())
    }

    fn get(&self, code: u8) -> Option<&[u8]> {
        let place = self.places.get(usize::from(code))?;
        let (_, data) = self.options.get(usize::from(*place))?;
        Some(data)
    }

    fn add(&mut self, code: u8, data: &'a [u8]) -> Result<(), Refusal> {
        let bad = Refusal::BadOption(code);
        let place = self.places.get_mut(usize::from(code)).ok_or(bad)?;
        let Some((_, joined)) = self.options.get_mut(usize::from(*place)) else {
            // A datagram of MAX_DATAGRAM bytes has fewer options than a u16 counts.
            *place = u16::try_from(self.options.len()).map_err(|_| bad)?;
            self.options.push((code, Cow::Borrowed(data)));
            return Ok(());
        };
        // RFC 3046 knows no agent information in several parts, and it must all be echoed.
        if code == option::RELAY_AGENT {
            return Err(bad);
        }
        joined.to_mut().extend_from_slice(data);
        Ok(())
    }
}
