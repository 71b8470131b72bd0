//! Certificates: pinned at first contact.

use bmcsim::{BmcConfig, Config};
use redfish::{Client, ClientConfig, Error, Fingerprint, Timeouts, TlsTrust};
use secrecy::SecretString;

use super::rig::Rig;

#[tokio::test]
async fn certificate_is_pinned_on_first_use_and_another_one_is_refused_before_login() {
    let rig = Rig::named("generic").await;
    let client = rig.client();
    assert_eq!(client.observed_fingerprint(), None);
    client.service_root().await.unwrap();
    let seen = client.observed_fingerprint().unwrap();

    let mut config = rig.config();
    config.trust = TlsTrust::Pin(seen);
    Client::new(config.clone()).unwrap().system().await.unwrap();

    rig.bmc.clear_log();
    config.trust = TlsTrust::Pin(Fingerprint::of_der(b"another"));
    let error = Client::new(config).unwrap().system().await.unwrap_err();
    let Error::CertificateMismatch { found, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(found, seen);
    assert!(rig.calls().is_empty());
}

#[tokio::test]
async fn certificate_survives_a_restart_of_the_simulator() {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let bmc = BmcConfig {
            state_dir: Some(dir.path().join("bmc-1")),
            ..BmcConfig::memory("bmc-1", "right")
        };
        let running = bmcsim::start(Config {
            admin: None,
            bmcs: vec![bmc],
        })
        .await
        .unwrap();
        let base = format!("https://{}", running.bmcs()[0].0).parse().unwrap();
        let client = Client::new(ClientConfig {
            base,
            username: "admin".into(),
            password: SecretString::from("right"),
            system_id: None,
            trust: TlsTrust::FirstUse,
            timeouts: Timeouts::default(),
        });
        let client = client.unwrap();
        client.service_root().await.unwrap();
        seen.push(client.observed_fingerprint().unwrap());
        running.stop().await;
    }
    assert_eq!(seen[0], seen[1]);
}
