//! What was read beside the watches, and what operations wait for.
//!
//! Invariant: a Machine that was read as it is now is not replaced by an older one that a watch brings
//! late. Versions are compared as numbers, as Kubernetes 1.35 says they may be.

use std::sync::{Arc, PoisonError};

use metalman_api::machine::Machine;

use super::{KeptMachine, Site, View, changes::Change};
use crate::domain::waits::Wait;

impl View {
    /// Takes in what a watch brought; `false` when it is older than what was read beside it.
    pub(super) fn take(&mut self, machine: Arc<KeptMachine>) -> bool {
        if self.is_behind(&machine.name, &machine.version) {
            return false;
        }
        self.newest.remove(&machine.name);
        self.machines.insert(machine.name.clone(), machine);
        true
    }

    /// Forgets a Machine and what was read of its BMC; `false` when there is none.
    pub(super) fn forget_machine(&mut self, name: &str) -> bool {
        self.memory.remove(name);
        self.machines.remove(name).is_some()
    }

    fn is_behind(&self, name: &str, version: &str) -> bool {
        let newest = self.newest.get(name);
        newest.is_some_and(|newest| number(version).is_some_and(|version| version < *newest))
    }

    /// Takes in what was read when `before` was known; `false` when that is no news.
    fn take_current(&mut self, machine: KeptMachine, before: Option<&Arc<KeptMachine>>) -> bool {
        let read = number(&machine.version);
        let known = self.machines.get(&machine.name);
        let is_untouched = known.map(Arc::as_ptr) == before.map(Arc::as_ptr);
        // It was read after `before` came, but perhaps not after what came since.
        if !is_untouched
            && let Some(known) = known
            && number(&known.version) >= read
        {
            return false;
        }
        if let Some(read) = read {
            self.newest.insert(machine.name.clone(), read);
        }
        self.machines
            .insert(machine.name.clone(), Arc::new(machine));
        true
    }
}

fn number(version: &str) -> Option<u64> {
    version.parse().ok()
}

impl Site {
    /// Takes in a Machine as it is now in the API; `before` is what was known when it was asked for.
    pub fn apply_current(&self, mut machine: Machine, before: Option<&Arc<KeptMachine>>) {
        let meta = &machine.metadata;
        let is_known = before.is_some_and(|known| {
            meta.uid.as_deref() == Some(&*known.uid)
                && meta.resource_version.as_deref() == Some(&*known.version)
        });
        if is_known {
            return;
        }
        machine.metadata.managed_fields = None;
        let Some(kept) = self.pack(&machine) else {
            return;
        };
        let name = kept.name.clone();
        self.write_if(Change::Machine(&name), |view| {
            view.take_current(kept, before)
        });
    }

    /// Forgets a Machine that is not in the API any more, unless it has come back since `before`.
    pub fn remove_current(&self, name: &str, before: Option<&Arc<KeptMachine>>) {
        self.write_if(Change::Machine(name), |view| {
            let known = view.machines.get(name).map(Arc::as_ptr);
            known.is_some() && known == before.map(Arc::as_ptr) && view.forget_machine(name)
        });
    }

    /// Forgets a Machine whose deletion, with this version, a watch tells of.
    pub fn delete_machine(&self, name: &str, version: &str) {
        self.write_if(Change::Machine(name), |view| {
            if view.is_behind(name, version) {
                return false;
            }
            view.newest.remove(name);
            view.forget_machine(name)
        });
    }

    /// Says what an operation waits for; `None` when it waits no longer.
    pub fn set_wait(&self, operation: &str, uid: &str, wait: Option<Wait>) {
        self.write_if(Change::Operation(operation), |view| match wait {
            None => view.waits.remove(uid).is_some(),
            Some(wait) => {
                let shown = view.waits.get(uid);
                let is_news = shown.is_none_or(|shown| !shown.says_the_same(&wait));
                if is_news {
                    view.waits.insert(uid.to_owned(), wait);
                }
                is_news
            }
        });
    }

    /// What an operation waits for before its targets take a step.
    pub fn wait_of(&self, uid: &str) -> Option<Wait> {
        self.read(|view| view.waits.get(uid).cloned())
    }

    /// Writes, and tells of it if something changed.
    pub(super) fn write_if(&self, change: Change<'_>, write: impl FnOnce(&mut View) -> bool) {
        let is_news = write(&mut self.view.write().unwrap_or_else(PoisonError::into_inner));
        if is_news {
            self.tell(change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(uid: &str, version: &str, image: &str) -> Machine {
        let machine = serde_json::json!({
            "apiVersion": "unbounded-cloud.io/v1alpha3", "kind": "Machine",
            "metadata": { "name": "n1", "uid": uid, "resourceVersion": version },
            "spec": { "pxe": { "image": image, "dhcpLeases": [] } },
        });
        serde_json::from_value(machine).unwrap()
    }

    fn image(site: &Site) -> Option<String> {
        site.machine("n1")?.spec.pxe.as_ref()?.image.clone()
    }

    #[test]
    fn what_was_read_is_not_replaced_by_what_a_watch_brings_late() {
        let site = Site::new("lab");
        site.apply_machine(&machine("a", "9", "old"));
        let before = site.kept("n1");
        site.apply_current(machine("a", "12", "new"), before.as_ref());
        assert_eq!(image(&site).as_deref(), Some("new"));
        site.apply_machine(&machine("a", "10", "between"));
        assert_eq!(image(&site).as_deref(), Some("new"));
        site.delete_machine("n1", "11");
        assert_eq!(image(&site).as_deref(), Some("new"));
        site.apply_machine(&machine("a", "12", "new"));
        site.apply_machine(&machine("a", "100", "newest"));
        assert_eq!(image(&site).as_deref(), Some("newest"));
        site.delete_machine("n1", "101");
        assert_eq!(image(&site), None);
    }

    #[test]
    fn what_a_watch_brings_during_the_read_is_kept_if_it_is_newer() {
        let site = Site::new("lab");
        site.apply_machine(&machine("a", "9", "old"));
        let before = site.kept("n1");
        site.apply_machine(&machine("a", "13", "newest"));
        site.apply_current(machine("a", "12", "new"), before.as_ref());
        assert_eq!(image(&site).as_deref(), Some("newest"));
        // A Machine that came back during the read stays.
        site.remove_current("n1", before.as_ref());
        assert_eq!(image(&site).as_deref(), Some("newest"));
        let now = site.kept("n1");
        site.remove_current("n1", now.as_ref());
        assert_eq!(image(&site), None);
    }

    #[test]
    fn an_api_server_that_was_put_back_is_believed() {
        let site = Site::new("lab");
        site.apply_machine(&machine("a", "500", "lost"));
        let before = site.kept("n1");
        site.apply_current(machine("a", "300", "restored"), before.as_ref());
        assert_eq!(image(&site).as_deref(), Some("restored"));
    }

    #[test]
    fn what_is_known_already_is_no_news() {
        let site = Site::new("lab");
        site.apply_machine(&machine("a", "9", "old"));
        let inbox = site.subscribe();
        inbox.take();
        let before = site.kept("n1");
        site.apply_current(machine("a", "9", "old"), before.as_ref());
        assert_eq!(inbox.take(), crate::site::Changed::default());
    }
}
