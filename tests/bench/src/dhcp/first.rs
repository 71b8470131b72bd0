//! Asks until somebody answers: how long a restart keeps machines waiting.
//!
//! Invariant: the time given is the wall clock, so that the caller can compare it with the moment
//! it started the server.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{
    Relay, mac,
    message::{DISCOVER, Message, OFFER, Reply},
};
use crate::udp::Batch;

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(1);

/// Asks for `client` until it is offered an address.
pub fn run(relay: Relay, client: u64, limit: Duration) -> Result<Value> {
    let socket = relay.socket()?;
    let mut batch = Batch::default();
    let begun = Instant::now();
    let mut xid = 0x3000_0000_u32;
    while begun.elapsed() < limit {
        xid += 1;
        let message = Message {
            kind: DISCOVER,
            xid,
            mac: mac(client),
            relay: relay.relay,
            secs: 0,
            offer: None,
        };
        if let Some(slot) = batch.slot() {
            message.write(slot);
        }
        batch.send(&socket, relay.server)?;
        std::thread::park_timeout(PAUSE);
        for index in 0..batch.receive(&socket)? {
            let is_offer = |reply: Reply| reply.kind == OFFER && reply.xid > 0x3000_0000;
            if Reply::parse(batch.datagram(index)).is_some_and(is_offer) {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "the script compares it with `date`"
                )]
                let at = SystemTime::now().duration_since(UNIX_EPOCH)?;
                return Ok(json!({ "answered_at_us": u64::try_from(at.as_micros())? }));
            }
        }
    }
    bail!("no answer within {limit:?}")
}
