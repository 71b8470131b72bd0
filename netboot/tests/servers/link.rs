//! Two threads, each in a network namespace of its own, joined by a veth pair.
//!
//! The namespaces have no names and die with their threads: nothing is left behind.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddrV4},
    process::Command,
    sync::mpsc,
    thread,
};

use netboot::mac::MacAddr;
use nix::{
    sched::{CloneFlags, setns, unshare},
    unistd::{geteuid, gettid},
};
use socket2::{Domain, Socket, Type};
use tokio::{net::UdpSocket, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::support::{MAC, PATIENCE};

pub(crate) const SERVER_DEVICE: &str = "nb-server";
pub(crate) const CLIENT_DEVICE: &str = "nb-client";
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The server's second address.
pub(crate) const OTHER_SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);

/// Both namespaces, ready to use.
pub(crate) struct Link {
    server: File,
    client: File,
}

impl Link {
    /// Makes the pair, or says aloud why it cannot.
    pub(crate) fn new(test: &str) -> Option<Self> {
        if !geteuid().is_root() {
            let reason = format!("{test}: needs root for network namespaces");
            let wanted = ("METALMAN_TEST_STRICT".to_owned(), "1".to_owned());
            let strict = std::env::vars().any(|variable| variable == wanted);
            assert!(!strict, "{reason}");
            eprintln!("SKIPPED {reason}");
            return None;
        }
        let (client, client_thread) = namespace(None);
        let (server, _) = namespace(Some(client_thread.to_string()));
        let link = Self { server, client };
        enter(&link.client, || {
            ip(&[
                "link",
                "set",
                CLIENT_DEVICE,
                "address",
                &MacAddr::to_string(&MAC),
            ]);
            ip(&["addr", "add", &format!("{CLIENT}/24"), "dev", CLIENT_DEVICE]);
            ip(&["link", "set", CLIENT_DEVICE, "up"]);
            wait_until_up(CLIENT_DEVICE);
        });
        enter(&link.server, || wait_until_up(SERVER_DEVICE));
        Some(link)
    }

    /// Runs the server in its namespace while the client runs in its own, then stops the server.
    pub(crate) fn run<S, C>(
        self,
        server: impl FnOnce(CancellationToken) -> S + Send + 'static,
        client: impl FnOnce() -> C + Send + 'static,
    ) where
        S: Future<Output = ()> + Send + 'static,
        C: Future<Output = ()>,
    {
        let stop = CancellationToken::new();
        let (server_stop, namespace) = (stop.clone(), self.server);
        let (ready, bound) = mpsc::channel();
        let serving = thread::spawn(move || {
            setns(&namespace, CloneFlags::CLONE_NEWNET).expect("enters the namespace");
            runtime().block_on(async move {
                let mut tasks = JoinSet::new();
                tasks.spawn(server(server_stop));
                // The first poll binds; a current-thread runtime runs it at this yield.
                tokio::task::yield_now().await;
                ready.send(()).expect("the test waits");
                while let Some(ended) = tasks.join_next().await {
                    ended.expect("the server does not panic");
                }
            });
        });
        let namespace = self.client;
        let asking = thread::spawn(move || {
            setns(&namespace, CloneFlags::CLONE_NEWNET).expect("enters the namespace");
            bound.recv().expect("the server starts");
            runtime().block_on(client());
        });
        let asked = asking.join();
        stop.cancel();
        let finished = serving.join();
        if let Err(panic) = asked.and(finished) {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Does `work` in the namespace.
fn enter(namespace: &File, work: impl FnOnce() + Send + 'static) {
    let namespace = namespace.try_clone().expect("clones");
    let done = thread::spawn(move || {
        setns(&namespace, CloneFlags::CLONE_NEWNET).expect("enters the namespace");
        work();
    });
    done.join().expect("configures the namespace");
}

/// Until the kernel has seen the carrier it drops what is sent, for up to a second.
fn wait_until_up(device: &str) {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let output = Command::new("ip")
            .args(["-o", "link", "show", device])
            .output()
            .expect("ip runs");
        if String::from_utf8_lossy(&output.stdout).contains("state UP") {
            return;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "{device} does not come up: {output:?}"
        );
        thread::park_timeout(std::time::Duration::from_millis(5));
    }
}

/// A new namespace, held open by the returned file; with a peer thread, the veth pair to it.
fn namespace(peer: Option<String>) -> (File, nix::unistd::Pid) {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("makes a namespace");
        ip(&["link", "set", "lo", "up"]);
        if let Some(peer) = peer {
            let pair = [
                "link",
                "add",
                SERVER_DEVICE,
                "type",
                "veth",
                "peer",
                "name",
                CLIENT_DEVICE,
            ];
            ip(&[&pair[..], &["netns", &peer]].concat());
            for address in [SERVER, OTHER_SERVER] {
                ip(&[
                    "addr",
                    "add",
                    &format!("{address}/24"),
                    "dev",
                    SERVER_DEVICE,
                ]);
            }
            ip(&["link", "set", SERVER_DEVICE, "up"]);
        }
        let file = File::open("/proc/thread-self/ns/net").expect("opens the namespace");
        send.send((file, gettid())).expect("the test waits");
        // The peer is named by this thread, which must live until it was used.
        thread::park_timeout(std::time::Duration::from_secs(30));
    });
    receive.recv().expect("the namespace is made")
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .expect("ip runs");
    assert!(output.status.success(), "ip {arguments:?}: {output:?}");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("builds")
}

/// A socket as a DHCP client has it.
pub(crate) fn dhcp_client(device: &str) -> UdpSocket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("opens");
    socket.set_broadcast(true).expect("broadcasts");
    socket
        .bind_device(Some(device.as_bytes()))
        .expect("binds to the device");
    socket.set_nonblocking(true).expect("configures");
    socket
        .bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68).into())
        .expect("binds");
    UdpSocket::from_std(socket.into()).expect("registers")
}
