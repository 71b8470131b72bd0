//! Pulls manifests and blobs from a registry or its mirrors (OCI distribution specification).
//!
//! One value per image, because credentials belong to an image, not to a registry. Invariant: every
//! answer is bounded in size or in time, and URLs that a manifest names are never followed.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Method, StatusCode};
use oci_spec::distribution::Reference;
use reqwest::Response;
use url::Url;

use super::credentials::{Keyring, RegistryCredentials};
use super::digest::{digest_of, is_digest};
use super::error::ImageError;
use super::manifest::MAX_MANIFEST_BYTES;
use super::options::ImageStoreOptions;
use super::remote::auth::{self, AuthError};
use super::remote::blob::{self, BlobReader};
use super::remote::transport::{Ask, Transport, TransportError};

use crate::metrics::ImageMetrics;

const MANIFEST_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";
/// Whole time for one manifest; blobs are limited by silence and by the time of the whole fetch.
const MANIFEST_TIMEOUT: Duration = Duration::from_secs(60);

/// One image, at its registry and at the mirrors of that.
#[derive(Debug, Clone)]
pub(crate) struct Registry {
    transport: Arc<Transport>,
    metrics: ImageMetrics,
    image: Reference,
    /// Where to ask, in order; the last is the registry that the reference names.
    places: Vec<Place>,
}

/// A repository on one host.
#[derive(Debug, Clone)]
struct Place {
    base: Url,
    host: String,
    repository: String,
    credentials: Option<RegistryCredentials>,
    /// What the host was last answered with.
    authorization: Arc<Mutex<Option<HeaderValue>>>,
    trust: Arc<Trust>,
}

/// What came of a place so far, for one use of one image.
#[derive(Debug, Default)]
struct Trust {
    /// Whether bytes of a layer came from there.
    has_served: AtomicBool,
    /// Whether it gave other bytes than the digest names; it is not asked again then.
    is_lost: AtomicBool,
}

impl Registry {
    /// `keyring` is asked for the host of the reference, `mirror_keyring` too for mirrors.
    pub(crate) fn new(
        image: &Reference,
        options: &ImageStoreOptions,
        transport: &Arc<Transport>,
        metrics: &ImageMetrics,
        (keyring, mirror_keyring): (&Keyring, &Keyring),
    ) -> Result<Self, ImageError> {
        let mut places = Vec::new();
        let for_mirrors = keyring.clone().or(mirror_keyring);
        for mirror in options.mirrors.iter().filter(|m| m.of == image.registry()) {
            let repository = match mirror.prefix.as_str() {
                "" => image.repository().to_owned(),
                prefix => format!("{prefix}/{}", image.repository()),
            };
            let credentials = for_mirrors.find(&mirror.host, &repository)?;
            places.push(place(
                image,
                transport,
                &mirror.host,
                &mirror.host,
                repository,
                credentials,
            )?);
        }
        let credentials = keyring.find(image.registry(), image.repository())?;
        places.push(place(
            image,
            transport,
            image.resolve_registry(),
            image.registry(),
            image.repository().to_owned(),
            credentials,
        )?);
        Ok(Self {
            transport: Arc::clone(transport),
            metrics: metrics.clone(),
            image: image.clone(),
            places,
        })
    }

    pub(crate) fn name(&self) -> String {
        self.image.to_string()
    }

    pub(crate) fn metrics(&self) -> &ImageMetrics {
        &self.metrics
    }

    /// Digest of what the tag of the reference means now, if a place tells it without the content.
    pub(crate) async fn digest_now(&self) -> Option<String> {
        let path = format!("manifests/{}", self.version());
        let asked = self.ask_all(Method::HEAD, &path, 0);
        let asked = tokio::time::timeout(MANIFEST_TIMEOUT, asked).await;
        let (response, _) = asked.ok()?.ok()?;
        let digest = response.headers().get("docker-content-digest")?;
        let digest = digest.to_str().ok()?.to_owned();
        is_digest(&digest).then_some(digest)
    }

    fn version(&self) -> &str {
        self.image.digest().or(self.image.tag()).unwrap_or("latest")
    }

    /// The manifest or index behind the reference (or `version`, a digest or a tag); verified.
    pub(crate) async fn manifest(
        &self,
        version: Option<&str>,
    ) -> Result<(Vec<u8>, String), ImageError> {
        let version = version.unwrap_or(self.version());
        let path = format!("manifests/{version}");
        let wanted = Some(version).filter(|version| is_digest(version));
        self.document(&path, wanted, "give the manifest").await
    }

