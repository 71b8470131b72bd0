use std::collections::HashMap;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use http::StatusCode;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::tests::{gzip, tar};
use super::*;
use crate::images::digest::digest_of;

/// What the made-up registry has, by path below `/v2/`.
#[derive(Clone, Default)]
struct Fake {
    files: HashMap<String, Vec<u8>>,
    authorization: Option<String>,
    broken: bool,
}

async fn answer(State(fake): State<Arc<Fake>>, request: Request) -> Response {
    if fake.broken {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let given = request
        .headers()
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    if fake.authorization.is_some() && given != fake.authorization.as_deref() {
        let challenge = [("www-authenticate", "Basic realm=\"test\"")];
        return (StatusCode::UNAUTHORIZED, challenge).into_response();
    }
    let path = request.uri().path().trim_start_matches("/v2/");
    if path.is_empty() {
        return StatusCode::OK.into_response();
    }
    match fake.files.get(path) {
        Some(bytes) => bytes.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The files of one image with two platforms, tagged `v1` in `site/boot`.
pub(super) async fn files() -> HashMap<String, Vec<u8>> {
    files_with(|architecture| architecture.as_bytes().to_vec()).await
}

/// The same, with other content of `disk/name`.
pub(super) async fn files_with(content: impl Fn(&str) -> Vec<u8>) -> HashMap<String, Vec<u8>> {
    let mut files = HashMap::new();
    let mut entries = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let layer = gzip(&tar(&[("disk/name", content(architecture).as_slice())]).await);
        let manifest = json!({"schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": digest_of(b"{}"), "size": 2},
            "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "digest": digest_of(&layer), "size": layer.len()}]})
        .to_string()
        .into_bytes();
        let digest = digest_of(&manifest);
        entries.push(
            json!({"mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "digest": digest, "size": manifest.len(),
            "platform": {"os": "linux", "architecture": architecture}}),
        );
        files.insert(format!("site/boot/blobs/{}", digest_of(&layer)), layer);
        files.insert(format!("site/boot/manifests/{digest}"), manifest);
    }
    let index = json!({"schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json",
        "manifests": entries});
    files.insert(
        "site/boot/manifests/v1".to_owned(),
        index.to_string().into_bytes(),
    );
    files.insert(
        format!("site/boot/blobs/{}", digest_of(b"{}")),
        b"{}".to_vec(),
    );
    files
}

struct Bench {
    host: String,
    store: ImageStore,
    cache: tempfile::TempDir,
    _server: JoinSet<()>,
}

async fn bench(fake: Fake) -> Bench {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let router = Router::new().fallback(answer).with_state(Arc::new(fake));
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, router).await.unwrap() });
    let cache = tempfile::tempdir().unwrap();
    Bench {
        store: store_for(&cache, &host),
        host,
        cache,
        _server: server,
    }
}

fn store_for(cache: &tempfile::TempDir, host: &str) -> ImageStore {
    let options = ImageStoreOptions {
        plain_http_hosts: vec![host.to_owned()],
        connect_timeout: Duration::from_secs(2),
        ..Default::default()
    };
    ImageStore::open(cache.path(), options).unwrap()
}

async fn pull(
    bench: &Bench,
    name: &str,
    architecture: Architecture,
    keyring: Option<&Keyring>,
) -> Result<String, ImageError> {
    let reference = format!("{}/{name}", bench.host).parse()?;
    let digest = bench
        .store
        .resolve(&reference, architecture, keyring)
        .await?
        .digest;
    let image = bench
        .store
        .fetch(&reference, &digest, keyring, ProgressSink::silent())
        .await?;
    Ok(std::fs::read_to_string(image.root.join("name")).unwrap())
}

#[tokio::test]
async fn docker_manifests_of_each_platform_are_pulled() {
    let bench = bench(Fake {
        files: files().await,
        ..Fake::default()
    })
    .await;
    for (architecture, content) in [
        (Architecture::Amd64, "amd64"),
        (Architecture::Arm64, "arm64"),
    ] {
        let found = pull(&bench, "site/boot:v1", architecture, None)
            .await
            .unwrap();
        assert_eq!(found, content);
    }
}

