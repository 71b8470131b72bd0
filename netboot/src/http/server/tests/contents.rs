//! What is answered.

use super::*;

#[tokio::test]
async fn files_come_with_length_type_and_validators() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    for path in ["/vmlinuz", "//vmlinuz", "/./vmlinuz", "/vml%69nuz"] {
        let reply = bench.get(path).await;
        assert_eq!((reply.status, reply.body.len()), (200, 1 << 20), "{path}");
        assert_eq!(reply.header("content-length"), Some("1048576"));
        assert_eq!(reply.header("etag"), Some(format!("\"{DIGEST}\"").as_str()));
        assert_eq!(reply.header("accept-ranges"), Some("bytes"));
    }
    let efi = bench.get("//grubx64.efi").await;
    assert_eq!(efi.header("content-type"), Some("application/efi"));
    let modified = efi.header("last-modified").unwrap().to_owned();
    for condition in [
        format!("If-None-Match: \"{DIGEST}\""),
        format!("If-Modified-Since: {modified}"),
    ] {
        let request = format!("GET /vmlinuz HTTP/1.1\r\n{condition}\r\n\r\n");
        assert_eq!(bench.ask(PEER, &request).await.status, 304, "{condition}");
    }
    let head = bench.ask(PEER, "HEAD /vmlinuz HTTP/1.1\r\n\r\n").await;
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("1048576"))
    );
    assert!(head.body.is_empty());
}

#[tokio::test]
async fn ranges_give_exactly_those_bytes() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    let ask = async |headers: &str| {
        bench
            .ask(PEER, &format!("GET /vmlinuz HTTP/1.1\r\n{headers}\r\n\r\n"))
            .await
    };
    let part = ask("Range: bytes=300-309").await;
    assert_eq!(
        (part.status, part.body),
        (206, (44..54).collect::<Vec<u8>>())
    );
    let tail = ask("Range: bytes=-3").await;
    assert_eq!((tail.status, tail.body), (206, vec![253, 254, 255]));
    let beyond = ask("Range: bytes=1048576-").await;
    assert_eq!(
        (beyond.status, beyond.header("content-range")),
        (416, Some("bytes */1048576"))
    );
    let other = ask("Range: bytes=0-0\r\nIf-Range: \"sha256:other\"").await;
    assert_eq!((other.status, other.body.len()), (200, 1 << 20));
    let rest = ask(&format!("Range: bytes=1000000-\r\nIf-Range: \"{DIGEST}\"")).await;
    assert_eq!((rest.status, rest.body.len()), (206, 48_576));
    assert_eq!(
        rest.header("content-range"),
        Some("bytes 1000000-1048575/1048576")
    );
}

#[tokio::test]
async fn the_disk_of_an_installation_can_be_resumed() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    let request = format!("GET /install/{TOKEN}/disk HTTP/1.1\r\nRange: bytes=4-\r\n\r\n");
    let reply = bench.ask(PEER, &request).await;
    assert_eq!(
        (reply.status, reply.body.as_slice()),
        (206, b"456789".as_slice())
    );
    assert_eq!(
        reply.header("etag"),
        Some(format!("\"{}\"", DIGEST.replace('a', "b")).as_str())
    );
    assert_eq!(bench.get("/install/wrong/disk").await.status, 404);
    let done = bench
        .event(|kind| matches!(kind, BootEventKind::HttpDone { .. }))
        .await;
    let BootEventKind::HttpDone {
        file,
        bytes,
        status,
        ..
    } = done
    else {
        unreachable!()
    };
    assert_eq!(
        (file.as_str(), bytes, status),
        ("install/disk.img.zst", 6, 206)
    );
}

#[tokio::test]
async fn nothing_outside_the_image_is_served() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    for path in [
        "/../secret",
        "/grub/../../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/leak",
        "/grub",
        "/",
        "/vmlinuz/x",
        "/grub/grub.cfg.j2",
        "/cloud-init/user-data",
    ] {
        let reply = bench.get(path).await;
        assert_eq!(reply.status, 404, "{path}");
        assert!(reply.header("content-length").is_some());
    }
    let posted = bench
        .ask(PEER, "POST /vmlinuz HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert_eq!(
        (posted.status, posted.header("allow")),
        (405, Some("GET, HEAD"))
    );
}

