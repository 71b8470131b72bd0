//! Template sets: an image's templates over the built-in ones, compiled once and kept by digest.
//!
//! Invariant: one set never changes, and one broken template does not keep others from rendering.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value};
use serde::Serialize;

use super::context::{BootContext, SeedContext};
use super::error::RenderError;
use super::{filters, quoted};
use crate::images::UnpackedImage;
use crate::images::digest::sha256_hex;

/// Ending that makes a file a template.
pub(crate) const SUFFIX: &str = ".j2";
/// Instructions one rendering may take; the built-in templates take a few hundred.
const FUEL: u64 = 200_000;
const MAX_OUTPUT_BYTES: usize = 1 << 20;
const MAX_TEMPLATE_BYTES: u64 = 256 << 10;
const MAX_TEMPLATES: usize = 256;
const MAX_DEPTH: usize = 8;
/// Sets kept; far more than a site has images in use.
const MAX_SETS: usize = 64;

const BUILT_IN: [(&str, &str); 5] = [
    (
        "grub/grub.cfg.j2",
        include_str!("../../../templates/boot/grub.cfg.j2"),
    ),
    (
        "cloud-init/meta-data.j2",
        include_str!("../../../templates/cloud-init/meta-data.j2"),
    ),
    (
        "cloud-init/vendor-data.j2",
        include_str!("../../../templates/cloud-init/vendor-data.j2"),
    ),
    (
        "cloud-init/user-data.j2",
        include_str!("../../../templates/cloud-init/user-data.j2"),
    ),
    (
        "cloud-init/network-config.j2",
        include_str!("../../../templates/cloud-init/network-config.j2"),
    ),
];

/// A rendered file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// Its content.
    pub bytes: Bytes,
    /// Lower-case hexadecimal SHA-256 of the content.
    pub sha256: String,
}

/// The context of a boot file as the engine wants it: made once, used for every rendering.
#[derive(Clone)]
pub struct PreparedContext(Value);

impl PreparedContext {
    /// Converts all of `context`.
    pub fn new(context: &BootContext) -> Self {
        Self(Value::from(Serde(context)))
    }
}

impl std::fmt::Debug for PreparedContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // It may hold an install token.
        f.debug_struct("PreparedContext").finish_non_exhaustive()
    }
}

/// The four files of a NoCloud seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedFiles {
    /// `user-data`.
    pub user_data: String,
    /// `meta-data`.
    pub meta_data: String,
    /// `vendor-data`.
    pub vendor_data: String,
    /// `network-config`, version 2.
    pub network_config: String,
}

/// Compiled templates by image.
#[derive(Debug, Default)]
pub struct Renderer {
    sets: Sets,
    /// The same with marks, for checks.
    marked: Sets,
}

type Sets = RwLock<HashMap<String, Arc<TemplateSet>>>;

impl Renderer {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// The set of an image, if it was compiled before; never reads a disk.
    pub fn compiled(&self, image: &UnpackedImage) -> Option<Arc<TemplateSet>> {
        kept(&self.sets, image)
    }

    /// The set of an image; compiled at the first call for its digest, which reads local disk.
    pub fn templates(&self, image: &UnpackedImage) -> Result<Arc<TemplateSet>, RenderError> {
        keep(&self.sets, image, Marks::Absent)
    }

    pub(crate) fn marked(&self, image: &UnpackedImage) -> Result<Arc<TemplateSet>, RenderError> {
        keep(&self.marked, image, Marks::Present)
    }
}

fn kept(sets: &Sets, image: &UnpackedImage) -> Option<Arc<TemplateSet>> {
    let sets = sets.read().unwrap_or_else(PoisonError::into_inner);
    sets.get(&image.digest).cloned()
}

fn keep(sets: &Sets, image: &UnpackedImage, marks: Marks) -> Result<Arc<TemplateSet>, RenderError> {
    if let Some(set) = kept(sets, image) {
        return Ok(set);
    }
    let set = Arc::new(TemplateSet::read(&image.root, marks)?);
    let mut sets = sets.write().unwrap_or_else(PoisonError::into_inner);
    if sets.len() >= MAX_SETS {
        sets.clear();
    }
    Ok(Arc::clone(sets.entry(image.digest.clone()).or_insert(set)))
}

/// Whether rendered text shows which filter a value went through: for checks, never for machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marks {
    Absent,
    Present,
}

/// Compiled templates of one image over the built-in ones.
#[derive(Debug)]
pub struct TemplateSet {
    environment: Environment<'static>,
    /// Names that the image brought itself.
    own: HashSet<String>,
    broken: HashMap<String, RenderError>,
}

impl TemplateSet {
    /// Only the built-in templates.
    pub fn built_in() -> Self {
        Self::compile(Vec::new(), Marks::Absent)
    }

    /// The built-in templates, covered by every `*.j2` below `root`.
    pub fn load(root: &Path) -> Result<Self, RenderError> {
        Self::read(root, Marks::Absent)
    }

