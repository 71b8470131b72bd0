//! All transfers of the server: what becomes of a request, a datagram, a file read and the time.
//!
//! Waits for nothing: what takes time is a job whose end is told here. Invariant: after each call
//! every transfer that may send has its datagrams in the outbox of its port.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    io,
    net::SocketAddrV4,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    sync::Semaphore,
    task::{JoinSet, spawn_blocking},
};
use tracing::debug;

use super::{
    content::{ChunkKey, Chunks, Content, Load, Open, Part},
    outbox::{Blocks, Out, What},
    packet::{self, ErrorCode},
    port::{News, Ports},
    request::ReadRequest,
    server::Shared,
    session::{Session, Transmit},
    socket::{Heard, Received},
    table::{Entry as _, Id, Room, Table},
    transfer::{End, Running, Transfer},
};
use crate::source::FileContent;

/// The same request again within this time is an impatient client, not a new transfer.
const REPEAT: Duration = Duration::from_millis(200);
/// Longest time to find and render a file. The client asks again every second or so.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Files are kept in memory for this long after the last transfer.
const IDLE: Duration = Duration::from_secs(30);
/// When the kernel took no more to send, it is asked again after this time.
const SEND_AGAIN: Duration = Duration::from_millis(1);
/// Files opened and chunks read at once; each takes microseconds unless a disk is slow.
const MOST_JOBS: usize = 32;
/// Batches taken from one port before others have their turn.
const BATCHES: usize = 8;
/// Datagrams that were not delivered, looked at before others have their turn.
const MOST_FAULTS: usize = 64;

/// What a job brings back.
pub(super) enum Job {
    Opened(Id, Result<(Content, u64), End>),
    Loaded(ChunkKey, io::Result<Bytes>),
}

/// The transfers and all they need.
pub(super) struct Engine {
    shared: Arc<Shared>,
    pub(super) ports: Ports,
    pub(super) jobs: JoinSet<Job>,
    table: Table<Transfer>,
    times: BinaryHeap<Reverse<(Instant, Id)>>,
    chunks: Chunks,
    waiting: HashMap<ChunkKey, Vec<Id>>,
    heard: Heard,
    touched: Vec<Id>,
    failed: Vec<(Id, io::Error)>,
    idle_since: Option<Instant>,
    send_again: Option<Instant>,
    job_places: Arc<Semaphore>,
}

impl Engine {
    pub(super) fn new(shared: Arc<Shared>, most: usize, most_per_host: usize) -> Self {
        Self {
            shared,
            ports: Ports::default(),
            jobs: JoinSet::new(),
            table: Table::new(most, most_per_host),
            times: BinaryHeap::new(),
            chunks: Chunks::default(),
            waiting: HashMap::new(),
            heard: Heard::default(),
            touched: Vec::new(),
            failed: Vec::new(),
            idle_since: None,
            send_again: None,
            job_places: Arc::new(Semaphore::new(MOST_JOBS)),
        }
    }

    pub(super) fn count(&self) -> i64 {
        i64::try_from(self.table.count()).unwrap_or(i64::MAX)
    }

