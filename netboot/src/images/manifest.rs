//! OCI manifests and indexes, and the choice of a platform.
//!
//! Pure parsing of bytes that have been verified already. Invariant: every digest in a parsed
//! document is a valid SHA-256 digest.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::digest::is_digest;
use super::error::ImageError;
use crate::directory::Architecture;

/// Largest manifest or index read, in bytes (the limit registries use).
pub(crate) const MAX_MANIFEST_BYTES: u64 = 4 << 20;
/// Most layers of an image.
const MAX_LAYERS: usize = 128;
/// Annotation that carries the tag in a layout's `index.json`.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A parsed document.
#[derive(Debug)]
pub(crate) enum Document {
    /// Several manifests to choose from.
    Index(Vec<IndexEntry>),
    /// One image.
    Manifest(Manifest),
}

/// The manifest of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// In the order of application.
    pub(crate) layers: Vec<Layer>,
    /// Digest of the image configuration, when it is one that names a platform.
    pub(crate) config: Option<String>,
}

/// One choice of an index.
#[derive(Debug, Clone)]
pub(crate) struct IndexEntry {
    pub(crate) digest: String,
    pub(crate) tag: Option<String>,
    /// What `cosign save` says the entry is.
    pub(crate) kind: Option<String>,
    platform: Option<Platform>,
}

/// One layer, in the order of application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) digest: String,
    /// Size of the blob in bytes.
    pub(crate) size: u64,
    pub(crate) compression: LayerCompression,
}

/// How a layer's tar archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LayerCompression {
    None,
    Gzip,
    Zstd,
}

