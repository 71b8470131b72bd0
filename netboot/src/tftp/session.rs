//! One read transfer as a pure state machine.
//!
//! It knows lengths and block numbers, not bytes, sockets or clocks: the server asks it what to
//! send, tells it what came, and wakes it when it wants. Invariant: at most `windowsize` blocks are
//! in flight, and no block is sent before the one `windowsize` earlier was acknowledged.
//!
//! Loss is met in three ways. A client that noticed a gap acknowledges the last block before it
//! (RFC 7440), and we go on from there at once, unless blocks near it were sent twice: then the
//! acknowledgement may be the echo of a repetition, and answering it would repeat for ever. Without
//! windows a repeated acknowledgement is ignored (RFC 1123 section 4.2.3.1). Silence is met by
//! resending after a time taken from the measured round trip (RFC 6298), doubled at each try until
//! a block that was sent once is acknowledged (Karn), so that a slow client is not drowned.

use std::time::{Duration, Instant};

use super::{
    packet::{self, FromClient},
    request::Granted,
    rtt::RoundTrip,
};

/// Longest silence before the first acknowledgement: an abandoned request.
pub const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// Longest silence within a transfer. GRUB stops reading while it verifies or unpacks.
pub const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// So often a whole window is sent again into silence; then its first block only. It wakes a client
/// as well, and what is sent in the name of a spoofed address stays small.
const WHOLE_WINDOWS: u32 = 4;

/// What to put on the wire next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transmit {
    /// A whole packet.
    Packet(Vec<u8>),
    /// DATA: this block number, with this part of the file.
    Data {
        /// Number on the wire.
        block: u16,
        /// Where in the file.
        offset: u64,
        /// How many bytes; the last block is shorter than the others, perhaps empty.
        length: u16,
    },
}

/// How a transfer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The last block was acknowledged.
    Done,
    /// The client refused the options or only wanted the size: normal for EDK2.
    Probed,
    /// The client gave up half-way.
    Aborted {
        /// Its error code.
        code: u16,
        /// Its words.
        message: String,
    },
    /// The client fell silent before the last block was sent, or never said a word.
    TimedOut,
    /// All was sent, and the client fell silent or closed its port before it acknowledged the last
    /// blocks. It most likely has the file: nobody repeats a last acknowledgement that was lost.
    Unacknowledged {
        /// How many blocks at the end.
        blocks: u64,
    },
    /// The client closed its port half-way (ICMP port unreachable).
    Gone,
}

impl Outcome {
    /// Bounded label for metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Probed => "probed",
            Self::Aborted { .. } => "aborted",
            Self::TimedOut => "timed_out",
            Self::Unacknowledged { .. } => "unacknowledged",
            Self::Gone => "gone",
        }
    }
}

/// A read transfer of a file of known length.
#[derive(Debug)]
pub struct Session {
    length: u64,
    granted: Granted,
    /// Whether the transfer begins with an OACK.
    has_oack: bool,
    /// Whether the OACK was acknowledged, or there is none.
    opened: bool,
    oack_due: bool,
    /// Highest block acknowledged; block 0 is the request or the OACK.
    acked: u64,
    /// Next block to send.
    next: u64,
    /// Highest block ever sent.
    sent: u64,
    round_trip: RoundTrip,
    /// The block whose acknowledgement measures the round trip, and when it left.
    timed: Option<(u64, Instant)>,
    deadline: Instant,
    progressed: Instant,
    resent: u64,
    retransmits: u32,
    /// Time-outs since the client last acknowledged anything new.
    silences: u32,
    outcome: Option<Outcome>,
}

impl Session {
    /// A transfer of `length` bytes; it begins with an OACK when any option is acknowledged.
    pub fn new(now: Instant, length: u64, granted: Granted) -> Self {
        let round_trip = RoundTrip::new(granted.timeout);
        let has_oack = !granted.acknowledged.is_empty();
        Self {
            length,
            has_oack,
            opened: !has_oack,
            oack_due: has_oack,
            acked: 0,
            next: 1,
            sent: 0,
            timed: None,
            deadline: now + round_trip.resend_after(),
            progressed: now,
            resent: 0,
            retransmits: 0,
            silences: 0,
            outcome: None,
            round_trip,
            granted,
        }
    }

    /// A datagram came from the client.
    pub fn on_datagram(&mut self, now: Instant, datagram: &[u8]) {
        if self.outcome.is_some() {
            return;
        }
        match FromClient::parse(datagram) {
            FromClient::Ack(number) => self.on_ack(now, number),
            FromClient::Error { .. } if self.sent == 0 => {
                self.outcome = Some(Outcome::Probed);
            }
            FromClient::Error { code, message } => {
                self.outcome = Some(Outcome::Aborted { code, message });
            }
            FromClient::Other => {}
        }
    }

    /// The client's host says that nobody listens at its port any more.
    pub fn on_port_closed(&mut self) {
        if self.outcome.is_some() {
            return;
        }
        self.outcome = Some(if self.sent == 0 {
            Outcome::Probed
        } else {
            self.end_of(Outcome::Gone)
        });
    }

