use proptest::prelude::*;

use super::*;
use crate::tftp::request::{OptionLimits, ReadRequest};

mod endings;
mod wire;

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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

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
