use axum::body::Body;
use http_body_util::BodyExt as _;
use netboot::metrics::{DhcpMetrics, TftpMetrics};
use tower::ServiceExt as _;

use super::*;
use crate::{store::Store, timeline::Recorder};

async fn ask(router: &Router, path: &str) -> (StatusCode, String) {
    let request = axum::http::Request::get(path).body(Body::empty()).unwrap();
    let answer = router.clone().oneshot(request).await.unwrap();
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn subject() -> (Readiness, Router) {
    let readiness = Readiness::default();
    let metrics = Metrics::new("2026-01-02T03:04:05Z".parse().unwrap(), readiness.clone());
    (readiness.clone(), router(readiness, Arc::new(metrics)))
}

#[tokio::test]
async fn not_ready_until_every_gate_is_open_and_says_what_it_waits_for() {
    let (readiness, router) = subject();
    assert_eq!(
        ask(&router, "/readyz").await.0,
        StatusCode::SERVICE_UNAVAILABLE
    );
    let store = readiness.gate("store", "opening the database");
    let http = readiness.gate("http", "not listening yet");
    store.open();
    assert_eq!(
        ask(&router, "/readyz").await,
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "[-] http: not listening yet\n[+] store\nnot ready\n".to_owned()
        )
    );
    http.open();
    assert_eq!(
        ask(&router, "/readyz").await,
        (StatusCode::OK, "[+] http\n[+] store\nready\n".to_owned())
    );
    store.close("the database does not answer");
    assert_eq!(
        ask(&router, "/readyz").await.0,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(
        ask(&router, "/healthz").await,
        (StatusCode::OK, "ok\n".to_owned())
    );
}

#[tokio::test]
async fn metrics_text() {
    let readiness = Readiness::default();
    readiness.gate("store", "opening").open();
    let _http = readiness.gate("boot services", "not listening yet");
    let mut metrics = Metrics::new("2026-01-02T03:04:05Z".parse().unwrap(), readiness.clone());
    let store = Store::open("sqlite::memory:").await.unwrap();
    metrics.register_timeline(Recorder::new(store, Arc::new(|_| None)).0);
    DhcpMetrics::default().register(metrics.registry());
    TftpMetrics::default().register(metrics.registry());
    let router = router(readiness, Arc::new(metrics));
    insta::assert_snapshot!(ask(&router, "/metrics").await.1);
}
