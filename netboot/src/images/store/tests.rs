use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use super::*;
use crate::images::digest::{digest_of, sha256_hex};
use crate::images::{Compression, FetchPhase};

mod hostile;

const RAW: &[u8] = b"raw disk content, repeated. raw disk content, repeated.";

/// An image layout under construction.
pub(super) struct LayoutDir(tempfile::TempDir);

impl LayoutDir {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
        fs::write(
            dir.path().join("oci-layout"),
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        )
        .unwrap();
        Self(dir)
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn blob(&self, bytes: &[u8]) -> String {
        let digest = digest_of(bytes);
        fs::write(self.blob_path(&digest), bytes).unwrap();
        digest
    }

    fn blob_path(&self, digest: &str) -> PathBuf {
        self.path()
            .join("blobs/sha256")
            .join(digest.trim_start_matches("sha256:"))
    }

    /// Adds an image of one gzip layer; returns its descriptor.
    pub(super) async fn image(
        &self,
        files: &[(&str, &[u8])],
        platform: Option<&str>,
    ) -> serde_json::Value {
        self.layer(&gzip(&tar(files).await), "tar+gzip", platform)
    }

    /// Adds an image of this layer, `tar`, `tar+gzip` or `tar+zstd`; returns its descriptor.
    pub(super) fn layer(
        &self,
        layer: &[u8],
        kind: &str,
        platform: Option<&str>,
    ) -> serde_json::Value {
        let digest = self.blob(layer);
        let config = self.blob(b"{}");
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
            "layers": [{"mediaType": format!("application/vnd.oci.image.layer.v1.{kind}"), "digest": digest, "size": layer.len()}],
        })
        .to_string();
        let mut descriptor = json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": self.blob(manifest.as_bytes()),
            "size": manifest.len(),
        });
        if let Some(architecture) = platform {
            descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
        }
        descriptor
    }

    pub(super) fn index(&self, entries: &[serde_json::Value]) {
        let index = json!({"schemaVersion": 2, "manifests": entries});
        fs::write(self.path().join("index.json"), index.to_string()).unwrap();
    }

    pub(super) fn reference(&self, suffix: &str) -> ImageReference {
        format!("oci-layout:{}{suffix}", self.path().display())
            .parse()
            .unwrap()
    }
}

fn tagged(mut descriptor: serde_json::Value, tag: &str) -> serde_json::Value {
    descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
    descriptor
}

pub(super) async fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tokio_tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tokio_tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_path(name).unwrap();
        header.set_cksum();
        builder.append(&header, *content).await.unwrap();
    }
    builder.into_inner().await.unwrap()
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn open(cache: &Path) -> ImageStore {
    ImageStore::open(cache, ImageStoreOptions::default()).unwrap()
}

async fn fetch(
    store: &ImageStore,
    reference: &ImageReference,
) -> Result<Arc<UnpackedImage>, ImageError> {
    let resolved = store.resolve(reference, Architecture::Amd64, None).await?;
    store
        .fetch(reference, &resolved.digest, None, ProgressSink::silent())
        .await
}

#[tokio::test]
async fn a_netboot_image_is_fetched_and_survives_a_restart_without_its_source() {
    let layout = LayoutDir::new();
    let metadata = b"dhcpBootImageName: shimx64.efi\nhttpBootPath: shimx64.efi\nother: 1\n";
    let entry = layout
        .image(
            &[
                ("disk/metadata.yaml", metadata),
                ("disk/shimx64.efi", b"MZ"),
            ],
            None,
        )
        .await;
    layout.index(&[entry]);
    let cache = tempfile::tempdir().unwrap();
    let store = open(cache.path());
    let reference = layout.reference("");
    let image = fetch(&store, &reference).await.unwrap();
    assert_eq!(
        image.metadata.dhcp_boot_image_name.as_deref(),
        Some("shimx64.efi")
    );
    assert_eq!(fs::read(image.root.join("shimx64.efi")).unwrap(), b"MZ");
    assert!(image.disk.is_none());
    assert!(image.root.starts_with(cache.path().join("oci")));
    drop(store);
    drop(layout);
    fs::create_dir(cache.path().join("oci/.tmp-left")).unwrap();
    let store = open(cache.path());
    let remembered = store.remembered(&reference, Architecture::Amd64).unwrap();
    assert_eq!(remembered.digest, image.digest);
    assert_eq!(store.remembered(&reference, Architecture::Arm64), None);
    assert_eq!(
        store.get(&remembered.digest).as_deref(),
        Some(image.as_ref())
    );
    assert!(!cache.path().join("oci/.tmp-left").exists());
    let again = store
        .fetch(&reference, &image.digest, None, ProgressSink::silent())
        .await;
    assert!(again.is_ok(), "a digest in the cache needs no source");
}

