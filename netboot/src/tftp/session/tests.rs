use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use proptest::prelude::*;

use super::*;
use crate::tftp::request::{OptionLimits, ReadRequest};

const BLKSIZE: u16 = 64;

fn granted(length: u64, windowsize: Option<u16>) -> Granted {
    let request = ReadRequest {
        path: "file".into(),
        blksize: Some(BLKSIZE),
        tsize: true,
        timeout: None,
        windowsize,
    };
    request.grant(OptionLimits::default(), length)
}

fn ack(number: u16) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    vec![0, 4, high, low]
}

const ABORT: &[u8] = b"\0\x05\0\x08User aborted the transfer\0";

/// Numbers of the blocks that may be sent now.
fn blocks(session: &mut Session, now: Instant) -> Vec<u16> {
    let mut numbers = Vec::new();
    while let Some(transmit) = session.poll_transmit(now) {
        match transmit {
            Transmit::Data { block, .. } => numbers.push(block),
            Transmit::Packet(_) => numbers.push(u16::MAX),
        }
    }
    numbers
}

/// A session whose OACK has just been acknowledged.
fn opened(length: u64, windowsize: u16) -> (Session, Instant) {
    let now = Instant::now();
    let mut session = Session::new(now, length, granted(length, Some(windowsize)));
    assert_eq!(blocks(&mut session, now), [u16::MAX]);
    let now = now + Duration::from_millis(10);
    session.on_datagram(now, &ack(0));
    (session, now)
}

#[test]
fn the_size_probe_of_edk2_ends_at_once_and_is_no_failure() {
    let now = Instant::now();
    let mut session = Session::new(now, 1_048_504, granted(1_048_504, Some(4)));
    let Some(Transmit::Packet(oack)) = session.poll_transmit(now) else {
        panic!("wants an OACK")
    };
    assert_eq!(
        oack,
        b"\0\x06tsize\x001048504\0blksize\x0064\0windowsize\x004\0"
    );
    session.on_datagram(now, ABORT);
    assert_eq!(session.outcome(), Some(&Outcome::Probed));
    assert_eq!(session.poll_transmit(now), None);
    assert_eq!(session.poll_timeout(), None);
}

#[test]
fn an_error_half_way_ends_at_once_with_the_clients_words() {
    let (mut session, now) = opened(1000, 4);
    assert_eq!(blocks(&mut session, now), [1, 2, 3, 4]);
    session.on_datagram(now, &ack(4));
    session.on_datagram(now, ABORT);
    let want = Outcome::Aborted {
        code: 8,
        message: "User aborted the transfer".into(),
    };
    assert_eq!(session.outcome(), Some(&want));
    assert_eq!(session.acknowledged_bytes(), 256);
    assert!(blocks(&mut session, now).is_empty());
}

#[test]
fn without_options_the_first_block_is_the_answer() {
    let now = Instant::now();
    let plain = ReadRequest {
        path: "f".into(),
        blksize: None,
        tsize: false,
        timeout: None,
        windowsize: None,
    };
    let mut session = Session::new(now, 512, plain.grant(OptionLimits::default(), 512));
    assert_eq!(
        session.poll_transmit(now),
        Some(Transmit::Data {
            block: 1,
            offset: 0,
            length: 512
        })
    );
    session.on_datagram(now, &ack(1));
    assert_eq!(
        session.poll_transmit(now),
        Some(Transmit::Data {
            block: 2,
            offset: 512,
            length: 0
        }),
        "a multiple of the block size ends with an empty block"
    );
    session.on_datagram(now, &ack(2));
    assert_eq!(session.outcome(), Some(&Outcome::Done));
    assert_eq!(session.acknowledged_bytes(), 512);
}

#[test]
fn an_empty_file_is_one_empty_block() {
    let (mut session, now) = opened(0, 4);
    assert_eq!(blocks(&mut session, now), [1]);
    session.on_datagram(now, &ack(1));
    assert_eq!(session.outcome(), Some(&Outcome::Done));
}