#[derive(Debug, Clone, Deserialize)]
struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireDocument {
    schema_version: Option<u32>,
    media_type: Option<String>,
    manifests: Option<Vec<WireDescriptor>>,
    layers: Option<Vec<WireDescriptor>>,
    config: Option<WireDescriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireDescriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<Platform>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// Parses a manifest or an index. `subject` names it in errors.
pub(crate) fn parse(bytes: &[u8], subject: &str) -> Result<Document, ImageError> {
    let invalid = |problem: String| ImageError::InvalidManifest {
        subject: subject.to_owned(),
        problem,
    };
    let wire: WireDocument =
        serde_json::from_slice(bytes).map_err(|error| invalid(error.to_string()))?;
    if wire.schema_version != Some(2) {
        return Err(invalid("schemaVersion is not 2".to_owned()));
    }
    let media_type = wire.media_type.as_deref().unwrap_or("");
    match (wire.manifests, wire.layers) {
        (Some(entries), None) if !is_manifest_type(media_type) => entries
            .into_iter()
            .map(|entry| checked(entry).map(index_entry))
            .collect::<Result<_, _>>()
            .map(Document::Index)
            .map_err(invalid),
        (None, Some(layers)) if !is_index_type(media_type) => {
            if layers.len() > MAX_LAYERS {
                return Err(invalid(format!("it has more than {MAX_LAYERS} layers")));
            }
            let layers = layers
                .into_iter()
                .map(|layer| checked(layer).and_then(layer_of))
                .collect::<Result<_, _>>()
                .map_err(invalid)?;
            let config = wire
                .config
                .filter(|config| is_image_config(&config.media_type))
                .map(checked)
                .transpose()
                .map_err(invalid)?;
            if config.as_ref().is_some_and(|c| c.size > MAX_MANIFEST_BYTES) {
                return Err(ImageError::TooLarge {
                    what: "image configuration size in bytes",
                    limit: MAX_MANIFEST_BYTES,
                });
            }
            Ok(Document::Manifest(Manifest {
                layers,
                config: config.map(|config| config.digest),
            }))
        }
        (Some(_), Some(_)) => Err(invalid("it has both manifests and layers".to_owned())),
        (None, None) => Err(invalid("it has neither manifests nor layers".to_owned())),
        (Some(_), None) | (None, Some(_)) => Err(invalid(format!(
            "its content is not what mediaType {media_type:?} says"
        ))),
    }
}

fn is_index_type(media_type: &str) -> bool {
    media_type == "application/vnd.oci.image.index.v1+json"
        || media_type == "application/vnd.docker.distribution.manifest.list.v2+json"
}

fn is_manifest_type(media_type: &str) -> bool {
    media_type == "application/vnd.oci.image.manifest.v1+json"
        || media_type == "application/vnd.docker.distribution.manifest.v2+json"
}

fn is_image_config(media_type: &str) -> bool {
    media_type == "application/vnd.oci.image.config.v1+json"
        || media_type == "application/vnd.docker.container.image.v1+json"
}

/// Refuses an image whose configuration names another platform than `linux/<architecture>`. A
/// configuration that names none is taken as it is.
pub(crate) fn check_config(
    bytes: &[u8],
    architecture: Architecture,
    reference: &str,
) -> Result<(), ImageError> {
    let found: Platform =
        serde_json::from_slice(bytes).map_err(|error| ImageError::InvalidManifest {
            subject: format!("configuration of {reference}"),
            problem: error.to_string(),
        })?;
    let wanted = oci_architecture(architecture);
    let fits = |found: &str, wanted: &str| found.is_empty() || found == wanted;
    if fits(&found.architecture, wanted) && fits(&found.os, "linux") {
        return Ok(());
    }
    Err(ImageError::NoPlatform {
        reference: reference.to_owned(),
        architecture: wanted,
        offered: format!("{}/{}", found.os, found.architecture),
    })
}

fn checked(descriptor: WireDescriptor) -> Result<WireDescriptor, String> {
    if is_digest(&descriptor.digest) {
        Ok(descriptor)
    } else {
        Err(format!("{:?} is not a sha256 digest", descriptor.digest))
    }
}

fn index_entry(descriptor: WireDescriptor) -> IndexEntry {
    IndexEntry {
        tag: descriptor.annotations.get(REF_NAME).cloned(),
        kind: descriptor.annotations.get("kind").cloned(),
        digest: descriptor.digest,
        platform: descriptor.platform,
    }
}

fn layer_of(descriptor: WireDescriptor) -> Result<Layer, String> {
    let compression = match descriptor.media_type.as_str() {
        "application/vnd.oci.image.layer.v1.tar"
        | "application/vnd.oci.image.layer.nondistributable.v1.tar"
        | "application/vnd.docker.image.rootfs.diff.tar" => LayerCompression::None,
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip" => LayerCompression::Gzip,
        "application/vnd.oci.image.layer.v1.tar+zstd"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd" => LayerCompression::Zstd,
        other => return Err(format!("layer media type {other:?} is not supported")),
    };
    Ok(Layer {
        digest: descriptor.digest,
        size: descriptor.size,
        compression,
    })
}

/// OCI word for an architecture.
pub(crate) fn oci_architecture(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Amd64 => "amd64",
        Architecture::Arm64 => "arm64",
    }
}

/// Picks the entry for `linux/<architecture>`. An index of one entry without platform is taken as
/// it is; attestations (`unknown/unknown`) never match.
pub(crate) fn select_platform<'a>(
    entries: &'a [IndexEntry],
    architecture: Architecture,
    reference: &str,
) -> Result<&'a IndexEntry, ImageError> {
    let wanted = oci_architecture(architecture);
    let matching = entries.iter().find(|entry| {
        entry
            .platform
            .as_ref()
            .is_some_and(|platform| platform.os == "linux" && platform.architecture == wanted)
    });
    if let Some(entry) = matching {
        return Ok(entry);
    }
    if let [only] = entries
        && only.platform.is_none()
    {
        return Ok(only);
    }
    let offered: Vec<String> = entries
        .iter()
        .map(|entry| match &entry.platform {
            Some(platform) => format!("{}/{}", platform.os, platform.architecture),
            None => "unnamed".to_owned(),
        })
        .collect();
    Err(ImageError::NoPlatform {
        reference: reference.to_owned(),
        architecture: wanted,
        offered: if offered.is_empty() {
            "nothing".to_owned()
        } else {
            offered.join(", ")
        },
    })
}

#[cfg(test)]
mod tests;
