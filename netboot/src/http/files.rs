//! The one resolver of boot files: a peer address and a path give a rendered or a static file.
//!
//! TFTP asks it through [`FileSource`], HTTP directly, because HTTP wants validators too.
//! Invariant: only files of the netboot image of the machine with that address come out, and
//! never a template's source.

use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;

use http::HeaderValue;
use jiff::Timestamp;

use super::conditional::http_date;
use super::path::{PathProblem, clean};
use super::prepared::{Preparations, RenderedFile};
use super::record::event;
use super::statics::StaticFiles;
use crate::directory::{BootDirectory, BootMachine};
use crate::event::{BootDecision, BootEventKind};
use crate::images::UnpackedImage;
use crate::render::{
    BootContext, RenderError, Renderer, ServerContext, TemplateSet, fallback, render_prepared,
};
use crate::source::{FileContent, FileSource, SourceError};

/// Templates for the seed, which goes to the disk by the installer; their contexts are not those
/// of boot files.
const SEED_DIRECTORY: &str = "cloud-init/";
const TEMPLATE_SUFFIX: &str = ".j2";
const RENDERED_TYPE: &str = "text/plain; charset=utf-8";

/// Resolves boot files of all machines of a directory.
pub struct BootFiles {
    directory: Arc<dyn BootDirectory>,
    renderer: Arc<Renderer>,
    server: ServerContext,
    clock: fn() -> Timestamp,
    statics: StaticFiles,
    prepared: Preparations,
}

impl std::fmt::Debug for BootFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BootFiles")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// A file found for a machine.
#[derive(Debug)]
pub(crate) struct BootFile {
    pub(crate) content: FileContent,
    /// Strong entity tag with quotes.
    pub(crate) etag: HeaderValue,
    pub(crate) modified: Option<Modified>,
    pub(crate) content_type: &'static str,
}

/// When a file was last changed, in whole seconds as HTTP dates have them.
#[derive(Debug, Clone)]
pub(crate) struct Modified {
    pub(crate) at: Timestamp,
    pub(crate) text: HeaderValue,
}

impl BootFile {
    pub(crate) fn new(
        content: FileContent,
        tag: &str,
        modified: Option<Modified>,
        content_type: &'static str,
    ) -> Self {
        // Digests are printable; an empty tag is only for the type.
        let etag = HeaderValue::from_str(&format!("\"{tag}\""))
            .unwrap_or_else(|_| HeaderValue::from_static("\"\""));
        Self {
            content,
            etag,
            modified,
            content_type,
        }
    }
}

impl Modified {
    /// From what the file system says.
    pub(crate) fn of(found: &fs::Metadata) -> Option<Self> {
        let since_epoch = found
            .modified()
            .ok()?
            .duration_since(std::time::UNIX_EPOCH)
            .ok()?;
        let at = Timestamp::from_second(i64::try_from(since_epoch.as_secs()).ok()?).ok()?;
        let text = HeaderValue::from_str(&http_date(at)).ok()?;
        Some(Self { at, text })
    }
}

impl BootFiles {
    /// A resolver over `directory`, for templates that point at `server`.
    pub fn new(
        directory: Arc<dyn BootDirectory>,
        renderer: Arc<Renderer>,
        server: ServerContext,
        clock: fn() -> Timestamp,
    ) -> Self {
        Self {
            directory,
            renderer,
            server,
            clock,
            statics: StaticFiles::default(),
            prepared: Preparations::default(),
        }
    }

    pub(crate) fn clock(&self) -> fn() -> Timestamp {
        self.clock
    }

    /// Finds `path` for a machine that speaks from `peer`.
    pub(crate) async fn find(
        &self,
        machine: &Arc<BootMachine>,
        peer: Ipv4Addr,
        path: &str,
    ) -> Result<Arc<BootFile>, SourceError> {
        let name = clean(path).map_err(|problem| match problem {
            PathProblem::Empty => SourceError::NotFound {
                path: path.to_owned(),
            },
            PathProblem::Refused => SourceError::Refused {
                path: path.to_owned(),
            },
        })?;
        let Some(image) = machine.netboot.as_ref() else {
            return Err(SourceError::NotReady {
                machine: machine.name.clone(),
            });
        };
        if name.ends_with(TEMPLATE_SUFFIX) || name.starts_with(SEED_DIRECTORY) {
            return Err(SourceError::NotFound { path: name });
        }
        let template = format!("{name}{TEMPLATE_SUFFIX}");
        let templates = match self.templates(image).await {
            Ok(templates) => templates,
            Err(error) => return Err(self.failed(machine, peer, &template, &name, &error)),
        };
        if templates.is_own(&template) {
            return self.render(machine, peer, &templates, &name);
        }
        let is_template = templates.has(&template);
        match self.statics.find(image, &name, is_template).await {
            Some(found) => Ok(found),
            None if is_template => self.render(machine, peer, &templates, &name),
            None => Err(SourceError::NotFound { path: name }),
        }
    }

