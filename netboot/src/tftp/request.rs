//! A read request from the wire, checked, or a named refusal; and what we grant of its options.
//!
//! Not the search for the file. Invariant: a [`ReadRequest`] asks in octet mode for a non-empty
//! name, and a [`Granted`] is within our limits.

use std::time::Duration;

use super::packet::{ErrorCode, OPCODE_RRQ, OPCODE_WRQ};

/// Longest request (RFC 2347 section 2); it is also the most we read from the request port.
pub const MAX_REQUEST: usize = 512;
/// Block size without an option (RFC 1350).
pub const DEFAULT_BLKSIZE: u16 = 512;

/// RRQ in octet mode. Options that are malformed or out of their range are left out, as RFC 2347
/// has the server ignore them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRequest {
    /// As asked for.
    pub path: String,
    /// RFC 2348: 8 to 65464 bytes.
    pub blksize: Option<u16>,
    /// RFC 2349: the client wants to know the size.
    pub tsize: bool,
    /// RFC 2349: 1 to 255 seconds.
    pub timeout: Option<u8>,
    /// RFC 7440: 1 to 65535 blocks.
    pub windowsize: Option<u16>,
}

/// Why a datagram to the request port starts no transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a request at all: late packets of old transfers, noise. Not answered.
    #[error("not a request")]
    NotARequest,
    /// The request breaks the rules of RFC 1350 or 2347.
    #[error("malformed request")]
    Malformed,
    /// WRQ.
    #[error("this server is read-only")]
    Write,
    /// Text modes would change the bytes of a boot file.
    #[error("only octet mode is served, netascii is not")]
    NotOctet,
}

impl Refusal {
    /// Bounded label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NotARequest => "not_a_request",
            Self::Malformed => "malformed",
            Self::Write => "write",
            Self::NotOctet => "not_octet",
        }
    }

    /// The code to answer with; `None` = do not answer.
    pub(crate) const fn code(self) -> Option<ErrorCode> {
        match self {
            Self::NotARequest => None,
            Self::Malformed | Self::NotOctet => Some(ErrorCode::IllegalOperation),
            Self::Write => Some(ErrorCode::AccessViolation),
        }
    }
}

/// The most we grant, whatever is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionLimits {
    /// Largest block; 1468 is what fits an Ethernet frame.
    pub blksize: u16,
    /// Most blocks in flight.
    pub windowsize: u16,
    /// Longest resend time a client may ask for.
    pub timeout: Duration,
}

impl Default for OptionLimits {
    fn default() -> Self {
        Self {
            blksize: 1468,
            windowsize: 64,
            timeout: Duration::from_secs(10),
        }
    }
}

/// What a transfer will use, and which of it the client is told in the OACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// Bytes per block.
    pub blksize: u16,
    /// Blocks per acknowledgement.
    pub windowsize: u16,
    /// Upper bound of the resend time, when the client named one.
    pub timeout: Option<Duration>,
    pub(crate) acknowledged: Vec<(&'static str, u64)>,
}

impl ReadRequest {
    /// Reads a datagram as received on the request port.
    pub fn parse(datagram: &[u8]) -> Result<Self, Refusal> {
        let Some(([high, low], rest)) = datagram.split_first_chunk::<2>() else {
            return Err(Refusal::NotARequest);
        };
        match u16::from_be_bytes([*high, *low]) {
            OPCODE_RRQ => {}
            OPCODE_WRQ => return Err(Refusal::Write),
            _ => return Err(Refusal::NotARequest),
        }
        let texts = rest.strip_suffix(&[0]).ok_or(Refusal::Malformed)?;
        if datagram.len() > MAX_REQUEST {
            return Err(Refusal::Malformed);
        }
        let mut texts = texts.split(|byte| *byte == 0).map(std::str::from_utf8);
        let mut next = || texts.next().transpose().map_err(|_| Refusal::Malformed);
        let path = next()?
            .filter(|path| !path.is_empty())
            .ok_or(Refusal::Malformed)?
            .to_owned();
        let mode = next()?.ok_or(Refusal::Malformed)?;
        if !mode.eq_ignore_ascii_case("octet") {
            return Err(Refusal::NotOctet);
        }
        let mut request = Self {
            path,
            blksize: None,
            tsize: false,
            timeout: None,
            windowsize: None,
        };
        while let Some(name) = next()? {
            let value = next()?.ok_or(Refusal::Malformed)?;
            request.take(name, value);
        }
        Ok(request)
    }

    fn take(&mut self, name: &str, value: &str) {
        let Ok(number) = value.parse::<u16>() else {
            return;
        };
        match name.to_ascii_lowercase().as_str() {
            "blksize" if (8..=65464).contains(&number) => self.blksize = Some(number),
            "tsize" => self.tsize = true,
            "timeout" => self.timeout = u8::try_from(number).ok().filter(|seconds| *seconds > 0),
            "windowsize" if number > 0 => self.windowsize = Some(number),
            _ => {}
        }
    }

