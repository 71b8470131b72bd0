//! The one resolver of boot files: a peer address and a path give a rendered or a static file.
//!
//! TFTP asks it through [`FileSource`], HTTP directly, because HTTP wants validators too.
//! Invariant: only files of the netboot image of the machine with that address come out, and
//! never a template's source.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::body::event;
use super::path::{PathProblem, clean};
use crate::directory::{BootDirectory, BootMachine};
use crate::event::{BootDecision, BootEventKind};
use crate::images::UnpackedImage;
use crate::render::{BootContext, RenderError, Renderer, ServerContext, TemplateSet, render_boot};
use crate::source::{FileContent, FileSource, SourceError};

/// Templates for the seed, which goes to the disk by the installer; their contexts are not those
/// of boot files.
const SEED_DIRECTORY: &str = "cloud-init/";
const TEMPLATE_SUFFIX: &str = ".j2";

/// Resolves boot files of all machines of a directory.
pub struct BootFiles {
    directory: Arc<dyn BootDirectory>,
    renderer: Arc<Renderer>,
    server: ServerContext,
    clock: fn() -> Timestamp,
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
    pub(crate) etag: String,
    pub(crate) modified: Option<Timestamp>,
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
        }
    }

    pub(crate) fn clock(&self) -> fn() -> Timestamp {
        self.clock
    }

    /// Finds `path` for a machine that speaks from `peer`.
    pub(crate) async fn find(
        &self,
        machine: &BootMachine,
        peer: Ipv4Addr,
        path: &str,
    ) -> Result<BootFile, SourceError> {
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
        match static_file(image, &name).await {
            Err(SourceError::NotFound { .. }) if templates.has(&template) => {
                self.render(machine, peer, &templates, &name)
            }
            found => found,
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
        machine: &BootMachine,
        peer: Ipv4Addr,
        templates: &TemplateSet,
        name: &str,
    ) -> Result<BootFile, SourceError> {
        let context = BootContext::new(machine, peer, &self.server)
            .ok_or(SourceError::UnknownPeer { peer })?;
        let decision = match context.install {
            Some(_) => BootDecision::Install,
            None => BootDecision::LocalDisk,
        };
        match render_boot(templates, name, &context) {
            Ok(rendered) => {
                let sha256 = rendered.sha256.clone();
                let kind = BootEventKind::Rendered {
                    file: name.to_owned(),
                    sha256,
                    decision,
                };
                self.directory
                    .record(event(machine, peer, (self.clock)(), kind));
                Ok(BootFile {
                    content: FileContent::Bytes(rendered.bytes),
                    etag: format!("\"sha256:{}\"", rendered.sha256),
                    modified: None,
                })
            }
            Err(error) => {
                let template = format!("{name}{TEMPLATE_SUFFIX}");
                Err(self.failed(machine, peer, &template, name, &error))
            }
        }
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

/// Finds a plain file below the image's root, also through links that stay below it.
async fn static_file(image: &Arc<UnpackedImage>, name: &str) -> Result<BootFile, SourceError> {
    let not_found = || SourceError::NotFound {
        path: name.to_owned(),
    };
    let (root, relative) = (image.root.clone(), name.to_owned());
    let found = tokio::task::spawn_blocking(move || look_up(&root, &relative)).await;
    let (path, length, modified) = found.ok().flatten().ok_or_else(not_found)?;
    Ok(BootFile {
        content: FileContent::File { path, length },
        etag: format!("\"{}\"", image.digest),
        modified,
    })
}

pub(crate) fn look_up(
    root: &Path,
    relative: &str,
) -> Option<(std::path::PathBuf, u64, Option<Timestamp>)> {
    let root = fs::canonicalize(root).ok()?;
    let path = fs::canonicalize(root.join(relative)).ok()?;
    let found = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
    if !path.starts_with(&root) {
        return None;
    }
    Some((path, found.len(), modified(&found)))
}

/// Modification time in whole seconds, as HTTP dates have them.
pub(crate) fn modified(found: &fs::Metadata) -> Option<Timestamp> {
    let since_epoch = found
        .modified()
        .ok()?
        .duration_since(std::time::UNIX_EPOCH)
        .ok()?;
    Timestamp::from_second(i64::try_from(since_epoch.as_secs()).ok()?).ok()
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
            .map(|file| file.content)
    }
}
