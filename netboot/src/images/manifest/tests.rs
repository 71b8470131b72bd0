use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::images::digest::digest_of;

fn index(entries: &[serde_json::Value]) -> Vec<IndexEntry> {
    let text = json!({"schemaVersion": 2, "manifests": entries}).to_string();
    match parse(text.as_bytes(), "test").unwrap() {
        Document::Index(entries) => entries,
        Document::Manifest(_) => panic!("an index"),
    }
}

fn entry(content: &str, platform: Option<(&str, &str)>) -> serde_json::Value {
    let mut value = json!({"mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": digest_of(content.as_bytes()), "size": 1});
    if let Some((os, architecture)) = platform {
        value["platform"] = json!({"os": os, "architecture": architecture});
    }
    value
}

#[test]
fn the_platform_of_the_machine_is_chosen() {
    let entries = index(&[
        entry("attestation", Some(("unknown", "unknown"))),
        entry("win", Some(("windows", "amd64"))),
        entry("amd", Some(("linux", "amd64"))),
        entry("arm", Some(("linux", "arm64"))),
    ]);
    let amd = select_platform(&entries, Architecture::Amd64, "x").unwrap();
    let arm = select_platform(&entries, Architecture::Arm64, "x").unwrap();
    assert_eq!(amd.digest, digest_of(b"amd"));
    assert_eq!(arm.digest, digest_of(b"arm"));
}

#[test]
fn one_entry_without_platform_is_taken_but_never_one_for_another_platform() {
    let bare = index(&[entry("only", None)]);
    assert!(select_platform(&bare, Architecture::Arm64, "x").is_ok());
    let other = index(&[entry("amd", Some(("linux", "amd64")))]);
    let error = select_platform(&other, Architecture::Arm64, "x").unwrap_err();
    assert_eq!(error.reason(), "ImagePlatformMissing");
    assert!(error.to_string().contains("linux/amd64"), "{error}");
}

#[test]
fn oci_and_docker_layers_are_understood() {
    for (media_type, expected) in [
        (
            "application/vnd.oci.image.layer.v1.tar",
            LayerCompression::None,
        ),
        (
            "application/vnd.oci.image.layer.v1.tar+gzip",
            LayerCompression::Gzip,
        ),
        (
            "application/vnd.oci.image.layer.v1.tar+zstd",
            LayerCompression::Zstd,
        ),
        (
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            LayerCompression::Gzip,
        ),
    ] {
        let text = json!({"schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "layers": [{"mediaType": media_type, "digest": digest_of(b"l"), "size": 7}]});
        let Document::Manifest(manifest) = parse(text.to_string().as_bytes(), "test").unwrap()
        else {
            panic!("a manifest")
        };
        assert_eq!(
            manifest.layers,
            [Layer {
                digest: digest_of(b"l"),
                size: 7,
                compression: expected
            }],
            "{media_type}"
        );
    }
}

#[test]
fn the_configuration_must_not_be_of_another_platform() {
    let check = |text: &str| check_config(text.as_bytes(), Architecture::Arm64, "boot:v1");
    assert!(check(r#"{"architecture":"arm64","os":"linux"}"#).is_ok());
    assert!(check(r#"{"architecture":"arm64","variant":"v8"}"#).is_ok());
    assert!(check("{}").is_ok(), "it does not say");
    for wrong in [
        r#"{"architecture":"amd64","os":"linux"}"#,
        r#"{"architecture":"arm64","os":"windows"}"#,
    ] {
        let error = check(wrong).unwrap_err();
        assert_eq!(error.reason(), "ImagePlatformMissing");
        assert!(error.to_string().contains("boot:v1"), "{error}");
        assert!(error.to_string().contains("linux/arm64"), "{error}");
    }
    assert_eq!(check("3").unwrap_err().reason(), "ImageManifestInvalid");
}

#[test]
fn confusing_documents_are_refused() {
    let digest = digest_of(b"l");
    for text in [
        json!({}),
        json!({"schemaVersion": 1, "layers": []}),
        json!({"schemaVersion": 2}),
        json!({"schemaVersion": 2, "layers": [], "manifests": []}),
        json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "layers": []}),
        json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "manifests": []}),
        json!({"schemaVersion": 2, "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": "sha256:../x", "size": 1}]}),
        json!({"schemaVersion": 2, "layers": [{"mediaType": "text/plain", "digest": digest, "size": 1}]}),
        json!({"schemaVersion": 2, "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": -1}]}),
    ] {
        let error = parse(text.to_string().as_bytes(), "test").unwrap_err();
        assert_eq!(error.reason(), "ImageManifestInvalid", "{text}");
    }
}

proptest! {
    #[test]
    fn parsing_any_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        parse(&bytes, "test").ok();
    }
}
