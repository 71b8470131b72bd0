//! A blob as one stream, over as many connections as it takes.
//!
//! Counts bytes and trusts none of them: the reader behind it hashes. Invariant: the bytes given
//! out are those of one blob in order, each once, whatever broke in between.

use std::io;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use http::StatusCode;
use http::header::CONTENT_RANGE;
use reqwest::Response;
use tokio_util::io::StreamReader;

use crate::images::error::ImageError;
use crate::images::registry::Registry;

/// Connections that may break one after the other without a byte in between.
const MAX_BARREN: u32 = 4;
/// Connections one blob may take in all.
const MAX_CONNECTIONS: u32 = 100;
/// Pause before the second connection; doubled for each barren one.
const PAUSE: Duration = Duration::from_millis(200);

/// Bytes of a blob.
pub(crate) type BlobReader = StreamReader<BoxStream<'static, io::Result<Bytes>>, Bytes>;

struct Pull {
    registry: Registry,
    digest: String,
    size: u64,
    offset: u64,
    response: Option<Response>,
    /// Bytes to drop, when a server answers a range with everything.
    skip: u64,
    barren: u32,
    connections: u32,
}

/// Opens a blob of `size` bytes.
pub(crate) async fn open(
    registry: Registry,
    digest: &str,
    size: u64,
) -> Result<BlobReader, ImageError> {
    let response = registry.open_blob(digest, 0).await?;
    let pull = Pull {
        registry,
        digest: digest.to_owned(),
        size,
        offset: 0,
        response: Some(response),
        skip: 0,
        barren: 0,
        connections: 1,
    };
    let stream = stream::try_unfold(pull, |mut pull| async move {
        let block = pull.next().await?;
        Ok(block.map(|block| (block, pull)))
    });
    Ok(StreamReader::new(stream.boxed()))
}

impl Pull {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if self.response.is_none() {
                if self.offset >= self.size {
                    return Ok(None);
                }
                self.reopen().await?;
            }
            let Some(response) = &mut self.response else {
                continue;
            };
            let why = match response.chunk().await {
                Ok(Some(mut block)) => {
                    let dropped = usize::try_from(self.skip)
                        .unwrap_or(usize::MAX)
                        .min(block.len());
                    block.advance(dropped);
                    self.skip -= dropped as u64;
                    if block.is_empty() {
                        continue;
                    }
                    self.barren = 0;
                    self.offset += block.len() as u64;
                    self.registry.metrics().received(block.len() as u64);
                    return Ok(Some(block));
                }
                // More than the announced size is the reader's to refuse.
                Ok(None) if self.offset >= self.size => return Ok(None),
                Ok(None) => "ended early".to_owned(),
                Err(error) => crate::images::error::chain(&error.without_url()),
            };
            self.broke(&why)?;
        }
    }

    fn broke(&mut self, why: &str) -> io::Result<()> {
        self.response = None;
        self.barren += 1;
        if self.offset >= self.size {
            return Ok(());
        }
        if self.barren > MAX_BARREN || self.connections >= MAX_CONNECTIONS {
            return Err(io::Error::other(format!(
                "the connection broke at byte {} of {}, {} times: {why}",
                self.offset, self.size, self.connections
            )));
        }
        tracing::info!(blob = %self.digest, at = self.offset, size = self.size, why, "connection broke, going on from there");
        Ok(())
    }

    async fn reopen(&mut self) -> io::Result<()> {
        tokio::time::sleep(PAUSE * 2_u32.pow(self.barren.saturating_sub(1))).await;
        self.connections += 1;
        self.registry.metrics().resumed();
        match self.registry.open_blob(&self.digest, self.offset).await {
            Ok(response) => {
                self.skip = match response.status() {
                    StatusCode::PARTIAL_CONTENT if starts_at(&response, self.offset) => 0,
                    StatusCode::PARTIAL_CONTENT => {
                        return self.broke("another range than asked for was sent");
                    }
                    _ => self.offset,
                };
                self.response = Some(response);
                Ok(())
            }
            Err(error) if error.is_transient() => self.broke(&crate::images::error::chain(&error)),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

/// RFC 9110, section 14.4.
fn starts_at(response: &Response, offset: u64) -> bool {
    response
        .headers()
        .get(CONTENT_RANGE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("bytes "))
        .and_then(|range| range.split_once('-'))
        .is_some_and(|(start, _)| start.trim().parse() == Ok(offset))
}