#[tokio::test]
async fn the_raw_disk_is_measured_whatever_its_compression() {
    let zstd = zstd::encode_all(RAW, 3).unwrap();
    let gz = gzip(RAW);
    for (name, content, compression) in [
        ("disk/disk.img.zst", zstd.as_slice(), Compression::Zstd),
        ("disk/disk.img.gz", gz.as_slice(), Compression::Gzip),
        ("disk/disk.img", RAW, Compression::None),
    ] {
        let layout = LayoutDir::new();
        let entry = layout.image(&[(name, content)], None).await;
        layout.index(&[entry]);
        let cache = tempfile::tempdir().unwrap();
        let image = fetch(&open(cache.path()), &layout.reference(""))
            .await
            .unwrap();
        let disk = image.disk.clone().unwrap();
        assert_eq!(disk.compression, compression);
        assert_eq!(
            (disk.compressed_size, disk.raw_size),
            (content.len() as u64, RAW.len() as u64)
        );
        assert_eq!(disk.raw_sha256, sha256_hex(RAW));
        assert_eq!(
            open(cache.path()).get(&image.digest).as_deref(),
            Some(image.as_ref())
        );
    }
}

#[tokio::test]
async fn tags_platforms_and_digests_choose_the_image() {
    let layout = LayoutDir::new();
    let amd = layout.image(&[("disk/a", b"amd")], Some("amd64")).await;
    let arm = layout.image(&[("disk/a", b"arm")], Some("arm64")).await;
    let old = layout.image(&[("disk/a", b"old")], None).await;
    let both = json!({"schemaVersion": 2, "manifests": [amd, arm]}).to_string();
    let nested = json!({"mediaType": "application/vnd.oci.image.index.v1+json",
        "digest": layout.blob(both.as_bytes()), "size": both.len()});
    layout.index(&[tagged(nested.clone(), "v2"), tagged(old.clone(), "v1")]);
    let cache = tempfile::tempdir().unwrap();
    let store = open(cache.path());
    let resolve = async |suffix: &str, architecture| {
        store
            .resolve(&layout.reference(suffix), architecture, None)
            .await
            .map(|image| image.digest)
    };
    assert_eq!(
        resolve(":v2", Architecture::Amd64).await.unwrap(),
        amd["digest"]
    );
    assert_eq!(
        resolve(":v2", Architecture::Arm64).await.unwrap(),
        arm["digest"]
    );
    assert_eq!(
        resolve(":v1", Architecture::Amd64).await.unwrap(),
        old["digest"]
    );
    let by_digest = format!("@{}", nested["digest"].as_str().unwrap());
    assert_eq!(
        resolve(&by_digest, Architecture::Arm64).await.unwrap(),
        arm["digest"]
    );
    for (suffix, reason) in [
        ("", "ImageAmbiguous"),
        (":v3", "ImageNotFound"),
        (format!("@{}", digest_of(b"none")).as_str(), "ImageNotFound"),
    ] {
        let error = resolve(suffix, Architecture::Amd64).await.unwrap_err();
        assert_eq!(error.reason(), reason, "{suffix}: {error}");
    }
    let absent: ImageReference = "oci-layout:/absent/layout".parse().unwrap();
    let error = store
        .resolve(&absent, Architecture::Amd64, None)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "ImageNotFound");
}

