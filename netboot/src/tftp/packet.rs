//! TFTP packets other than requests, as bytes.
//!
//! Invariant: building never fails; reading never panics and ignores what follows a packet.

/// Error codes (RFC 1350, RFC 2347).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorCode {
    NotDefined = 0,
    FileNotFound = 1,
    AccessViolation = 2,
    IllegalOperation = 4,
}

pub(crate) const OPCODE_RRQ: u16 = 1;
pub(crate) const OPCODE_WRQ: u16 = 2;
const OPCODE_DATA: u16 = 3;
const OPCODE_ACK: u16 = 4;
const OPCODE_ERROR: u16 = 5;
const OPCODE_OACK: u16 = 6;

/// Bytes before the data of a DATA packet.
pub(crate) const DATA_HEADER: usize = 4;

/// What a client sends within a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FromClient {
    Ack(u16),
    Error {
        code: u16,
        message: String,
    },
    /// Anything else; it has no place in a read transfer.
    Other,
}

impl FromClient {
    pub(crate) fn parse(datagram: &[u8]) -> Self {
        let Some(([o1, o2, v1, v2], rest)) = datagram.split_first_chunk::<4>() else {
            return Self::Other;
        };
        let value = u16::from_be_bytes([*v1, *v2]);
        match u16::from_be_bytes([*o1, *o2]) {
            OPCODE_ACK => Self::Ack(value),
            OPCODE_ERROR => {
                let text = rest.split(|byte| *byte == 0).next().unwrap_or_default();
                let text = text.get(..80).unwrap_or(text);
                let printable = String::from_utf8_lossy(text).replace(char::is_control, " ");
                Self::Error {
                    code: value,
                    message: printable,
                }
            }
            _ => Self::Other,
        }
    }
}

/// An ERROR packet.
pub(crate) fn error(code: ErrorCode, message: &str) -> Vec<u8> {
    let mut bytes = vec![];
    bytes.extend(OPCODE_ERROR.to_be_bytes());
    bytes.extend((code as u16).to_be_bytes());
    bytes.extend(message.bytes().filter(|byte| *byte != 0).take(200));
    bytes.push(0);
    bytes
}

/// An OACK packet with these options.
pub(crate) fn oack(options: &[(&'static str, u64)]) -> Vec<u8> {
    let mut bytes = OPCODE_OACK.to_be_bytes().to_vec();
    for (name, value) in options {
        bytes.extend(name.bytes());
        bytes.push(0);
        bytes.extend(value.to_string().bytes());
        bytes.push(0);
    }
    bytes
}

/// The header of DATA block `block`, whose number on the wire rolls over to 0.
pub(crate) fn data_header(block: u16) -> [u8; DATA_HEADER] {
    let [o1, o2] = OPCODE_DATA.to_be_bytes();
    let [b1, b2] = block.to_be_bytes();
    [o1, o2, b1, b2]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn packets_are_as_the_rfc_draws_them() {
        assert_eq!(error(ErrorCode::FileNotFound, "no"), b"\0\x05\0\x01no\0");
        assert_eq!(
            oack(&[("tsize", 7), ("blksize", 512)]),
            b"\0\x06tsize\x007\0blksize\x00512\0"
        );
        assert_eq!(data_header(0x102), [0, 3, 1, 2]);
        assert_eq!(FromClient::parse(&[0, 4, 1, 0]), FromClient::Ack(256));
        assert_eq!(
            FromClient::parse(b"\0\x05\0\x08User\x1baborted\0"),
            FromClient::Error {
                code: 8,
                message: "User aborted".into()
            }
        );
        assert_eq!(FromClient::parse(&[0, 4, 1]), FromClient::Other);
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(bytes in prop::collection::vec(any::<u8>(), 0..=600)) {
            let _packet = FromClient::parse(&bytes);
        }
    }
}
