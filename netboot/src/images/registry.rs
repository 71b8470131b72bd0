//! Pulls manifests and blobs from a registry (OCI distribution specification).
//!
//! One client per call chain, because credentials belong to an image, not to a registry.
//! Invariant: plain HTTP is spoken only with hosts listed in the options, and URLs that a manifest
//! names are never followed.

use std::time::Duration;

use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::{
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE,
    OCI_IMAGE_MEDIA_TYPE,
};
use oci_client::secrets::RegistryAuth;
use secrecy::ExposeSecret as _;
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

use super::credentials::RegistryCredentials;
use super::digest::digest_of;
use super::error::ImageError;
use super::store::ImageStoreOptions;

const MANIFEST_TYPES: &[&str] = &[
    OCI_IMAGE_MEDIA_TYPE,
    OCI_IMAGE_INDEX_MEDIA_TYPE,
    IMAGE_MANIFEST_MEDIA_TYPE,
    IMAGE_MANIFEST_LIST_MEDIA_TYPE,
];
/// Whole time for one manifest; blobs are limited by silence instead.
const MANIFEST_TIMEOUT: Duration = Duration::from_secs(60);

/// One image of a registry.
#[derive(Clone)]
pub(crate) struct Registry {
    client: Client,
    image: oci_client::Reference,
    auth: RegistryAuth,
}

impl Registry {
    pub(crate) fn new(
        image: &oci_client::Reference,
        options: &ImageStoreOptions,
        credentials: Option<&RegistryCredentials>,
    ) -> Result<Self, ImageError> {
        ensure_crypto_provider();
        let unreachable =
            |source: Box<dyn std::error::Error + Send + Sync>| ImageError::Unreachable {
                reference: image.to_string(),
                operation: "connect",
                source,
            };
        // The registry client builds a default HTTP client on the side and panics where none can
        // be built (no root certificates on the machine); learn that here, as an error.
        reqwest::Client::builder()
            .build()
            .map_err(|error| unreachable(Box::new(error)))?;
        let config = ClientConfig {
            protocol: ClientProtocol::HttpsExcept(options.plain_http_hosts.clone()),
            platform_resolver: None,
            connect_timeout: Some(options.connect_timeout),
            read_timeout: Some(options.read_timeout),
            user_agent: "metalman",
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).map_err(|error| unreachable(Box::new(error)))?;
        let auth = match credentials {
            None => RegistryAuth::Anonymous,
            Some(credentials) => RegistryAuth::Basic(
                credentials.username.clone(),
                credentials.password.expose_secret().to_owned(),
            ),
        };
        Ok(Self {
            client,
            image: image.clone(),
            auth,
        })
    }

    pub(crate) fn name(&self) -> String {
        self.image.to_string()
    }

    /// The manifest or index behind the reference, or the one with `digest`; verified.
    pub(crate) async fn manifest(
        &self,
        digest: Option<&str>,
    ) -> Result<(Vec<u8>, String), ImageError> {
        let image = match digest {
            Some(digest) => self.image.clone_with_digest(digest.to_owned()),
            None => self.image.clone(),
        };
        let operation = "give the manifest";
        let pulled = tokio::time::timeout(
            MANIFEST_TIMEOUT,
            self.client
                .pull_manifest_raw(&image, &self.auth, MANIFEST_TYPES),
        )
        .await
        .map_err(|elapsed| ImageError::Unreachable {
            reference: image.to_string(),
            operation,
            source: Box::new(elapsed),
        })?;
        let (bytes, _) = pulled.map_err(|error| self.explain(operation, error))?;
        let found = digest_of(&bytes);
        match image.digest() {
            Some(wanted) if wanted != found => Err(ImageError::DigestMismatch {
                digest: wanted.to_owned(),
                problem: format!("its content hashes to {found}"),
            }),
            Some(_) | None => Ok((bytes.to_vec(), found)),
        }
    }

    /// Opens a blob for streaming; the reader verifies it.
    pub(crate) async fn blob(
        &self,
        digest: &str,
    ) -> Result<impl AsyncRead + Send + Unpin + use<>, ImageError> {
        self.client
            .store_auth_if_needed(self.image.resolve_registry(), &self.auth)
            .await;
        let stream = self
            .client
            .pull_blob_stream(&self.image, digest)
            .await
            .map_err(|error| self.explain("give a layer", error))?;
        Ok(StreamReader::new(stream.stream))
    }

    /// Sorts the client's errors by what the caller can do about them.
    fn explain(&self, operation: &'static str, error: OciDistributionError) -> ImageError {
        let reference = self.image.to_string();
        match kind_of(&error) {
            Kind::Absent => ImageError::NotFound { reference },
            Kind::Denied => ImageError::Unauthorized { reference },
            Kind::Corrupt => ImageError::DigestMismatch {
                digest: reference,
                problem: error.to_string(),
            },
            Kind::Strange => ImageError::InvalidManifest {
                subject: reference,
                problem: error.to_string(),
            },
            Kind::Away => ImageError::Unreachable {
                reference,
                operation,
                source: Box::new(error),
            },
        }
    }
}

enum Kind {
    Absent,
    Denied,
    Corrupt,
    Strange,
    Away,
}

fn kind_of(error: &OciDistributionError) -> Kind {
    use OciDistributionError as E;
    match error {
        E::AuthenticationFailure(_) | E::UnauthorizedError { .. } => Kind::Denied,
        E::ImageManifestNotFoundError(_) => Kind::Absent,
        E::DigestError(_) => Kind::Corrupt,
        E::RegistryError { envelope, .. } => {
            envelope
                .errors
                .first()
                .map_or(Kind::Away, |first| match &first.code {
                    OciErrorCode::BlobUnknown
                    | OciErrorCode::ManifestBlobUnknown
                    | OciErrorCode::ManifestUnknown
                    | OciErrorCode::NameInvalid
                    | OciErrorCode::NameUnknown
                    | OciErrorCode::NotFound
                    | OciErrorCode::TagInvalid => Kind::Absent,
                    OciErrorCode::Unauthorized | OciErrorCode::Denied => Kind::Denied,
                    OciErrorCode::Toomanyrequests | OciErrorCode::Other(_) => Kind::Away,
                    OciErrorCode::BlobUploadInvalid
                    | OciErrorCode::BlobUploadUnknown
                    | OciErrorCode::DigestInvalid
                    | OciErrorCode::ManifestInvalid
                    | OciErrorCode::ManifestUnverified
                    | OciErrorCode::SizeInvalid
                    | OciErrorCode::Unsupported => Kind::Strange,
                })
        }
        E::ServerError {
            code: 401 | 403, ..
        } => Kind::Denied,
        E::ServerError {
            code: 404 | 410, ..
        } => Kind::Absent,
        E::ServerError { .. } | E::RequestError(_) | E::IoError(_) => Kind::Away,
        E::ConfigConversionError(_)
        | E::GenericError(_)
        | E::HeaderValueError(_)
        | E::ImageIndexParsingNoPlatformResolverError
        | E::IncompatibleLayerMediaTypeError(_)
        | E::JsonError(_)
        | E::ManifestEncodingError(_)
        | E::ManifestParsingError(_)
        | E::PushNoDataError
        | E::PushLayerNoDataError
        | E::PullNoLayersError
        | E::RegistryNoDigestError
        | E::RegistryNoLocationError
        | E::RegistryTokenDecodeError(_)
        | E::SpecViolationError(_)
        | E::UrlParseError(_)
        | E::UnsupportedMediaTypeError(_)
        | E::UnsupportedSchemaVersionError(_)
        | E::VersionedParsingError(_) => Kind::Strange,
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
