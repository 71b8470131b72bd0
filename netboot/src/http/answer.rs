//! Turns a found file into an answer: validators, ranges, length.
//!
//! Knows RFC 9110, not machines. Invariant: what is announced is what follows, byte for byte.

use std::fs::File;

use http::StatusCode;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderValue, LAST_MODIFIED,
};

use super::boot::Asked;
use super::conditional::{Validators, Verdict, evaluate};
use super::files::BootFile;
use super::range::RangeRequest;
use super::record::Record;
use super::reply::{Content, FilePart, Reply, plain};
use crate::source::FileContent;

/// Answers a GET or HEAD for `found`; the file is opened for a GET alone.
pub(crate) async fn send(asked: Asked<'_>, found: &BootFile, record: Record) -> Reply {
    let validators = Validators {
        etag: found.etag.to_str().unwrap_or_default(),
        modified: found.modified.as_ref().map(|modified| modified.at),
    };
    let length = found.content.length();
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(ETAG, found.etag.clone());
    if let Some(modified) = &found.modified {
        headers.insert(LAST_MODIFIED, modified.text.clone());
    }
    let (status, first, count) = match evaluate(asked.headers, &validators, length) {
        Verdict::NotModified => {
            return Reply {
                status: StatusCode::NOT_MODIFIED,
                headers,
                content: Content::Empty,
                record,
            };
        }
        Verdict::Send(RangeRequest::Unsatisfiable) => {
            insert(&mut headers, CONTENT_RANGE, &format!("bytes */{length}"));
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            return Reply {
                status: StatusCode::RANGE_NOT_SATISFIABLE,
                headers,
                content: Content::Empty,
                record,
            };
        }
        Verdict::Send(RangeRequest::Whole) => (StatusCode::OK, 0, length),
        Verdict::Send(RangeRequest::Part { first, last }) => {
            let range = format!("bytes {first}-{last}/{length}");
            insert(&mut headers, CONTENT_RANGE, &range);
            (StatusCode::PARTIAL_CONTENT, first, last - first + 1)
        }
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(found.content_type));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(count));
    let content = if asked.method == http::Method::HEAD || count == 0 {
        Content::Empty
    } else {
        match open(&found.content, first, count).await {
            Ok(content) => content,
            Err(error) => {
                tracing::error!(error = %error, "file of an image cannot be read");
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                return plain(status, "the file cannot be read", record);
            }
        }
    };
    Reply {
        status,
        headers,
        content,
        record,
    }
}

async fn open(content: &FileContent, first: u64, count: u64) -> std::io::Result<Content> {
    match content {
        FileContent::File { path, .. } => {
            let path = path.clone();
            let opened = tokio::task::spawn_blocking(move || File::open(path)).await;
            let file = opened.map_err(std::io::Error::other)??;
            Ok(Content::File(FilePart { file, first, count }))
        }
        FileContent::Bytes(bytes) => {
            let range = usize::try_from(first)
                .ok()
                .zip(usize::try_from(first + count).ok());
            let part = range.filter(|(_, end)| *end <= bytes.len());
            let part = part.map(|(start, end)| bytes.slice(start..end));
            Ok(part.map_or(Content::Empty, Content::Memory))
        }
    }
}

fn insert(headers: &mut HeaderMap, name: http::HeaderName, value: &str) {
    // Digits and units; what does not fit is left out.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
