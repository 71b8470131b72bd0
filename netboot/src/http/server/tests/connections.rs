//! How long a connection lives, and what it may cost.

use super::*;

#[tokio::test]
async fn one_connection_serves_several_requests() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    let mut stream = bench.connect(PEER).await;
    for _ in 0..3 {
        let reply = ask_on(&mut stream, "GET /grubx64.efi HTTP/1.1\r\n\r\n").await;
        assert_eq!(reply.body, b"MZ grub");
    }
}

#[tokio::test]
async fn after_the_clients_fin_the_connection_is_reset_not_left_waiting() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    let mut stream = bench.connect(PEER).await;
    let port = stream.local_addr().unwrap().port();
    assert_eq!(
        ask_on(&mut stream, "GET /vmlinuz HTTP/1.1\r\n\r\n")
            .await
            .status,
        200
    );
    stream.shutdown().await.unwrap();
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    drop(stream);
    // The next boot comes from the same port at once.
    let again = TcpSocket::new_v4().unwrap();
    again.set_reuseaddr(true).unwrap();
    again.bind((PEER, port).into()).unwrap();
    let mut stream = again.connect(bench.address).await.unwrap();
    assert_eq!(
        ask_on(&mut stream, "GET /grubx64.efi HTTP/1.1\r\n\r\n")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_client_that_asked_for_close_gets_everything() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    let mut stream = bench.connect(PEER).await;
    stream
        .write_all(b"GET /vmlinuz HTTP/1.1\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    assert!(bytes.ends_with(&[254, 255]) && bytes.len() > 1 << 20);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_ended() {
    let limits = HttpLimits {
        slow_window: Duration::from_millis(100),
        min_window_bytes: 64 << 20,
        ..HttpLimits::default()
    };
    let bench = bench(limits, |_| {}).await;
    let big = bench.images.path().join("disk/big");
    std::fs::File::create(big)
        .unwrap()
        .set_len(1 << 30)
        .unwrap();
    let mut stream = bench.connect(PEER).await;
    stream
        .write_all(b"GET /big HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    let done = bench
        .event(|kind| matches!(kind, BootEventKind::HttpDone { .. }))
        .await;
    let BootEventKind::HttpDone { bytes, .. } = done else {
        unreachable!()
    };
    assert!(bytes < 1 << 30, "{bytes}");
}

#[tokio::test]
async fn a_half_header_is_ended_by_time() {
    let limits = HttpLimits {
        header_read_timeout: Duration::from_millis(50),
        ..HttpLimits::default()
    };
    let bench = bench(limits, |_| {}).await;
    let mut stream = bench.connect(PEER).await;
    stream
        .write_all(b"GET /vmlinuz HTTP/1.1\r\nHost: x")
        .await
        .unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    assert!(!String::from_utf8_lossy(&bytes).contains("200 OK"));
}

#[tokio::test]
async fn one_address_cannot_take_all_connections() {
    let limits = HttpLimits {
        max_per_peer: 2,
        ..HttpLimits::default()
    };
    let bench = bench(limits, |_| {}).await;
    let request = "GET /grubx64.efi HTTP/1.1\r\n\r\n";
    let (mut first, mut second) = (bench.connect(PEER).await, bench.connect(PEER).await);
    assert_eq!(ask_on(&mut first, request).await.status, 200);
    assert_eq!(ask_on(&mut second, request).await.status, 200);
    let mut third = bench.connect(PEER).await;
    // The reset may already hit the write.
    third.write_all(request.as_bytes()).await.ok();
    assert!(third.read_u8().await.is_err());
    assert_eq!(
        bench
            .ask(STRANGER, "GET /healthz HTTP/1.1\r\n\r\n")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn shutdown_ends_idle_connections_and_the_server() {
    let mut bench = bench(HttpLimits::default(), |_| {}).await;
    let mut stream = bench.connect(PEER).await;
    assert_eq!(
        ask_on(&mut stream, "GET /grubx64.efi HTTP/1.1\r\n\r\n")
            .await
            .status,
        200
    );
    bench.shutdown.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(4), bench.server.join_next()).await;
    ended
        .expect("the server ends before its drain time")
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn one_connection_carries_reports_and_files() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    let mut stream = bench.connect(PEER).await;
    let report = "POST /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello";
    let chunked = "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for _ in 0..2 {
        assert_eq!(ask_on(&mut stream, report).await.body, b"hello");
        let file = ask_on(&mut stream, "GET /vmlinuz HTTP/1.1\r\n\r\n").await;
        assert_eq!((file.status, file.body.len()), (200, 1 << 20));
        // From here on the general server has the connection; nothing else changes.
        assert_eq!(ask_on(&mut stream, chunked).await.body, b"abc");
    }
    assert_eq!(
        bench.ask(PEER, "POST /other HTTP/1.1\r\n\r\n").await.status,
        405
    );
    let large = "POST /echo HTTP/1.1\r\nContent-Length: 9000000\r\n\r\n";
    assert_eq!(bench.ask(PEER, large).await.status, 413);
}

#[tokio::test]
async fn requests_sent_ahead_are_answered_in_order() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    let mut stream = bench.connect(PEER).await;
    let request = "GET /grubx64.efi HTTP/1.1\r\n\r\nGET /none HTTP/1.1\r\n\r\nGET /grubx64.efi HTTP/1.0\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let statuses: Vec<_> = text
        .match_indices("HTTP/1.1 ")
        .map(|(at, _)| text[at + 9..at + 12].to_owned())
        .collect();
    assert_eq!(statuses, ["200", "404", "200"], "{text}");
    assert!(text.ends_with("Connection: close\r\n\r\nMZ grub"), "{text}");
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    assert_eq!(
        bench.ask(PEER, "\x16\x03\x01\x02\r\n\r\n").await.status,
        400
    );
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(17 << 10));
    assert_eq!(bench.ask(PEER, &long).await.status, 431);
    assert_eq!(bench.ask(PEER, "GET * HTTP/1.1\r\n\r\n").await.status, 400);
}

