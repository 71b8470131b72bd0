//! An Ethernet hardware address, the key under which DHCP finds a machine.
//!
//! Not an interface look-up and not a general EUI type: six bytes, one canonical spelling.
//! Invariant: two equal addresses print equally (`52:54:00:77:00:11`), however they were written.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Six bytes of IEEE 802 MAC-48; ordered, hashed and printed by value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr([u8; 6]);

/// The text is not a MAC address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a MAC address: want six hexadecimal bytes such as 52:54:00:77:00:11")]
pub struct MacAddrError {
    text: String,
}

impl MacAddr {
    /// The address made of these bytes, first on the wire first.
    pub const fn new(octets: [u8; 6]) -> Self {
        Self(octets)
    }

    /// The bytes, first on the wire first.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl From<[u8; 6]> for MacAddr {
    fn from(octets: [u8; 6]) -> Self {
        Self(octets)
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, octet) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { ":" };
            write!(f, "{separator}{octet:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddr {
    type Err = MacAddrError;

    /// Accepts `aa:bb:cc:dd:ee:ff`, `aa-bb-cc-dd-ee-ff`, `aabb.ccdd.eeff` and twelve bare digits,
    /// in either case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || MacAddrError {
            text: text.chars().take(40).collect(),
        };
        let width = match text.len() {
            12 => 12,
            14 => 4,
            17 => 2,
            _ => return Err(refused()),
        };
        let separator = match width {
            12 => None,
            4 => Some('.'),
            _ => text.chars().nth(2).filter(|c| matches!(c, ':' | '-')),
        };
        if width != 12 && separator.is_none() {
            return Err(refused());
        }
        let mut octets = [0_u8; 6];
        let mut digits = 0_usize;
        for (position, character) in text.chars().enumerate() {
            if width != 12 && position % (width + 1) == width {
                if Some(character) != separator {
                    return Err(refused());
                }
                continue;
            }
            let nibble = character.to_digit(16).and_then(|d| u8::try_from(d).ok());
            let (Some(nibble), Some(octet)) = (nibble, octets.get_mut(digits / 2)) else {
                return Err(refused());
            };
            *octet = (*octet << 4) | nibble;
            digits += 1;
        }
        if digits == 12 {
            Ok(Self(octets))
        } else {
            Err(refused())
        }
    }
}

impl TryFrom<String> for MacAddr {
    type Error = MacAddrError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> Self {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_common_spelling_is_the_same_address() {
        let want = MacAddr::new([0x52, 0x54, 0, 0xab, 0, 0x11]);
        for text in [
            "52:54:00:ab:00:11",
            "52:54:00:AB:00:11",
            "52-54-00-ab-00-11",
            "5254.00ab.0011",
            "525400AB0011",
        ] {
            assert_eq!(text.parse::<MacAddr>(), Ok(want), "{text}");
        }
        assert_eq!(want.to_string(), "52:54:00:ab:00:11");
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "52:54:00:77:00",
            "52:54-00:77:00:11",
            "52:54:00:77:00:1g",
            "52.54.00.77.00.11",
        ] {
            assert!(text.parse::<MacAddr>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn printing_and_parsing_round_trips(octets: [u8; 6]) {
            let mac = MacAddr::new(octets);
            prop_assert_eq!(mac.to_string().parse::<MacAddr>(), Ok(mac));
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,20}") {
            let _parsed = text.parse::<MacAddr>();
        }
    }
}
