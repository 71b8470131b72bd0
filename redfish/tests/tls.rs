//! Trust: pins, authorities and opt-outs against real TLS servers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use redfish::{Authority, Client, ClientConfig, Error, Timeouts, TlsTrust};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

type Ca = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Ca {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for `name`, issued by `ca` or by itself.
fn certificate(name: &str, ca: Option<&Ca>) -> (CertificateDer<'static>, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let issued = match ca {
        Some(ca) => params.signed_by(&key, ca).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    (issued.der().clone(), key)
}

struct Server {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

/// Answers everything with a service root, on any number of connections.
async fn serve(served: (CertificateDer<'static>, KeyPair)) -> Server {
    let (certificate, key) = served;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, counted) = (acceptor.clone(), Arc::clone(&counted));
            tokio::spawn(answer(acceptor, stream, counted));
        }
    });
    Server { address, requests }
}

async fn answer(acceptor: TlsAcceptor, stream: TcpStream, counted: Arc<AtomicUsize>) {
    let Ok(mut stream) = acceptor.accept(stream).await else {
        return;
    };
    let mut head = Vec::new();
    let mut byte = [0_u8];
    while stream.read_exact(&mut byte).await.is_ok() {
        head.extend(byte);
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            counted.fetch_add(1, Ordering::Relaxed);
            let body = r#"{"RedfishVersion":"1.0.0"}"#;
            let text = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            if stream.write_all(text.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

fn client(server: &Server, trust: TlsTrust) -> Client {
    Client::new(ClientConfig {
        base: format!("https://{}", server.address).parse().unwrap(),
        username: "admin".into(),
        password: SecretString::from("right"),
        system_id: None,
        trust,
        timeouts: Timeouts::default(),
    })
    .unwrap()
}

#[tokio::test]
async fn authority_vouches_for_the_address_or_for_a_name() {
    let ca = authority();
    let bundle = Authority::from_pem(ca.pem().as_bytes()).unwrap();
    let by_address = serve(certificate("127.0.0.1", Some(&ca))).await;
    let by_name = serve(certificate("bmc-1.lab", Some(&ca))).await;
    let trust = |authority: &Authority| TlsTrust::Authority(authority.clone());

    let good = client(&by_address, trust(&bundle));
    good.service_root().await.unwrap();
    assert!(good.observed_certificate().unwrap().not_after.is_some());

    let other_name = client(&by_name, trust(&bundle))
        .service_root()
        .await
        .map(drop);
    assert!(matches!(
        other_name,
        Err(Error::CertificateUntrusted { .. })
    ));
    let expected = bundle.clone().expecting("bmc-1.lab");
    client(&by_name, trust(&expected))
        .service_root()
        .await
        .unwrap();

    let stranger = serve(certificate("127.0.0.1", Some(&authority()))).await;
    let refused = client(&stranger, trust(&bundle));
    let error = refused.service_root().await.unwrap_err();
    assert_eq!(error.reason(), "CertificateUntrusted");
    assert!(!error.is_transient() && !error.may_have_acted());
    assert_eq!(stranger.requests.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn changed_certificate_is_refused_until_it_is_pinned() {
    let old = serve(certificate("127.0.0.1", None)).await;
    let client_of_old = client(&old, TlsTrust::FirstUse);
    client_of_old.service_root().await.unwrap();
    let pin = client_of_old.observed_fingerprint().unwrap();

    let new = serve(certificate("127.0.0.1", None)).await;
    let pinned = client(&new, TlsTrust::Pin(pin));
    let Error::CertificateMismatch {
        found,
        pinned: told,
    } = pinned.service_root().await.unwrap_err()
    else {
        panic!("another error");
    };
    assert_eq!(told, pin);
    assert_eq!(new.requests.load(Ordering::Relaxed), 0, "nothing was sent");

    let shown = pinned.presented_certificate().await.unwrap().unwrap();
    assert_eq!(shown.fingerprint, found);
    assert_eq!(
        new.requests.load(Ordering::Relaxed),
        0,
        "looking sends nothing"
    );
    assert!(pinned.service_root().await.is_err(), "looking does not pin");
    pinned.repin(shown.fingerprint).await;
    pinned.service_root().await.unwrap();
}

#[tokio::test]
async fn opt_out_takes_any_certificate_and_remembers_it() {
    let server = serve(certificate("elsewhere", None)).await;
    let open = client(&server, TlsTrust::Unverified);
    open.service_root().await.unwrap();
    assert!(open.observed_fingerprint().is_some());
}
