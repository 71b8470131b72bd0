//! Cosign signatures: what a site that takes signed images only checks before it uses one.
//!
//! Understands the signature tag (`sha256-<hex>.sig`), the simple-signing payload and ECDSA on P-256
//! with SHA-256, as `cosign sign --key` makes them. There is no transparency log, no certificate
//! and no expiry: whoever has the private key decides. The reference named in a payload is not
//! compared, because mirrors and layouts change it; the digest is. Invariant: [`verify`] succeeds
//! only for a payload that names the very digest it was asked about.

use std::collections::BTreeMap;
use std::path::Path;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;

use super::digest::{is_digest, sha256_hex};
use super::error::ImageError;
use super::source::ImageSource;
use super::store::ResolvedImage;

const PAYLOAD_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";
const CLAIM_TYPE: &str = "cosign container image signature";
/// Signatures looked at for one digest.
const MAX_SIGNATURES: usize = 32;
/// Largest payload, in bytes.
const MAX_PAYLOAD_BYTES: u64 = 64 << 10;
/// A SubjectPublicKeyInfo of an uncompressed P-256 point up to the point (RFC 5480).
const P256_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The public key images of a site must be signed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CosignKey {
    point: Vec<u8>,
    fingerprint: String,
}

impl CosignKey {
    /// The key in the PEM text of a `cosign.pub` file.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn from_pem(text: &[u8]) -> Result<Self, &'static str> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(text)
            .map_err(|_| "it holds no PEM block PUBLIC KEY")?;
        let point = der
            .strip_prefix(&P256_HEAD[..])
            .filter(|point| point.len() == 65)
            .ok_or("it is not an ECDSA key on the curve P-256")?;
        Ok(Self {
            point: point.to_owned(),
            fingerprint: sha256_hex(&der),
        })
    }

    /// The key in a file. Blocks on local disk.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read(path).map_err(|error| error.to_string())?;
        Self::from_pem(&text).map_err(str::to_owned)
    }

    /// Hexadecimal SHA-256 of the key's DER form.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn has_signed(&self, payload: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.point)
            .verify(payload, signature)
            .is_ok()
    }
}

#[derive(Deserialize)]
struct SignatureManifest {
    #[serde(default)]
    layers: Vec<SignatureLayer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignatureLayer {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: SignedImage,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct SignedImage {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

/// Checks that the image, or the index it was chosen from, is signed with `key`.
pub(crate) async fn verify(
    source: &ImageSource,
    image: &ResolvedImage,
    key: &CosignKey,
) -> Result<(), ImageError> {
    let mut seen = 0;
    let mut digests = vec![&image.digest];
    if image.index != image.digest {
        digests.push(&image.index);
    }
    for digest in digests {
        for manifest in source.signature_manifests(digest).await? {
            for layer in layers_of(&manifest) {
                seen += 1;
                if is_signed(source, &layer, digest, key).await? {
                    return Ok(());
                }
            }
        }
    }
    let problem = match seen {
        0 => format!(
            "it has no cosign signature (tag {}.sig) and this site takes signed images only",
            image.digest.replace(':', "-")
        ),
        _ => format!(
            "none of its {seen} cosign signatures is for {} and by the key of images.cosign_public_key_file",
            image.digest
        ),
    };
    Err(ImageError::Unsigned {
        reference: source.name(),
        problem,
    })
}

fn layers_of(manifest: &[u8]) -> Vec<SignatureLayer> {
    let Ok(manifest) = serde_json::from_slice::<SignatureManifest>(manifest) else {
        return Vec::new();
    };
    manifest
        .layers
        .into_iter()
        .filter(|layer| layer.media_type == PAYLOAD_TYPE && is_digest(&layer.digest))
        .take(MAX_SIGNATURES)
        .collect()
}

async fn is_signed(
    source: &ImageSource,
    layer: &SignatureLayer,
    digest: &str,
    key: &CosignKey,
) -> Result<bool, ImageError> {
    let signature = layer
        .annotations
        .get(SIGNATURE_ANNOTATION)
        .and_then(|text| STANDARD.decode(text.trim()).ok());
    let Some(signature) = signature.filter(|_| layer.size <= MAX_PAYLOAD_BYTES) else {
        return Ok(false);
    };
    let payload = source.small_blob(&layer.digest).await?;
    Ok(key.has_signed(&payload, &signature) && claims(&payload, digest))
}

/// Whether a payload is about this digest.
fn claims(payload: &[u8], digest: &str) -> bool {
    serde_json::from_slice::<Payload>(payload).is_ok_and(|payload| {
        payload.critical.kind == CLAIM_TYPE && payload.critical.image.digest == digest
    })
}

#[cfg(test)]
pub(in crate::images) mod tests;
