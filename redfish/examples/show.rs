//! Reads everything the client can read of one BMC and prints it; changes nothing.
//!
//! `show URL USER PASSWORD [SYSTEM]`. The certificate is accepted as it comes.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program for looking at one BMC"
)]

use std::fmt::Debug;

use redfish::{Client, ClientConfig, Error, Timeouts, TlsTrust};
use secrecy::SecretString;

fn print<T: Debug>(what: &str, outcome: Result<T, Error>) {
    match outcome {
        Ok(found) => println!("== {what}\n{found:#?}"),
        Err(error) => println!(
            "== {what}: {} ({error})\n   {}",
            error.reason(),
            error.cure()
        ),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let base: url::Url = arguments.next().unwrap().parse().unwrap();
    let username = arguments.next().unwrap();
    let password = SecretString::from(arguments.next().unwrap());
    let trust = match base.scheme() {
        "http" => TlsTrust::Plaintext,
        _ => TlsTrust::FirstUse,
    };
    let client = Client::new(ClientConfig {
        base,
        username,
        password,
        system_id: arguments.next(),
        trust,
        timeouts: Timeouts::default(),
    })
    .unwrap();
    print("platform", client.platform().await);
    print(
        "systems",
        client.systems().await.map(|systems| {
            systems
                .into_iter()
                .map(|system| (system.is_bootable(), system.id))
                .collect::<Vec<_>>()
        }),
    );
    print("system", client.system().await);
    print("manager", client.manager().await);
    print("inventory", client.inventory().await);
    print("sensors", client.sensors().await);
    print("event log", client.event_log(5).await);
    print("boot order", client.boot_order().await);
    print("indicator", client.indicator().await);
    print("virtual media", client.virtual_media().await);
    print("accounts", client.accounts().await);
    print("lockout", client.lockout_policy().await);
    print("consoles", client.consoles().await);
    print("sessions", client.session_count().await);
    print(
        "BIOS attributes",
        client
            .bios()
            .await
            .map(|bios| bios.map(|bios| (bios.current.len(), bios.pending.len()))),
    );
    println!("== certificate\n{:#?}", client.observed_certificate());
    print("close", client.close().await);
}
