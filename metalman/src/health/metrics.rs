//! The one metrics registry of the process. Parts bring a struct with `register(&mut Registry)`;
//! labels come from enums and fixed names only, never from machines, addresses or error texts.

use std::fmt;

use jiff::Timestamp;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, text},
    metrics::{counter::ConstCounter, gauge::ConstGauge, info::Info},
    registry::Registry,
};

use super::Readiness;
use crate::timeline::Recorder;

/// Registry with what every process has: build, start time, readiness.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// A registry whose metrics all start with `metalman_`.
    pub fn new(started_at: Timestamp, readiness: Readiness) -> Self {
        let mut registry = Registry::with_prefix("metalman");
        registry.register(
            "build",
            "What is running",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register(
            "process_start_time_seconds",
            "When the process started, as Unix time",
            ConstGauge::new(started_at.as_second()),
        );
        registry.register_collector(Box::new(Gates(readiness)));
        Self { registry }
    }

    /// Where the parts register theirs, before the registry is shared.
    pub fn registry(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// Shows how many entries of the boot timeline were lost.
    pub fn register_timeline(&mut self, recorder: Recorder) {
        self.registry.register_collector(Box::new(Lost(recorder)));
    }

    /// All metrics in the OpenMetrics text format.
    ///
    /// # Errors
    /// A metric refuses to be written.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

/// Reads the gates at the moment of the scrape.
#[derive(Debug)]
struct Gates(Readiness);

impl Collector for Gates {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut family = encoder.encode_descriptor(
            "ready",
            "Whether a part of the process works; all of them make /readyz 200.",
            None,
            prometheus_client::metrics::MetricType::Gauge,
        )?;
        for (name, open) in self.0.gates() {
            let gauge = ConstGauge::new(i64::from(open));
            gauge.encode(family.encode_family(&[("gate", name)])?)?;
        }
        Ok(())
    }
}

/// Reads the recorder's counter at the moment of the scrape.
#[derive(Debug)]
struct Lost(Recorder);

impl Collector for Lost {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counter = ConstCounter::new(self.0.dropped());
        let encoder = encoder.encode_descriptor(
            "timeline_dropped",
            "Boot events lost because the queue was full or the database did not take them.",
            None,
            counter.metric_type(),
        )?;
        counter.encode(encoder)
    }
}