    /// A small blob as a whole; verified.
    pub(crate) async fn small_blob(&self, digest: &str) -> Result<Vec<u8>, ImageError> {
        let path = format!("blobs/{digest}");
        let whole = self.document(&path, Some(digest), "give the image configuration");
        Ok(whole.await?.0)
    }

    /// A small document and its digest, which is `wanted` when there is a wish. A mirror that gives
    /// another is left for the next.
    async fn document(
        &self,
        path: &str,
        wanted: Option<&str>,
        operation: &'static str,
    ) -> Result<(Vec<u8>, String), ImageError> {
        let whole = async {
            loop {
                let (response, place) = self.ask_all(Method::GET, path, 0).await?;
                let bytes = match bounded(response).await {
                    // What a mirror gives without end says nothing of the image.
                    Err(Problem::TooLarge) if self.leave(place, path) => continue,
                    bytes => bytes.map_err(|problem| self.explain(operation, problem))?,
                };
                let found = digest_of(&bytes);
                match wanted {
                    Some(wanted) if wanted != found => {
                        if !self.leave(place, wanted) {
                            return Err(ImageError::DigestMismatch {
                                digest: wanted.to_owned(),
                                problem: format!("its content hashes to {found}"),
                            });
                        }
                    }
                    Some(_) | None => return Ok((bytes, found)),
                }
            }
        };
        tokio::time::timeout(MANIFEST_TIMEOUT, whole)
            .await
            .map_err(|elapsed| ImageError::Unreachable {
                reference: self.name(),
                operation,
                source: Box::new(elapsed),
            })?
    }

    /// Asks a mirror nothing more after it gave wrong content. False for the registry itself, which
    /// nobody can stand in for.
    fn leave(&self, place: &Place, digest: &str) -> bool {
        let is_mirror = !self
            .places
            .last()
            .is_some_and(|last| Arc::ptr_eq(&last.trust, &place.trust));
        if is_mirror && !place.trust.is_lost.swap(true, Relaxed) {
            tracing::warn!(
                mirror = %place.host, image = %self.image, digest,
                "mirror gave wrong content, asking the next"
            );
        }
        is_mirror
    }

    /// After a layer turned out to be wrong: leaves the mirrors that gave parts of one. False when
    /// there was none, so that another try would end alike.
    pub(crate) fn leave_mirrors(&self, digest: &str) -> bool {
        let mut left = false;
        for place in &self.places {
            if place.trust.has_served.load(Relaxed) && !place.trust.is_lost.load(Relaxed) {
                left |= self.leave(place, digest);
            }
        }
        left
    }

    /// Opens a blob for streaming; the reader verifies it.
    pub(crate) async fn blob(&self, digest: &str, size: u64) -> Result<BlobReader, ImageError> {
        blob::open(self.clone(), digest, size).await
    }

    /// One connection to a blob, from byte `from`.
    pub(crate) async fn open_blob(&self, digest: &str, from: u64) -> Result<Response, ImageError> {
        let path = format!("blobs/{digest}");
        let (response, place) = self.ask_all(Method::GET, &path, from).await?;
        place.trust.has_served.store(true, Relaxed);
        Ok(response)
    }

    /// Asks the mirrors, then the registry. Only what the registry itself says is an error.
    async fn ask_all(
        &self,
        method: Method,
        path: &str,
        from: u64,
    ) -> Result<(Response, &Place), ImageError> {
        let operation = if path.starts_with("manifests/") {
            "give the manifest"
        } else {
            "give a blob"
        };
        let last = self.places.len().saturating_sub(1);
        for (index, place) in self.places.iter().enumerate() {
            if place.trust.is_lost.load(Relaxed) {
                continue;
            }
            match self.ask(place, &method, path, from).await {
                Ok(response) => return Ok((response, place)),
                Err(problem) if index == last => return Err(self.explain(operation, problem)),
                Err(problem) => {
                    let problem = self.explain(operation, problem);
                    tracing::warn!(
                        mirror = %place.host, image = %self.image,
                        error.reason = problem.reason(),
                        error = %super::error::chain(&problem),
                        "mirror does not help, asking the next"
                    );
                }
            }
        }
        Err(self.explain(operation, Problem::Absent))
    }

