//! Counters of the netboot servers.
//!
//! One struct per server, cheap to clone, registered once by the owner; no statics. Invariant:
//! label values come from enums in this crate, never from a packet.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// `kind` of a DHCP message.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Kind {
    kind: &'static str,
}

/// How something ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Outcome {
    outcome: &'static str,
}

/// Why something was dropped.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    reason: &'static str,
}

/// What the DHCP server counts.
#[derive(Debug, Clone, Default)]
pub struct DhcpMetrics {
    requests: Family<Kind, Counter>,
    decisions: Family<Outcome, Counter>,
    dropped: Family<Reason, Counter>,
    foreign: Family<Kind, Counter>,
    pub(crate) receive_errors: Counter,
}

impl DhcpMetrics {
    /// Registers under `dhcp_` of the given registry, whose prefix is the program's.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("dhcp");
        registry.register(
            "requests",
            "Well-formed client messages by kind",
            self.requests.clone(),
        );
        registry.register(
            "decisions",
            "What became of well-formed messages: the reply sent or why there was none",
            self.decisions.clone(),
        );
        registry.register(
            "dropped",
            "Datagrams that were not looked at, by reason: malformed, or too many of one MAC",
            self.dropped.clone(),
        );
        registry.register(
            "foreign_messages",
            "Messages of or to another DHCP server on our segment, by kind",
            self.foreign.clone(),
        );
        registry.register(
            "receive_errors",
            "Receive calls the kernel refused",
            self.receive_errors.clone(),
        );
    }

    pub(crate) fn received(&self, kind: &'static str) {
        self.requests.get_or_create(&Kind { kind }).inc();
    }

    pub(crate) fn outcome(&self, outcome: &'static str) {
        self.decisions.get_or_create(&Outcome { outcome }).inc();
    }

    pub(crate) fn foreign(&self, kind: &'static str) {
        self.foreign.get_or_create(&Kind { kind }).inc();
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        self.dropped.get_or_create(&Reason { reason }).inc();
    }
}

/// What the TFTP server counts.
#[derive(Debug, Clone)]
pub struct TftpMetrics {
    transfers: Family<Outcome, Counter>,
    refused: Family<Reason, Counter>,
    pub(crate) sent: Counter,
    pub(crate) retransmits: Counter,
    pub(crate) active: Gauge,
    pub(crate) duration: Histogram,
    pub(crate) receive_errors: Counter,
}

impl Default for TftpMetrics {
    fn default() -> Self {
        Self {
            transfers: Family::default(),
            refused: Family::default(),
            sent: Counter::default(),
            retransmits: Counter::default(),
            active: Gauge::default(),
            duration: Histogram::new([0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0]),
            receive_errors: Counter::default(),
        }
    }
}

impl TftpMetrics {
    /// Registers under `tftp_` of the given registry, whose prefix is the program's.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("tftp");
        registry.register(
            "transfers",
            "Transfers by how they ended",
            self.transfers.clone(),
        );
        registry.register(
            "refused",
            "Requests answered with an error or dropped",
            self.refused.clone(),
        );
        registry.register_with_unit("sent", "File data sent", Unit::Bytes, self.sent.clone());
        registry.register(
            "retransmits",
            "Packets sent again",
            self.retransmits.clone(),
        );
        registry.register("active", "Transfers in progress", self.active.clone());
        registry.register_with_unit(
            "transfer_duration",
            "Time from request to last acknowledgement of complete transfers",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register(
            "receive_errors",
            "Receive calls the kernel refused",
            self.receive_errors.clone(),
        );
    }

    pub(crate) fn outcome(&self, outcome: &'static str) {
        self.transfers.get_or_create(&Outcome { outcome }).inc();
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&Reason { reason }).inc();
    }
}

/// What an HTTP request was about; the label `kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HttpKind {
    /// A file of a netboot image, rendered or not.
    BootFile,
    /// The disk of a machine image.
    Image,
    /// A report of an installer or a host.
    Callback,
    /// Anything else: health checks, strangers, what is not HTTP.
    Other,
}

impl HttpKind {
    fn label(self) -> &'static str {
        match self {
            Self::BootFile => "boot_file",
            Self::Image => "image",
            Self::Callback => "callback",
            Self::Other => "other",
        }
    }
}

/// `kind` of a request and the class of its `status`, such as `2xx`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Answered {
    kind: &'static str,
    status: &'static str,
}

/// What the boot HTTP server counts.
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    requests: Family<Answered, Counter>,
    aborted: Family<Kind, Counter>,
    sent: Family<Kind, Counter>,
    duration: Family<Kind, Histogram>,
    refused: Family<Reason, Counter>,
    pub(crate) active: Gauge,
}

