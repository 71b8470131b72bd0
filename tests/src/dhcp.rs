//! A DHCP relay on the loopback: asks on behalf of a client and hands back the answer.
//!
//! It wants its answers at the port it sends from (RFC 8357), so it needs no privilege.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::net::UdpSocket;

/// Address of the relay in the clients' network, its giaddr.
const RELAY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Port of the switch that the relay names.
pub const PORT: &str = "Eth1/7";
/// How long an answer may take. A silent server is told from a slow one by asking it something else.
const PATIENCE: Duration = Duration::from_secs(5);

/// A relay.
#[derive(Debug)]
pub struct Relay {
    socket: UdpSocket,
    server: SocketAddr,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Option 53.
    pub kind: u8,
    /// The client's address.
    pub address: Ipv4Addr,
    /// The client.
    pub mac: [u8; 6],
}

impl Relay {
    /// A relay that asks this server.
    ///
    /// # Errors
    /// When the loopback has no such address.
    pub async fn new(server: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind((RELAY, 0)).await?;
        Ok(Self { socket, server })
    }

    /// Sends one message of a client; `options` besides the relay's.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub async fn send(&self, mac: [u8; 6], kind: u8, options: &[(u8, &[u8])]) -> Result<()> {
        let mut message = vec![0; 236];
        message.splice(..3, [1, 1, 6]);
        message.splice(24..28, RELAY.octets());
        message.splice(28..34, mac);
        message.extend([99, 130, 83, 99, 53, 1, kind]);
        for (code, data) in options {
            message.extend([*code, u8::try_from(data.len())?]);
            message.extend_from_slice(data);
        }
        let port = u8::try_from(PORT.len())?;
        message.extend([82, port + 4, 1, port]);
        message.extend(PORT.bytes());
        message.extend([19, 0, 255]);
        self.socket.send_to(&message, self.server).await?;
        Ok(())
    }

    /// The next answer, or `None` when there is none in time.
    ///
    /// # Errors
    /// When it is no DHCP message.
    pub async fn answer(&self) -> Result<Option<Answer>> {
        let mut buffer = [0_u8; 1500];
        let received = tokio::time::timeout(PATIENCE, self.socket.recv(&mut buffer)).await;
        let Ok(length) = received else {
            return Ok(None);
        };
        let message = buffer.get(..length?).unwrap_or_default();
        let part = |at: usize| message.get(at..).context("a whole message");
        Ok(Some(Answer {
            kind: *part(242)?.first().context("a message type")?,
            address: Ipv4Addr::from(*part(16)?.first_chunk::<4>().context("an address")?),
            mac: *part(28)?.first_chunk::<6>().context("a MAC")?,
        }))
    }

    /// A DISCOVER and its answer; a lost one is asked again.
    ///
    /// # Errors
    /// When nothing can be sent.
    pub async fn discover(&self, mac: [u8; 6]) -> Result<Option<Answer>> {
        let firmware: &[(u8, &[u8])] = &[(93, &[0, 7]), (60, b"PXEClient:Arch:00007")];
        self.send(mac, 1, firmware).await?;
        self.answer().await
    }
}