    /// A datagram came to the request port.
    pub(super) fn on_request(&mut self, now: Instant, received: Received, datagram: &[u8]) {
        let request = match ReadRequest::parse(datagram) {
            Ok(request) => request,
            Err(refusal) => {
                self.shared.metrics.refused(refusal.label());
                if let Some(code) = refusal.code() {
                    self.refuse(received, code, &refusal.to_string());
                }
                return;
            }
        };
        let other = self.table.of_peer(received.peer);
        let other = other.and_then(|id| self.table.get_mut(id).map(|transfer| transfer.port));
        if let Some(port) = other {
            // The ERROR that ended the last transfer may still wait there; it came first.
            self.hear(now, port, true);
        }
        if let Some(id) = self.table.of_peer(received.peer) {
            if self.is_repeated(now, id, &request) {
                self.shared.metrics.refused("repeated");
                return;
            }
            self.end(now, id, &End::StartedOver);
        }
        match self.table.room(*received.peer.ip()) {
            Room::Free => {}
            Room::After(id) => self.end(now, id, &End::GaveWay),
            Room::None => {
                self.shared.metrics.refused("busy");
                let text = "too many transfers, try again";
                return self.refuse(received, ErrorCode::NotDefined, text);
            }
        }
        let port = match self.ports.choose(received.local, other) {
            Ok(port) => port,
            Err(error) => {
                debug!(peer = %received.peer, %error, "could not open a port for a transfer");
                return self.shared.metrics.outcome("no_port");
            }
        };
        self.idle_since = None;
        let path = request.path.clone();
        let id = self.table.insert(Transfer {
            request,
            peer: received.peer,
            port,
            since: now,
            running: None,
            timer: None,
        });
        let (shared, places) = (Arc::clone(&self.shared), Arc::clone(&self.job_places));
        self.jobs.spawn(async move {
            // It is never closed.
            let _place = places.acquire().await.ok();
            let opened = tokio::time::timeout(OPEN_TIMEOUT, open(&shared, received.peer, &path));
            Job::Opened(id, opened.await.unwrap_or(Err(End::OpenTimedOut)))
        });
    }

    /// Whether this is a resend of a request that is being answered. A client that reuses its port
    /// for another file, or comes back later, starts over instead.
    fn is_repeated(&mut self, now: Instant, id: Id, request: &ReadRequest) -> bool {
        self.table.get_mut(id).is_some_and(|transfer| {
            transfer.request == *request
                && !transfer.is_followed()
                && now.duration_since(transfer.since) < REPEAT
        })
    }

    fn refuse(&mut self, received: Received, code: ErrorCode, text: &str) {
        if let Ok(index) = self.ports.choose(received.local, None)
            && let Some(port) = self.ports.get_mut(index)
        {
            port.outbox.push_back(Out {
                to: received.peer,
                transfer: None,
                what: What::Packet(packet::error(code, text).into()),
            });
        }
    }

    /// A job has ended; `None` when it panicked, which only a bug can cause.
    pub(super) fn on_job(&mut self, now: Instant, job: Option<Job>) {
        match job {
            Some(Job::Opened(id, Ok((content, length)))) => {
                let limits = self.shared.limits;
                if let Some(transfer) = self.table.get_mut(id) {
                    let granted = transfer.request.grant(limits, length);
                    transfer.running = Some(Box::new(Running {
                        session: Session::new(now, length, granted),
                        content,
                        stalled: None,
                    }));
                    self.pump(now, id);
                }
            }
            Some(Job::Opened(id, Err(end))) => self.end(now, id, &end),
            Some(Job::Loaded(key, read)) => {
                let failed = read.as_ref().err().map(ToString::to_string);
                self.chunks.loaded(key, read.ok());
                for id in self.waiting.remove(&key).unwrap_or_default() {
                    match &failed {
                        None => self.pump(now, id),
                        Some(why) => self.end(now, id, &End::Read(io::Error::other(why.clone()))),
                    }
                }
            }
            None => {}
        }
    }

    /// A port can be read, or says that datagrams were not delivered.
    pub(super) fn on_news(&mut self, now: Instant, news: News) {
        match news {
            News::Datagrams(index) => self.hear_all(now, index, false),
            News::Faults(index) => {
                let more = self.hear_faults(now, index);
                self.ports.watch_faults(index, more);
            }
        }
    }

    /// Ends the transfers of clients that have closed their port; tells whether there may be more.
    fn hear_faults(&mut self, now: Instant, index: usize) -> bool {
        // What clients said before they left comes first: perhaps it was the last acknowledgement.
        self.hear_all(now, index, true);
        for _ in 0..MOST_FAULTS {
            let fault = match self.ports.get_mut(index).map(|port| port.next_fault()) {
                Some(Ok(Some(fault))) => fault,
                Some(Ok(None)) | None => return false,
                Some(Err(error)) => {
                    self.shared.metrics.receive_errors.inc();
                    debug!(%error, "could not read which TFTP datagrams were not delivered");
                    return false;
                }
            };
            if fault.is_closed_port()
                && let Some(id) = self.table.of_peer(fault.to)
                && let Some(transfer) = self.table.get_mut(id)
                && transfer.port == index
                && let Some(running) = &mut transfer.running
            {
                running.session.on_port_closed();
                self.pump(now, id);
            }
        }
        true
    }

