//! Read requests that nobody follows: firmware that probes sizes, or an attack.
//!
//! Invariant: one datagram per abandoned transfer is all that is ever sent.

use std::{
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::Result;
use serde_json::{Value, json};

use super::client::Ask;
use crate::udp;

/// Datagrams in a row before the server has a moment to read them.
const BURST: usize = 50;

/// Sends `count` requests from as many ports over some addresses and answers nothing. The sockets
/// are given back: while they live the kernel reports no closed port, like firmware that hangs.
pub fn run(
    server: SocketAddrV4,
    ask: &Ask,
    count: usize,
    source: Option<(Ipv4Addr, u32)>,
    pause: Duration,
) -> Result<(Value, Vec<UdpSocket>)> {
    let begun = Instant::now();
    let rrq = ask.rrq();
    let mut sockets = Vec::with_capacity(count);
    for number in 0..count {
        let address = match source {
            Some((first, addresses)) => {
                Ipv4Addr::from(u32::from(first) + u32::try_from(number)? % addresses)
            }
            None => Ipv4Addr::UNSPECIFIED,
        };
        let socket = udp::bind(SocketAddrV4::new(address, 0), 4096)?;
        socket.send_to(&rrq, server)?;
        sockets.push(socket);
        if sockets.len() % BURST == 0 {
            std::thread::park_timeout(pause);
        }
    }
    let report = json!({ "half_open": count, "seconds": begun.elapsed().as_secs_f64() });
    Ok((report, sockets))
}
