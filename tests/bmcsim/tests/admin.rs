//! The admin plane: what a test outside this process can see and do.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use std::time::Duration;

use bmcsim::{BmcConfig, Config, Running};
use redfish::{Client, ClientConfig, ResetType, Timeouts, TlsTrust};
use secrecy::SecretString;
use serde_json::{Value, json};

async fn start() -> (Running, String) {
    let config = Config {
        admin: Some("127.0.0.1:0".parse().unwrap()),
        bmcs: vec![
            BmcConfig::memory("a", "right"),
            BmcConfig::memory("b", "right"),
        ],
    };
    let running = bmcsim::start(config).await.unwrap();
    let admin = format!("http://{}", running.admin().unwrap());
    (running, admin)
}

fn client(running: &Running, index: usize) -> Client {
    Client::new(ClientConfig {
        base: format!("https://{}", running.bmcs()[index].0)
            .parse()
            .unwrap(),
        username: "admin".into(),
        password: SecretString::from("right"),
        system_id: None,
        trust: TlsTrust::FirstUse,
        timeouts: Timeouts {
            poll: Duration::from_millis(5),
            ..Timeouts::default()
        },
    })
    .unwrap()
}

fn http() -> reqwest::Client {
    reqwest::Client::builder()
        .tls_backend_preconfigured(
            rustls::ClientConfig::builder_with_provider(
                rustls::crypto::aws_lc_rs::default_provider().into(),
            )
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth(),
        )
        .no_proxy()
        .build()
        .unwrap()
}

async fn get(url: String) -> Value {
    http().get(url).send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn log_tells_calls_and_power_without_passwords() {
    let (running, admin) = start().await;
    let client = client(&running, 0);
    client.reset(ResetType::On).await.unwrap();
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let on = async {
        while get(format!("{admin}/bmcs")).await[0]["power"] != "On" {
            tick.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), on)
        .await
        .unwrap();
    let log = get(format!("{admin}/log?bmc=a")).await;
    let last = log["calls"].as_array().unwrap().last().unwrap();
    assert_eq!(last["body"], json!({"ResetType": "On"}));
    assert_eq!(last["status"], 204);
    assert_eq!(log["power"][0]["kind"], "On");
    assert_eq!(log["power"][0]["boot"], "Default");
    assert!(!log.to_string().contains("right"));
    assert_eq!(get(format!("{admin}/log?bmc=b")).await["calls"], json!([]));

    http()
        .post(format!("{admin}/log/clear"))
        .send()
        .await
        .unwrap()
        .error_for_status()
        .unwrap();
    assert_eq!(
        get(format!("{admin}/log")).await,
        json!({"calls": [], "power": []})
    );
    running.stop().await;
}

#[tokio::test]
async fn faults_are_set_per_bmc_and_removed() {
    let (running, admin) = start().await;
    let fault = json!({"bmc": "a", "path": "/redfish/v1/Systems", "status": 500});
    let set = http()
        .post(format!("{admin}/faults"))
        .json(&fault)
        .send()
        .await
        .unwrap();
    assert_eq!(set.status(), 204);
    let (a, b) = (client(&running, 0), client(&running, 1));
    assert_eq!(a.system().await.unwrap_err().reason(), "BMCFault");
    b.system().await.unwrap();
    http()
        .delete(format!("{admin}/faults"))
        .send()
        .await
        .unwrap();
    a.system().await.unwrap();

    let unknown = json!({"bmc": "c", "status": 500});
    let refused = http()
        .post(format!("{admin}/faults"))
        .json(&unknown)
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 404);
    let misspelt = json!({"stats": 500});
    let refused = http()
        .post(format!("{admin}/faults"))
        .json(&misspelt)
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 422);
    running.stop().await;
}

#[tokio::test]
async fn sessions_can_be_forgotten() {
    let (running, admin) = start().await;
    let client = client(&running, 1);
    client.system().await.unwrap();
    assert_eq!(get(format!("{admin}/bmcs")).await[1]["sessions"], 1);
    http()
        .post(format!("{admin}/sessions/clear"))
        .send()
        .await
        .unwrap();
    assert_eq!(get(format!("{admin}/bmcs")).await[1]["sessions"], 0);
    client.system().await.unwrap();
    running.stop().await;
}