#[test]
fn a_gap_is_met_at_once_and_an_echo_of_it_is_not() {
    let (mut session, now) = opened(10_000, 4);
    assert_eq!(blocks(&mut session, now), [1, 2, 3, 4]);
    let now = now + Duration::from_millis(10);
    session.on_datagram(now, &ack(1));
    assert_eq!(blocks(&mut session, now), [2, 3, 4, 5]);
    session.on_datagram(now + Duration::from_millis(1), &ack(1));
    assert!(
        blocks(&mut session, now).is_empty(),
        "the echo of the same gap"
    );
    assert_eq!(session.retransmits(), 3);
}

#[test]
fn a_lost_first_block_of_a_window_is_met_by_the_repeated_acknowledgement() {
    let (mut session, now) = opened(10_000, 4);
    assert_eq!(blocks(&mut session, now), [1, 2, 3, 4]);
    let now = now + Duration::from_millis(10);
    session.on_datagram(now, &ack(0));
    assert_eq!(blocks(&mut session, now), [1, 2, 3, 4]);
}

#[test]
fn without_windows_a_repeated_acknowledgement_sends_nothing() {
    let (mut session, now) = opened(10_000, 1);
    assert_eq!(blocks(&mut session, now), [1]);
    session.on_datagram(now, &ack(1));
    assert_eq!(blocks(&mut session, now), [2]);
    session.on_datagram(now + Duration::from_secs(1), &ack(1));
    assert!(blocks(&mut session, now).is_empty());
}

#[test]
fn acknowledgements_of_what_was_never_sent_are_ignored() {
    let (mut session, now) = opened(10_000, 2);
    assert_eq!(blocks(&mut session, now), [1, 2]);
    for number in [3, 100, u16::MAX] {
        session.on_datagram(now, &ack(number));
    }
    assert_eq!(session.acknowledged_bytes(), 0);
    assert_eq!(session.outcome(), None);
}

#[test]
fn silence_ends_an_unanswered_request_sooner_than_a_transfer() {
    let silence = |mut session: Session, begun: Instant| {
        let mut packets = 0;
        while let Some(wake) = session.poll_timeout() {
            packets += blocks(&mut session, wake).len();
            session.on_timeout(wake);
            if session.outcome().is_some() {
                assert_eq!(session.outcome(), Some(&Outcome::TimedOut));
                return (wake.duration_since(begun), packets);
            }
        }
        unreachable!("a live session has a deadline")
    };
    let now = Instant::now();
    let (took, packets) = silence(Session::new(now, 10, granted(10, None)), now);
    assert!(
        (HANDSHAKE_LIMIT..HANDSHAKE_LIMIT * 2).contains(&took),
        "{took:?}"
    );
    assert!(packets < 10, "{packets}");
    let (session, now) = opened(10_000, 1);
    let (took, packets) = silence(session, now);
    assert!(
        (SILENCE_LIMIT..SILENCE_LIMIT * 2).contains(&took),
        "{took:?}"
    );
    assert!(packets < 30, "{packets}");
}

#[test]
fn a_silent_address_is_sent_few_windows() {
    let (mut session, now) = opened(100_000, 16);
    assert_eq!(blocks(&mut session, now).len(), 16);
    let mut again = Vec::new();
    while let Some(wake) = session.poll_timeout() {
        session.on_timeout(wake);
        again.push(blocks(&mut session, wake).len());
    }
    assert_eq!(again[..6], [16, 16, 16, 16, 1, 1]);
    assert!(again.iter().sum::<usize>() < 5 * 16, "{again:?}");
}

#[test]
fn an_answer_after_a_long_silence_gets_whole_windows_again() {
    let (mut session, now) = opened(100_000, 16);
    blocks(&mut session, now);
    let mut wake = now;
    for _ in 0..6 {
        wake = session.poll_timeout().expect("is alive");
        session.on_timeout(wake);
        blocks(&mut session, wake);
    }
    session.on_datagram(wake, &ack(16));
    assert_eq!(blocks(&mut session, wake), (17..=32).collect::<Vec<_>>());
}