#[tokio::test]
async fn unusable_images_are_named_and_leave_nothing_behind() {
    let bad_metadata = b"dhcpBootImageName: absent.efi\n";
    let broken_gz = &gzip(RAW)[..20];
    for (name, files) in [
        ("no disk", vec![("boot/x", b"x".as_slice())]),
        (
            "metadata names nothing",
            vec![("disk/metadata.yaml", bad_metadata.as_slice())],
        ),
        (
            "metadata is no YAML",
            vec![("disk/metadata.yaml", b"[: {".as_slice())],
        ),
        (
            "metadata escapes",
            vec![(
                "disk/metadata.yaml",
                b"httpBootPath: ../image.json".as_slice(),
            )],
        ),
        ("broken gzip", vec![("disk/disk.img.gz", broken_gz)]),
        ("empty disk", vec![("disk/disk.img", b"".as_slice())]),
    ] {
        let layout = LayoutDir::new();
        let entry = layout.image(&files, None).await;
        layout.index(&[entry]);
        let cache = tempfile::tempdir().unwrap();
        let error = fetch(&open(cache.path()), &layout.reference(""))
            .await
            .unwrap_err();
        assert_eq!(error.reason(), "ImageContentInvalid", "{name}: {error}");
        assert!(!error.is_transient());
        let left: Vec<_> = fs::read_dir(cache.path().join("oci"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(left, ["references.json"], "{name}");
    }
}

#[tokio::test]
async fn altered_blobs_never_become_an_image() {
    let layout = LayoutDir::new();
    let entry = layout.image(&[("disk/a", b"content")], None).await;
    layout.index(std::slice::from_ref(&entry));
    let cache = tempfile::tempdir().unwrap();
    let store = open(cache.path());
    let reference = layout.reference("");
    let digest = store
        .resolve(&reference, Architecture::Amd64, None)
        .await
        .unwrap()
        .digest;
    let manifest_path = layout.blob_path(&digest);
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(&manifest_path).unwrap()).unwrap();
    let layer = layout.blob_path(manifest["layers"][0]["digest"].as_str().unwrap());
    let mut bytes = fs::read(&layer).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&layer, bytes).unwrap();
    let error = store
        .fetch(&reference, &digest, None, ProgressSink::silent())
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "ImageDigestMismatch", "{error}");
    fs::write(&manifest_path, manifest.to_string() + " ").unwrap();
    let error = store
        .fetch(&reference, &digest, None, ProgressSink::silent())
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "ImageDigestMismatch", "{error}");
    assert_eq!(store.get(&digest), None);
}

#[tokio::test]
async fn concurrent_fetches_of_one_digest_read_it_once() {
    let layout = LayoutDir::new();
    let content = vec![7_u8; 3 << 20];
    let entry = layout.image(&[("disk/disk.img", &content)], None).await;
    layout.index(&[entry]);
    let cache = tempfile::tempdir().unwrap();
    let store = open(cache.path());
    let reference = layout.reference("");
    let digest = store
        .resolve(&reference, Architecture::Amd64, None)
        .await
        .unwrap()
        .digest;
    let hashed = Arc::new(AtomicU64::new(0));
    let fetches = (0..5).map(|_| {
        let counter = Arc::clone(&hashed);
        let sink = ProgressSink::new(move |progress| {
            if progress.phase == FetchPhase::Hashing && progress.bytes == progress.total_bytes {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        store.fetch(&reference, &digest, None, sink)
    });
    let images = futures::future::try_join_all(fetches).await.unwrap();
    assert!(images.iter().all(|image| Arc::ptr_eq(image, &images[0])));
    assert_eq!(hashed.load(Ordering::Relaxed), 1);
    assert!(store.inner.fetching.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_damaged_cache_entry_is_dropped_at_start() {
    let layout = LayoutDir::new();
    let entry = layout.image(&[("disk/disk.img", RAW)], None).await;
    layout.index(&[entry]);
    let cache = tempfile::tempdir().unwrap();
    let store = open(cache.path());
    let reference = layout.reference("");
    let image = fetch(&store, &reference).await.unwrap();
    fs::write(image.root.join("disk.img"), b"short").unwrap();
    let store = open(cache.path());
    assert_eq!(store.get(&image.digest), None);
    assert_eq!(fetch(&store, &reference).await.unwrap().disk, image.disk);
}

#[tokio::test]
async fn limits_of_the_site_hold() {
    let layout = LayoutDir::new();
    let content = vec![0_u8; 64 << 10];
    let zipped = gzip(&content);
    let entry = layout.image(&[("disk/disk.img.gz", &zipped)], None).await;
    layout.index(&[entry]);
    let cache = tempfile::tempdir().unwrap();
    let options = ImageStoreOptions {
        max_raw_disk_bytes: 60 << 10,
        ..Default::default()
    };
    let store = ImageStore::open(cache.path(), options).unwrap();
    let error = fetch(&store, &layout.reference("")).await.unwrap_err();
    assert_eq!(error.reason(), "ImageTooLarge");
}
