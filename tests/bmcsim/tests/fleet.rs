//! A thousand BMCs in one process: each is itself, none gets in another's way, and they fit into 200 MB.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]
#![expect(dead_code, reason = "this test needs only the client of the helper")]

mod https;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream;
use https::{patient, read};
use serde_json::{Value, json};

const COUNT: usize = 1000;
const LIMIT_KB: u64 = 200 * 1024;

/// The program, ended with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Starts a fleet on addresses that no other test uses; tells the addresses and the admin plane's.
fn start() -> (Process, Vec<String>, String) {
    let port = std::net::TcpListener::bind("127.77.0.0:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut child = Command::new(env!("CARGO_BIN_EXE_bmcsim"))
        .args([
            "--count",
            &COUNT.to_string(),
            "--by-address",
            "--listen",
            &format!("127.77.0.0:{port}"),
        ])
        .args([
            "--latency-ms",
            "100",
            "--power-ms",
            "300",
            "--session-limit",
            "2",
            "--admin",
            "127.0.0.1:0",
            "--log",
            "warn",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .take(COUNT + 1);
    let mut urls: Vec<String> = lines
        .map(|line| line.unwrap().rsplit(' ').next().unwrap().to_owned())
        .collect();
    let admin = urls.pop().unwrap();
    (Process(child), urls, admin)
}

fn peak_memory_kb(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.0.id())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn thousand_bmcs_keep_their_sessions_and_turn_on_once_each() {
    bmcsim::cli::raise_file_limit();
    let begun = Instant::now();
    let (process, urls, admin) = start();
    let started = begun.elapsed();
    let http = patient(Duration::from_mins(2));
    let login = json!({"UserName": "admin", "Password": "password"});
    let begun = Instant::now();
    let logins = stream::iter(&urls).map(|url| {
        let url = format!("{url}/redfish/v1/SessionService/Sessions");
        read(http.post(url).json(&login))
    });
    let made: Vec<_> = logins.buffer_unordered(COUNT).collect().await;
    assert!(
        made.iter()
            .all(|answer| answer.as_ref().is_ok_and(|answer| answer.status == 201))
    );
    let connected = begun.elapsed();
    let begun = Instant::now();
    let resets = stream::iter(&urls).map(|url| {
        let url = format!("{url}/redfish/v1/Systems/1/Actions/ComputerSystem.Reset");
        let reset = http.post(url).basic_auth("admin", Some("password"));
        read(reset.json(&json!({"ResetType": "On"})))
    });
    let sent: Vec<_> = resets.buffer_unordered(COUNT).collect().await;
    assert!(
        sent.iter()
            .all(|answer| answer.as_ref().is_ok_and(|answer| answer.status == 204))
    );
    let reset = begun.elapsed();
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    let counters = loop {
        tick.tick().await;
        let counters: Value = read(http.get(format!("{admin}/counters")))
            .await
            .unwrap()
            .body;
        if counters["total"]["powered_on"] == COUNT {
            break counters;
        }
    };
    assert_eq!(counters["resets_histogram"], json!({"On": {"1": COUNT}}));
    assert_eq!(counters["sessions_left"], COUNT);
    assert_eq!(counters["total"]["sessions_peak"], 1);
    let peak = peak_memory_kb(&process);
    eprintln!(
        "{COUNT} BMCs: started in {started:?}, connected in {connected:?}, reset in {reset:?}, {} MB at most",
        peak / 1024
    );
    assert!(peak <= LIMIT_KB, "{peak} KB");
}
