//! Many clients in one thread, each on a port of its own and, when asked, with an address of its own.
//!
//! Invariant: the server sees what a room full of firmware would send; only the thread is shared.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    poll::{PollFd, PollFlags, ppoll},
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        time::TimeSpec,
    },
};
use serde_json::{Value, json};

use super::client::{Answer, Ask, Client, State};
use crate::{
    hist::Hist,
    link::{Impairment, Link, Way},
    udp,
};

/// A run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The request port.
    pub server: SocketAddrV4,
    /// What every client asks for.
    pub ask: Ask,
    /// Clients at once.
    pub clients: usize,
    /// Client `i` has the address `source + i`; without it all share the host's.
    pub source: Option<Ipv4Addr>,
    /// How often each reads the file.
    pub rounds: u32,
    /// The run ends after this time, whatever is left.
    pub limit: Duration,
    /// Delay and loss.
    pub impairment: Impairment,
    /// Of the loss.
    pub seed: u64,
}

struct Place {
    socket: UdpSocket,
    client: Client,
    peer: Option<SocketAddr>,
    rounds_left: u32,
}

#[derive(Default)]
struct Tally {
    bytes: usize,
    done: u64,
    failed: u64,
    timeouts: u64,
    duplicates: u64,
    gaps: u64,
    refused_options: u64,
    why: BTreeMap<String, u64>,
    times: Hist,
}

struct Run<'a> {
    plan: &'a Plan,
    reference: &'a [u8],
    epoll: Epoll,
    places: Vec<Place>,
    link: Link,
    tally: Tally,
    live: usize,
    buffer: Vec<u8>,
}

const TICK: Duration = Duration::from_millis(10);
/// Datagrams taken from one client before the next has its turn.
const TURN: usize = 64;

/// Reads, and says how it went.
pub fn run(plan: &Plan, reference: &[u8]) -> Result<Value> {
    let mut run = Run {
        plan,
        reference,
        epoll: Epoll::new(EpollCreateFlags::empty())?,
        places: Vec::with_capacity(plan.clients),
        link: Link::new(plan.impairment, plan.seed),
        tally: Tally::default(),
        live: plan.clients,
        buffer: vec![0; 66_000],
    };
    let begun = Instant::now();
    for index in 0..plan.clients {
        let place = run.open(index, plan.rounds)?;
        run.places.push(place);
        run.request(index);
    }
    run.until_done(begun)?;
    Ok(run.report(begun.elapsed()))
}

