//! The compressed image as one reader that survives broken connections.
//!
//! After a break it asks for the rest with `Range` and `If-Range` (RFC 9110 §13.1.5, §14.2).
//! Invariant: the bytes delivered are a prefix of one representation; a changed file ends it.

use std::fmt;
use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use tracing::warn;
use ureq::http::{Response, StatusCode, header};

use super::error::chain;
use crate::backoff::Backoff;
use crate::client::{Client, redacted, retry_after};

/// Tries without a byte of progress: about four minutes.
pub const DOWNLOAD_BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    max: Duration::from_secs(20),
    tries: 16,
};
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(1);

/// Why the download ended for good. Carried inside the [`io::Error`] of the reader.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The tries without progress are used up.
    #[error("{server} did not deliver byte {offset} in {tries} tries, last: {last}")]
    GaveUp {
        /// Server of the image.
        server: String,
        /// First missing byte.
        offset: u64,
        /// Tries made.
        tries: u32,
        /// The last failure.
        last: String,
    },
    /// The server answered that there is no image for us.
    #[error("{server} refused the image with status {status}")]
    Refused {
        /// Server of the image.
        server: String,
        /// Its answer.
        status: StatusCode,
    },
    /// The file behind the URL is not the one the plan describes, or was replaced meanwhile.
    #[error("the file on {server} has {found} bytes, the plan says {expected}")]
    WrongSize {
        /// Server of the image.
        server: String,
        /// Size of the plan.
        expected: u64,
        /// Size the server gives.
        found: u64,
    },
    /// The file was replaced while it was read.
    #[error("the file on {server} changed during the download")]
    Changed {
        /// Server of the image.
        server: String,
    },
}

/// A resumable download of a file of known size.
pub struct ImageStream {
    client: Client,
    url: String,
    size: u64,
    backoff: Backoff,
    offset: u64,
    etag: Option<String>,
    body: Option<ureq::BodyReader<'static>>,
    tries: u32,
}

impl fmt::Debug for ImageStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageStream")
            .field("server", &self.server())
            .field("offset", &self.offset)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

enum Failure {
    Final(StreamError),
    Passing { why: String, wait: Option<Duration> },
}

impl ImageStream {
    /// A stream of the `size` bytes behind `url`; nothing is opened yet.
    pub fn new(client: Client, url: &str, size: u64, backoff: Backoff) -> Self {
        let url = url.to_owned();
        Self {
            client,
            url,
            size,
            backoff,
            offset: 0,
            etag: None,
            body: None,
            tries: 0,
        }
    }

    fn server(&self) -> String {
        redacted(&self.url).to_owned()
    }

    fn open(&mut self) -> Result<(), Failure> {
        let response = self
            .client
            .download(&self.url, self.offset, self.etag.as_deref())
            .map_err(|error| Failure::Passing {
                why: chain(&error),
                wait: None,
            })?;
        self.check(&response)?;
        if self.etag.is_none() {
            // A weak tag cannot guard a range.
            let etag = response
                .headers()
                .get(header::ETAG)
                .and_then(|tag| tag.to_str().ok());
            self.etag = etag.filter(|tag| !tag.starts_with("W/")).map(str::to_owned);
        }
        // The limit is the size of the plan; the default of ureq is 10 MiB.
        self.body = Some(
            response
                .into_body()
                .into_with_config()
                .limit(u64::MAX)
                .reader(),
        );
        Ok(())
    }

    fn check(&self, response: &Response<ureq::Body>) -> Result<(), Failure> {
        let status = response.status();
        let found = match status {
            StatusCode::OK if self.offset > 0 => {
                return Err(Failure::Final(StreamError::Changed {
                    server: self.server(),
                }));
            }
            StatusCode::OK => response.body().content_length(),
            StatusCode::PARTIAL_CONTENT => {
                let range = response.headers().get(header::CONTENT_RANGE);
                match range
                    .and_then(|value| value.to_str().ok())
                    .and_then(content_range)
                {
                    Some((start, total)) if start == self.offset => total,
                    Some(_) | None => {
                        return Err(Failure::Passing {
                            why: "the server sent another range than asked for".to_owned(),
                            wait: None,
                        });
                    }
                }
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                return Err(Failure::Final(StreamError::Changed {
                    server: self.server(),
                }));
            }
            status
                if status.is_server_error()
                    || status == StatusCode::REQUEST_TIMEOUT
                    || status == StatusCode::TOO_MANY_REQUESTS =>
            {
                return Err(Failure::Passing {
                    why: format!("status {status}"),
                    wait: retry_after(response).map(|wait| wait.min(LONGEST_RETRY_AFTER)),
                });
            }
            status => {
                return Err(Failure::Final(StreamError::Refused {
                    server: self.server(),
                    status,
                }));
            }
        };
        match found {
            Some(found) if found != self.size => Err(Failure::Final(StreamError::WrongSize {
                server: self.server(),
                expected: self.size,
                found,
            })),
            Some(_) | None => Ok(()),
        }
    }

    /// Waits before the next try, or gives up.
    fn recover(&mut self, failure: Failure) -> io::Result<()> {
        self.body = None;
        let (why, wait) = match failure {
            Failure::Final(error) => return Err(io::Error::other(error)),
            Failure::Passing { why, wait } => (why, wait),
        };
        self.tries = self.tries.saturating_add(1);
        let Some(pause) = self.backoff.before(self.tries) else {
            return Err(io::Error::other(StreamError::GaveUp {
                server: self.server(),
                offset: self.offset,
                tries: self.tries,
                last: why,
            }));
        };
        let pause = wait.unwrap_or(pause);
        warn!(error = %why, "download stopped at byte {}, next try in {pause:?}", self.offset);
        thread::sleep(pause);
        Ok(())
    }
}

impl Read for ImageStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.size - self.offset;
        // Never beyond the announced size, whatever the server sends.
        let room = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let Some(buffer) = buffer.get_mut(..room).filter(|buffer| !buffer.is_empty()) else {
            return Ok(0);
        };
        loop {
            let outcome = match &mut self.body {
                Some(body) => match body.read(buffer) {
                    Ok(0) => Err(Failure::Passing {
                        why: "the connection ended early".to_owned(),
                        wait: None,
                    }),
                    Ok(count) => {
                        self.offset += count as u64;
                        self.tries = 0;
                        return Ok(count);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
                    Err(error) => Err(Failure::Passing {
                        why: chain(&error),
                        wait: None,
                    }),
                },
                None => self.open(),
            };
            if let Err(failure) = outcome {
                self.recover(failure)?;
            }
        }
    }
}

/// First byte and total of `Content-Range: bytes 5-9/10` (RFC 9110 §14.4).
fn content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _end) = range.split_once('-')?;
    let total = if total == "*" {
        None
    } else {
        Some(total.parse().ok()?)
    };
    Some((start.parse().ok()?, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        assert_eq!(content_range("bytes */10"), None);
        assert_eq!(content_range("lines 5-9/10"), None);
    }
}