    pub(crate) fn read(root: &Path, marks: Marks) -> Result<Self, RenderError> {
        let mut found = Vec::new();
        collect(root, "", 0, &mut found).map_err(|error| RenderError::Unreadable {
            root: root.to_owned(),
            problem: error.to_string(),
        })?;
        Ok(Self::compile(found, marks))
    }

    /// The built-in templates, covered by these of (name, source).
    pub(crate) fn compile(found: Vec<(String, String)>, marks: Marks) -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let mut syntax = environment.syntax().to_builder();
        syntax.keep_trailing_newline(true);
        // Only delimiters can be refused, and these are the default ones.
        environment.set_syntax(syntax.build().unwrap_or_default());
        environment.set_fuel(Some(FUEL));
        environment.set_debug(true);
        quoted::require(&mut environment);
        filters::register(&mut environment, marks == Marks::Present);
        let own: HashSet<String> = found.iter().map(|(name, _)| name.clone()).collect();
        let mut broken = HashMap::new();
        let defaults = BUILT_IN
            .iter()
            .filter(|(name, _)| !own.contains(*name))
            .map(|(name, source)| ((*name).to_owned(), (*source).to_owned()));
        for (name, source) in found.into_iter().chain(defaults) {
            if let Err(error) = environment.add_template_owned(name.clone(), source) {
                let error = RenderError::from_engine(&name, &error);
                broken.insert(name, error);
            }
        }
        Self {
            environment,
            own,
            broken,
        }
    }

    /// True when the image itself brought the template, compiled or not.
    pub fn is_own(&self, template: &str) -> bool {
        self.own.contains(template)
    }

    /// True when the template exists at all, compiled or not.
    pub fn has(&self, template: &str) -> bool {
        self.broken.contains_key(template) || self.environment.get_template(template).is_ok()
    }

    /// Names of all templates, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .environment
            .templates()
            .map(|(name, _)| name.to_owned())
            .chain(self.broken.keys().cloned())
            .collect();
        names.sort();
        names
    }

    pub(crate) fn render(
        &self,
        template: &str,
        context: impl Serialize,
    ) -> Result<String, RenderError> {
        self.render_value(template, Value::from(Serde(&context)))
    }

    fn render_value(&self, template: &str, context: Value) -> Result<String, RenderError> {
        if let Some(error) = self.broken.get(template) {
            return Err(error.clone());
        }
        let compiled =
            self.environment
                .get_template(template)
                .map_err(|_| RenderError::Missing {
                    template: template.to_owned(),
                })?;
        let mut output = Limited(Vec::new());
        compiled
            .render_captured_to(context, &mut output)
            .map_err(|error| RenderError::from_engine(template, &error))?;
        String::from_utf8(output.0).map_err(|_| RenderError::Template {
            template: template.to_owned(),
            line: None,
            variable: None,
            problem: "the result is not UTF-8".to_owned(),
        })
    }
}

/// Renders the boot file `path` (without `.j2`).
pub fn render_boot(
    templates: &TemplateSet,
    path: &str,
    context: &BootContext,
) -> Result<Rendered, RenderError> {
    render_prepared(templates, path, &PreparedContext::new(context))
}

/// Renders the boot file `path` (without `.j2`) from a context that was converted before.
pub fn render_prepared(
    templates: &TemplateSet,
    path: &str,
    context: &PreparedContext,
) -> Result<Rendered, RenderError> {
    let text = templates.render_value(&format!("{path}{SUFFIX}"), context.0.clone())?;
    Ok(Rendered {
        sha256: sha256_hex(text.as_bytes()),
        bytes: Bytes::from(text),
    })
}

/// Renders the NoCloud seed of one installation.
pub fn render_seed(
    templates: &TemplateSet,
    context: &SeedContext,
) -> Result<SeedFiles, RenderError> {
    Ok(SeedFiles {
        user_data: templates.render("cloud-init/user-data.j2", context)?,
        meta_data: templates.render("cloud-init/meta-data.j2", context)?,
        vendor_data: templates.render("cloud-init/vendor-data.j2", context)?,
        network_config: templates.render("cloud-init/network-config.j2", context)?,
    })
}

/// Collects templates as (name, source); links are not followed.
fn collect(
    directory: &Path,
    prefix: &str,
    depth: usize,
    found: &mut Vec<(String, String)>,
) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Ok(());
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Ok(file) = entry.file_name().into_string() else {
            continue;
        };
        let name = if prefix.is_empty() {
            file
        } else {
            format!("{prefix}/{file}")
        };
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(&entry.path(), &name, depth + 1, found)?;
        } else if kind.is_file() && name.ends_with(SUFFIX) {
            if entry.metadata()?.len() > MAX_TEMPLATE_BYTES || found.len() >= MAX_TEMPLATES {
                return Err(io::Error::other(format!(
                    "template {name} is over the limits"
                )));
            }
            found.push((name, fs::read_to_string(entry.path())?));
        }
    }
    Ok(())
}

/// Refuses to grow beyond the limit.
struct Limited(Vec<u8>);

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT_BYTES {
            return Err(io::Error::other("the result is too large"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
