//! What the network says of datagrams that could not be delivered (ICMP, RFC 792; RFC 1122
//! section 4.1.3.3 asks that UDP passes it on).
//!
//! The kernel keeps such messages in a queue of their own (`IP_RECVERR`), and lets one call on the
//! socket fail for each: whichever comes next, for whatever client. Invariant: such a failure is
//! never taken for one of the call it befell.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::AsRawFd,
};

use nix::{
    errno::Errno,
    libc,
    sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg},
};

/// ICMP type "destination unreachable" and its code "port unreachable".
const UNREACHABLE: (u8, u8) = (3, 3);
/// So often a call is made again that fails for other datagrams. An error that lasts is its own.
const TRIES: usize = 16;

/// One such message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    /// Where the datagram was sent.
    pub(super) to: SocketAddrV4,
    /// Who complains; `None` when it is this machine itself.
    by: Option<Ipv4Addr>,
    icmp: (u8, u8),
}

impl Fault {
    /// The client's own host says that nobody listens at its port. What routers and firewalls on
    /// the way say may pass, and is easier to forge: whoever sends this in the client's name could
    /// as well send a TFTP ERROR.
    pub(super) fn is_closed_port(&self) -> bool {
        self.icmp == UNREACHABLE && self.by == Some(*self.to.ip())
    }
}

/// The next message in the socket's queue, if there is one.
pub(super) fn next(socket: &impl AsRawFd) -> io::Result<Option<Fault>> {
    let mut control = nix::cmsg_space!(libc::sock_extended_err, libc::sockaddr_in);
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let received = recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut [], Some(&mut control), flags);
    let message = match received {
        Err(Errno::EAGAIN) => return Ok(None),
        received => received?,
    };
    let to = message
        .address
        .map_or(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0), |address| {
            SocketAddrV4::new(address.ip(), address.port())
        });
    let said = message.cmsgs()?.find_map(|control| {
        let ControlMessageOwned::Ipv4RecvErr(error, by) = control else {
            return None;
        };
        Some((error, by))
    });
    Ok(Some(match said {
        Some((error, by)) if error.ee_origin == libc::SO_EE_ORIGIN_ICMP => Fault {
            to,
            by: by.map(|by| Ipv4Addr::from(u32::from_be(by.sin_addr.s_addr))),
            icmp: (error.ee_type, error.ee_code),
        },
        Some(_) | None => Fault {
            to,
            by: None,
            icmp: (0, 0),
        },
    }))
}

/// Calls again while the error may be that of another datagram.
pub(super) fn beyond_faults<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..TRIES {
        match call() {
            Err(error) if may_be_fault(&error) => {}
            result => return result,
        }
    }
    call()
}

/// What the kernel makes of ICMP messages.
fn may_be_fault(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNREFUSED
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::ENOPROTOOPT
                | libc::EOPNOTSUPP
                | libc::EPROTO
                | libc::EMSGSIZE
        )
    )
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::{super::socket, *};

    fn closed() -> io::Result<SocketAddrV4> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        match socket.local_addr()? {
            std::net::SocketAddr::V4(address) => Ok(address),
            std::net::SocketAddr::V6(_) => unreachable!("bound to IPv4"),
        }
    }

    #[test]
    fn a_closed_port_is_told_with_its_address_and_does_not_befall_the_next_client() -> io::Result<()>
    {
        let sender = socket::bind(Ipv4Addr::LOCALHOST)?;
        assert_eq!(next(&sender)?, None);
        let closed = closed()?;
        sender.send_to(b"hello", closed)?;
        let listener = UdpSocket::bind("127.0.0.1:0")?;
        // The loopback interface has delivered the complaint before the call returned.
        let other = sender.send_to(b"you", listener.local_addr()?);
        assert_eq!(
            other.expect_err("befalls it").raw_os_error(),
            Some(libc::ECONNREFUSED)
        );
        sender.send_to(b"again", closed)?;
        beyond_faults(|| sender.send_to(b"you", listener.local_addr()?))?;
        let mut buffer = [0; 8];
        assert_eq!(listener.recv(&mut buffer)?, 3);
        for _ in 0..2 {
            let fault = next(&sender)?.expect("was told");
            assert_eq!(fault.to, closed);
            assert!(fault.is_closed_port());
        }
        assert_eq!(next(&sender)?, None);
        Ok(())
    }

    #[test]
    fn only_the_client_itself_can_say_that_its_port_is_closed() {
        let to = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 2000);
        let fault = |by, icmp| Fault { to, by, icmp };
        assert!(fault(Some(*to.ip()), (3, 3)).is_closed_port());
        for other in [
            fault(Some(Ipv4Addr::new(10, 0, 0, 9)), (3, 3)),
            fault(None, (3, 3)),
            fault(Some(*to.ip()), (3, 1)),
            fault(Some(*to.ip()), (11, 3)),
        ] {
            assert!(!other.is_closed_port(), "{other:?}");
        }
    }

    #[test]
    fn an_error_that_lasts_is_reported() {
        let mut calls = 0;
        let result: io::Result<()> = beyond_faults(|| {
            calls += 1;
            Err(io::Error::from_raw_os_error(libc::ENETUNREACH))
        });
        assert!(result.is_err());
        assert_eq!(calls, TRIES);
        let mut calls = 0;
        let result: io::Result<()> = beyond_faults(|| {
            calls += 1;
            Err(io::ErrorKind::WouldBlock.into())
        });
        assert!(result.is_err());
        assert_eq!(calls, 1);
    }
}