#[tokio::test]
async fn credentials_are_sent_and_their_lack_is_named() {
    let encoded = base64::engine::general_purpose::STANDARD.encode("site:secret");
    let fake = Fake {
        files: files().await,
        authorization: Some(format!("Basic {encoded}")),
        broken: false,
    };
    let bench = bench(fake).await;
    let credentials = |password: &str| keyring(&bench.host, "site", password);
    let good = credentials("secret");
    let found = pull(&bench, "site/boot:v1", Architecture::Amd64, Some(&good))
        .await
        .unwrap();
    assert_eq!(found, "amd64");
    let wrong = credentials("wrong");
    for given in [None, Some(&wrong)] {
        let error = pull(&bench, "site/boot:v1", Architecture::Amd64, given)
            .await
            .unwrap_err();
        assert_eq!(error.reason(), "ImageAccessDenied", "{error}");
        assert!(!error.is_transient());
        assert!(!format!("{error} {error:?}").contains("wrong"));
    }
}

/// A pull secret for one host.
pub(super) fn keyring(host: &str, username: &str, password: &str) -> Keyring {
    let auths = json!({"auths": {host: {"username": username, "password": password}}});
    Keyring::parse(
        crate::images::PullSecretKind::DockerConfigJson,
        auths.to_string().as_bytes(),
    )
    .unwrap()
}

#[tokio::test]
async fn absent_broken_and_silent_registries_are_told_apart() {
    let absent = bench(Fake::default()).await;
    let error = pull(&absent, "site/boot:v1", Architecture::Amd64, None)
        .await
        .unwrap_err();
    assert_eq!(
        (error.reason(), error.is_transient()),
        ("ImageNotFound", false)
    );
    let broken = bench(Fake {
        broken: true,
        ..Fake::default()
    })
    .await;
    let error = pull(&broken, "site/boot:v1", Architecture::Amd64, None)
        .await
        .unwrap_err();
    assert_eq!(
        (error.reason(), error.is_transient()),
        ("RegistryUnreachable", true)
    );
    let mut closed = bench(Fake::default()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    closed.host = listener.local_addr().unwrap().to_string();
    drop(listener);
    closed.store = store_for(&closed.cache, &closed.host);
    let error = pull(&closed, "site/boot:v1", Architecture::Amd64, None)
        .await
        .unwrap_err();
    assert_eq!(
        (error.reason(), error.is_transient()),
        ("RegistryUnreachable", true)
    );
}

#[tokio::test]
async fn plain_http_is_spoken_only_where_it_is_listed() {
    let mut bench = bench(Fake {
        files: files().await,
        ..Fake::default()
    })
    .await;
    bench.store = store_for(&bench.cache, "other.example:5000");
    let error = pull(&bench, "site/boot:v1", Architecture::Amd64, None)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "RegistryAddressForbidden", "{error}");
    let options = ImageStoreOptions {
        trusted_hosts: vec![bench.host.clone()],
        ..Default::default()
    };
    bench.store = ImageStore::open(bench.cache.path(), options).unwrap();
    let error = pull(&bench, "site/boot:v1", Architecture::Amd64, None)
        .await
        .unwrap_err();
    assert_eq!(
        error.reason(),
        "RegistryUnreachable",
        "no TLS there: {error}"
    );
}

#[tokio::test]
async fn a_registry_that_swaps_content_is_caught() {
    let mut swapped = files().await;
    let layer = swapped
        .keys()
        .find(|key| key.contains("/blobs/"))
        .unwrap()
        .clone();
    for (key, bytes) in &mut swapped {
        if key.contains("/blobs/") {
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
        }
    }
    assert!(swapped.contains_key(&layer));
    let bench = bench(Fake {
        files: swapped,
        ..Fake::default()
    })
    .await;
    let error = pull(&bench, "site/boot:v1", Architecture::Amd64, None)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "ImageDigestMismatch", "{error}");
}

/// Debian's registry, killed at the end.
pub(super) struct Registry(Child);

