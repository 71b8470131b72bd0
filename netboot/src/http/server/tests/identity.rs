//! Who asks.

use super::*;

#[tokio::test]
async fn the_peer_address_and_nothing_else_is_the_identity() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    assert_eq!(bench.get("/vmlinuz").await.status, 200);
    let health = bench.ask(STRANGER, "GET /healthz HTTP/1.1\r\n\r\n").await;
    assert_eq!(health.status, 200);
    let disk = format!("GET /install/{TOKEN}/disk HTTP/1.1\r\n\r\n");
    let stolen = bench.ask(STRANGER, &disk).await;
    assert_eq!(stolen.status, 404, "a token alone is not enough");
    assert_eq!(bench.ask(PEER, &disk).await.status, 200);
}

#[tokio::test]
async fn no_header_changes_who_asks() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    for line in [
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-For: 127.0.0.1, 10.0.0.1",
        "Forwarded: for=127.0.0.1;by=127.0.0.1;host=node-1",
        "X-Real-IP: 127.0.0.1",
        "X-Client-IP: 127.0.0.1",
        "True-Client-IP: 127.0.0.1",
        "CF-Connecting-IP: 127.0.0.1",
        "X-Cluster-Client-IP: 127.0.0.1",
        "X-Original-Forwarded-For: 127.0.0.1",
        "X-Forwarded-Host: node-1",
        "X-Original-URL: /vmlinuz",
        "X-Remote-User: node-1",
        "Via: 1.1 127.0.0.1",
        "Host: 127.0.0.1",
        "Host: node-1",
        "Authorization: Bearer dG9rZW4tb2YtdGVzdA",
        "Cookie: machine=node-1",
    ] {
        for target in [
            "/vmlinuz",
            "http://127.0.0.1/vmlinuz",
            "http://node-1:80//vmlinuz",
        ] {
            let request = format!("GET {target} HTTP/1.1\r\n{line}\r\n\r\n");
            let stranger = bench.ask(STRANGER, &request).await;
            assert_eq!(stranger.status, 404, "{target} {line}");
            let machine = bench.ask(PEER, &request).await;
            assert_eq!(
                (machine.status, machine.body.len()),
                (200, 1 << 20),
                "{target} {line}"
            );
            let disk = request.replace("/vmlinuz", &format!("/install/{TOKEN}/disk"));
            let disk = disk.replace("//install", "/install");
            assert_eq!(bench.ask(STRANGER, &disk).await.status, 404, "{disk}");
        }
    }
    // Nor does a header take an answer away from another request on the same connection.
    let mut stream = bench.connect(STRANGER).await;
    for _ in 0..2 {
        let request = "GET /vmlinuz HTTP/1.1\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n";
        assert_eq!(ask_on(&mut stream, request).await.status, 404);
    }
}