#[tokio::test]
async fn a_panic_costs_its_peer_no_place() {
    let limits = HttpLimits {
        max_per_peer: 1,
        ..HttpLimits::default()
    };
    let bench = bench(limits, |_| {}).await;
    for _ in 0..3 {
        let mut stream = bench.connect(PEER).await;
        stream
            .write_all(b"POST /panic HTTP/1.1\r\n\r\n")
            .await
            .unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.ok();
        assert!(bytes.is_empty());
        bench.until_no_connection().await;
    }
    assert_eq!(bench.get("/grubx64.efi").await.status, 200);
}

#[tokio::test]
async fn a_client_that_leaves_is_told_from_one_that_was_served() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    let big = bench.images.path().join("disk/big");
    std::fs::File::create(big)
        .unwrap()
        .set_len(1 << 30)
        .unwrap();
    let mut stream = bench.connect(PEER).await;
    stream
        .write_all(b"GET /big HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    stream.read_exact(&mut [0; 4096]).await.unwrap();
    drop(stream);
    let left = bench
        .event(|kind| matches!(kind, BootEventKind::HttpDone { file, .. } if file == "big"))
        .await;
    let BootEventKind::HttpDone {
        bytes,
        expected,
        status,
        ..
    } = left
    else {
        unreachable!()
    };
    assert_eq!((expected, status), (1 << 30, 200));
    assert!(bytes > 0 && bytes < expected, "{bytes}");
    assert_eq!(bench.get("/vmlinuz").await.status, 200);
    let served = bench
        .event(|kind| matches!(kind, BootEventKind::HttpDone { file, .. } if file == "vmlinuz"))
        .await;
    let BootEventKind::HttpDone {
        bytes, expected, ..
    } = served
    else {
        unreachable!()
    };
    assert_eq!((bytes, expected), (1 << 20, 1 << 20));
}

#[tokio::test]
async fn silent_connections_give_way_to_new_ones() {
    let limits = HttpLimits {
        max_connections: 4,
        ..HttpLimits::default()
    };
    let bench = bench(limits, |_| {}).await;
    let mut silent = Vec::new();
    for last in 20..24 {
        let mut stream = bench.connect(Ipv4Addr::new(127, 0, 0, last)).await;
        // Answered once, so that it is known to be inside.
        let health = ask_on(&mut stream, "GET /healthz HTTP/1.1\r\n\r\n").await;
        assert_eq!(health.status, 200);
        silent.push(stream);
    }
    assert_eq!(bench.get("/vmlinuz").await.body.len(), 1 << 20);
    let mut first = silent.remove(0);
    assert_eq!(
        first.read(&mut [0]).await.unwrap_or(0),
        0,
        "the one silent longest"
    );
}
#[tokio::test]
async fn slow_and_silent_clients_cost_others_nothing() {
    let limits = HttpLimits {
        max_connections: 200,
        ..HttpLimits::default()
    };
    let bench = bench(limits, |_| {}).await;
    let mut slow = Vec::new();
    for index in 0..400_u16 {
        let from = Ipv4Addr::new(127, 0, 1, u8::try_from(index % 20).unwrap());
        let mut stream = bench.connect(from).await;
        if index % 2 == 0 {
            // Some of these have been told to go by now.
            stream.write_all(b"GET /vmli").await.ok();
        }
        slow.push(stream);
        if index % 40 == 0 {
            assert_eq!(bench.get("/vmlinuz").await.body.len(), 1 << 20, "{index}");
            assert_eq!(bench.get("/grub/grub.cfg").await.status, 200, "{index}");
        }
    }
    assert!(bench.metrics.active.get() <= 201);
}

#[tokio::test]
async fn a_connection_that_waits_is_small() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    let stream = bench.connect(PEER).await;
    let files = BootFiles::new(
        bench.directory.clone(),
        Arc::new(Renderer::new()),
        ServerContext {
            http_url: String::new(),
            address: PEER,
            port: 0,
        },
        clock,
    );
    let server = BootServer::new(
        bench.directory.clone(),
        Arc::new(files),
        Router::new(),
        HttpLimits::default(),
        HttpMetrics::default(),
    );
    let plain = Plain {
        stream,
        peer: bench.address,
        server: server.0,
        waiting: Arc::new(crate::http::waiting::Waiting::new(
            tokio::time::Instant::now(),
        )),
        stop: CancellationToken::new(),
    };
    let size = std::mem::size_of_val(&plain.run());
    assert!(size < 1500, "{size} bytes");
}
