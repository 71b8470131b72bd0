//! What one client can take: requests, watches, memory of a watcher that does not read.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt as _};
use metalman::store::TokenRole;
use metalman_api::machine::Machine;
use prometheus_client::registry::Registry;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::harness::{self, Running};

/// More changes than a watcher may lag behind.
const FIRST: usize = 1200;
/// With them, more bytes than sockets hold.
const CHANGES: usize = FIRST + 1400;
const CHANGE_BYTES: usize = 20_000;
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A site with one large ConfigMap.
struct Busy {
    running: Running,
    maps: Api<ConfigMap>,
    first: String,
}

impl Busy {
    async fn start(stall: Duration) -> Self {
        let running = Running::start_with(|config| config.stall = stall).await;
        let maps: Api<ConfigMap> = Api::namespaced(running.client().await, "default");
        let map = serde_json::from_value(json!({"metadata": {"name": "big"}})).unwrap();
        let made = maps.create(&PostParams::default(), &map).await.unwrap();
        let first = made.resource_version().unwrap();
        Self {
            running,
            maps,
            first,
        }
    }

    /// A watch from the first version on, of which nothing is read.
    async fn idle_watch(&self, client: reqwest::ClientBuilder) -> reqwest::Response {
        let client = client
            .tls_danger_accept_invalid_certs(true)
            .build()
            .unwrap();
        let url = self.running.api.local_url();
        let url = format!("{url}{MAPS}?watch=1&resourceVersion={}", self.first);
        let token = self.running.api.admin_token().expose_secret();
        let answer = client.get(url).bearer_auth(token).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer
    }

    async fn change(&self, times: usize) {
        let text = "x".repeat(CHANGE_BYTES);
        stream::iter(0..times)
            .for_each_concurrent(16, async |number| {
                let patch = json!({"data": {"number": number.to_string(), "text": text}});
                let patch = Patch::Merge(patch);
                let parameters = PatchParams::default();
                let patched = self.maps.patch("big", &parameters, &patch);
                patched.await.unwrap();
            })
            .await;
    }

    fn metrics(&self) -> String {
        let mut registry = Registry::default();
        self.running.api.metrics().register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }
}

/// Bytes of memory that this process has.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Reads all that is left: the versions of the events, and the error at the end.
async fn read(answer: reqwest::Response) -> (Vec<u64>, Option<Value>) {
    let bytes = answer.bytes().await.unwrap();
    let (mut versions, mut error) = (Vec::new(), None);
    for line in bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let event: Value = serde_json::from_slice(line).unwrap();
        assert!(error.is_none(), "nothing comes after the error");
        if event["type"] == "ERROR" {
            error = Some(event["object"].clone());
        } else {
            let version = event["object"]["metadata"]["resourceVersion"].as_str();
            versions.push(version.unwrap().parse().unwrap());
        }
    }
    (versions, error)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_watcher_that_does_not_read_is_dropped_and_costs_the_others_nothing() {
    let busy = Busy::start(Duration::from_mins(10)).await;
    let slow = [
        busy.idle_watch(reqwest::Client::builder().http1_only())
            .await,
        busy.idle_watch(reqwest::Client::builder()).await,
    ];
    let watch = busy
        .maps
        .watch(&WatchParams::default(), &busy.first)
        .await
        .unwrap();
    let reading = async {
        let mut watch = std::pin::pin!(watch);
        let mut versions: Vec<u64> = Vec::new();
        while versions.len() < CHANGES {
            let event = watch.try_next().await.unwrap().unwrap();
            let WatchEvent::Modified(map) = event else {
                panic!("{event:?}");
            };
            versions.push(map.resource_version().unwrap().parse().unwrap());
        }
        assert!(versions.is_sorted_by(|a, b| a < b));
    };
    // By then all that is kept for a watcher is kept; what comes after must not add to it.
    let changing = async {
        busy.change(FIRST).await;
        let before = resident();
        busy.change(CHANGES - FIRST).await;
        resident().saturating_sub(before)
    };
    let (grown, ()) = tokio::join!(changing, reading);
    let passed = (CHANGES - FIRST) * CHANGE_BYTES;
    assert!(
        grown < passed * 2 / 3,
        "{grown} bytes more after {passed} bytes of changes"
    );
    for answer in slow {
        let (versions, error) = read(answer).await;
        assert!(versions.is_sorted_by(|a, b| a < b));
        assert!(
            versions.len() < CHANGES,
            "it was not slow: {} events",
            versions.len()
        );
        let error = error.expect("an error at the end");
        assert_eq!(
            (&error["code"], &error["reason"]),
            (&json!(410), &json!("Expired"))
        );
    }
    let metrics = busy.metrics();
    assert!(
        metrics.contains("api_slow_watches_dropped_total 2\n"),
        "{metrics}"
    );
    busy.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_client_that_never_reads_again_is_cut_off() {
    let busy = Busy::start(Duration::from_secs(1)).await;
    let slow = busy
        .idle_watch(reqwest::Client::builder().http1_only())
        .await;
    let open = "api_watches{role=\"admin\"} 1\n";
    assert!(busy.metrics().contains(open), "{}", busy.metrics());
    busy.change(CHANGES).await;
    harness::until("the watch to end", async || !busy.metrics().contains(open)).await;
    assert!(slow.bytes().await.is_err(), "the answer was cut");
    busy.running.stop().await;
}

#[tokio::test]
async fn one_user_cannot_starve_the_others() {
    let running = Running::start_with(|config| {
        config.quota.rate = 1;
        config.quota.burst = 5;
        config.quota.watches_per_user = 2;
    })
    .await;
    let (vera, viktor) = (
        running.user("vera", TokenRole::Viewer).await,
        running.user("viktor", TokenRole::Viewer).await,
    );
    let raw = |kubeconfig: &kube::config::Kubeconfig| {
        let user = kubeconfig.auth_infos[0].auth_info.as_ref().unwrap();
        user.token.as_ref().unwrap().expose_secret().to_owned()
    };
    let client = reqwest::Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .build()
        .unwrap();
    let ask = async |token: &str, path: &str| {
        let url = format!("{}{path}", running.api.local_url());
        client.get(url).bearer_auth(token).send().await.unwrap()
    };
    let path = "/apis/unbounded-cloud.io/v1alpha3/machines";
    let mut watches = Vec::new();
    for _ in 0..2 {
        let answer = ask(&raw(&vera), &format!("{path}?watch=1")).await;
        assert_eq!(answer.status(), 200);
        watches.push(answer);
    }
    let answer = ask(&raw(&vera), &format!("{path}?watch=1")).await;
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["retry-after"], "1");
    let status: Value = answer.json().await.unwrap();
    assert_eq!(status["reason"], "TooManyRequests");
    assert_eq!(
        status["message"],
        "too many watches of this user, please try again later"
    );
    let mut refused = None;
    for _ in 0..20 {
        let answer = ask(&raw(&vera), path).await;
        if answer.status() == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("a 429 after the burst");
    assert_eq!(refused.headers()["retry-after"], "1");
    let status: Value = refused.json().await.unwrap();
    assert_eq!(status["reason"], "TooManyRequests");
    assert_eq!(status["details"]["retryAfterSeconds"], 1);
    assert_eq!(
        ask(&raw(&viktor), path).await.status(),
        200,
        "others are served"
    );
    for _ in 0..30 {
        let machines: Api<Machine> = Api::all(running.client().await);
        machines.list(&ListParams::default()).await.unwrap();
    }
    drop(watches);
    running.stop().await;
}