#[test]
fn block_numbers_roll_over() {
    let blocks = 70_000_u64;
    let (session, stats) = Wire::perfect().run(blocks * u64::from(BLKSIZE) + 5, 16);
    assert_eq!(session.outcome(), Some(&Outcome::Done));
    assert_eq!(
        (stats.received, session.retransmits()),
        (blocks * u64::from(BLKSIZE) + 5, 0)
    );
}

#[test]
fn half_a_percent_of_loss_costs_a_mebibyte_little_time() {
    for (windowsize, limit_ms) in [(1, 40_000), (16, 4_000)] {
        let wire = Wire {
            loss_per_10k: 50,
            ..Wire::perfect()
        };
        let (session, stats) = wire.run(1 << 20, windowsize);
        assert_eq!(session.outcome(), Some(&Outcome::Done));
        let took = stats.micros / 1000;
        assert!(took < limit_ms, "window {windowsize}: {took} ms");
    }
}

#[test]
fn a_client_that_becomes_slow_is_not_drowned_in_repetitions() {
    for windowsize in [1, 4, 16] {
        let wire = Wire {
            tires: Some((200, 60_000)),
            ..Wire::perfect()
        };
        let blocks = 600;
        let (session, _) = wire.run(blocks * u64::from(BLKSIZE), windowsize);
        assert_eq!(session.outcome(), Some(&Outcome::Done));
        let retransmits = u64::from(session.retransmits());
        assert!(
            retransmits < blocks / 5,
            "window {windowsize}: {retransmits} of {blocks}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Loss, duplication and reordering delay a transfer and never spoil or end it.
    #[test]
    fn every_wire_delivers_the_whole_file(
        seed: u64, length in 0_u64..20_000, windowsize in 1_u16..=20,
        loss in 0_u64..2500, twice in 0_u64..1000, jitter in 0_u64..5000,
    ) {
        let wire = Wire { seed: seed | 1, loss_per_10k: loss, twice_per_10k: twice, jitter, tires: None };
        let (session, stats) = wire.run(length, windowsize);
        // With one packet in four lost, eight tries in a row may fail; the client gives up then.
        if session.outcome() != Some(&Outcome::TimedOut) || loss < 500 {
            prop_assert_eq!(session.outcome(), Some(&Outcome::Done));
        }
        if session.outcome() == Some(&Outcome::Done) {
            prop_assert_eq!(stats.received, length);
        }
    }

    #[test]
    fn no_datagrams_break_a_session(
        datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..8), 0..40),
        numbers in prop::collection::vec(0_u16..12, 0..40),
    ) {
        let (mut session, mut now) = opened(640, 4);
        for datagram in datagrams.into_iter().chain(numbers.into_iter().map(ack)) {
            let sent = blocks(&mut session, now);
            prop_assert!(sent.len() <= 4);
            now += Duration::from_millis(3);
            session.on_datagram(now, &datagram);
            prop_assert!(session.acknowledged_bytes() <= 640);
        }
    }
}

/// A link with 1 ms of round trip that loses, doubles and delays packets by a seeded plan.
struct Wire {
    seed: u64,
    loss_per_10k: u64,
    twice_per_10k: u64,
    /// Microseconds, at most, on top of the way's 500.
    jitter: u64,
    /// After this many packets the client needs this many microseconds for each.
    tires: Option<(u64, u64)>,
}

