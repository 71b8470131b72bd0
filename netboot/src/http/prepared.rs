//! What rendering needs of a machine, made once for each machine and address, and what came of it.
//!
//! A [`BootMachine`] never changes: whoever changes a machine puts another one into the snapshot.
//! So a text that was rendered from one holds for as long as that one does, and is found only
//! through it. Invariant: the key of a text is everything it was made from: this very machine,
//! install grant included, the address that asked, the compiled templates, and the name.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, PoisonError, RwLock, Weak};

use super::files::BootFile;
use crate::directory::BootMachine;
use crate::event::BootDecision;
use crate::render::{BootContext, PreparedContext, ServerContext, TemplateSet};

/// Machines kept at once; a boot storm is smaller.
const KEPT: usize = 1024;
/// Rendered files kept of one machine.
const KEPT_FILES: usize = 8;

/// A rendered file.
#[derive(Debug)]
pub(crate) struct RenderedFile {
    pub(crate) file: Arc<BootFile>,
    pub(crate) sha256: String,
}

/// A rendered file under what it was made of besides the machine.
#[derive(Debug)]
struct Kept {
    templates: Arc<TemplateSet>,
    name: String,
    file: Arc<RenderedFile>,
}

/// Prepared machines by identity and address.
#[derive(Debug, Default)]
pub(crate) struct Preparations {
    known: RwLock<HashMap<(usize, Ipv4Addr), Arc<Prepared>>>,
}

/// One machine as seen from one of its addresses.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Keeps the address of the machine from being used for another one.
    machine: Weak<BootMachine>,
    pub(crate) context: PreparedContext,
    pub(crate) decision: BootDecision,
    rendered: RwLock<Vec<Kept>>,
}

impl Preparations {
    /// The preparation of a machine; none when it has no such address.
    pub(crate) fn of(
        &self,
        machine: &Arc<BootMachine>,
        peer: Ipv4Addr,
        server: &ServerContext,
    ) -> Option<Arc<Prepared>> {
        let key = (Arc::as_ptr(machine).addr(), peer);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(&key) {
            return Some(Arc::clone(found));
        }
        drop(known);
        let context = BootContext::new(machine, peer, server)?;
        let prepared = Arc::new(Prepared {
            machine: Arc::downgrade(machine),
            decision: match context.install {
                Some(_) => BootDecision::Install,
                None => BootDecision::LocalDisk,
            },
            context: PreparedContext::new(&context),
            rendered: RwLock::default(),
        });
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT {
            known.retain(|_, old| old.machine.strong_count() > 0);
        }
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(key, Arc::clone(&prepared));
        Some(prepared)
    }
}

impl Prepared {
    /// A file that was rendered before with the same templates.
    pub(crate) fn rendered(&self, set: &Arc<TemplateSet>, name: &str) -> Option<Arc<RenderedFile>> {
        let rendered = self.rendered.read().unwrap_or_else(PoisonError::into_inner);
        let same = |kept: &&Kept| Arc::ptr_eq(&kept.templates, set) && kept.name == name;
        rendered
            .iter()
            .find(same)
            .map(|kept| Arc::clone(&kept.file))
    }

    /// Keeps a rendered file.
    pub(crate) fn keep(&self, set: &Arc<TemplateSet>, name: &str, file: &Arc<RenderedFile>) {
        let mut rendered = self
            .rendered
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if rendered.len() >= KEPT_FILES {
            rendered.clear();
        }
        rendered.push(Kept {
            templates: Arc::clone(set),
            name: name.to_owned(),
            file: Arc::clone(file),
        });
    }
}