    async fn ask(
        &self,
        place: &Place,
        method: &Method,
        path: &str,
        from: u64,
    ) -> Result<Response, Problem> {
        let url = place.url(path)?;
        let mut ask = Ask::get(url);
        ask.method = method.clone();
        ask.from_byte = from;
        if path.starts_with("manifests/") {
            ask.accept = Some(HeaderValue::from_static(MANIFEST_TYPES));
        }
        ask.authorization = place.known_authorization();
        let mut response = self.transport.send(&ask).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            let challenge = auth::challenge_of(response.headers()).ok_or(Problem::Denied)?;
            let answered = auth::answer(
                &self.transport,
                &challenge,
                &place.repository,
                place.credentials.as_ref(),
            )
            .await?;
            place.remember(&answered);
            ask.authorization = Some(answered);
            response = self.transport.send(&ask).await?;
        }
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Problem::Denied),
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(Problem::Absent),
            StatusCode::BAD_REQUEST => Err(bad_request(response).await),
            status => Err(Problem::Away(format!("it answers {status}").into())),
        }
    }

    /// Sorts failures by what the caller can do about them.
    fn explain(&self, operation: &'static str, problem: Problem) -> ImageError {
        let reference = self.name();
        match problem {
            Problem::Absent => ImageError::NotFound { reference },
            Problem::Denied => ImageError::Unauthorized { reference },
            Problem::Forbidden(source) => ImageError::Forbidden { reference, source },
            Problem::TooLarge => ImageError::TooLarge {
                what: "manifest size in bytes",
                limit: MAX_MANIFEST_BYTES,
            },
            Problem::Away(source) => ImageError::Unreachable {
                reference,
                operation,
                source,
            },
        }
    }
}

impl Place {
    fn url(&self, path: &str) -> Result<Url, Problem> {
        self.base
            .join(path)
            .ok()
            // A version or digest never changes where the request goes.
            .filter(|url| {
                url.origin() == self.base.origin() && url.path().starts_with(self.base.path())
            })
            .ok_or(Problem::Absent)
    }

    fn known_authorization(&self) -> Option<HeaderValue> {
        self.authorization
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn remember(&self, authorization: &HeaderValue) {
        *self
            .authorization
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(authorization.clone());
    }
}

fn place(
    image: &Reference,
    transport: &Transport,
    address: &str,
    host: &str,
    repository: String,
    credentials: Option<RegistryCredentials>,
) -> Result<Place, ImageError> {
    let scheme = transport.policy().scheme(address);
    let base = Url::parse(&format!("{scheme}://{address}/v2/{repository}/")).map_err(|error| {
        ImageError::InvalidReference {
            reference: image.to_string(),
            problem: format!("{address} is not a host: {error}"),
        }
    })?;
    Ok(Place {
        base,
        host: host.to_owned(),
        repository,
        credentials,
        authorization: Arc::default(),
        trust: Arc::default(),
    })
}

/// Registries answer 400 to names they cannot have.
async fn bad_request(response: Response) -> Problem {
    let says = bounded(response).await.unwrap_or_default();
    let says = String::from_utf8_lossy(&says);
    let unknown = ["NAME_INVALID", "NAME_UNKNOWN", "TAG_INVALID", "MANIFEST_"];
    if unknown.iter().any(|code| says.contains(code)) {
        Problem::Absent
    } else {
        Problem::Away("it answers 400 Bad Request".into())
    }
}

/// Reads a body that may have up to [`MAX_MANIFEST_BYTES`].
async fn bounded(mut response: Response) -> Result<Vec<u8>, Problem> {
    let announced = response
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > MAX_MANIFEST_BYTES) {
        return Err(Problem::TooLarge);
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(TransportError::from)? {
        if (bytes.len() + chunk.len()) as u64 > MAX_MANIFEST_BYTES {
            return Err(Problem::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Failure of one request to one place.
#[derive(Debug)]
enum Problem {
    Absent,
    Denied,
    TooLarge,
    Forbidden(Box<dyn std::error::Error + Send + Sync>),
    Away(Box<dyn std::error::Error + Send + Sync>),
}

impl From<TransportError> for Problem {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Forbidden(forbidden) => Self::Forbidden(Box::new(forbidden)),
            TransportError::Network(error) => Self::Away(Box::new(error)),
            TransportError::Redirect(problem) => Self::Away(problem.into()),
        }
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Denied => Self::Denied,
            AuthError::Transport(error) => error.into(),
            AuthError::Service(_) => Self::Away(Box::new(error)),
        }
    }
}

/// The HTTP client takes the process-wide provider; a program normally installs it first thing.
pub(crate) fn ensure_crypto_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error means that another thread was faster, which is as good.
        rustls::crypto::aws_lc_rs::default_provider()
            .install_default()
            .ok();
    }
}