    /// What a transfer of `length` bytes gets of the options.
    pub fn grant(&self, limits: OptionLimits, length: u64) -> Granted {
        let blksize = self.blksize.map(|size| size.min(limits.blksize));
        let windowsize = self
            .windowsize
            .map(|size| size.min(limits.windowsize).max(1));
        // RFC 2349 has the server repeat the value or leave the option out.
        let timeout = self
            .timeout
            .filter(|seconds| Duration::from_secs(u64::from(*seconds)) <= limits.timeout);
        let acknowledged = [
            ("tsize", self.tsize.then_some(length)),
            ("blksize", blksize.map(u64::from)),
            ("timeout", timeout.map(u64::from)),
            ("windowsize", windowsize.map(u64::from)),
        ];
        Granted {
            blksize: blksize.unwrap_or(DEFAULT_BLKSIZE),
            windowsize: windowsize.unwrap_or(1),
            timeout: timeout.map(|seconds| Duration::from_secs(u64::from(seconds))),
            acknowledged: acknowledged
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &[u8]) -> Result<ReadRequest, Refusal> {
        ReadRequest::parse(text)
    }

    #[test]
    fn the_requests_of_the_boot_chain_are_understood() {
        let probe = b"\0\x01shimx64.efi\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0";
        let request = parse(probe).expect("parses");
        assert_eq!(
            request,
            ReadRequest {
                path: "shimx64.efi".into(),
                blksize: Some(1468),
                tsize: true,
                timeout: None,
                windowsize: Some(4),
            }
        );
        let granted = request.grant(OptionLimits::default(), 1_048_504);
        assert_eq!((granted.blksize, granted.windowsize), (1468, 4));
        assert_eq!(
            granted.acknowledged,
            [("tsize", 1_048_504), ("blksize", 1468), ("windowsize", 4)]
        );
        let grub = parse(b"\0\x01/grub/grub.cfg\0OCTET\0BLKSIZE\x001024\0tsize\x000\0");
        assert_eq!(grub.map(|request| request.blksize), Ok(Some(1024)));
    }

    #[test]
    fn what_is_not_a_plain_read_is_refused_by_name() {
        for (bytes, want) in [
            (&b""[..], Refusal::NotARequest),
            (b"\0", Refusal::NotARequest),
            (b"\0\x04\0\x01", Refusal::NotARequest),
            (b"\0\x02file\0octet\0", Refusal::Write),
            (b"\0\x01file\0netascii\0", Refusal::NotOctet),
            (b"\0\x01file\0mail\0", Refusal::NotOctet),
            (b"\0\x01file\0octet", Refusal::Malformed),
            (b"\0\x01\0octet\0", Refusal::Malformed),
            (b"\0\x01file\0", Refusal::Malformed),
            (b"\0\x01file\0octet\0blksize\0", Refusal::Malformed),
            (b"\0\x01fi\xffle\0octet\0", Refusal::Malformed),
        ] {
            assert_eq!(parse(bytes), Err(want), "{bytes:?}");
        }
        let mut long = b"\0\x01".to_vec();
        long.extend([b'x'; 510]);
        long.extend(b"\0octet\0");
        assert_eq!(parse(&long), Err(Refusal::Malformed));
    }

    #[test]
    fn a_time_out_is_granted_as_asked_or_not_at_all() {
        for (asked, want) in [(3, Some(3)), (10, Some(10)), (11, None)] {
            let bytes = format!("\0\x01f\0octet\0timeout\0{asked}\0");
            let request = parse(bytes.as_bytes()).expect("parses");
            let granted = request.grant(OptionLimits::default(), 1);
            assert_eq!(granted.timeout, want.map(Duration::from_secs));
            let told = want.map(|seconds| ("timeout", seconds));
            assert_eq!(granted.acknowledged, Vec::from_iter(told));
        }
    }

    #[test]
    fn options_out_of_range_or_unknown_are_ignored_and_large_ones_cut() {
        let odd = b"\0\x01f\0octet\0blksize\x007\0timeout\x000\0windowsize\x000\0rollover\x000\0";
        let granted = parse(odd)
            .expect("parses")
            .grant(OptionLimits::default(), 1);
        assert_eq!(granted.acknowledged, []);
        let huge = b"\0\x01f\0octet\0blksize\x0065464\0windowsize\x0065535\0timeout\x00255\0";
        let granted = parse(huge)
            .expect("parses")
            .grant(OptionLimits::default(), 1);
        assert_eq!(
            granted.acknowledged,
            [("blksize", 1468), ("windowsize", 64)]
        );
        assert_eq!(granted.timeout, None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_parsing_panic(bytes in prop::collection::vec(any::<u8>(), 0..=600)) {
            let _parsed = parse(&bytes);
        }

        #[test]
        fn no_text_after_an_opcode_makes_parsing_panic(text in "[a-z0-9\\x00]{0,80}") {
            let mut bytes = vec![0, 1];
            bytes.extend(text.bytes());
            if let Ok(request) = parse(&bytes) {
                let granted = request.grant(OptionLimits::default(), u64::MAX);
                prop_assert!((8..=1468).contains(&granted.blksize));
                prop_assert!((1..=64).contains(&granted.windowsize));
            }
        }
    }
}