    async fn templates(&self, image: &Arc<UnpackedImage>) -> Result<Arc<TemplateSet>, RenderError> {
        if let Some(templates) = self.renderer.compiled(image) {
            return Ok(templates);
        }
        let (renderer, image) = (Arc::clone(&self.renderer), Arc::clone(image));
        let root = image.root.clone();
        match tokio::task::spawn_blocking(move || renderer.templates(&image)).await {
            Ok(templates) => templates,
            Err(stopped) => Err(RenderError::Unreadable {
                root,
                problem: stopped.to_string(),
            }),
        }
    }

    fn render(
        &self,
        machine: &Arc<BootMachine>,
        peer: Ipv4Addr,
        templates: &Arc<TemplateSet>,
        name: &str,
    ) -> Result<Arc<BootFile>, SourceError> {
        let prepared = self
            .prepared
            .of(machine, peer, &self.server)
            .ok_or(SourceError::UnknownPeer { peer })?;
        let rendered = match prepared.rendered(templates, name) {
            Some(rendered) => rendered,
            None => match render_prepared(templates, name, &prepared.context) {
                Ok(rendered) => {
                    let tag = format!("sha256:{}", rendered.sha256);
                    let content = FileContent::Bytes(rendered.bytes);
                    let rendered = Arc::new(RenderedFile {
                        file: Arc::new(BootFile::new(content, &tag, None, RENDERED_TYPE)),
                        sha256: rendered.sha256,
                    });
                    prepared.keep(templates, name, &rendered);
                    rendered
                }
                Err(error) => {
                    let template = format!("{name}{TEMPLATE_SUFFIX}");
                    let failed = self.failed(machine, peer, &template, name, &error);
                    return self.fallback(machine, peer, name, &error).ok_or(failed);
                }
            },
        };
        let kind = BootEventKind::Rendered {
            file: name.to_owned(),
            sha256: rendered.sha256.clone(),
            decision: prepared.decision,
        };
        let told = event(machine, peer, (self.clock)(), kind);
        self.directory.record(told);
        Ok(Arc::clone(&rendered.file))
    }

    /// What GRUB gets instead of a configuration that failed: the reason, and its disk.
    fn fallback(
        &self,
        machine: &BootMachine,
        peer: Ipv4Addr,
        name: &str,
        error: &RenderError,
    ) -> Option<Arc<BootFile>> {
        let context = BootContext::new(machine, peer, &self.server)?;
        let rendered = fallback(name, &context, error)?;
        let kind = BootEventKind::Rendered {
            file: name.to_owned(),
            sha256: rendered.sha256.clone(),
            decision: BootDecision::LocalDisk,
        };
        self.directory
            .record(event(machine, peer, (self.clock)(), kind));
        let tag = format!("sha256:{}", rendered.sha256);
        let content = FileContent::Bytes(rendered.bytes);
        Some(Arc::new(BootFile::new(content, &tag, None, RENDERED_TYPE)))
    }

    fn failed(
        &self,
        machine: &BootMachine,
        peer: Ipv4Addr,
        template: &str,
        path: &str,
        error: &RenderError,
    ) -> SourceError {
        let reason = error.to_string();
        tracing::warn!(
            machine.id = %machine.name,
            template,
            error.reason = error.reason(),
            error = %reason,
            "could not render a boot file"
        );
        let kind = BootEventKind::RenderFailed {
            template: template.to_owned(),
            line: error.line(),
            reason: reason.clone(),
        };
        self.directory
            .record(event(machine, peer, (self.clock)(), kind));
        SourceError::Failed {
            path: path.to_owned(),
            reason,
        }
    }
}

#[async_trait::async_trait]
impl FileSource for BootFiles {
    async fn open(&self, peer: Ipv4Addr, path: &str) -> Result<FileContent, SourceError> {
        let machine = self
            .directory
            .by_ip(peer)
            .ok_or(SourceError::UnknownPeer { peer })?;
        self.find(&machine, peer, path)
            .await
            .map(|file| file.content.clone())
    }
}