    /// Takes what is there, for a turn.
    fn hear_all(&mut self, now: Instant, index: usize, at_once: bool) {
        for _ in 0..BATCHES {
            if !self.hear(now, index, at_once) {
                return;
            }
        }
    }

    /// Takes one batch of datagrams from a port; tells whether there may be more.
    fn hear(&mut self, now: Instant, index: usize, at_once: bool) -> bool {
        let Some(port) = self.ports.get_mut(index) else {
            return false;
        };
        let received = if at_once {
            port.receive_now(&mut self.heard)
        } else {
            port.receive(&mut self.heard)
        };
        let more = match received {
            Ok(more) => more,
            Err(error) => {
                self.shared.metrics.receive_errors.inc();
                debug!(%error, "could not receive on a TFTP port");
                return false;
            }
        };
        let mut touched = std::mem::take(&mut self.touched);
        for (peer, datagram) in self.heard.each() {
            // Anybody may send to this port; only the transfer's own client is heard.
            let Some(id) = self.table.of_peer(peer) else {
                continue;
            };
            let Some(transfer) = self.table.get_mut(id) else {
                continue;
            };
            if let (true, Some(running)) = (transfer.port == index, &mut transfer.running) {
                running.session.on_datagram(now, datagram);
                touched.push(id);
            }
        }
        // Only now: the newest acknowledgement of a client is the one to answer.
        for id in touched.drain(..) {
            self.pump(now, id);
        }
        self.touched = touched;
        more
    }

