//! Debian's `docker-registry` on a loopback port, with its blobs in a folder where they can be damaged.

use std::io::Write as _;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::{appliance::free_port, image::sha256, wait};

const PROGRAM: &str = "/usr/bin/docker-registry";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// bcrypt of [`LOGIN`], as `htpasswd -B` makes it.
const HTPASSWD: &str = "site:$2b$04$FQgBauky9l0pZNDr.PtjIe0CXINPdN0er7R.x8TBaAMHpQWKUbEm6\n";
/// Who may read a private registry.
pub const LOGIN: (&str, &str) = ("site", "secret");

/// A registry; ends with the value.
#[derive(Debug)]
pub struct Registry {
    child: Option<Child>,
    dir: PathBuf,
    host: String,
    is_private: bool,
    client: Client,
}

/// What a pushed image is called.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// `sha256:…` of the manifest.
    pub manifest: String,
    /// `sha256:…` of its only layer.
    pub layer: String,
}

impl Registry {
    /// Starts one that keeps its content in `dir`; `None`, said aloud, where it is not installed and
    /// need not be.
    ///
    /// # Errors
    /// When it does not start, or when it is missing and `METALMAN_TEST_STRICT` is 1.
    pub async fn start(dir: &Path, is_private: bool) -> Result<Option<Self>> {
        if !Path::new(PROGRAM).exists() {
            #[expect(clippy::disallowed_methods, reason = "a switch of the whole test run")]
            let strict = std::env::var("METALMAN_TEST_STRICT").as_deref() == Ok("1");
            ensure!(!strict, "{PROGRAM} is missing (package docker-registry)");
            writeln!(
                std::io::stderr(),
                "SKIPPED: {PROGRAM} is not installed (package docker-registry)"
            )?;
            return Ok(None);
        }
        crate::install_crypto_provider();
        fs::create_dir_all(dir)?;
        let mut registry = Self {
            child: None,
            dir: dir.to_owned(),
            host: format!("127.0.0.1:{}", free_port()?),
            is_private,
            client: Client::builder().no_proxy().build()?,
        };
        registry.resume().await?;
        Ok(Some(registry))
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Starts it again after [`Self::stop`], at the same port with the same content.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn resume(&mut self) -> Result<()> {
        let (dir, host) = (self.dir.display(), &self.host);
        let auth = if self.is_private {
            fs::write(self.dir.join("htpasswd"), HTPASSWD)?;
            format!("auth:\n  htpasswd:\n    realm: rack\n    path: {dir}/htpasswd\n")
        } else {
            String::new()
        };
        let config = self.dir.join("config.yml");
        let text = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {dir}/content\nhttp:\n  addr: {host}\n{auth}"
        );
        fs::write(&config, text)?;
        let child = Command::new(PROGRAM)
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.child = Some(child);
        let url = format!("http://{host}/v2/");
        wait::until("the registry to answer", async || {
            self.client.get(&url).send().await.ok()
        })
        .await?;
        Ok(())
    }

