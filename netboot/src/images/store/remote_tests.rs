//! Registries that are private, mirrored, slow to change, broken in the middle, or hostile.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::registry_tests::{debian_registry, files, files_with, keyring, push};
use super::*;
use crate::images::{Mirror, PullSecretKind};

/// bcrypt of "secret", as `htpasswd -B` makes it.
const HTPASSWD: &str = "site:$2b$04$FQgBauky9l0pZNDr.PtjIe0CXINPdN0er7R.x8TBaAMHpQWKUbEm6\n";

pub(super) fn options(hosts: &[&str]) -> ImageStoreOptions {
    ImageStoreOptions {
        plain_http_hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
        connect_timeout: Duration::from_secs(2),
        read_timeout: Duration::from_secs(5),
        ..ImageStoreOptions::default()
    }
}

pub(super) async fn obtain(
    store: &ImageStore,
    reference: &str,
    keyring: Option<&Keyring>,
) -> Result<String, ImageError> {
    let image = store
        .obtain(
            &reference.parse()?,
            Architecture::Amd64,
            keyring,
            ProgressSink::silent(),
        )
        .await?;
    Ok(std::fs::read_to_string(image.root.join("name")).unwrap())
}

pub(super) type Log = Arc<Mutex<Vec<String>>>;

/// A made-up server; every request is noted as `METHOD path [with credentials]`.
pub(super) async fn serve(
    answer: impl Fn(&Request) -> Response + Clone + Send + Sync + 'static,
) -> (String, Log, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let log = Log::default();
    let noted = Arc::clone(&log);
    let router = Router::new().fallback(move |request: Request| {
        let given = request
            .headers()
            .get("authorization")
            .and_then(|value| value.to_str().ok())
            .map(|value| format!(" {value}"))
            .unwrap_or_default();
        let (method, path) = (request.method(), request.uri().path());
        noted
            .lock()
            .unwrap()
            .push(format!("{method} {path}{given}"));
        let response = answer(&request);
        async move { response }
    });
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (host, log, server)
}

