//! What a relay says about the client's place: the sub-options of option 82 that matter here.
//!
//! Not the echo: the option goes back byte by byte, read or not (RFC 3046 section 2.2). Invariant: a
//! malformed option reads as one without sub-options from the bad place on.

use std::{fmt::Write as _, net::Ipv4Addr};

/// RFC 3046: the port of the switch, in the switch's own words.
const CIRCUIT_ID: u8 = 1;
/// RFC 3046: the switch, or whoever is behind the port.
const REMOTE_ID: u8 = 2;
/// RFC 3527: an address in the client's subnet, when `giaddr` is in another.
const LINK_SELECTION: u8 = 5;
/// RFC 5107: the address the client shall know its server by, so that renewals pass the relay.
const SERVER_IDENTIFIER_OVERRIDE: u8 = 11;
/// RFC 8357: the relay wants the reply at the port it sent from.
const RELAY_SOURCE_PORT: u8 = 19;
/// Longest identifier kept as text.
const SHOWN: usize = 64;

/// Option 82, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayAgent(Vec<u8>);

impl RelayAgent {
    /// The option with these contents.
    pub const fn new(contents: Vec<u8>) -> Self {
        Self(contents)
    }

    /// The contents, to be echoed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Sub-option 1, fit to be shown.
    pub fn circuit_id(&self) -> Option<String> {
        self.find(CIRCUIT_ID).map(shown)
    }

    /// Sub-option 2, fit to be shown.
    pub fn remote_id(&self) -> Option<String> {
        self.find(REMOTE_ID).map(shown)
    }

    /// Sub-option 5.
    pub fn link_selection(&self) -> Option<Ipv4Addr> {
        self.address(LINK_SELECTION)
    }

    /// Sub-option 11.
    pub fn server_identifier_override(&self) -> Option<Ipv4Addr> {
        self.address(SERVER_IDENTIFIER_OVERRIDE)
    }

    /// Whether sub-option 19 is there.
    pub fn wants_source_port(&self) -> bool {
        self.find(RELAY_SOURCE_PORT).is_some()
    }

    fn address(&self, code: u8) -> Option<Ipv4Addr> {
        let octets: [u8; 4] = self.find(code)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets)).filter(|address| !address.is_unspecified())
    }

    fn find(&self, wanted: u8) -> Option<&[u8]> {
        let mut rest = self.0.as_slice();
        while let [code, length, tail @ ..] = rest {
            let value = tail.get(..usize::from(*length))?;
            if *code == wanted {
                return Some(value);
            }
            rest = tail.get(usize::from(*length)..)?;
        }
        None
    }
}

/// Printable ASCII as it is, anything else as hexadecimal bytes with colons.
fn shown(value: &[u8]) -> String {
    let value = value.get(..SHOWN).unwrap_or(value);
    let printable = !value.is_empty() && value.iter().all(|b| b.is_ascii_graphic() || *b == b' ');
    if printable {
        return String::from_utf8_lossy(value).into_owned();
    }
    let mut text = String::with_capacity(value.len() * 3);
    for (position, byte) in value.iter().enumerate() {
        let separator = if position == 0 { "" } else { ":" };
        // Writing to a String does not fail.
        write!(text, "{separator}{byte:02x}").ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn agent(contents: &[u8]) -> RelayAgent {
        RelayAgent::new(contents.to_vec())
    }

    #[test]
    fn sub_options_are_found_wherever_they_are() {
        let full = agent(b"\x01\x06Eth1/7\x02\x03\x00\x04\xff\x05\x04\x0a\x02\x00\x00\x0b\x04\x0a\x02\x00\x01\x13\x00");
        assert_eq!(full.circuit_id().as_deref(), Some("Eth1/7"));
        assert_eq!(full.remote_id().as_deref(), Some("00:04:ff"));
        assert_eq!(full.link_selection(), Some(Ipv4Addr::new(10, 2, 0, 0)));
        let server = full.server_identifier_override();
        assert_eq!(server, Some(Ipv4Addr::new(10, 2, 0, 1)));
        assert!(full.wants_source_port());
    }

    #[test]
    fn what_is_absent_or_malformed_is_none() {
        for contents in [
            &b""[..],
            b"\x01",
            b"\x01\x09abc",
            b"\x05\x03\x0a\x02\x00",
            b"\x0b\x04\0\0\0\0",
        ] {
            let agent = agent(contents);
            assert_eq!(agent.circuit_id(), None, "{contents:?}");
            assert_eq!(agent.link_selection(), None, "{contents:?}");
            assert_eq!(agent.server_identifier_override(), None, "{contents:?}");
            assert!(!agent.wants_source_port(), "{contents:?}");
        }
        assert_eq!(agent(b"\x01\x00").circuit_id().as_deref(), Some(""));
    }

    proptest! {
        #[test]
        fn no_contents_make_reading_panic(contents in proptest::collection::vec(any::<u8>(), 0..=255)) {
            let agent = RelayAgent::new(contents);
            let text = agent.circuit_id().unwrap_or_default() + &agent.remote_id().unwrap_or_default();
            prop_assert!(text.chars().all(|c| c.is_ascii_graphic() || c == ' '));
            let _found = (agent.link_selection(), agent.server_identifier_override());
        }
    }
}