#[tokio::test]
async fn grub_cfg_is_rendered_and_the_decision_recorded() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    let reply = bench.get("/grub/grub.cfg").await;
    assert_eq!(reply.status, 200);
    assert!(String::from_utf8(reply.body).unwrap().contains(TOKEN));
    let rendered = bench
        .event(|kind| matches!(kind, BootEventKind::Rendered { .. }))
        .await;
    let BootEventKind::Rendered {
        decision, sha256, ..
    } = rendered
    else {
        unreachable!()
    };
    assert_eq!(decision, BootDecision::Install);
    assert!(reply.head.contains(&sha256));
}

#[tokio::test]
async fn a_broken_template_is_recorded_and_grub_is_sent_to_the_disk_with_the_reason() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    let template = bench.images.path().join("disk/grub/grub.cfg.j2");
    std::fs::write(template, "a\n{{ machine.nope | grub }}\n").unwrap();
    let reply = bench.get("/grub/grub.cfg").await;
    assert_eq!(reply.status, 200);
    let text = String::from_utf8(reply.body).unwrap();
    let first = text.lines().nth(1).unwrap();
    assert!(first.contains("grub/grub.cfg.j2 line 2"), "{text}");
    assert!(text.contains("chainloader"), "{text}");
    // The machine holds a token; what is broken never installs.
    assert!(!text.contains(TOKEN) && !text.contains("vmlinuz"), "{text}");
    let failed = bench
        .event(|kind| matches!(kind, BootEventKind::RenderFailed { .. }))
        .await;
    let BootEventKind::RenderFailed {
        template,
        line,
        reason,
    } = failed
    else {
        unreachable!()
    };
    assert_eq!((template.as_str(), line), ("grub/grub.cfg.j2", Some(2)));
    assert!(reason.contains("machine.nope"), "{reason}");
    let rendered = bench
        .event(|kind| matches!(kind, BootEventKind::Rendered { .. }))
        .await;
    let BootEventKind::Rendered { decision, .. } = rendered else {
        unreachable!()
    };
    assert_eq!(decision, BootDecision::LocalDisk);
}

#[tokio::test]
async fn a_broken_template_of_another_file_answers_500() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    for (name, source) in [
        ("ipxe.cfg", "{{ machine.nope | grub }}"),
        ("other.cfg", "{% if %}"),
        ("plain.txt", "{{ machine.name }}"),
    ] {
        let template = bench.images.path().join(format!("disk/{name}.j2"));
        std::fs::write(template, source).unwrap();
    }
    for name in ["ipxe.cfg", "other.cfg", "plain.txt"] {
        let reply = bench.get(&format!("/{name}")).await;
        assert_eq!(reply.status, 500, "{name}");
        let text = String::from_utf8(reply.body).unwrap();
        assert!(text.contains(&format!("{name}.j2 line 1")), "{text}");
    }
}

#[tokio::test]
async fn an_image_under_way_means_try_again() {
    let bench = bench(HttpLimits::default(), |machine| machine.netboot = None).await;
    let reply = bench.get("/vmlinuz").await;
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (503, Some("5"))
    );
}

#[tokio::test]
async fn only_http_boot_gets_dummy_revocations() {
    let pxe = bench(HttpLimits::default(), |_| {}).await;
    assert_eq!(pxe.get("/revocations_sku.efi").await.status, 404);
    let http = bench(HttpLimits::default(), |machine| {
        machine.protocol = BootProtocol::Http;
    })
    .await;
    for name in [
        "revocations.efi",
        "revocations_sku.efi",
        "revocations_sbat.efi",
    ] {
        let reply = http.get(&format!("/{name}")).await;
        assert_eq!(reply.status, 200);
        assert!(!reply.body.is_empty());
    }
    assert_eq!(http.get("/other.efi").await.status, 404);
}

#[tokio::test]
async fn header_names_are_written_as_grub_looks_for_them() {
    // GRUB 2.06 compares byte for byte; without a length it cannot load a kernel.
    let bench = bench(HttpLimits::default(), |_| {}).await;
    let head = bench.get("/vmlinuz").await.head;
    assert!(head.contains("\r\nContent-Length: "), "{head}");
}
#[tokio::test]
async fn rendering_follows_the_machine_at_once() {
    let bench = bench(HttpLimits::default(), |_| {}).await;
    let text = async || String::from_utf8(bench.get("/grub/grub.cfg").await.body).unwrap();
    for _ in 0..2 {
        assert!(text().await.contains(TOKEN));
    }
    let mut claimed = BootMachine::clone(&bench.directory.snapshot().machines()[0]);
    claimed.install.as_mut().unwrap().claimed = true;
    for claimed in [claimed.clone(), claimed] {
        bench.directory.replace(vec![claimed]);
        for _ in 0..2 {
            assert!(!text().await.contains(TOKEN));
        }
    }
}
