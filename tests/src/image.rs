//! Small OCI layouts with just what a boot or machine image must have.

use std::{fs, path::Path};

use anyhow::Result;
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// Lower-case hexadecimal SHA-256.
pub fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").ok();
    }
    text
}

/// Writes an OCI layout whose only layer holds `files` (path without leading slash, content).
///
/// # Errors
/// When the disk does not take it.
pub fn write_layout(dir: &Path, files: &[(&str, &[u8])]) -> Result<()> {
    fs::create_dir_all(dir.join("blobs/sha256"))?;
    let blob = |bytes: &[u8]| -> Result<serde_json::Value> {
        let digest = sha256(bytes);
        fs::write(dir.join("blobs/sha256").join(&digest), bytes)?;
        Ok(json!({ "digest": format!("sha256:{digest}"), "size": bytes.len() }))
    };
    let with_type = |mut descriptor: serde_json::Value, kind: &str| {
        if let Some(fields) = descriptor.as_object_mut() {
            fields.insert("mediaType".into(), json!(kind));
        }
        descriptor
    };
    let tar = tar(files);
    let layer = with_type(blob(&tar)?, "application/vnd.oci.image.layer.v1.tar");
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", sha256(&tar))] },
    });
    let config = with_type(
        blob(config.to_string().as_bytes())?,
        "application/vnd.oci.image.config.v1+json",
    );
    let manifest_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": [layer],
    });
    let manifest = with_type(blob(manifest.to_string().as_bytes())?, manifest_type);
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(dir.join("index.json"), index.to_string())?;
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok(())
}

/// A ustar archive (POSIX.1-2001) of regular files.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, content) in files {
        let mut header = [0_u8; 512];
        let mut put = |at: usize, text: &str| {
            for (slot, byte) in header.iter_mut().skip(at).zip(text.bytes()) {
                *slot = byte;
            }
        };
        put(0, name);
        put(100, "0000644\0");
        put(108, "0000000\0");
        put(116, "0000000\0");
        put(124, &format!("{:011o}\0", content.len()));
        put(136, "00000000000\0");
        put(148, "        ");
        put(156, "0");
        put(257, "ustar\u{0}00");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        for (slot, byte) in header
            .iter_mut()
            .skip(148)
            .zip(format!("{sum:06o}\0 ").bytes())
        {
            *slot = byte;
        }
        archive.extend_from_slice(&header);
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}