impl Drop for Registry {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Debian's registry on a free port, or nothing when it is not installed. `auth` is a part of its
/// configuration.
#[expect(
    clippy::disallowed_methods,
    reason = "a test switch of the whole project"
)]
pub(super) async fn debian_registry(
    dir: &Path,
    name: &str,
    auth: &str,
) -> Option<(Registry, String)> {
    let program = "/usr/bin/docker-registry";
    if !Path::new(program).exists() {
        assert!(
            std::env::var("METALMAN_TEST_STRICT").as_deref() != Ok("1"),
            "{program} is not installed (package docker-registry)"
        );
        eprintln!("SKIPPED: {program} is not installed (package docker-registry)");
        return None;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    drop(listener);
    let root = dir.join(name);
    let config = format!(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {host}\n{auth}",
        root.display()
    );
    let config_path = dir.join(format!("{name}.yml"));
    std::fs::write(&config_path, config).unwrap();
    let child = Command::new(program)
        .arg("serve")
        .arg(&config_path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let registry = Registry(child);
    super::super::registry::ensure_crypto_provider();
    let client = reqwest::Client::builder().build().unwrap();
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let ready = async {
        while client
            .get(format!("http://{host}/v2/"))
            .send()
            .await
            .is_err()
        {
            tick.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ready)
        .await
        .expect("the registry starts");
    Some((registry, host))
}

#[tokio::test]
async fn an_image_goes_through_debians_registry() {
    let cache = tempfile::tempdir().unwrap();
    let Some((_registry, host)) = debian_registry(cache.path(), "registry", "").await else {
        return;
    };
    push(&host, None, "v1", &files().await).await;
    let bench = Bench {
        store: store_for(&cache, &host),
        host,
        cache,
        _server: JoinSet::new(),
    };
    let found = pull(&bench, "site/boot:v1", Architecture::Arm64, None)
        .await
        .unwrap();
    assert_eq!(found, "arm64");
    for name in ["site/boot:v9", "site/none:v1"] {
        let error = pull(&bench, name, Architecture::Arm64, None)
            .await
            .unwrap_err();
        assert_eq!(error.reason(), "ImageNotFound", "{name}");
    }
}

/// Uploads a made-up image under `tag`.
pub(super) async fn push(
    host: &str,
    login: Option<(&str, &str)>,
    tag: &str,
    files: &HashMap<String, Vec<u8>>,
) {
    super::super::registry::ensure_crypto_provider();
    let client = reqwest::Client::builder().build().unwrap();
    let base = format!("http://{host}/v2");
    let signed = |request: reqwest::RequestBuilder| match login {
        Some((user, password)) => request.basic_auth(user, Some(password)),
        None => request,
    };
    let (mut blobs, mut manifests): (Vec<_>, Vec<_>) =
        files.iter().partition(|(path, _)| path.contains("/blobs/"));
    blobs.sort();
    // Images before the index that names them.
    manifests.sort_by_key(|(path, _)| path.ends_with("/v1"));
    for (_, bytes) in blobs {
        let begun = signed(client.post(format!("{base}/site/boot/blobs/uploads/")))
            .send()
            .await
            .unwrap();
        let location = begun.headers()["location"].to_str().unwrap().to_owned();
        let join = if location.contains('?') { '&' } else { '?' };
        let url = format!("{location}{join}digest={}", digest_of(bytes));
        let done = signed(client.put(url)).body(bytes.clone()).send().await;
        assert_eq!(done.unwrap().status(), 201);
    }
    for (path, bytes) in manifests {
        let list = path.ends_with("/v1");
        let kind = if list { "manifest.list" } else { "manifest" };
        let kind = format!("application/vnd.docker.distribution.{kind}.v2+json");
        let path = match path.strip_suffix("/v1") {
            Some(rest) => format!("{rest}/{tag}"),
            None => path.clone(),
        };
        let request = signed(client.put(format!("{base}/{path}"))).header("content-type", kind);
        let done = request.body(bytes.clone()).send().await.unwrap();
        assert_eq!(done.status(), 201, "{path}");
    }
}
