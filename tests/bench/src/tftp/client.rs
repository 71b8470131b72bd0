//! One reading client as a pure state machine: datagram in, datagram out.
//!
//! Behaves as RFC 7440 asks: one acknowledgement a window, at once the last block in order when a
//! gap shows, and again after its own time-out. Invariant: bytes are compared with the reference as
//! they come; one wrong byte fails the transfer.

use std::time::{Duration, Instant};

/// What a client asks for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Path.
    pub file: String,
    /// Bytes per block.
    pub blksize: u16,
    /// Blocks per acknowledgement.
    pub windowsize: u16,
    /// Own time-out.
    pub timeout: Duration,
}

impl Ask {
    /// The read request.
    pub fn rrq(&self) -> Vec<u8> {
        let mut bytes = b"\0\x01".to_vec();
        bytes.extend(self.file.bytes());
        bytes.extend(b"\0octet\0tsize\x000\0");
        if self.blksize != 512 {
            bytes.extend(format!("blksize\0{}\0", self.blksize).bytes());
        }
        if self.windowsize > 1 {
            bytes.extend(format!("windowsize\0{}\0", self.windowsize).bytes());
        }
        bytes
    }
}

/// How a transfer stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Still reading.
    Running,
    /// All bytes came.
    Done,
    /// It will not end well.
    Failed(String),
}

/// Tries in a row before a client gives up.
const TRIES: u32 = 10;

/// A client.
#[derive(Debug)]
pub struct Client {
    pub(crate) state: State,
    pub(crate) begun: Instant,
    heard: Instant,
    blksize: u16,
    windowsize: u16,
    /// Next block in order.
    next: u64,
    in_window: u16,
    pub(crate) received: usize,
    gap_told: u64,
    tries: u32,
    pub(crate) timeouts: u64,
    pub(crate) duplicates: u64,
    pub(crate) gaps: u64,
    answered: bool,
}

/// What to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Nothing.
    Nothing,
    /// An acknowledgement.
    Ack([u8; 4]),
    /// The request once more.
    Request,
}

impl Client {
    /// A client whose request leaves now.
    pub fn new(now: Instant) -> Self {
        Self {
            state: State::Running,
            begun: now,
            heard: now,
            blksize: 512,
            windowsize: 1,
            next: 1,
            in_window: 0,
            received: 0,
            gap_told: 0,
            tries: 0,
            timeouts: 0,
            duplicates: 0,
            gaps: 0,
            answered: false,
        }
    }

    /// The options the server granted.
    pub fn granted(&self) -> (u16, u16) {
        (self.blksize, self.windowsize)
    }

    /// A datagram came.
    pub fn on_datagram(&mut self, now: Instant, datagram: &[u8], reference: &[u8]) -> Answer {
        let Some(([_, opcode, high, low], rest)) = datagram.split_first_chunk::<4>() else {
            return Answer::Nothing;
        };
        self.answered = true;
        match *opcode {
            3 => self.on_data(now, u16::from_be_bytes([*high, *low]), rest, reference),
            5 => {
                let text = rest.split(|byte| *byte == 0).next().unwrap_or_default();
                let text = String::from_utf8_lossy(text);
                self.state = State::Failed(format!("error {low}: {text}"));
                Answer::Nothing
            }
            6 => self.on_oack(now, datagram.get(2..).unwrap_or_default()),
            _ => Answer::Nothing,
        }
    }

    fn on_oack(&mut self, now: Instant, options: &[u8]) -> Answer {
        if self.next > 1 {
            return Answer::Nothing;
        }
        let mut texts = options
            .split(|byte| *byte == 0)
            .map(String::from_utf8_lossy);
        while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
            match name.to_ascii_lowercase().as_str() {
                "blksize" => self.blksize = value.parse().unwrap_or(512),
                "windowsize" => self.windowsize = value.parse().unwrap_or(1),
                _ => {}
            }
        }
        self.heard = now;
        self.ack()
    }

    fn on_data(&mut self, now: Instant, block: u16, data: &[u8], reference: &[u8]) -> Answer {
        let ahead = block.wrapping_sub(wire(self.next));
        if ahead != 0 {
            if ahead >= 0x8000 {
                self.duplicates += 1;
                // Our acknowledgement was lost, or the block came twice on the way: say it again.
                return if block == wire(self.next - 1) {
                    self.ack()
                } else {
                    Answer::Nothing
                };
            }
            self.gaps += 1;
            if self.gap_told == self.next {
                return Answer::Nothing;
            }
            self.gap_told = self.next;
            self.in_window = 0;
            return self.ack();
        }
        let end = self.received + data.len();
        if reference.get(self.received..end) != Some(data) {
            self.state = State::Failed(format!("wrong bytes in block {}", self.next));
            return Answer::Nothing;
        }
        self.received = end;
        self.next += 1;
        self.in_window += 1;
        self.heard = now;
        self.tries = 0;
        let last = data.len() < usize::from(self.blksize);
        if last {
            self.state = if self.received == reference.len() {
                State::Done
            } else {
                State::Failed("the file ended early".into())
            };
        }
        if last || self.in_window >= self.windowsize {
            self.in_window = 0;
            return self.ack();
        }
        Answer::Nothing
    }

    /// Looks at the clock; call it every ten milliseconds or so.
    pub fn on_tick(&mut self, now: Instant, timeout: Duration) -> Answer {
        if self.state != State::Running || now.duration_since(self.heard) < timeout {
            return Answer::Nothing;
        }
        self.heard = now;
        self.timeouts += 1;
        self.tries += 1;
        self.in_window = 0;
        self.gap_told = 0;
        if self.tries > TRIES {
            self.state = State::Failed("timed out".into());
            Answer::Nothing
        } else if self.answered {
            self.ack()
        } else {
            Answer::Request
        }
    }

    fn ack(&self) -> Answer {
        let [high, low] = wire(self.next - 1).to_be_bytes();
        Answer::Ack([0, 4, high, low])
    }
}

fn wire(block: u64) -> u16 {
    u16::try_from(block & 0xffff).unwrap_or_default()
}
