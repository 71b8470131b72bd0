//! A closed loop: so many exchanges of four packets at once, for so long.
//!
//! Nothing is sent again; an answer that takes longer than the limit is a drop. Invariant: a client
//! begins a new exchange only after all others had their turn.

use std::{
    collections::{HashMap, VecDeque},
    net::UdpSocket,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    Bound, Relay, mac,
    message::{ACK, DISCOVER, Message, NAK, OFFER, REQUEST, Reply},
};
use crate::{hist::Hist, udp::Batch};

/// A run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Between whom.
    pub relay: Relay,
    /// Different clients.
    pub clients: u64,
    /// Exchanges at once.
    pub inflight: usize,
    /// For how long.
    pub time: Duration,
    /// Longest wait for an answer.
    pub drop_after: Duration,
}

struct Exchange {
    client: u64,
    begun: Instant,
    sent: Instant,
    offered: bool,
}

struct Run {
    plan: Plan,
    socket: UdpSocket,
    batch: Batch,
    open: HashMap<u32, Exchange>,
    /// In the order of sending, so that the first is the next to be given up.
    waiting: VecDeque<(Instant, u32, bool)>,
    xid: u32,
    turn: u64,
    bound: Bound,
    done: u64,
    dropped: u64,
    stray: u64,
    whole: Hist,
    offers: Hist,
    acks: Hist,
}

/// Runs the loop.
pub fn run(plan: Plan) -> Result<Value> {
    let mut run = Run {
        plan,
        socket: plan.relay.socket()?,
        batch: Batch::default(),
        open: HashMap::new(),
        waiting: VecDeque::new(),
        xid: 0x1000_0000,
        turn: 0,
        bound: Bound::default(),
        done: 0,
        dropped: 0,
        stray: 0,
        whole: Hist::default(),
        offers: Hist::default(),
        acks: Hist::default(),
    };
    let begun = Instant::now();
    loop {
        let now = Instant::now();
        let begins = now.duration_since(begun) < plan.time;
        if !begins && run.open.is_empty() {
            break;
        }
        if begins {
            run.begin(now);
        }
        run.flush()?;
        run.hear()?;
        run.flush()?;
        run.give_up(Instant::now());
    }
    let exchanges = f64::from(u32::try_from(run.done)?);
    Ok(json!({
        "clients": plan.clients, "inflight": plan.inflight, "done": run.done,
        "per_s": exchanges / plan.time.as_secs_f64(), "dropped": run.dropped, "stray": run.stray,
        "bound": run.bound.json(), "dora_us": run.whole.json(), "offer_us": run.offers.json(),
        "ack_us": run.acks.json(),
    }))
}

impl Run {
    fn begin(&mut self, now: Instant) {
        while self.open.len() < self.plan.inflight && !self.batch.is_full() {
            let client = self.turn % self.plan.clients;
            self.turn += 1;
            self.xid = self.xid.wrapping_add(1);
            self.write(DISCOVER, self.xid, client, None);
            let exchange = Exchange {
                client,
                begun: now,
                sent: now,
                offered: false,
            };
            self.open.insert(self.xid, exchange);
            self.waiting
                .push_back((now + self.plan.drop_after, self.xid, false));
        }
    }

    fn write(&mut self, kind: u8, xid: u32, client: u64, reply: Option<Reply>) {
        let message = Message {
            kind,
            xid,
            mac: mac(client),
            relay: self.plan.relay.relay,
            secs: 0,
            offer: reply.map(|reply| reply.offer()),
        };
        if let Some(slot) = self.batch.slot() {
            message.write(slot);
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.batch.send(&self.socket, self.plan.relay.server)?;
        Ok(())
    }

    fn hear(&mut self) -> Result<()> {
        let count = self.batch.receive(&self.socket)?;
        let now = Instant::now();
        for index in 0..count {
            let reply = Reply::parse(self.batch.datagram(index));
            let exchange = reply.and_then(|reply| Some((reply, self.open.get_mut(&reply.xid)?)));
            let Some((reply, exchange)) = exchange else {
                self.stray += 1;
                continue;
            };
            match (exchange.offered, reply.kind) {
                (false, OFFER) => {
                    self.offers.add(now.duration_since(exchange.sent));
                    (exchange.offered, exchange.sent) = (true, now);
                    let client = exchange.client;
                    self.write(REQUEST, reply.xid, client, Some(reply));
                    self.waiting
                        .push_back((now + self.plan.drop_after, reply.xid, true));
                }
                (true, ACK) => {
                    self.acks.add(now.duration_since(exchange.sent));
                    self.whole.add(now.duration_since(exchange.begun));
                    self.bound.bind(exchange.client, &reply);
                    self.done += 1;
                    self.open.remove(&reply.xid);
                }
                (_, NAK) => {
                    self.bound.refused += 1;
                    self.open.remove(&reply.xid);
                }
                _ => self.stray += 1,
            }
        }
        Ok(())
    }

    fn give_up(&mut self, now: Instant) {
        while self.waiting.front().is_some_and(|(at, _, _)| *at <= now) {
            let Some((_, xid, offered)) = self.waiting.pop_front() else {
                return;
            };
            if self
                .open
                .get(&xid)
                .is_some_and(|exchange| exchange.offered == offered)
            {
                self.open.remove(&xid);
                self.dropped += 1;
            }
        }
    }
}
