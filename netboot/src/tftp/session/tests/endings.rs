//! How a transfer ends whose client is gone, half-way or with the whole file.

use super::*;

/// Calls the time-outs until the session ends; gives the time of the end.
fn silence(session: &mut Session) -> Instant {
    let mut last = None;
    while let Some(wake) = session.poll_timeout() {
        session.on_timeout(wake);
        blocks(session, wake);
        last = Some(wake);
    }
    last.expect("it was alive")
}

/// All of 1000 bytes was sent and all but the last `missing` blocks were acknowledged.
fn all_but(windowsize: u16, missing: u16) -> (Session, Instant) {
    let (mut session, now) = opened(1000, windowsize);
    let last = 1000 / BLKSIZE + 1;
    while session.acked < u64::from(last - missing) {
        let sent = blocks(&mut session, now);
        let newest = sent.last().copied().expect("may send");
        session.on_datagram(now, &ack(newest.min(last - missing)));
    }
    blocks(&mut session, now);
    assert_eq!(session.outcome(), None);
    (session, now)
}

#[test]
fn silence_after_the_last_block_says_that_all_was_sent() {
    for (windowsize, missing) in [(1, 1), (4, 1), (4, 4), (16, 16)] {
        let (mut session, _) = all_but(windowsize, missing);
        silence(&mut session);
        let want = Outcome::Unacknowledged {
            blocks: missing.into(),
        };
        assert_eq!(session.outcome(), Some(&want), "window {windowsize}");
    }
}

#[test]
fn silence_before_the_last_block_or_without_any_answer_is_a_failure() {
    let (mut session, now) = opened(1000, 4);
    blocks(&mut session, now);
    session.on_datagram(now, &ack(4));
    blocks(&mut session, now);
    silence(&mut session);
    assert_eq!(session.outcome(), Some(&Outcome::TimedOut));

    // One block is all there is, and nobody ever said that it came.
    let now = Instant::now();
    let plain = ReadRequest::parse(b"\0\x01f\0octet\0").expect("is a request");
    let mut session = Session::new(now, 10, plain.grant(OptionLimits::default(), 10));
    assert_eq!(blocks(&mut session, now), [1]);
    silence(&mut session);
    assert_eq!(session.outcome(), Some(&Outcome::TimedOut));
}

#[test]
fn a_closed_port_ends_a_transfer_at_once() {
    let (mut session, now) = opened(1000, 4);
    blocks(&mut session, now);
    session.on_datagram(now, &ack(4));
    blocks(&mut session, now);
    session.on_port_closed();
    assert_eq!(session.outcome(), Some(&Outcome::Gone));
    assert_eq!(session.poll_timeout(), None);
    assert_eq!(session.poll_transmit(now), None);
}

#[test]
fn a_port_that_closes_after_the_last_block_left_with_the_file() {
    let (mut session, _) = all_but(1, 1);
    session.on_port_closed();
    let want = Outcome::Unacknowledged { blocks: 1 };
    assert_eq!(session.outcome(), Some(&want));
    session.on_port_closed();
    assert_eq!(session.outcome(), Some(&want), "an end is an end");
}

#[test]
fn a_port_that_closes_before_any_data_was_a_probe() {
    let now = Instant::now();
    let mut session = Session::new(now, 1000, granted(1000, Some(4)));
    blocks(&mut session, now);
    session.on_port_closed();
    assert_eq!(session.outcome(), Some(&Outcome::Probed));
}

#[test]
fn progress_is_the_last_new_acknowledgement() {
    let (mut session, now) = all_but(4, 1);
    silence(&mut session);
    assert_eq!(session.progressed(), now);
}
