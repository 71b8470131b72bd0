//! Bringing up the one interface the boot loader named.
//!
//! Not a network manager: one address, one route, for the length of the installation.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use tracing::{info, warn};

use super::cmdline::{Mac, StaticAddress};
use super::error::InstallError;
use super::netlink::{self, Acknowledgement};
use crate::facts::read_line;

const INTERFACE_WAIT: Duration = Duration::from_secs(30);
const CARRIER_WAIT: Duration = Duration::from_secs(30);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(100);

/// Waits for the interface with this MAC, gives it the address and the default route, and waits
/// for its carrier. Returns its name.
///
/// # Errors
/// It does not appear, or the kernel refuses the address.
pub fn bring_up(sys: &Path, mac: Mac, address: &StaticAddress) -> Result<String, InstallError> {
    let net = sys.join("class/net");
    let failed = |interface: String| {
        move |source| InstallError::NetworkFailed {
            interface: interface.clone(),
            source,
        }
    };
    let (name, index) = wait_until(INTERFACE_WAIT, || find(&net, mac))
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no interface with this MAC"))
        .map_err(failed(mac.to_string()))?;
    let mut route = RouteSocket::open().map_err(failed(name.clone()))?;
    let mut request =
        |build: &dyn Fn(u32) -> Vec<u8>| route.request(build).map_err(failed(name.clone()));
    request(&|sequence| netlink::link_up(sequence, index))?;
    request(&|sequence| netlink::add_address(sequence, index, address.ip, address.prefix_len))?;
    let has_carrier = || read_line(&net.join(&name).join("carrier")).filter(|text| text == "1");
    if wait_until(CARRIER_WAIT, has_carrier).is_none() {
        warn!(
            "{name} has no carrier after {} s, going on",
            CARRIER_WAIT.as_secs()
        );
    }
    if let Some(gateway) = address.gateway {
        request(&|sequence| netlink::default_route(sequence, index, gateway))?;
    }
    info!(
        "{name} ({mac}) is up with {}/{}",
        address.ip, address.prefix_len
    );
    Ok(name)
}

/// Text of `resolv.conf`.
pub fn resolv_conf(servers: &[IpAddr]) -> String {
    let lines: Vec<String> = servers
        .iter()
        .map(|server| {
            format!(
                "nameserver {server}
"
            )
        })
        .collect();
    lines.concat()
}

fn find(net: &Path, mac: Mac) -> Option<(String, u32)> {
    let wanted = mac.to_string();
    fs::read_dir(net)
        .ok()?
        .filter_map(Result::ok)
        .find_map(|entry| {
            let fact = |file: &str| read_line(&entry.path().join(file));
            // VLANs and bridges share the MAC of the device below them.
            let is_physical = entry.path().join("device").exists();
            let is_wanted = fact("address")?.eq_ignore_ascii_case(&wanted);
            let index = fact("ifindex")?.parse().ok()?;
            (is_physical && is_wanted)
                .then(|| (entry.file_name().to_string_lossy().into_owned(), index))
        })
}

fn wait_until<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        let found = look();
        if found.is_some() || Instant::now() >= deadline {
            return found;
        }
        thread::sleep(POLL);
    }
}

/// A routing socket; unconnected, it talks to the kernel.
#[derive(Debug)]
struct RouteSocket {
    socket: rustix::fd::OwnedFd,
    sequence: u32,
}

impl RouteSocket {
    fn open() -> io::Result<Self> {
        // No protocol means NETLINK_ROUTE.
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None,
        )?;
        set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_TIMEOUT))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    fn request(&mut self, build: &dyn Fn(u32) -> Vec<u8>) -> io::Result<()> {
        self.sequence += 1;
        rustix::net::send(&self.socket, &build(self.sequence), SendFlags::empty())?;
        let mut room = [0; 4096];
        loop {
            let (length, _) = rustix::net::recv(&self.socket, &mut room[..], RecvFlags::empty())?;
            let datagram = room.get(..length).unwrap_or_default();
            match netlink::acknowledgement(datagram, self.sequence) {
                Acknowledgement::Done => return Ok(()),
                Acknowledgement::Refused(errno) => return Err(io::Error::from_raw_os_error(errno)),
                Acknowledgement::Unrelated => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interface_is_found_by_mac() {
        let folder = tempfile::tempdir().unwrap();
        for (name, mac, index) in [
            ("lo", "00:00:00:00:00:00", 1),
            ("eth7", "52:54:00:AA:00:11", 9),
        ] {
            let entry = folder.path().join(name);
            fs::create_dir_all(entry.join("device")).unwrap();
            fs::write(entry.join("address"), mac).unwrap();
            fs::write(entry.join("ifindex"), index.to_string()).unwrap();
        }
        let mac = "52:54:00:aa:00:11".parse().unwrap();
        assert_eq!(find(folder.path(), mac), Some(("eth7".to_owned(), 9)));
        assert_eq!(find(folder.path(), Mac([1; 6])), None);
    }

    #[test]
    fn name_servers_are_listed() {
        let servers = ["10.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        assert_eq!(
            resolv_conf(&servers),
            "nameserver 10.0.0.1\nnameserver ::1\n"
        );
    }
}