    /// Ends it; its content stays.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Where the bytes of a blob are on disk.
    pub fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        let two = hex.get(..2).unwrap_or_default();
        let blobs = "content/docker/registry/v2/blobs/sha256";
        self.dir.join(blobs).join(two).join(hex).join("data")
    }

    /// Uploads the image of an OCI layout as `repository:tag`.
    ///
    /// # Errors
    /// When the registry refuses it.
    pub async fn push(&self, layout: &Path, repository: &str, tag: &str) -> Result<Pushed> {
        let read = |digest: &str| fs::read(layout.join("blobs").join(digest.replace(':', "/")));
        let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json"))?)?;
        let manifest = text(&index, "/manifests/0/digest")?;
        let bytes = read(&manifest)?;
        let parsed: Value = serde_json::from_slice(&bytes)?;
        let layer = text(&parsed, "/layers/0/digest")?;
        for digest in [text(&parsed, "/config/digest")?, layer.clone()] {
            self.put_blob(repository, read(&digest)?).await?;
        }
        self.put_manifest(repository, tag, MANIFEST, bytes).await?;
        Ok(Pushed { manifest, layer })
    }

    /// Makes `repository:tag` an index that offers a pushed image for one architecture.
    ///
    /// # Errors
    /// When the registry refuses it.
    pub async fn push_index(
        &self,
        repository: &str,
        tag: &str,
        image: &Pushed,
        architecture: &str,
    ) -> Result<()> {
        let path = self.blob(&image.manifest);
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [{
            "mediaType": MANIFEST, "digest": image.manifest, "size": fs::metadata(path)?.len(),
            "platform": { "os": "linux", "architecture": architecture },
        }] });
        self.put_manifest(repository, tag, INDEX, index.to_string().into())
            .await
    }

    /// Uploads a signature of `digest` where cosign keeps it: tag `sha256-<hex>.sig`. `sign` gets the
    /// payload and gives base64.
    ///
    /// # Errors
    /// When the registry refuses it.
    pub async fn push_signature(
        &self,
        repository: &str,
        digest: &str,
        sign: impl FnOnce(&[u8]) -> Result<String>,
    ) -> Result<()> {
        let payload = json!({
            "critical": {
                "identity": { "docker-reference": format!("{}/{repository}", self.host) },
                "image": { "docker-manifest-digest": digest },
                "type": "cosign container image signature",
            },
            "optional": null,
        });
        let payload = payload.to_string().into_bytes();
        let signature = sign(&payload)?;
        let (config, size) = (b"{}".to_vec(), payload.len());
        let config_digest = self.put_blob(repository, config).await?;
        let payload_digest = self.put_blob(repository, payload).await?;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest, "size": 2 },
            "layers": [{ "mediaType": PAYLOAD, "digest": payload_digest, "size": size,
                "annotations": { "dev.cosignproject.cosign/signature": signature } }],
        });
        let tag = format!("{}.sig", digest.replace(':', "-"));
        self.put_manifest(repository, &tag, MANIFEST, manifest.to_string().into())
            .await
    }

    async fn put_blob(&self, repository: &str, bytes: Vec<u8>) -> Result<String> {
        let digest = format!("sha256:{}", sha256(&bytes));
        let url = format!("http://{}/v2/{repository}/blobs/uploads/", self.host);
        let begun = created(self.signed(self.client.post(url)), 202).await?;
        let location = begun
            .headers()
            .get("location")
            .context("a location")?
            .to_str()?;
        let join = if location.contains('?') { '&' } else { '?' };
        let url = format!("{location}{join}digest={digest}");
        created(self.signed(self.client.put(url)).body(bytes), 201).await?;
        Ok(digest)
    }

    async fn put_manifest(
        &self,
        repository: &str,
        tag: &str,
        kind: &str,
        bytes: Vec<u8>,
    ) -> Result<()> {
        let url = format!("http://{}/v2/{repository}/manifests/{tag}", self.host);
        let request = self
            .signed(self.client.put(url))
            .header("content-type", kind);
        created(request.body(bytes), 201).await?;
        Ok(())
    }

    fn signed(&self, request: RequestBuilder) -> RequestBuilder {
        if self.is_private {
            request.basic_auth(LOGIN.0, Some(LOGIN.1))
        } else {
            request
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Nothing is left to be told to.
        self.stop().ok();
    }
}

fn text(document: &Value, pointer: &str) -> Result<String> {
    let text = document.pointer(pointer).and_then(Value::as_str);
    Ok(text
        .with_context(|| format!("{pointer} in {document}"))?
        .to_owned())
}

async fn created(request: RequestBuilder, want: u16) -> Result<Response> {
    let answer = request.send().await?;
    if answer.status().as_u16() != want {
        bail!(
            "the registry answers {} {}",
            answer.status(),
            answer.text().await?
        );
    }
    Ok(answer)
}