pub(super) fn from_files(files: &HashMap<String, Vec<u8>>, request: &Request) -> Response {
    let path = request.uri().path().trim_start_matches("/v2/");
    match files.get(path) {
        Some(bytes) => (
            [(
                "docker-content-digest",
                super::super::digest::digest_of(bytes),
            )],
            bytes.clone(),
        )
            .into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

#[tokio::test]
async fn a_private_debian_registry_wants_the_right_password() {
    let dir = tempfile::tempdir().unwrap();
    let passwords = dir.path().join("htpasswd");
    std::fs::write(&passwords, HTPASSWD).unwrap();
    let auth = format!(
        "auth:\n  htpasswd:\n    realm: rack\n    path: {}\n",
        passwords.display()
    );
    let Some((_registry, host)) = debian_registry(dir.path(), "private", &auth).await else {
        return;
    };
    push(&host, Some(("site", "secret")), "v1", &files().await).await;
    let store = ImageStore::open(dir.path(), options(&[&host])).unwrap();
    let name = format!("{host}/site/boot:v1");
    let wrong = keyring(&host, "site", "wrong");
    let elsewhere = keyring("other.example", "site", "secret");
    for given in [None, Some(&wrong), Some(&elsewhere)] {
        let error = obtain(&store, &name, given).await.unwrap_err();
        assert_eq!(error.reason(), "ImageAccessDenied", "{error}");
    }
    let right = keyring(&host, "site", "secret");
    assert_eq!(obtain(&store, &name, Some(&right)).await.unwrap(), "amd64");
}

#[tokio::test]
async fn a_moved_tag_is_followed_and_an_unmoved_one_costs_one_head() {
    let dir = tempfile::tempdir().unwrap();
    let Some((_registry, host)) = debian_registry(dir.path(), "moving", "").await else {
        return;
    };
    push(&host, None, "v1", &files().await).await;
    let store = ImageStore::open(dir.path(), options(&[&host])).unwrap();
    let name = format!("{host}/site/boot:v1");
    let reference: ImageReference = name.parse().unwrap();
    assert_eq!(obtain(&store, &name, None).await.unwrap(), "amd64");
    let first = store.remembered(&reference, Architecture::Amd64).unwrap();
    assert_ne!(first.index, first.digest, "the tag names an index");
    assert_eq!(obtain(&store, &name, None).await.unwrap(), "amd64");
    let newer = files_with(|architecture| format!("new {architecture}").into_bytes()).await;
    push(&host, None, "v1", &newer).await;
    let asked = store
        .ask(&reference, Architecture::Amd64, None)
        .await
        .unwrap();
    assert_ne!(asked, first);
    let known = store.remembered(&reference, Architecture::Amd64).unwrap();
    assert_eq!(known, first, "until the new image is complete");
    assert_eq!(obtain(&store, &name, None).await.unwrap(), "new amd64");
    // Pinned to what the tag was: both images are there.
    let pinned = format!("{host}/site/boot@{}", first.index);
    assert_eq!(obtain(&store, &pinned, None).await.unwrap(), "amd64");
}

#[tokio::test]
async fn mirrors_are_asked_first_with_their_own_credentials() {
    let files = Arc::new(files().await);
    let dir = tempfile::tempdir().unwrap();
    let known = Arc::clone(&files);
    let (origin, origin_log, _origin) = serve(move |request| from_files(&known, request)).await;
    let known = Arc::clone(&files);
    let (mirror, mirror_log, _mirror) = serve(move |request| {
        if !request.headers().contains_key("authorization") {
            return (StatusCode::UNAUTHORIZED, [("www-authenticate", "Basic")]).into_response();
        }
        let path = request.uri().path().replacen("/v2/hub/", "/v2/", 1);
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.uri = path.parse().unwrap();
        from_files(
            &known,
            &Request::from_parts(parts, axum::body::Body::empty()),
        )
    })
    .await;
    let (broken, broken_log, _broken) =
        serve(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response()).await;
    let secret = dir.path().join("config.json");
    let auths = json!({"auths": {mirror.as_str(): {"username": "m", "password": "p"}}});
    std::fs::write(&secret, auths.to_string()).unwrap();
    let mut options = options(&[&origin, &mirror, &broken]);
    options.pull_secret_file = Some(secret);
    options.mirrors = vec![
        format!("{origin}={broken}").parse().unwrap(),
        format!("{origin}={mirror}/hub").parse().unwrap(),
        Mirror {
            of: "other.example".to_owned(),
            host: broken.clone(),
            prefix: String::new(),
        },
    ];
    let store = ImageStore::open(&dir.path().join("a"), options.clone()).unwrap();
    let name = format!("{origin}/site/boot:v1");
    let own = keyring(&origin, "origin-user", "origin-password");
    assert_eq!(obtain(&store, &name, Some(&own)).await.unwrap(), "amd64");
    assert!(
        origin_log.lock().unwrap().is_empty(),
        "nothing is left to ask"
    );
    let to_mirror = mirror_log.lock().unwrap().join("\n");
    assert!(to_mirror.contains("Basic bTpw"), "{to_mirror}");
    assert!(!to_mirror.contains("b3JpZ2lu"), "{to_mirror}");
    assert!(!broken_log.lock().unwrap().is_empty());
    // Without the good mirror, the registry itself.
    options.mirrors.remove(1);
    let store = ImageStore::open(&dir.path().join("b"), options).unwrap();
    assert_eq!(obtain(&store, &name, None).await.unwrap(), "amd64");
    assert!(!origin_log.lock().unwrap().is_empty());
}

/// A proxy that ends its first `cuts` connections with a body after 200 kB.
async fn cutting_proxy(target: String, cuts: usize) -> (String, Arc<AtomicUsize>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let done = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&done);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let (target, counter) = (target.clone(), Arc::clone(&counter));
            connections.spawn(async move {
                let mut server = TcpStream::connect(target).await.unwrap();
                let (mut from_client, mut to_client) = client.split();
                let (mut from_server, mut to_server) = server.split();
                let up = tokio::io::copy(&mut from_client, &mut to_server);
                let down = async {
                    let (mut passed, mut buffer) = (0, vec![0; 16 << 10]);
                    while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                        to_client.write_all(&buffer[..read]).await.ok();
                        passed += read;
                        if passed > 200_000 && counter.load(Ordering::SeqCst) < cuts {
                            counter.fetch_add(1, Ordering::SeqCst);
                            return;
                        }
                    }
                };
                tokio::select! { _ = up => {}, () = down => {} }
            });
        }
    });
    (host, done, tasks)
}

