//! Sessions over a simulated link that loses, doubles and delays packets.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use super::*;

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
        let gave_up = matches!(
            session.outcome(),
            Some(Outcome::TimedOut | Outcome::Unacknowledged { .. })
        );
        if !gave_up || loss < 500 {
            prop_assert_eq!(session.outcome(), Some(&Outcome::Done));
        }
        if session.outcome() == Some(&Outcome::Done) {
            prop_assert_eq!(stats.received, length);
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