impl Default for HttpMetrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            aborted: Family::default(),
            sent: Family::default(),
            duration: Family::new_with_constructor(|| {
                Histogram::new([
                    0.0005, 0.002, 0.01, 0.05, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0,
                ])
            }),
            refused: Family::default(),
            active: Gauge::default(),
        }
    }
}

impl HttpMetrics {
    /// Registers under `http_` of the given registry, whose prefix is the program's.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("http");
        registry.register(
            "requests",
            "Requests by what they were about and the class of the answer's status",
            self.requests.clone(),
        );
        registry.register(
            "aborted",
            "Answers whose client left, or was too slow, before the end",
            self.aborted.clone(),
        );
        registry.register_with_unit(
            "sent",
            "Content sent, without heads",
            Unit::Bytes,
            self.sent.clone(),
        );
        registry.register_with_unit(
            "request_duration",
            "Time from the request's head to the last byte of its answer",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register(
            "refused",
            "Connections refused or ended for others",
            self.refused.clone(),
        );
        registry.register("active", "Connections open", self.active.clone());
    }

    pub(crate) fn answered(
        &self,
        kind: HttpKind,
        status: u16,
        sent: u64,
        took: Duration,
        complete: bool,
    ) {
        let kind = kind.label();
        let status = match status {
            100..200 => "1xx",
            200..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            _ => "5xx",
        };
        self.requests
            .get_or_create(&Answered { kind, status })
            .inc();
        let kind = Kind { kind };
        self.sent.get_or_create(&kind).inc_by(sent);
        self.duration
            .get_or_create(&kind)
            .observe(took.as_secs_f64());
        if !complete {
            self.aborted.get_or_create(&kind).inc();
        }
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&Reason { reason }).inc();
    }
}

/// What the image store counts.
#[derive(Debug, Clone)]
pub struct ImageMetrics {
    pulls: Family<Outcome, Counter>,
    resolutions: Family<Outcome, Counter>,
    downloaded: Counter,
    resumed: Counter,
    duration: Histogram,
    images: Gauge,
    cache_size: Gauge,
    evicted: Counter,
}

impl Default for ImageMetrics {
    fn default() -> Self {
        Self {
            pulls: Family::default(),
            resolutions: Family::default(),
            downloaded: Counter::default(),
            resumed: Counter::default(),
            duration: Histogram::new([0.5, 2.0, 10.0, 30.0, 120.0, 600.0, 3600.0]),
            images: Gauge::default(),
            cache_size: Gauge::default(),
            evicted: Counter::default(),
        }
    }
}

impl ImageMetrics {
    /// Registers under `images_` of the given registry, whose prefix is the program's.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("images");
        registry.register(
            "pulls",
            "Fetches of images that were not in the cache, by how they ended",
            self.pulls.clone(),
        );
        registry.register(
            "resolutions",
            "Questions to registries and layouts what a reference means, by how they ended",
            self.resolutions.clone(),
        );
        registry.register_with_unit(
            "downloaded",
            "Layer bytes received from registries",
            Unit::Bytes,
            self.downloaded.clone(),
        );
        registry.register(
            "resumed",
            "Downloads continued after their connection broke",
            self.resumed.clone(),
        );
        registry.register_with_unit(
            "pull_duration",
            "Time of successful fetches, with unpacking and verification",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register("cached", "Images in the cache", self.images.clone());
        registry.register_with_unit(
            "cache_size",
            "Bytes of the images in the cache",
            Unit::Bytes,
            self.cache_size.clone(),
        );
        registry.register(
            "evicted",
            "Images removed from the cache to make room",
            self.evicted.clone(),
        );
    }

    pub(crate) fn pulled(&self, outcome: &'static str, took: std::time::Duration) {
        self.pulls.get_or_create(&Outcome { outcome }).inc();
        if outcome == "ok" {
            self.duration.observe(took.as_secs_f64());
        }
    }

    pub(crate) fn resolved(&self, outcome: &'static str) {
        self.resolutions.get_or_create(&Outcome { outcome }).inc();
    }

    pub(crate) fn received(&self, bytes: u64) {
        self.downloaded.inc_by(bytes);
    }

    pub(crate) fn resumed(&self) {
        self.resumed.inc();
    }

    pub(crate) fn evicted(&self) {
        self.evicted.inc();
    }

    pub(crate) fn cached(&self, images: usize, bytes: u64) {
        let capped = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.images.set(capped(images as u64));
        self.cache_size.set(capped(bytes));
    }
}
