//! Where image transfers may go: a table of URL forms, each tried directly and as a redirect, with a
//! listener that counts who came.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Redirect, Response};
use http::header::{AUTHORIZATION, HeaderValue};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use url::Url;

use super::policy::{Policy, Reach};
use super::transport::{Ask, Lookup, Patience, Transport, TransportError, system_lookup};

fn transport(policy: Policy, lookup: &Lookup) -> Transport {
    crate::images::registry::ensure_crypto_provider();
    let patience = Patience {
        connect: Duration::from_secs(2),
        read: Duration::from_secs(2),
    };
    Transport::new(policy, patience, &[], lookup).unwrap()
}

/// A port on every address of this machine; counts connections.
struct Trap {
    port: u16,
    visits: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Trap {
    async fn set() -> Self {
        let visits = Arc::new(AtomicUsize::new(0));
        let v6 = TcpListener::bind("[::]:0").await.unwrap();
        let port = v6.local_addr().unwrap().port();
        let mut tasks = JoinSet::new();
        let counter = Arc::clone(&visits);
        tasks.spawn(async move {
            while v6.accept().await.is_ok() {
                counter.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self {
            port,
            visits,
            _tasks: tasks,
        }
    }

    fn visits(&self) -> usize {
        self.visits.load(Ordering::SeqCst)
    }
}

/// URL forms that must never be contacted; PORT is where the trap is.
const FORBIDDEN: &[&str] = &[
    // Loopback in every spelling.
    "https://127.0.0.1:PORT/",
    "https://127.1:PORT/",
    "https://127.0.1:PORT/",
    "https://127.255.255.254:PORT/",
    "https://2130706433:PORT/",
    "https://0x7f000001:PORT/",
    "https://0x7f.0.0.1:PORT/",
    "https://0177.0.0.1:PORT/",
    "https://017700000001:PORT/",
    "https://localhost:PORT/",
    "https://LOCALHOST:PORT/",
    "https://localhost.:PORT/",
    "https://registry.localhost:PORT/",
    "https://[::1]:PORT/",
    "https://[0:0:0:0:0:0:0:1]:PORT/",
    "https://[::ffff:127.0.0.1]:PORT/",
    "https://[::ffff:7f00:1]:PORT/",
    "https://[::127.0.0.1]:PORT/",
    "https://[64:ff9b::127.0.0.1]:PORT/",
    "https://[2002:7f00:1::]:PORT/",
    "https://①②⑦.⓪.⓪.①:PORT/",
    "https://127。0。0。1:PORT/",
    "https://%31%32%37.0.0.1:PORT/",
    // Unspecified reaches the loopback too.
    "https://0:PORT/",
    "https://0.0.0.0:PORT/",
    "https://[::]:PORT/",
    "https://[::ffff:0.0.0.0]:PORT/",
    "https://0.1.2.3:PORT/",
    // Link-local and metadata services.
    "https://169.254.169.254:PORT/latest/meta-data/",
    "https://169.254.1.1:PORT/",
    "https://2852039166:PORT/",
    "https://0xa9fea9fe:PORT/",
    "https://0251.0376.0251.0376:PORT/",
    "https://[::ffff:169.254.169.254]:PORT/",
    "https://[::ffff:a9fe:a9fe]:PORT/",
    "https://[64:ff9b::a9fe:a9fe]:PORT/",
    "https://[fe80::1]:PORT/",
    "https://[fec0::1]:PORT/",
    "https://[fd00:ec2::254]:PORT/",
    "https://100.100.100.200:PORT/",
    "https://168.63.129.16:PORT/",
    "https://192.0.0.192:PORT/",
    // Not hosts.
    "https://224.0.0.1:PORT/",
    "https://255.255.255.255:PORT/",
    "https://240.0.0.1:PORT/",
    "https://[ff02::1]:PORT/",
    // Without TLS, or not HTTP at all.
    "http://127.0.0.1:PORT/",
    "http://registry.example:PORT/",
    "http://10.0.0.1:PORT/",
    "file:///etc/passwd",
    "file:///dev/zero",
    "file://127.0.0.1:PORT/etc/passwd",
    "unix:///run/containerd/containerd.sock",
    "unix:/run/docker.sock",
    "ftp://127.0.0.1:PORT/",
    "gopher://127.0.0.1:PORT/_GET",
    "data:text/plain,hello",
    "ws://127.0.0.1:PORT/",
    "oci-layout:/etc",
    // User names hide the host from readers.
    "https://registry.example@127.0.0.1:PORT/",
    "https://user:password@registry.example:PORT/",
    "https://127.0.0.1:PORT\\@registry.example/",
];

#[tokio::test]
async fn no_form_of_a_forbidden_url_is_contacted() {
    assert!(FORBIDDEN.len() >= 60, "{}", FORBIDDEN.len());
    let trap = Trap::set().await;
    let transport = transport(Policy::default(), &system_lookup());
    for form in FORBIDDEN {
        let text = form.replace("PORT", &trap.port.to_string());
        // What is no URL cannot be contacted.
        let Ok(url) = Url::parse(&text) else { continue };
        let outcome = transport.send(&Ask::get(url)).await;
        assert!(
            matches!(outcome, Err(TransportError::Forbidden(_))),
            "{form}: {outcome:?}"
        );
    }
    assert_eq!(trap.visits(), 0);
}

#[tokio::test]
async fn no_redirect_leads_to_a_forbidden_url() {
    let trap = Trap::set().await;
    let (host, _server) = serve(|request| {
        let target = request.uri().query().unwrap_or_default();
        let target: String = url::form_urlencoded::parse(target.as_bytes())
            .map(|(_, value)| value.into_owned())
            .collect();
        let mut moved = http::StatusCode::TEMPORARY_REDIRECT.into_response();
        if let Ok(location) = HeaderValue::from_bytes(target.as_bytes()) {
            moved.headers_mut().insert("location", location);
        }
        moved
    })
    .await;
    let transport = transport(Policy::new([host.as_str()], []), &system_lookup());
    for form in FORBIDDEN {
        let target = form.replace("PORT", &trap.port.to_string());
        let mut url = Url::parse(&format!("http://{host}/v2/")).unwrap();
        url.query_pairs_mut().append_pair("to", &target);
        let outcome = transport.send(&Ask::get(url)).await;
        assert!(
            matches!(
                outcome,
                Err(TransportError::Forbidden(_) | TransportError::Redirect(_))
            ),
            "{form}: {outcome:?}"
        );
    }
    for split in ["https://127.0.0.1/\r\nHost: x", "\u{0}", "https://"] {
        let mut url = Url::parse(&format!("http://{host}/v2/")).unwrap();
        url.query_pairs_mut().append_pair("to", split);
        assert!(transport.send(&Ask::get(url)).await.is_err(), "{split:?}");
    }
    assert_eq!(trap.visits(), 0);
}

#[tokio::test]
async fn a_name_is_judged_by_the_address_it_has_when_it_is_contacted() {
    let trap = Trap::set().await;
    // The first answer is harmless, later ones are not: DNS rebinding.
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let port = trap.port;
    let lookup: Lookup = Arc::new(move |_| {
        let turn = counter.fetch_add(1, Ordering::SeqCst);
        let ip: IpAddr = match turn {
            // TEST-NET-3: answers nobody.
            0 => "203.0.113.1".parse().unwrap(),
            1 => "127.0.0.1".parse().unwrap(),
            2 => "169.254.169.254".parse().unwrap(),
            _ => "::1".parse().unwrap(),
        };
        Box::pin(async move { Ok(vec![SocketAddr::new(ip, port)]) })
    });
    let transport = transport(Policy::default(), &lookup);
    let url = Url::parse(&format!("https://registry.example:{port}/v2/")).unwrap();
    let first = transport.send(&Ask::get(url.clone())).await;
    assert!(
        matches!(first, Err(TransportError::Network(_))),
        "{first:?}"
    );
    for _ in 0..3 {
        let later = transport.send(&Ask::get(url.clone())).await;
        assert!(
            matches!(later, Err(TransportError::Forbidden(_))),
            "{later:?}"
        );
    }
    assert_eq!(asked.load(Ordering::SeqCst), 4);
    assert_eq!(trap.visits(), 0);
}

#[test]
fn listed_and_private_hosts_are_reached_and_public_ones_do_not_lead_inside() {
    let policy = Policy::new(
        ["reg.rack:5000", "127.0.0.1:5000"],
        ["[::1]:5001", "tls.rack"],
    );
    let admit = |url: &str, from_public| policy.admit(&Url::parse(url).unwrap(), from_public);
    for (url, reach) in [
        ("http://reg.rack:5000/v2/", Reach::Anywhere),
        ("http://REG.rack:5000/v2/", Reach::Anywhere),
        ("http://127.0.0.1:5000/v2/", Reach::Anywhere),
        ("http://2130706433:5000/v2/", Reach::Anywhere),
        ("https://[::1]:5001/v2/", Reach::Anywhere),
        ("https://tls.rack/v2/", Reach::Anywhere),
        ("https://tls.rack:443/v2/", Reach::Anywhere),
        ("https://10.0.0.9/v2/", Reach::Site),
        ("https://[fd12::9]/v2/", Reach::Site),
        ("https://registry.example/v2/", Reach::Site),
    ] {
        assert_eq!(admit(url, false).unwrap(), reach, "{url}");
    }
    for url in [
        "http://reg.rack/v2/",
        "http://reg.rack:5001/v2/",
        "http://tls.rack/v2/",
        "http://127.0.0.1:5001/",
        "https://127.0.0.1:5001/",
        "https://[::1]/",
    ] {
        assert!(admit(url, false).is_err(), "{url}");
    }
    assert!(admit("https://10.0.0.9/v2/", true).is_err());
    assert!(admit("https://[fd12::9]/v2/", true).is_err());
    assert_eq!(admit("https://tls.rack/", true).unwrap(), Reach::Anywhere);
    assert_eq!(admit("https://cdn.example/", true).unwrap(), Reach::Public);
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    assert!(Reach::Public.allows(ip("192.168.1.1")).is_err());
    assert!(Reach::Public.allows(ip("100.64.0.1")).is_err());
    assert!(Reach::Public.allows(ip("8.8.8.8")).is_ok());
    assert!(Reach::Site.allows(ip("192.168.1.1")).is_ok());
    assert!(Reach::Anywhere.allows(ip("127.0.0.1")).is_ok());
}

#[tokio::test]
async fn credentials_stay_with_the_origin_they_are_for() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let (other, _other) = serve(move |request| {
        let given = request.headers().contains_key(AUTHORIZATION);
        log.lock().unwrap().push(("other", given));
        "blob".into_response()
    })
    .await;
    let (log, target) = (Arc::clone(&seen), other.clone());
    let (origin, _origin) = serve(move |request| {
        let given = request.headers().contains_key(AUTHORIZATION);
        log.lock().unwrap().push(("origin", given));
        match request.uri().path() {
            "/away" => Redirect::temporary(&format!("http://{target}/")).into_response(),
            "/near" => Redirect::temporary("/end").into_response(),
            "/loop" => Redirect::temporary("/loop").into_response(),
            _ => "blob".into_response(),
        }
    })
    .await;
    let policy = Policy::new([origin.as_str(), other.as_str()], []);
    let transport = transport(policy, &system_lookup());
    let send = async |path: &str| {
        let mut ask = Ask::get(Url::parse(&format!("http://{origin}{path}")).unwrap());
        ask.authorization = Some(HeaderValue::from_static("Basic c2VjcmV0"));
        transport.send(&ask).await
    };
    send("/near").await.unwrap();
    send("/away").await.unwrap();
    assert_eq!(
        *seen.lock().unwrap(),
        [
            ("origin", true),
            ("origin", true),
            ("origin", true),
            ("other", false)
        ]
    );
    let outcome = send("/loop").await;
    assert!(
        matches!(outcome, Err(TransportError::Redirect(_))),
        "{outcome:?}"
    );
}

async fn serve(
    answer: impl Fn(Request) -> Response + Clone + Send + Sync + 'static,
) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let router = Router::new().fallback(move |request: Request| {
        let response = answer(request);
        async move { response }
    });
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (host, server)
}