struct Stats {
    received: u64,
    micros: u64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Arrival {
    AtServer(Vec<u8>),
    AtClient {
        block: u16,
        offset: u64,
        length: u16,
    },
    OackAtClient,
    /// The client's own patience; valid if it has heard nothing since.
    ClientTimer(u64),
}

/// A receiver as RFC 7440 describes it.
struct Client {
    windowsize: u16,
    opened: bool,
    expected: u64,
    in_window: u16,
    received: u64,
    heard: u64,
}

impl Client {
    /// What it sends on this arrival.
    fn on(&mut self, arrival: &Arrival) -> Option<Vec<u8>> {
        match arrival {
            Arrival::OackAtClient if self.expected == 1 => {
                self.opened = true;
                Some(ack(0))
            }
            Arrival::AtClient {
                block,
                offset,
                length,
            } if self.opened => {
                if *block != wire_number(self.expected) {
                    self.in_window = 0;
                    return Some(ack(wire_number(self.expected - 1)));
                }
                assert_eq!(*offset, self.received, "the right part of the file");
                self.received += u64::from(*length);
                self.expected += 1;
                self.in_window += 1;
                let last = *length < BLKSIZE;
                (last || self.in_window == self.windowsize).then(|| {
                    self.in_window = 0;
                    ack(wire_number(self.expected - 1))
                })
            }
            Arrival::ClientTimer(heard) if *heard == self.heard && self.opened => {
                self.in_window = 0;
                Some(ack(wire_number(self.expected - 1)))
            }
            Arrival::OackAtClient
            | Arrival::AtClient { .. }
            | Arrival::ClientTimer(_)
            | Arrival::AtServer(_) => None,
        }
    }
}

impl Wire {
    fn perfect() -> Self {
        Self {
            seed: 1,
            loss_per_10k: 0,
            twice_per_10k: 0,
            jitter: 0,
            tires: None,
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % below.max(1)
    }

    fn put(&mut self, queue: &mut Queue, now: u64, make: impl Fn() -> Arrival) {
        let copies = if self.random(10_000) < self.twice_per_10k {
            2
        } else {
            1
        };
        for _ in 0..copies {
            if self.random(10_000) >= self.loss_per_10k {
                queue.at(now + 500 + self.random(self.jitter), make());
            }
        }
    }

    fn run(mut self, length: u64, windowsize: u16) -> (Session, Stats) {
        let epoch = Instant::now();
        let at = |micros| epoch + Duration::from_micros(micros);
        let mut session = Session::new(epoch, length, granted(length, Some(windowsize)));
        let mut client = Client {
            windowsize,
            opened: false,
            expected: 1,
            in_window: 0,
            received: 0,
            heard: 0,
        };
        let (mut queue, mut now) = (Queue::default(), 0);
        let mut client_free = 0;
        loop {
            while let Some(transmit) = session.poll_transmit(at(now)) {
                self.put(&mut queue, now, || match &transmit {
                    Transmit::Packet(_) => Arrival::OackAtClient,
                    Transmit::Data {
                        block,
                        offset,
                        length,
                    } => Arrival::AtClient {
                        block: *block,
                        offset: *offset,
                        length: *length,
                    },
                });
            }
            let Some(deadline) = session.poll_timeout() else {
                return (
                    session,
                    Stats {
                        received: client.received,
                        micros: now,
                    },
                );
            };
            let wake =
                u64::try_from(deadline.duration_since(epoch).as_micros()).unwrap_or(u64::MAX);
            let Some((when, arrival)) = queue.next_before(wake) else {
                now = now.max(wake + 1);
                session.on_timeout(at(now));
                continue;
            };
            now = now.max(when);
            if let Arrival::AtServer(datagram) = arrival {
                session.on_datagram(at(now), &datagram);
                continue;
            }
            if now < client_free {
                queue.at(client_free, arrival);
                continue;
            }
            if !matches!(arrival, Arrival::ClientTimer(_)) {
                if let Some((_, micros)) = self.tires.filter(|(after, _)| client.heard >= *after) {
                    client_free = now + micros;
                }
                client.heard += 1;
                queue.at(now + 1_000_000, Arrival::ClientTimer(client.heard));
            }
            if let Some(datagram) = client.on(&arrival) {
                self.put(&mut queue, now, || Arrival::AtServer(datagram.clone()));
            }
        }
    }
}

/// Arrivals by time, and in order of sending for equal times.
#[derive(Default)]
struct Queue {
    times: BinaryHeap<Reverse<(u64, u64)>>,
    arrivals: BTreeMap<u64, Arrival>,
    last: u64,
}

impl Queue {
    fn at(&mut self, time: u64, arrival: Arrival) {
        self.last += 1;
        self.times.push(Reverse((time, self.last)));
        self.arrivals.insert(self.last, arrival);
    }

    fn next_before(&mut self, limit: u64) -> Option<(u64, Arrival)> {
        let Reverse((time, id)) = self.times.peek().copied()?;
        if time > limit {
            return None;
        }
        self.times.pop();
        Some((time, self.arrivals.remove(&id)?))
    }
}
