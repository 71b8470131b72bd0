//! HTTP load: readers of large files, and clients that are slow or silent.
//!
//! One thread. What is read of a body is thrown away inside the kernel (`MSG_TRUNC`), so that the
//! server is the slower side. Invariant: an answer counts when its whole body has come.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    os::fd::{AsFd as _, AsRawFd as _},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    poll::PollTimeout,
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags},
        socket::{MsgFlags, recv},
    },
};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

const HEAD_BYTES: usize = 4096;
const SKIP_BYTES: usize = 1 << 20;

/// Readers of one file.
#[derive(Debug)]
pub struct Plan {
    pub server: SocketAddrV4,
    pub path: String,
    pub clients: u32,
    /// Client i has the address `source` + i.
    pub source: Option<Ipv4Addr>,
    pub time: Duration,
}

struct Reader {
    stream: TcpStream,
    head: Vec<u8>,
    /// Bytes of the body still to come; none while the head is read.
    left: Option<u64>,
}

/// Reads the file again and again on every connection until the time is over.
pub fn read(plan: &Plan) -> Result<Value> {
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\n\r\n",
        plan.path, plan.server
    );
    let mut readers = BTreeMap::new();
    for client in 0..plan.clients {
        let mut stream = connect(plan.server, plan.source, client)?;
        stream.write_all(request.as_bytes())?;
        stream.set_nonblocking(true)?;
        let id = u64::from(client);
        epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, id))?;
        let reader = Reader {
            stream,
            head: Vec::new(),
            left: None,
        };
        readers.insert(id, reader);
    }
    let began = Instant::now();
    let (mut bytes, mut answers) = (0, 0_u64);
    let mut events = [EpollEvent::empty(); 64];
    let mut skip = vec![0; SKIP_BYTES];
    while began.elapsed() < plan.time {
        let ready = epoll.wait(&mut events, PollTimeout::from(100_u8))?;
        for event in events.iter().take(ready) {
            let Some(reader) = readers.get_mut(&event.data()) else {
                continue;
            };
            let (got, ended) = reader.take(&mut skip)?;
            bytes += got;
            if ended {
                answers += 1;
                reader.stream.write_all(request.as_bytes())?;
            }
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = bytes as f64 / 1e6 / seconds;
    Ok(
        json!({"megabytes": bytes / 1_000_000, "megabytes_per_s": rate, "answers": answers, "seconds": seconds}),
    )
}

impl Reader {
    /// Takes what is there once: bytes of the body, and whether the answer is complete.
    fn take(&mut self, skip: &mut [u8]) -> Result<(u64, bool)> {
        if let Some(left) = self.left {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(skip.len());
            let room = skip.get_mut(..most).unwrap_or_default();
            let got = match recv(self.stream.as_fd().as_raw_fd(), room, MsgFlags::MSG_TRUNC) {
                Ok(0) => bail!("the server closed with {left} bytes to come"),
                Ok(got) => got as u64,
                Err(nix::Error::EAGAIN) => return Ok((0, false)),
                Err(error) => return Err(error).context("read a body"),
            };
            self.left = (got < left).then_some(left - got);
            return Ok((got, got == left));
        }
        let mut part = [0; HEAD_BYTES];
        let got = match self.stream.read(&mut part) {
            Ok(0) => bail!("the server closed instead of answering"),
            Ok(got) => got,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok((0, false)),
            Err(error) => return Err(error).context("read a head"),
        };
        self.head
            .extend_from_slice(part.get(..got).unwrap_or_default());
        let Some(end) = self
            .head
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
        else {
            return Ok((0, false));
        };
        let head = String::from_utf8_lossy(self.head.get(..end).unwrap_or_default()).into_owned();
        let length = length_of(&head)?;
        let early = (self.head.len() - end - 4) as u64;
        self.head.clear();
        self.left = (early < length).then_some(length - early);
        Ok((early, early >= length))
    }
}

fn length_of(head: &str) -> Result<u64> {
    if !head.starts_with("HTTP/1.1 200") {
        bail!("answer {:?}", head.lines().next().unwrap_or_default());
    }
    let line = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then_some(value)
    });
    line.context("an answer without Content-Length")?
        .trim()
        .parse()
        .context("parse Content-Length")
}

fn connect(server: SocketAddrV4, source: Option<Ipv4Addr>, client: u32) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    if let Some(first) = source {
        let own = Ipv4Addr::from(u32::from(first) + client);
        socket.bind(&SocketAddrV4::new(own, 0).into())?;
    }
    socket.set_tcp_nodelay(true)?;
    socket
        .connect(&server.into())
        .with_context(|| format!("connect to {server}"))?;
    Ok(socket.into())
}

/// Opens connections of which half say nothing and half send a byte of a request every ten seconds,
/// says so on stdout, and keeps them, opening lost ones again, until stdin ends.
pub fn slow(server: SocketAddrV4, count: u32, source: Option<(Ipv4Addr, u32)>) -> Result<()> {
    let place = |index: u32| source.map(|(first, many)| (Some(first), index % many.max(1)));
    let open = |index: u32| {
        let (first, client) = place(index).unwrap_or((None, 0));
        connect(server, first, client)
    };
    let mut held = (0..count).map(open).collect::<Result<Vec<_>>>()?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", json!({"open": held.len()}))?;
    out.flush()?;
    let (ended, end) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).ok();
        drop(ended);
    });
    let request = b"GET /slow HTTP/1.1\r\nHost: x\r\nX-Slow: ";
    for round in 0.. {
        let byte = request.get(round % request.len()..).unwrap_or_default();
        let wait = Duration::from_secs(10);
        if end.recv_timeout(wait) == Err(std::sync::mpsc::RecvTimeoutError::Disconnected) {
            break;
        }
        for (index, stream) in held.iter_mut().enumerate() {
            let is_dripping = index % 2 == 0;
            stream.set_nonblocking(true)?;
            let gone = match stream.read(&mut [0]) {
                Ok(got) => got == 0,
                Err(error) => error.kind() != ErrorKind::WouldBlock,
            };
            let closed = gone
                || (is_dripping && stream.write_all(byte.get(..1).unwrap_or_default()).is_err());
            if closed {
                *stream = open(u32::try_from(index)?)?;
            }
        }
    }
    Ok(())
}