impl Run<'_> {
    fn open(&self, index: usize, rounds_left: u32) -> Result<Place> {
        let address = match self.plan.source {
            Some(first) => Ipv4Addr::from(u32::from(first) + u32::try_from(index)?),
            None => Ipv4Addr::UNSPECIFIED,
        };
        let socket = udp::bind(SocketAddrV4::new(address, 0), 4 << 20)
            .with_context(|| format!("a port on {address}"))?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, u64::try_from(index)?);
        self.epoll.add(&socket, event)?;
        Ok(Place {
            socket,
            client: Client::new(Instant::now()),
            peer: None,
            rounds_left,
        })
    }

    fn until_done(&mut self, begun: Instant) -> Result<()> {
        let mut events = vec![EpollEvent::empty(); 256];
        let mut ticked = begun;
        while self.live > 0 && begun.elapsed() < self.plan.limit {
            let ready = self.wait(&mut events)?;
            for event in events.iter().take(ready) {
                self.read(usize::try_from(event.data())?)?;
            }
            let now = Instant::now();
            while let Some(held) = self.link.arrived(now) {
                match held.way {
                    Way::Out => self.put(held.client, &held.bytes),
                    Way::In => {
                        let _answered = self.hear(held.client, now, &held.bytes)?;
                    }
                }
                self.link.recycle(held);
            }
            if now.duration_since(ticked) >= TICK {
                ticked = now;
                for index in 0..self.places.len() {
                    let Some(place) = self.places.get_mut(index) else {
                        break;
                    };
                    let answer = place.client.on_tick(now, self.plan.ask.timeout);
                    self.answer(index, now, answer)?;
                }
            }
        }
        Ok(())
    }

    /// Waits for datagrams, at most until the next one on the link arrives.
    fn wait(&mut self, events: &mut [EpollEvent]) -> Result<usize> {
        let Some(next) = self.link.next() else {
            return Ok(self.epoll.wait(events, EpollTimeout::try_from(TICK)?)?);
        };
        let pause = next.saturating_duration_since(Instant::now()).min(TICK);
        if !pause.is_zero() {
            let mut fds = [PollFd::new(
                std::os::fd::AsFd::as_fd(&self.epoll.0),
                PollFlags::POLLIN,
            )];
            ppoll(&mut fds, Some(TimeSpec::from_duration(pause)), None)?;
        }
        Ok(self.epoll.wait(events, EpollTimeout::ZERO)?)
    }

    fn read(&mut self, index: usize) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..TURN {
            let Some(place) = self.places.get_mut(index) else {
                break;
            };
            let received = if place.peer.is_some() {
                place.socket.recv(&mut buffer)
            } else {
                place.socket.recv_from(&mut buffer).map(|(length, from)| {
                    // The server answers from a port of the transfer; from now on only it is heard.
                    place.peer = place.socket.connect(from).is_ok().then_some(from);
                    length
                })
            };
            let Ok(length) = received else { break };
            let now = Instant::now();
            let datagram = buffer.get(..length).unwrap_or_default();
            if !self.link.is_clean() {
                self.link.put(now, index, Way::In, datagram);
            } else if self.hear(index, now, datagram)? {
                // It has acknowledged: nothing else can be there for it yet.
                break;
            }
        }
        self.buffer = buffer;
        Ok(())
    }

    /// Gives the client a datagram; says whether it answered.
    fn hear(&mut self, index: usize, now: Instant, datagram: &[u8]) -> Result<bool> {
        let Some(place) = self.places.get_mut(index) else {
            return Ok(false);
        };
        if place.client.state != State::Running {
            return Ok(true);
        }
        let answer = place.client.on_datagram(now, datagram, self.reference);
        self.answer(index, now, answer)?;
        Ok(answer != Answer::Nothing)
    }

    fn answer(&mut self, index: usize, now: Instant, answer: Answer) -> Result<()> {
        match answer {
            Answer::Nothing => {}
            Answer::Request => self.request(index),
            Answer::Ack(ack) if self.link.is_clean() => self.put(index, &ack),
            Answer::Ack(ack) => self.link.put(now, index, Way::Out, &ack),
        }
        let ended = |place: &Place| place.client.state != State::Running;
        if self.places.get(index).is_some_and(ended) {
            self.ended(index, now)?;
        }
        Ok(())
    }

    fn put(&mut self, index: usize, bytes: &[u8]) {
        if let Some(place) = self.places.get(index) {
            // A datagram that does not leave is a lost one.
            let _lost = place.socket.send(bytes).is_err();
        }
    }

    /// Requests go past the link: a lost one would only measure the client's own time-out.
    fn request(&mut self, index: usize) {
        let rrq = self.plan.ask.rrq();
        if let Some(place) = self.places.get(index) {
            let _lost = place.socket.send_to(&rrq, self.plan.server).is_err();
        }
    }

    fn ended(&mut self, index: usize, now: Instant) -> Result<()> {
        let Some(place) = self.places.get_mut(index) else {
            return Ok(());
        };
        if place.rounds_left == 0 {
            return Ok(());
        }
        let (client, tally) = (&place.client, &mut self.tally);
        tally.bytes += client.received;
        tally.timeouts += client.timeouts;
        tally.duplicates += client.duplicates;
        tally.gaps += client.gaps;
        match &client.state {
            State::Failed(why) => {
                tally.failed += 1;
                *tally.why.entry(why.clone()).or_default() += 1;
            }
            State::Done | State::Running => {
                tally.done += 1;
                tally.times.add(now.duration_since(client.begun));
                let asked = (self.plan.ask.blksize, self.plan.ask.windowsize);
                tally.refused_options += u64::from(client.granted() != asked);
            }
        }
        self.epoll.delete(&place.socket)?;
        place.rounds_left -= 1;
        let rounds_left = place.rounds_left;
        if rounds_left == 0 {
            self.live -= 1;
            return Ok(());
        }
        let again = self.open(index, rounds_left)?;
        if let Some(place) = self.places.get_mut(index) {
            *place = again;
        }
        self.request(index);
        Ok(())
    }

    fn report(self, took: Duration) -> Value {
        let tally = self.tally;
        let unfinished: usize = self
            .places
            .iter()
            .filter(|place| place.client.state == State::Running)
            .map(|place| place.client.received)
            .sum();
        #[expect(clippy::cast_precision_loss, reason = "megabytes, for people")]
        let megabytes = (tally.bytes + unfinished) as f64 / 1e6;
        json!({
            "clients": self.plan.clients, "done": tally.done, "failed": tally.failed,
            "unfinished": self.live, "megabytes": megabytes, "seconds": took.as_secs_f64(),
            "megabytes_per_s": megabytes / took.as_secs_f64(),
            "client_timeouts": tally.timeouts, "duplicates": tally.duplicates, "gaps": tally.gaps,
            "options_refused": tally.refused_options, "why": tally.why,
            "transfer_us": tally.times.json(),
        })
    }
}
