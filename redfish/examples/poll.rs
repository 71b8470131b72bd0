//! Connects to many BMCs at once and polls their power states: the cost of a client.
//!
//! `poll COUNT PORT PASSES PASSWORD`: BMC number i is https://127.1.(i/256).(i%256):PORT, such as a
//! simulator serves them. Not a product; prints one JSON line per pass and the memory at the end.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measuring program"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use redfish::{Client, ClientConfig, Timeouts, TlsTrust};
use secrecy::SecretString;

fn proc_number(file: &str, key: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// User and system time of this process in milliseconds (clock ticks are 10 ms).
fn cpu_ms() -> u64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after = text.rsplit_once(')').unwrap().1;
    let fields: Vec<u64> = after
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    (fields.get(11).unwrap() + fields.get(12).unwrap()) * 10
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |index: usize, default: &str| {
        arguments
            .get(index)
            .map_or(default, String::as_str)
            .to_owned()
    };
    let count: usize = argument(0, "1000").parse().unwrap();
    let port = argument(1, "18443");
    let passes: usize = argument(2, "3").parse().unwrap();
    let password = argument(3, "p");
    let started = proc_number("/proc/self/status", "VmRSS");
    let clients: Vec<Arc<Client>> = (0..count)
        .map(|index| {
            let base = format!("https://127.1.{}.{}:{port}", index / 256, index % 256);
            let client = Client::new(ClientConfig {
                base: base.parse().unwrap(),
                username: "admin".into(),
                password: SecretString::from(password.clone()),
                system_id: None,
                trust: TlsTrust::FirstUse,
                timeouts: Timeouts::default(),
            });
            Arc::new(client.unwrap())
        })
        .collect();
    for pass in 0..passes {
        let (clock, cpu) = (Instant::now(), cpu_ms());
        let polls = clients.iter().map(|client| {
            let client = Arc::clone(client);
            tokio::spawn(async move {
                let clock = Instant::now();
                (client.system().await, clock.elapsed())
            })
        });
        let polls: Vec<_> = polls.collect();
        let mut good = 0_usize;
        let mut spent: Vec<Duration> = Vec::new();
        for poll in polls {
            let (outcome, time) = poll.await.unwrap();
            match outcome {
                Ok(_) => good += 1,
                Err(error) if good == 0 => println!("{error:?}"),
                Err(_) => {}
            }
            spent.push(time);
        }
        spent.sort();
        println!(
            "{{\"pass\":{pass},\"count\":{count},\"good\":{good},\"s\":{:.3},\"p50_ms\":{},\"p99_ms\":{},\"cpu_us_per_poll\":{},\"rss_kb\":{}}}",
            clock.elapsed().as_secs_f64(),
            spent.get(count / 2).unwrap().as_millis(),
            spent.get(count * 99 / 100).unwrap().as_millis(),
            (cpu_ms() - cpu) * 1000 / u64::try_from(count).unwrap(),
            proc_number("/proc/self/status", "VmRSS"),
        );
    }
    let clock = Instant::now();
    let closes = clients
        .iter()
        .map(|client| {
            let client = Arc::clone(client);
            tokio::spawn(async move { client.close().await.is_ok() })
        })
        .collect::<Vec<_>>();
    let mut closed = 0;
    for close in closes {
        closed += usize::from(close.await.unwrap());
    }
    println!(
        "{{\"closed\":{closed},\"s\":{:.3},\"rss_start_kb\":{started},\"rss_peak_kb\":{}}}",
        clock.elapsed().as_secs_f64(),
        proc_number("/proc/self/status", "VmHWM")
    );
}