#[tokio::test]
async fn a_download_goes_on_after_its_connection_was_cut() {
    let dir = tempfile::tempdir().unwrap();
    let Some((_registry, host)) = debian_registry(dir.path(), "cut", "").await else {
        return;
    };
    // Text that gzip cannot make small.
    let mut content = String::new();
    for i in 0..60_000_u64 {
        content.push_str(&i.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_string());
    }
    let big = files_with(|_| content.clone().into_bytes()).await;
    push(&host, None, "v1", &big).await;
    let (proxy, cuts, _proxy) = cutting_proxy(host, 2).await;
    let store = ImageStore::open(dir.path(), options(&[&proxy])).unwrap();
    let name = format!("{proxy}/site/boot:v1");
    assert_eq!(obtain(&store, &name, None).await.unwrap(), content);
    assert_eq!(cuts.load(Ordering::SeqCst), 2);
    let mut registry = prometheus_client::registry::Registry::default();
    store.metrics().register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("images_resumed_total 2"), "{text}");
    assert!(
        text.contains("images_pulls_total{outcome=\"ok\"} 1"),
        "{text}"
    );
    assert!(text.contains("images_cached 1"), "{text}");
}

#[tokio::test]
async fn a_registry_that_never_gives_the_whole_layer_is_given_up() {
    let files = files().await;
    let dir = tempfile::tempdir().unwrap();
    let (host, log, _server) = serve(move |request| {
        let response = from_files(&files, request);
        let path = request.uri().path();
        let size = files
            .get(path.trim_start_matches("/v2/"))
            .map_or(0, Vec::len);
        if !path.contains("/blobs/") || size < 10 {
            return response;
        }
        // Always the same ten bytes, then the connection breaks.
        let start = if request.headers().contains_key("range") {
            Vec::new()
        } else {
            vec![0x1f_u8; 10]
        };
        let parts = [Ok(start), Err(std::io::Error::other("cut"))];
        axum::body::Body::from_stream(futures::stream::iter(parts)).into_response()
    })
    .await;
    let store = ImageStore::open(dir.path(), options(&[&host])).unwrap();
    let error = obtain(&store, &format!("{host}/site/boot:v1"), None)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "RegistryUnreachable", "{error}");
    assert!(error.is_transient(), "it may be whole later");
    let log = log.lock().unwrap();
    let tries = log.iter().filter(|line| line.contains("/blobs/")).count();
    assert!((2..20).contains(&tries), "{tries} tries");
}

