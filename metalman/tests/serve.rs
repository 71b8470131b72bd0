//! The program as people start it: `metalman serve --standalone`, from nothing to ready to gone.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

use std::{
    collections::HashMap,
    net::{TcpListener, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Config,
    api::{ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
    time::{interval, timeout},
};

const DEADLINE: Duration = Duration::from_secs(60);

/// The flags of one appliance on the loopback, with ports nobody else has.
struct Appliance {
    flags: Vec<(&'static str, u16)>,
}

impl Appliance {
    fn new() -> Self {
        let tcp = [
            "--http-port",
            "--http-tls-port",
            "--health-port",
            "--api-port",
            "--web-port",
        ];
        let udp = ["--dhcp-port", "--tftp-port"];
        // All are held until all are chosen, so that they differ.
        let tcp: Vec<_> = tcp
            .iter()
            .map(|flag| (*flag, TcpListener::bind("127.0.0.1:0").unwrap()))
            .collect();
        let udp: Vec<_> = udp
            .iter()
            .map(|flag| (*flag, UdpSocket::bind("127.0.0.1:0").unwrap()))
            .collect();
        let tcp = tcp
            .iter()
            .map(|(flag, s)| (*flag, s.local_addr().unwrap().port()));
        let udp = udp
            .iter()
            .map(|(flag, s)| (*flag, s.local_addr().unwrap().port()));
        Self {
            flags: tcp.chain(udp).collect(),
        }
    }

    fn port(&self, flag: &str) -> u16 {
        self.flags.iter().find(|(name, _)| *name == flag).unwrap().1
    }

    fn start(&self, state_dir: &Path) -> Child {
        self.command(state_dir)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn command(&self, state_dir: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_metalman"));
        command.args([
            "serve",
            "--standalone",
            "--site",
            "lab",
            "--bind-address",
            "127.0.0.1",
        ]);
        command.arg("--state-dir").arg(state_dir);
        for (flag, port) in &self.flags {
            command.arg(flag).arg(port.to_string());
        }
        command.kill_on_drop(true);
        command
    }

    /// Status line and body of a page of the health port; `None` while nobody listens.
    async fn ask(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port("--health-port")))
            .await
            .ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    }

    async fn ready(&self) {
        let mut tick = interval(Duration::from_millis(50));
        let until_ready = async {
            loop {
                tick.tick().await;
                if self
                    .ask("/readyz")
                    .await
                    .is_some_and(|a| a.starts_with("HTTP/1.1 200"))
                {
                    return;
                }
            }
        };
        timeout(DEADLINE, until_ready).await.expect("ready in time");
    }
}

async fn end(child: Child) -> (Option<i32>, String) {
    let output = timeout(DEADLINE, child.wait_with_output())
        .await
        .expect("ends in time")
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

async fn terminate(child: Child) -> (Option<i32>, String) {
    let pid = child.id().unwrap().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .await
            .unwrap()
            .success()
    );
    end(child).await
}

#[tokio::test]
async fn it_starts_from_nothing_gets_ready_and_stops_when_asked() {
    let state = tempfile::tempdir().unwrap();
    let appliance = Appliance::new();
    for _start in ["first", "second, on what the first one left"] {
        let child = appliance.start(state.path());
        appliance.ready().await;
        for secret in ["kubeconfig", "admin.token", "metalman.db"] {
            let mode = std::fs::metadata(state.path().join(secret))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{secret}");
        }
        let metrics = appliance.ask("/metrics").await.unwrap();
        assert!(
            metrics.contains("metalman_ready{gate=\"boot services\"} 1"),
            "{metrics}"
        );
        assert!(
            metrics.contains("metalman_dhcp_receive_errors_total 0"),
            "{metrics}"
        );
        let (code, log) = terminate(child).await;
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("metalman stopped"), "{log}");
    }
}

#[tokio::test]
async fn what_is_in_use_is_named_with_the_flag() {
    let (state, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = Appliance::new();
    let running = first.start(state.path());
    first.ready().await;
    let (code, log) = end(Appliance::new().start(state.path())).await;
    assert_eq!(code, Some(1));
    assert!(
        log.contains("another metalman uses") && log.contains("--state-dir"),
        "{log}"
    );
    for flag in first.flags.iter().map(|(flag, _)| *flag) {
        let mut second = Appliance::new();
        second.flags.retain(|(name, _)| *name != flag);
        second.flags.push((flag, first.port(flag)));
        let (code, log) = end(second.start(other.path())).await;
        assert_eq!(code, Some(1), "{flag}: {log}");
        assert!(
            log.contains("the port is in use") && log.contains(flag),
            "{flag}: {log}"
        );
    }
    assert_eq!(terminate(running).await.0, Some(0));
}

/// One GET over TLS of this version, trusting what is in `ca`; the answer.
async fn get_with_tls(
    port: u16,
    ca: &Path,
    version: &'static rustls::SupportedProtocolVersion,
    path: &str,
) -> String {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(ca).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = "127.0.0.1".try_into().unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(name, stream).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn boot_files_come_with_tls_too_and_the_site_ca_vouches_for_them() {
    let state = tempfile::tempdir().unwrap();
    let appliance = Appliance::new();
    let child = appliance.start(state.path());
    appliance.ready().await;
    let (port, ca) = (
        appliance.port("--http-tls-port"),
        state.path().join("api/ca.crt"),
    );
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let health = get_with_tls(port, &ca, version, "/healthz").await;
        assert!(health.starts_with("HTTP/1.1 200"), "{health}");
        assert!(health.contains("\r\nContent-Length: 3\r\n"), "{health}");
        let stranger = get_with_tls(port, &ca, version, "/grub/grub.cfg").await;
        assert!(stranger.starts_with("HTTP/1.1 404"), "{stranger}");
    }
    let metrics = appliance.ask("/metrics").await.unwrap();
    let counted = "metalman_http_requests_total{kind=\"other\",status=\"2xx\"} 2";
    assert!(metrics.contains(counted), "{metrics}");
    assert_eq!(terminate(child).await.0, Some(0));
}

/// Families by name with their type, and samples by name with labels, of a scrape in the text format of
/// OpenMetrics; a line that is not of that format fails the test.
fn scraped(page: &str) -> (HashMap<String, String>, HashMap<String, f64>) {
    let (head, body) = page.split_once("\r\n\r\n").unwrap();
    let head = head.to_lowercase();
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    let body = body.strip_suffix("# EOF\n").expect("the mark of the end");
    let is_name = |name: &str| {
        let mut bytes = name.bytes();
        bytes
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    let (mut types, mut samples) = (HashMap::new(), HashMap::new());
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let (word, rest) = rest.split_once(' ').expect(line);
            let (name, text) = rest.split_once(' ').expect(line);
            assert!(is_name(name) && !text.is_empty(), "{line}");
            match word {
                "TYPE" => assert_eq!(
                    types.insert(name.to_owned(), text.to_owned()),
                    None,
                    "{line}"
                ),
                "UNIT" => {}
                other => assert_eq!(other, "HELP", "{line}"),
            }
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').expect(line);
        let (name, labels) = sample.split_once('{').unwrap_or((sample, "}"));
        let labels = labels.strip_suffix('}').expect(line);
        let ends = ["", "_total", "_count", "_sum", "_bucket", "_info"];
        let is_of = |end: &&str| {
            name.strip_suffix(*end)
                .is_some_and(|family| types.contains_key(family))
        };
        assert!(is_name(name) && ends.iter().any(is_of), "no family: {line}");
        for label in labels.split("\",").filter(|label| !label.is_empty()) {
            let (key, text) = label.split_once("=\"").expect(line);
            assert!(is_name(key) && !text.contains('\n'), "{line}");
        }
        let value: f64 = value.parse().expect(line);
        assert_eq!(
            samples.insert(sample.to_owned(), value),
            None,
            "twice: {line}"
        );
    }
    (types, samples)
}

#[tokio::test]
async fn a_scrape_can_be_read_and_counts_requests_to_the_api() {
    const LISTED: &str = "metalman_api_requests_total{role=\"admin\",verb=\"list\",code=\"2xx\"}";
    let state = tempfile::tempdir().unwrap();
    let appliance = Appliance::new();
    let child = appliance.start(state.path());
    appliance.ready().await;
    let maps = config_maps(state.path()).await;
    let count = async || {
        scraped(&appliance.ask("/metrics").await.unwrap())
            .1
            .get(LISTED)
            .copied()
    };
    let before = count().await.unwrap_or_default();
    maps.list(&ListParams::default()).await.unwrap();
    assert!(count().await > Some(before));

    let (types, _) = scraped(&appliance.ask("/metrics").await.unwrap());
    assert!(
        types.keys().all(|name| name.starts_with("metalman_")),
        "{types:?}"
    );
    let documented = include_str!("../src/standalone/METRICS.md");
    for (name, kind) in types
        .iter()
        .filter(|(name, _)| name.starts_with("metalman_api_"))
    {
        let is_told = |ending| documented.contains(&format!("| `{name}{ending}` | {kind} |"));
        assert!(
            is_told("") || is_told("_total"),
            "{name} is not in METRICS.md"
        );
    }
    assert_eq!(terminate(child).await.0, Some(0));
}

async fn config_maps(state_dir: &Path) -> Api<ConfigMap> {
    // Whoever comes first installs it for all.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let found = Kubeconfig::read_from(state_dir.join("kubeconfig")).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(found, &options);
    let client = Client::try_from(config.await.unwrap()).unwrap();
    Api::namespaced(client, "default")
}

fn version(text: Option<&String>) -> u64 {
    text.unwrap().parse().unwrap()
}

/// Creates objects and writes them again until the server is gone; gives back the last version it
/// was told of each.
async fn write_until_gone(
    api: Api<ConfigMap>,
    lane: usize,
    told: Arc<AtomicUsize>,
) -> HashMap<String, u64> {
    let mut acknowledged = HashMap::new();
    for index in 0.. {
        let name = format!("lane-{lane}-{index}");
        let mut object = ConfigMap::default();
        object.metadata.name = Some(name.clone());
        let Ok(created) = api.create(&PostParams::default(), &object).await else {
            break;
        };
        acknowledged.insert(
            name.clone(),
            version(created.metadata.resource_version.as_ref()),
        );
        object.data = Some([("again".to_owned(), name.clone())].into());
        let Ok(written) = api.replace(&name, &PostParams::default(), &object).await else {
            break;
        };
        acknowledged.insert(name, version(written.metadata.resource_version.as_ref()));
        told.fetch_add(1, Ordering::Relaxed);
    }
    acknowledged
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9_and_versions_do_not_go_back() {
    let appliance = Appliance::new();
    let state = tempfile::tempdir().unwrap();
    // Each write is a line of the log: a pipe that nobody reads would be full of them.
    let mut command = appliance.command(state.path());
    let mut killed = command.stderr(Stdio::null()).spawn().unwrap();
    appliance.ready().await;
    let told = Arc::new(AtomicUsize::new(0));
    let mut writers = tokio::task::JoinSet::new();
    for lane in 0..8 {
        let api = config_maps(state.path()).await;
        writers.spawn(write_until_gone(api, lane, told.clone()));
    }
    let mut tick = interval(Duration::from_millis(5));
    let enough = async {
        while told.load(Ordering::Relaxed) < 200 {
            tick.tick().await;
        }
    };
    timeout(DEADLINE, enough).await.expect("200 objects");
    killed.kill().await.unwrap();
    let mut acknowledged = HashMap::new();
    while let Some(lane) = timeout(DEADLINE, writers.join_next()).await.unwrap() {
        acknowledged.extend(lane.unwrap());
    }
    assert!(acknowledged.len() >= 200);

    let child = appliance.start(state.path());
    appliance.ready().await;
    let list = config_maps(state.path()).await;
    let list = list.list(&ListParams::default()).await.unwrap();
    let newest = acknowledged.values().max().unwrap();
    assert!(version(list.metadata.resource_version.as_ref()) >= *newest);
    let kept: HashMap<_, _> = list
        .items
        .iter()
        .map(|object| {
            let meta = &object.metadata;
            let version = version(meta.resource_version.as_ref());
            (meta.name.clone().unwrap(), version)
        })
        .collect();
    for (name, version) in &acknowledged {
        let kept = kept.get(name);
        assert!(kept >= Some(version), "{name}: {kept:?} of {version}");
    }
    assert_eq!(terminate(child).await.0, Some(0));
}
