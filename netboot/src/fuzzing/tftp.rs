//! A TFTP request, then any order of datagrams, silence and time: the window, the number of
//! repetitions and the bytes hold.

use std::time::{Duration, Instant};

use super::Input;
use crate::tftp::{
    request::{DEFAULT_BLKSIZE, Granted, OptionLimits, ReadRequest},
    session::{HANDSHAKE_LIMIT, Outcome, SILENCE_LIMIT, Session, Transmit},
};

/// More time-outs than fit into the longest silence: 50 ms is the shortest wait.
const MOST_TIMEOUTS: u32 = 320;

/// A client that keeps what arrives in order, and what the server has in flight.
struct Client {
    /// Blocks received in order; the last one is acknowledged.
    received: u64,
    /// Bytes of them.
    bytes: u64,
    /// Whether the last, short block came.
    complete: bool,
}

/// Request, options, session.
pub fn tftp(data: &[u8]) {
    let mut input = Input(data);
    let length = u64::from(input.number()) << (input.byte() % 4);
    let count = usize::from(input.byte()) * 2;
    let limits = OptionLimits::default();
    let request = ReadRequest::parse(input.bytes(count)).unwrap_or_else(|_| ReadRequest {
        path: "file".to_owned(),
        blksize: Some(8 + input.number() % 1500),
        tsize: true,
        timeout: Some(input.byte()).filter(|seconds| *seconds > 0),
        windowsize: Some(1 + input.number() % 100),
    });
    assert!(!request.path.is_empty() && request.path.len() <= 512);
    let granted = request.grant(limits, length);
    assert!((8..=limits.blksize.max(DEFAULT_BLKSIZE)).contains(&granted.blksize));
    assert!((1..=limits.windowsize).contains(&granted.windowsize));
    play(&mut input, length, granted);
}

fn play(input: &mut Input<'_>, length: u64, granted: Granted) {
    let mut now = Instant::now();
    let mut client = Client {
        received: 0,
        bytes: 0,
        complete: false,
    };
    let (blksize, windowsize) = (granted.blksize, granted.windowsize);
    let mut session = Session::new(now, length, granted);
    while !input.is_empty() {
        let hears = input.byte();
        drain(
            &mut session,
            now,
            length,
            &mut client,
            !hears.is_multiple_of(4),
        );
        match hears >> 2 {
            0..8 => {}
            8..16 => {
                let block = input.number();
                session.on_datagram(now, &ack(block));
            }
            16..20 => {
                let count = usize::from(input.byte());
                session.on_datagram(now, input.bytes(count));
            }
            20 => session.on_datagram(now, b"\0\x05\0\x03disk full\0"),
            21..34 => {
                now = session.poll_timeout().unwrap_or(now).max(now);
                session.on_timeout(now);
            }
            34..40 => {
                now += Duration::from_millis(u64::from(input.byte()) * 20);
                session.on_timeout(now);
            }
            _ => session.on_datagram(now, &ack(wire(client.received))),
        }
        if session.outcome().is_some() {
            assert_eq!(
                session.poll_timeout(),
                None,
                "an ended session wants to wake up"
            );
            assert_eq!(session.poll_transmit(now), None, "an ended session sends");
        }
    }
    assert_eq!(session.sizes(), (blksize, windowsize));
    finish(session, now, length, client);
}

/// From here on the client is honest: the file arrives whole, or the session had ended before.
fn finish(mut session: Session, mut now: Instant, length: u64, mut client: Client) {
    let before = session.outcome().cloned();
    let (blksize, _) = session.sizes();
    let blocks = length / u64::from(blksize) + 1;
    let mut turns = 0_u64;
    let mut silent = 0_u32;
    while session.outcome().is_none() {
        let sent = drain(&mut session, now, length, &mut client, true);
        turns += 1;
        assert!(turns <= blocks * 4 + 4000, "no end after {turns} turns");
        if sent == 0 {
            now = session
                .poll_timeout()
                .expect("a live session has a deadline")
                .max(now);
            session.on_timeout(now);
            silent += 1;
            assert!(silent <= MOST_TIMEOUTS, "repeats for ever");
        } else {
            now += Duration::from_millis(1);
            session.on_datagram(now, &ack(wire(client.received)));
        }
    }
    match (before, session.outcome()) {
        (Some(_), _) => {}
        (None, Some(Outcome::Done)) => {
            assert!(client.complete, "done before the last block");
            assert_eq!(client.bytes, length, "bytes are missing");
            assert_eq!(session.acknowledged_bytes(), length);
        }
        // Acknowledgements of blocks that the client never saw end a session in other ways.
        (
            None,
            Some(
                Outcome::TimedOut
                | Outcome::Unacknowledged { .. }
                | Outcome::Gone
                | Outcome::Probed
                | Outcome::Aborted { .. },
            )
            | None,
        ) => {}
    }
    assert!(HANDSHAKE_LIMIT < SILENCE_LIMIT);
}

/// Takes everything that may be sent now; returns how many packets that was.
fn drain(
    session: &mut Session,
    now: Instant,
    length: u64,
    client: &mut Client,
    hears: bool,
) -> u64 {
    let (blksize, windowsize) = session.sizes();
    let mut sent = 0;
    let mut last = None;
    while let Some(transmit) = session.poll_transmit(now) {
        sent += 1;
        let Transmit::Data {
            block,
            offset,
            length: part,
        } = transmit
        else {
            assert_eq!(sent, 1, "one OACK, and nothing with it");
            continue;
        };
        assert!(
            sent <= u64::from(windowsize),
            "more than a window in flight"
        );
        let number = offset / u64::from(blksize) + 1;
        assert_eq!(offset % u64::from(blksize), 0);
        assert_eq!(block, wire(number), "block number and place differ");
        assert!(
            last.is_none_or(|last| number == last + 1),
            "a gap within a window"
        );
        last = Some(number);
        let expected = (length - offset).min(u64::from(blksize));
        assert_eq!(u64::from(part), expected, "length of block {number}");
        if hears && number == client.received + 1 {
            assert!(!client.complete, "data after the last block");
            client.received = number;
            client.bytes += u64::from(part);
            client.complete = part < blksize;
        }
    }
    sent
}

fn ack(block: u16) -> [u8; 4] {
    let [high, low] = block.to_be_bytes();
    [0, 4, high, low]
}

fn wire(block: u64) -> u16 {
    u16::try_from(block & 0xffff).expect("16 bits")
}
