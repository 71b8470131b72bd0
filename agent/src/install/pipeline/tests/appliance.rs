//! A scripted appliance for the installer: answers claims, takes reports, serves one file with
//! ranges, and breaks connections when told to. Plain sockets, one thread per connection.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use metalman_api::install::InstallReport;

/// A running appliance; its threads end with the process.
pub(super) struct Appliance {
    pub(super) url: String,
    pub(super) state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub(super) struct State {
    /// The file behind `/disk`.
    pub(super) file: Vec<u8>,
    /// Entity tag of the file.
    pub(super) etag: String,
    /// For each coming download: bytes after which the connection is cut.
    pub(super) cuts: VecDeque<usize>,
    /// After this many downloads the file gets another tag.
    pub(super) replaced_after: Option<usize>,
    /// Answers to claims, in order: status and body.
    pub(super) claims: VecDeque<(u16, String)>,
    /// Reports received.
    pub(super) reports: Vec<InstallReport>,
    /// `Range` and `If-Range` of every download.
    pub(super) downloads: Vec<(Option<String>, Option<String>)>,
}

impl Appliance {
    pub(super) fn start(file: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State {
            file,
            etag: "\"one\"".into(),
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for connection in listener.incoming() {
                let state = Arc::clone(&shared);
                // A client that goes away is part of the tests.
                thread::spawn(move || drop(serve(connection.unwrap(), &state)));
            }
        });
        Self { url, state }
    }
}

fn serve(connection: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut writer = connection;
    loop {
        let mut head = vec![];
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim().to_owned());
        }
        let header = |name: &str| {
            head.iter().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name)
                    .then(|| value.trim().to_owned())
            })
        };
        let length = header("content-length").map_or(0, |text| text.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let path = head[0].split(' ').nth(1).unwrap();
        let (answer, cut) = match path {
            "/claim" => {
                let (status, text) = state.lock().unwrap().claims.pop_front().unwrap();
                let length = text.len();
                (format!("HTTP/1.1 {status} x\r\nRetry-After: 0\r\nContent-Length: {length}\r\n\r\n{text}").into_bytes(), None)
            }
            "/report" => {
                state
                    .lock()
                    .unwrap()
                    .reports
                    .push(serde_json::from_slice(&body).unwrap());
                (b"HTTP/1.1 204 x\r\n\r\n".to_vec(), None)
            }
            "/disk" => download(
                &mut state.lock().unwrap(),
                header("range"),
                header("if-range"),
            ),
            _ => (
                b"HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n".to_vec(),
                None,
            ),
        };
        match cut {
            Some(cut) if cut < answer.len() => {
                writer.write_all(&answer[..cut])?;
                return writer.shutdown(std::net::Shutdown::Both);
            }
            _ => writer.write_all(&answer)?,
        }
    }
}

fn download(
    state: &mut State,
    range: Option<String>,
    if_range: Option<String>,
) -> (Vec<u8>, Option<usize>) {
    if state.replaced_after == Some(state.downloads.len()) {
        state.etag = "\"two\"".into();
    }
    let offset = range
        .as_deref()
        .filter(|_| if_range.as_ref().is_none_or(|tag| *tag == state.etag))
        .map(|range| {
            range
                .trim_start_matches("bytes=")
                .trim_end_matches('-')
                .parse()
                .unwrap()
        });
    state.downloads.push((range, if_range));
    let total = state.file.len();
    let body = &state.file[offset.unwrap_or(0)..];
    let status = match offset {
        Some(offset) => {
            format!(
                "206 x\r\nContent-Range: bytes {offset}-{}/{total}",
                total - 1
            )
        }
        None => "200 x".to_owned(),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nETag: {}\r\nContent-Length: {}\r\n\r\n",
        state.etag,
        body.len()
    );
    let cut = state.cuts.pop_front().map(|cut| cut + answer.len());
    (
        answer
            .into_bytes()
            .into_iter()
            .chain(body.iter().copied())
            .collect(),
        cut,
    )
}