#[tokio::test]
async fn tokens_are_fetched_where_the_registry_says() {
    let files = files().await;
    let dir = tempfile::tempdir().unwrap();
    let (auth, auth_log, _auth) = serve(|request| {
        let query = request.uri().query().unwrap_or_default();
        match *request.method() {
            Method::POST => json!({"access_token": "from-identity"})
                .to_string()
                .into_response(),
            _ if query.contains("service=reg") => json!({"token": "from-password"})
                .to_string()
                .into_response(),
            _ => StatusCode::BAD_REQUEST.into_response(),
        }
    })
    .await;
    let realm = format!("Bearer realm=\"http://{auth}/token\",service=\"reg\"");
    let (host, log, _server) = serve(move |request| {
        let given = request.headers().get("authorization");
        let token = given
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        match token {
            "Bearer from-password" | "Bearer from-identity" | "Bearer direct" => {
                from_files(&files, request)
            }
            _ => (
                StatusCode::UNAUTHORIZED,
                [("www-authenticate", realm.clone())],
            )
                .into_response(),
        }
    })
    .await;
    let parse = |entry: serde_json::Value| {
        let auths = json!({"auths": {host.as_str(): entry}}).to_string();
        Keyring::parse(PullSecretKind::DockerConfigJson, auths.as_bytes()).unwrap()
    };
    for (place, keyring) in [
        ("anonymous", None),
        ("password", Some(keyring(&host, "u", "p"))),
        ("identity", Some(parse(json!({"identitytoken": "refresh"})))),
        ("direct", Some(parse(json!({"registrytoken": "direct"})))),
    ] {
        let cache = dir.path().join(place);
        let store = ImageStore::open(&cache, options(&[&host, &auth])).unwrap();
        let name = format!("{host}/site/boot:v1");
        let found = obtain(&store, &name, keyring.as_ref()).await;
        assert_eq!(found.unwrap(), "amd64", "{place}");
    }
    // One token to resolve, one to fetch.
    assert_eq!(auth_log.lock().unwrap().len(), 6);
    let mut to_auth = auth_log.lock().unwrap().clone();
    to_auth.dedup();
    assert_eq!(
        to_auth,
        ["GET /token", "GET /token Basic dTpw", "POST /token"]
    );
    let to_registry = log.lock().unwrap().join("\n");
    assert!(
        !to_registry.contains("Basic"),
        "the password goes to the realm only"
    );
    // A realm that is not listed for plain HTTP gets nothing.
    let store = ImageStore::open(&dir.path().join("x"), options(&[&host])).unwrap();
    let name = format!("{host}/site/boot:v1");
    let error = obtain(&store, &name, Some(&keyring(&host, "u", "p"))).await;
    assert_eq!(error.unwrap_err().reason(), "RegistryAddressForbidden");
    assert_eq!(auth_log.lock().unwrap().len(), 6);
}

#[tokio::test]
async fn answers_without_end_are_cut() {
    let dir = tempfile::tempdir().unwrap();
    for announced in [true, false] {
        let (host, _, _server) = serve(move |_| {
            let endless = futures::stream::repeat_with(|| {
                Ok::<_, std::io::Error>(bytes::Bytes::from(vec![b' '; 64 << 10]))
            });
            let mut response = axum::body::Body::from_stream(endless).into_response();
            if announced {
                let length = "99999999999".parse().unwrap();
                response.headers_mut().insert("content-length", length);
            }
            response
        })
        .await;
        let store = ImageStore::open(dir.path(), options(&[&host])).unwrap();
        let error = obtain(&store, &format!("{host}/site/boot:v1"), None).await;
        assert_eq!(error.unwrap_err().reason(), "ImageTooLarge");
    }
}

#[tokio::test]
async fn an_image_of_another_architecture_is_refused_by_its_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = files().await;
    let config = br#"{"architecture":"arm64","os":"linux"}"#.to_vec();
    let digest = super::super::digest::digest_of(&config);
    let index: serde_json::Value =
        serde_json::from_slice(&files["site/boot/manifests/v1"]).unwrap();
    let amd64 = index["manifests"][0]["digest"].as_str().unwrap();
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&files[&format!("site/boot/manifests/{amd64}")]).unwrap();
    manifest["config"]["digest"] = json!(digest);
    manifest["config"]["size"] = json!(config.len());
    files.insert(
        "site/boot/manifests/single".into(),
        manifest.to_string().into_bytes(),
    );
    files.insert(format!("site/boot/blobs/{digest}"), config);
    let (host, _, _server) = serve(move |request| from_files(&files, request)).await;
    let store = ImageStore::open(dir.path(), options(&[&host])).unwrap();
    let error = obtain(&store, &format!("{host}/site/boot:single"), None)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "ImagePlatformMissing");
    assert!(
        error.to_string().contains("it offers linux/arm64"),
        "{error}"
    );
}