    /// When [`Self::on_time`] has something to do.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let idle = self.idle_since.map(|since| since + IDLE);
        let next = self.times.peek().map(|Reverse((at, _))| *at);
        next.into_iter().chain(idle).chain(self.send_again).min()
    }

    /// Time has passed.
    pub(super) fn on_time(&mut self, now: Instant) {
        while self.times.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            let Some(Reverse((at, id))) = self.times.pop() else {
                break;
            };
            let Some(transfer) = self.table.get_mut(id) else {
                continue;
            };
            if transfer.timer != Some(at) {
                continue;
            }
            transfer.timer = None;
            if let Some(running) = &mut transfer.running {
                running.session.on_timeout(now);
                self.pump(now, id);
            }
        }
        if self.idle_since.is_some_and(|since| now >= since + IDLE) {
            self.chunks.clear();
            self.idle_since = None;
        }
    }

    /// Puts into the outbox what the transfer may send, and looks after its end and its time.
    fn pump(&mut self, now: Instant, id: Id) {
        let Some(transfer) = self.table.get_mut(id) else {
            return;
        };
        let (Some(running), Some(port)) =
            (&mut transfer.running, self.ports.get_mut(transfer.port))
        else {
            return;
        };
        let blksize = running.session.sizes().0;
        let mut sent = 0;
        let mut missing = None;
        let mut failed = None;
        loop {
            let stalled = running.stalled.take().map(|(transmit, _)| transmit);
            let Some(transmit) = stalled.or_else(|| running.session.poll_transmit(now)) else {
                break;
            };
            let what = match &transmit {
                Transmit::Packet(packet) => What::Packet(Bytes::copy_from_slice(packet)),
                Transmit::Data {
                    block,
                    offset,
                    length,
                } => match running.content.get(&mut self.chunks, *offset, *length) {
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                    Ok(Part::Missing(key)) => {
                        missing = Some(key);
                        running.stalled = Some((transmit, key));
                        break;
                    }
                    Ok(Part::Here(bytes, start)) => {
                        sent += u64::from(*length);
                        if let Some(Out {
                            transfer: Some(of),
                            what: What::Blocks(blocks),
                            ..
                        }) = port.outbox.back_mut()
                            && *of == id
                            && blocks.extend(*block, bytes, start, *length)
                        {
                            continue;
                        }
                        What::Blocks(Blocks::one(*block, blksize, bytes, start, *length))
                    }
                },
            };
            port.outbox.push_back(Out {
                to: transfer.peer,
                transfer: Some(id),
                what,
            });
        }
        self.shared.metrics.sent.inc_by(sent);
        if let Some(outcome) = running.session.outcome() {
            let end = End::Session(outcome.clone());
            return self.end(now, id, &end);
        }
        if let Some(error) = failed {
            return self.end(now, id, &End::Read(error));
        }
        if let Some(deadline) = running.session.poll_timeout()
            && transfer.timer.is_none_or(|timer| deadline < timer)
        {
            transfer.timer = Some(deadline);
            self.times.push(Reverse((deadline, id)));
        }
        let ahead = running.content.take_ahead();
        if let Some(key) = missing {
            self.load(id, key);
        } else if let Some(key) = ahead {
            self.load_ahead(id, key);
        }
    }

    /// Has a chunk read for this transfer, and the next one before it is asked for.
    fn load(&mut self, id: Id, key: ChunkKey) {
        self.waiting.entry(key).or_default().push(id);
        self.load_ahead(id, key);
        if let Some(key) = Content::after(key) {
            self.load_ahead(id, key);
        }
    }

    /// Has a chunk read that this transfer will want.
    fn load_ahead(&mut self, id: Id, key: ChunkKey) {
        let blksize = self.shared.limits.blksize;
        let Some(transfer) = self.table.get_mut(id) else {
            return;
        };
        if let Some(running) = &transfer.running
            && let Some(load) = running.content.load(&mut self.chunks, key, blksize)
        {
            self.jobs.spawn(read(load, Arc::clone(&self.job_places)));
        }
    }

    /// Ends a transfer and tells everybody.
    fn end(&mut self, now: Instant, id: Id, end: &End) {
        let Some(transfer) = self.table.remove(id) else {
            return;
        };
        if let Some(port) = self.ports.get_mut(transfer.port)
            && let Some(packet) = end.error_packet()
        {
            let (to, what) = (transfer.peer, What::Packet(packet.into()));
            port.outbox.push_back(Out {
                to,
                transfer: None,
                what,
            });
        }
        transfer.report(&self.shared, end, now.duration_since(transfer.since));
        if self.table.count() == 0 {
            self.times.clear();
            self.idle_since = Some(now);
        }
    }

    /// Sends what waits.
    pub(super) fn flush(&mut self) {
        let mut left = false;
        for index in 0..self.ports.count() {
            if let Some(port) = self.ports.get_mut(index) {
                port.flush(&mut self.failed);
                left |= !port.outbox.is_empty();
            }
        }
        if !left && self.failed.is_empty() {
            self.send_again = None;
            return;
        }
        let now = Instant::now();
        self.send_again = left.then(|| now + SEND_AGAIN);
        for (id, error) in std::mem::take(&mut self.failed) {
            self.end(now, id, &End::Send(error));
        }
    }

    /// Ends everything.
    pub(super) fn stop(mut self) {
        let now = Instant::now();
        for id in self.table.ids() {
            self.end(now, id, &End::Stopped);
        }
        self.flush();
    }
}

/// Finds the file and opens it.
async fn open(shared: &Shared, peer: SocketAddrV4, path: &str) -> Result<(Content, u64), End> {
    let found = shared.source.open(*peer.ip(), path).await;
    let content = found.map_err(End::NotOpened)?;
    let length = content.length();
    match content {
        FileContent::Bytes(bytes) => Ok((Content::Memory(bytes), length)),
        FileContent::File { path, .. } => {
            let opened = spawn_blocking(move || Open::new(&path, length)).await;
            let opened = opened.map_err(io::Error::other).and_then(|opened| opened);
            Ok((Content::file(opened.map_err(End::Read)?), length))
        }
    }
}

async fn read(load: Load, places: Arc<Semaphore>) -> Job {
    let key = load.key;
    let _place = places.acquire().await.ok();
    let read = spawn_blocking(move || load.read()).await;
    Job::Loaded(key, read.map_err(io::Error::other).and_then(|read| read))
}
