//! A room that is switched on: every machine asks at once and repeats as PXE firmware does.
//!
//! Invariant: a machine that is bound says nothing more.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    net::UdpSocket,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    Bound, Relay, mac,
    message::{ACK, DISCOVER, Message, NAK, OFFER, Offer, REQUEST, Reply},
};
use crate::{hist::Hist, udp::Batch};

/// Pauses between tries, in seconds; after the last the machine gives up.
const PAUSES: [u64; 4] = [4, 8, 16, 32];
/// Transaction of machine 0.
const FIRST_XID: u32 = 0x2000_0000;

/// A run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Between whom.
    pub relay: Relay,
    /// Machines.
    pub clients: usize,
    /// Over how long they are switched on.
    pub spread: Duration,
    /// The run ends after this time.
    pub limit: Duration,
}

#[derive(Debug, Clone)]
struct Machine {
    begun: Instant,
    next: Instant,
    tries: usize,
    offer: Option<Offer>,
    over: bool,
}

struct Run {
    plan: Plan,
    socket: UdpSocket,
    batch: Batch,
    machines: Vec<Machine>,
    wake: BinaryHeap<Reverse<(Instant, usize)>>,
    bound: Bound,
    done: usize,
    gave_up: usize,
    resent: u64,
    last: Duration,
    times: Hist,
}

/// Switches the room on.
pub fn run(plan: Plan) -> Result<Value> {
    let begun = Instant::now();
    let gap = plan.spread / u32::try_from(plan.clients.max(2) - 1)?;
    let machines: Vec<_> = (0..plan.clients)
        .map(|index| {
            let at = begun + gap * u32::try_from(index).unwrap_or(u32::MAX);
            Machine {
                begun: at,
                next: at,
                tries: 0,
                offer: None,
                over: false,
            }
        })
        .collect();
    let wake = machines
        .iter()
        .enumerate()
        .map(|(index, m)| Reverse((m.next, index)))
        .collect();
    let mut run = Run {
        plan,
        socket: plan.relay.socket()?,
        batch: Batch::default(),
        machines,
        wake,
        bound: Bound::default(),
        done: 0,
        gave_up: 0,
        resent: 0,
        last: Duration::ZERO,
        times: Hist::default(),
    };
    while run.done + run.gave_up < plan.clients && begun.elapsed() < plan.limit {
        run.due(Instant::now())?;
        if run.hear(begun)? == 0 {
            std::thread::park_timeout(Duration::from_micros(50));
        }
    }
    Ok(json!({
        "clients": plan.clients, "bound": run.done, "gave_up": run.gave_up, "resent": run.resent,
        "all_bound_ms": run.last.as_secs_f64() * 1e3, "addresses": run.bound.json(),
        "dora_us": run.times.json(),
    }))
}

impl Run {
    /// Sends for every machine whose time has come.
    fn due(&mut self, now: Instant) -> Result<()> {
        while self.wake.peek().is_some_and(|Reverse((at, _))| *at <= now) && !self.batch.is_full() {
            let Some(Reverse((at, index))) = self.wake.pop() else {
                break;
            };
            let Some(machine) = self.machines.get_mut(index) else {
                continue;
            };
            if machine.over || machine.next != at {
                continue;
            }
            let Some(pause) = PAUSES.get(machine.tries) else {
                machine.over = true;
                self.gave_up += 1;
                continue;
            };
            self.resent += u64::from(machine.tries > 0);
            machine.tries += 1;
            machine.next = now + Duration::from_secs(*pause);
            self.wake.push(Reverse((machine.next, index)));
            self.write(index, now)?;
        }
        self.flush()
    }

    fn write(&mut self, index: usize, now: Instant) -> Result<()> {
        let Some(machine) = self.machines.get(index) else {
            return Ok(());
        };
        let message = Message {
            kind: if machine.offer.is_some() {
                REQUEST
            } else {
                DISCOVER
            },
            xid: FIRST_XID + u32::try_from(index)?,
            mac: mac(u64::try_from(index)?),
            relay: self.plan.relay.relay,
            secs: u16::try_from(now.duration_since(machine.begun).as_secs())?,
            offer: machine.offer,
        };
        if let Some(slot) = self.batch.slot() {
            message.write(slot);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.batch.send(&self.socket, self.plan.relay.server)?;
        Ok(())
    }

    fn hear(&mut self, begun: Instant) -> Result<usize> {
        let count = self.batch.receive(&self.socket)?;
        let now = Instant::now();
        for datagram in 0..count {
            let Some(reply) = Reply::parse(self.batch.datagram(datagram)) else {
                continue;
            };
            let index = usize::try_from(reply.xid.wrapping_sub(FIRST_XID))?;
            let Some(machine) = self.machines.get_mut(index).filter(|m| !m.over) else {
                continue;
            };
            match (machine.offer, reply.kind) {
                (None, OFFER) => {
                    machine.offer = Some(reply.offer());
                    machine.tries = 1;
                    machine.next = now + Duration::from_secs(PAUSES[0]);
                    self.wake.push(Reverse((machine.next, index)));
                    self.write(index, now)?;
                }
                (Some(_), ACK) => {
                    machine.over = true;
                    self.times.add(now.duration_since(machine.begun));
                    self.last = now.duration_since(begun);
                    self.done += 1;
                    self.bound.bind(u64::try_from(index)?, &reply);
                }
                (_, NAK) => {
                    self.bound.refused += 1;
                    machine.offer = None;
                }
                _ => {}
            }
        }
        self.flush()?;
        Ok(count)
    }
}
