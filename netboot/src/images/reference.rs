//! Image references: registry names and local `oci-layout:` directories.
//!
//! Parses and prints; looks nothing up. Invariant: printing a parsed reference and parsing it again
//! gives the same reference.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::digest::is_digest;
use super::error::ImageError;

const LAYOUT_SCHEME: &str = "oci-layout:";

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageReference {
    /// `oci-layout:/absolute/directory[:tag|@sha256:…]`, an OCI image layout on this machine.
    Layout {
        /// Directory that holds `oci-layout`, `index.json` and `blobs/`.
        directory: PathBuf,
        /// Which image of it.
        version: LayoutVersion,
    },
    /// `host/repository[:tag][@sha256:…]`, with the usual defaults of container references.
    Registry(oci_spec::distribution::Reference),
}

/// Which image of a layout directory is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayoutVersion {
    /// The only image of the directory.
    Only,
    /// The one annotated `org.opencontainers.image.ref.name` with this tag.
    Tag(String),
    /// The manifest or index with this digest.
    Digest(String),
}

impl ImageReference {
    /// Registry host with port, for looking up a pull secret; none for local directories.
    pub fn registry_host(&self) -> Option<&str> {
        match self {
            Self::Layout { .. } => None,
            Self::Registry(reference) => Some(reference.registry()),
        }
    }

    /// Repository path within the registry; none for local directories.
    pub fn repository(&self) -> Option<&str> {
        match self {
            Self::Layout { .. } => None,
            Self::Registry(reference) => Some(reference.repository()),
        }
    }

    /// True when the reference names its content, so that it never resolves to anything else.
    pub fn is_pinned(&self) -> bool {
        match self {
            Self::Layout { version, .. } => matches!(version, LayoutVersion::Digest(_)),
            Self::Registry(reference) => reference.digest().is_some(),
        }
    }
}

impl FromStr for ImageReference {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |problem: &str| ImageError::InvalidReference {
            reference: text.to_owned(),
            problem: problem.to_owned(),
        };
        if let Some(rest) = text.strip_prefix(LAYOUT_SCHEME) {
            return parse_layout(rest).map_err(invalid);
        }
        if text.contains("://") {
            return Err(invalid("a reference has no URL scheme"));
        }
        let reference: oci_spec::distribution::Reference = text
            .parse()
            .map_err(|error: oci_spec::distribution::ParseError| invalid(&error.to_string()))?;
        if reference.digest().is_some_and(|digest| !is_digest(digest)) {
            return Err(invalid(
                "the digest is not sha256 with 64 lower-case hexadecimal digits",
            ));
        }
        Ok(Self::Registry(reference))
    }
}

fn parse_layout(rest: &str) -> Result<ImageReference, &'static str> {
    let (directory, version) = match rest.split_once('@') {
        Some((directory, digest)) if is_digest(digest) => {
            (directory, LayoutVersion::Digest(digest.to_owned()))
        }
        Some(_) => return Err("the digest is not sha256 with 64 lower-case hexadecimal digits"),
        None => match rest.rsplit_once(':') {
            Some((directory, tag)) if !tag.contains('/') => {
                if !is_tag(tag) {
                    return Err("the tag has characters a tag cannot have");
                }
                (directory, LayoutVersion::Tag(tag.to_owned()))
            }
            Some(_) | None => (rest, LayoutVersion::Only),
        },
    };
    let directory = Path::new(directory);
    if !directory.is_absolute() {
        return Err("the directory after oci-layout: is not absolute");
    }
    if directory
        .components()
        .any(|part| part == std::path::Component::ParentDir)
    {
        return Err("the directory contains ..");
    }
    Ok(ImageReference::Layout {
        directory: directory.to_owned(),
        version,
    })
}

/// Tag grammar of the distribution specification.
fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut bytes = text.bytes();
    bytes.next().is_some_and(word)
        && text.len() <= 128
        && bytes.all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => write!(f, "{reference}"),
            Self::Layout { directory, version } => {
                write!(f, "{LAYOUT_SCHEME}{}", directory.display())?;
                match version {
                    LayoutVersion::Only => Ok(()),
                    LayoutVersion::Tag(tag) => write!(f, ":{tag}"),
                    LayoutVersion::Digest(digest) => write!(f, "@{digest}"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::digest::digest_of;

    fn parse(text: &str) -> Result<ImageReference, ImageError> {
        text.parse()
    }

    #[test]
    fn layouts_with_and_without_version_are_understood() {
        let digest = digest_of(b"x");
        for (text, version) in [
            ("oci-layout:/srv/img".to_owned(), LayoutVersion::Only),
            (
                "oci-layout:/srv/img:v1.2".to_owned(),
                LayoutVersion::Tag("v1.2".to_owned()),
            ),
            ("oci-layout:/srv/a:b/img".to_owned(), LayoutVersion::Only),
            (
                format!("oci-layout:/srv/img@{digest}"),
                LayoutVersion::Digest(digest.clone()),
            ),
        ] {
            let parsed = parse(&text).unwrap();
            let ImageReference::Layout { version: found, .. } = &parsed else {
                panic!("{text} is a layout")
            };
            assert_eq!(found, &version);
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn registry_names_get_the_usual_defaults() {
        let parsed = parse("registry.example:5000/site/netboot:v1").unwrap();
        assert_eq!(parsed.registry_host(), Some("registry.example:5000"));
        assert_eq!(parsed.repository(), Some("site/netboot"));
        assert!(!parsed.is_pinned());
        assert_eq!(
            parse("debian").unwrap().to_string(),
            "docker.io/library/debian:latest"
        );
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for text in [
            "",
            "oci-layout:",
            "oci-layout:relative/dir",
            "oci-layout:/srv/../etc",
            "oci-layout:/srv/img@sha256:short",
            "oci-layout:/srv/img:bad tag",
            "https://registry.example/x",
            "UPPER/Case",
            "host/x@sha256:zz",
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.reason(), "InvalidImageReference", "{text}");
            assert!(!error.is_transient());
        }
    }
}