    /// The time of [`Self::poll_timeout`] has come (calling early is harmless).
    pub fn on_timeout(&mut self, now: Instant) {
        if self.outcome.is_some() || now < self.deadline {
            return;
        }
        let limit = if self.is_established() {
            SILENCE_LIMIT
        } else {
            HANDSHAKE_LIMIT
        };
        if now.duration_since(self.progressed) >= limit {
            self.outcome = Some(self.end_of(Outcome::TimedOut));
            return;
        }
        self.silences += 1;
        self.round_trip.back_off();
        self.deadline = now + self.round_trip.resend_after();
        if self.opened {
            self.go_back();
        } else {
            self.oack_due = true;
            self.timed = None;
            self.retransmits += 1;
        }
    }

    /// The next thing to send, if anything may be sent now.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        if self.outcome.is_some() {
            return None;
        }
        if !self.opened {
            if !std::mem::take(&mut self.oack_due) {
                return None;
            }
            if self.retransmits == 0 {
                self.timed = Some((0, now));
            }
            return Some(Transmit::Packet(packet::oack(&self.granted.acknowledged)));
        }
        let window = if self.silences > WHOLE_WINDOWS {
            1
        } else {
            u64::from(self.granted.windowsize)
        };
        let window_end = (self.acked + window).min(self.blocks());
        if self.next > window_end {
            return None;
        }
        let block = self.next;
        self.next += 1;
        if block <= self.sent {
            self.retransmits += 1;
            self.resent = self.resent.max(block);
        } else {
            self.sent = block;
            if block == window_end && self.timed.is_none() {
                self.timed = Some((block, now));
            }
        }
        if block == window_end {
            self.deadline = now + self.round_trip.resend_after();
        }
        let blksize = u64::from(self.granted.blksize);
        let offset = (block - 1) * blksize;
        let length = (self.length - offset).min(blksize);
        Some(Transmit::Data {
            block: wire_number(block),
            offset,
            length: u16::try_from(length).unwrap_or(self.granted.blksize),
        })
    }

    /// When to call [`Self::on_timeout`]; `None` once the transfer has ended.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.outcome.is_none().then_some(self.deadline)
    }

    /// How the transfer ended, once it has.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// Whether the client has acknowledged anything.
    pub fn is_established(&self) -> bool {
        self.acked > 0 || (self.has_oack && self.opened)
    }

    /// Packets sent more than once so far.
    pub fn retransmits(&self) -> u32 {
        self.retransmits
    }

    /// How many blocks at the end were not acknowledged, once all was sent to a client that has
    /// acknowledged anything at all.
    pub fn unacknowledged(&self) -> Option<u64> {
        let blocks = self.blocks();
        (self.is_established() && self.sent == blocks).then(|| blocks - self.acked)
    }

    /// When the client last acknowledged anything new; before that, when the transfer began.
    pub fn progressed(&self) -> Instant {
        self.progressed
    }

    /// Length of the whole file in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Bytes the client has acknowledged.
    pub fn acknowledged_bytes(&self) -> u64 {
        (self.acked * u64::from(self.granted.blksize)).min(self.length)
    }

    /// Block size and window in use.
    pub fn sizes(&self) -> (u16, u16) {
        (self.granted.blksize, self.granted.windowsize)
    }

    /// Number of DATA blocks: the last one is shorter than a full one.
    fn blocks(&self) -> u64 {
        self.length / u64::from(self.granted.blksize) + 1
    }

    /// The end of a transfer whose client says no more: `half_way`, unless all was sent.
    fn end_of(&self, half_way: Outcome) -> Outcome {
        self.unacknowledged()
            .map_or(half_way, |blocks| Outcome::Unacknowledged { blocks })
    }

    fn on_ack(&mut self, now: Instant, number: u16) {
        if !self.opened {
            if number == 0 {
                self.opened = true;
                self.progress(now, 0);
            }
            return;
        }
        // The only block in flight with this number on the wire, if there is one.
        let ahead = u64::from(number.wrapping_sub(wire_number(self.acked)));
        let block = self.acked + ahead;
        if block > self.sent {
            return;
        }
        if ahead == 0 {
            self.on_repeated_ack();
            return;
        }
        let gap = block + 1 < self.next && !self.may_be_echo();
        self.acked = block;
        self.next = self.next.max(block + 1);
        self.progress(now, block);
        if block == self.blocks() {
            self.outcome = Some(Outcome::Done);
        } else if gap {
            self.go_back();
        }
    }

    /// The first block of the window was lost, or this is an echo of an earlier acknowledgement.
    fn on_repeated_ack(&mut self) {
        if self.granted.windowsize > 1 && self.next > self.acked + 1 && !self.may_be_echo() {
            self.go_back();
        }
    }

    /// Whether repetitions of blocks around the acknowledged one may still be arriving.
    fn may_be_echo(&self) -> bool {
        self.resent > 0 && self.acked <= self.resent
    }

    fn go_back(&mut self) {
        self.next = self.acked + 1;
        self.timed = None;
    }

    fn progress(&mut self, now: Instant, block: u64) {
        self.progressed = now;
        self.silences = 0;
        if let Some((timed, at)) = self.timed
            && block >= timed
        {
            self.timed = None;
            self.round_trip.measured(now.duration_since(at));
        }
        self.deadline = now + self.round_trip.resend_after();
    }
}

/// Block numbers roll over to 0 after 65535.
fn wire_number(block: u64) -> u16 {
    u16::try_from(block & 0xffff).unwrap_or_default()
}

#[cfg(test)]
mod tests;
