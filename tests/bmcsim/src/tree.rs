//! The resources of a kind of BMC: the base of `data/base.yaml`, bent by a profile.
//!
//! Built once per kind and shared by all BMCs of it, so it holds nothing of a single BMC: `<words>` that are left are
//! facts of the BMC, filled in when a resource is read.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::faults::merge;
use crate::profile::Profile;

pub(crate) const ROOT: &str = "/redfish/v1";
const BASE: &str = include_str!("../data/base.yaml");

/// Names that profiles may change.
const NAMES: &[(&str, &str)] = &[
    ("redfish", "1.18.0"),
    ("manager", "BMC"),
    ("chassis", "1"),
    ("sku", "SIM-1"),
    ("bmc-model", "Simulated BMC"),
    ("firmware", "1.0.0"),
    ("bios", "1.0"),
    ("logs", "Managers/<manager>"),
    ("media", "Managers/<manager>"),
    ("sel", "SEL"),
    ("cd", "Cd"),
    ("usb", "Usb"),
    ("nic", "NIC"),
    ("bmc-nic", "eth0"),
    ("cpu", "CPU"),
    ("cpu-maker", "Intel(R) Corporation"),
    ("cpu-model", "Intel(R) Xeon(R) Gold 6430"),
    ("dimm", "DIMM"),
    ("storage", "1"),
    ("drive", "Drive"),
    ("fw-bmc", "BMC"),
    ("fw-bios", "BIOS"),
    ("fw-nic", "NIC"),
    ("bios-settings", "Settings"),
];

/// What the simulator adds to a resource as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Live {
    #[default]
    Nothing,
    Root,
    SessionService,
    AccountService,
    System,
    Settings,
    ActionInfo,
    Bios,
    Chassis,
    Manager,
    Certificate,
    CertificateService,
    Log,
    Media,
}

/// A list that lives in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Keeps {
    Sessions,
    Accounts,
    Tasks,
    Entries,
}

/// What a machine has to have for a resource to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Needs {
    Nic,
    Drive,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Sim {
    live: Live,
    writable: Map<String, Value>,
    keeps: Option<Keeps>,
    needs: Option<Needs>,
}

/// One resource.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) body: Value,
    pub(crate) live: Live,
    pub(crate) writable: Map<String, Value>,
    pub(crate) keeps: Option<Keeps>,
    pub(crate) needs: Option<Needs>,
    /// Its number among its like, from 1; 0 for a resource that is alone.
    pub(crate) number: usize,
    pub(crate) is_collection: bool,
    order: i64,
}

/// All resources, by path below `/redfish/v1`.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    nodes: BTreeMap<String, Node>,
}

impl Tree {
    /// The resources of a profile, with this id of the system.
    pub(crate) fn build(profile: &Profile, system_id: &str) -> anyhow::Result<Self> {
        let names = Names::of(profile, system_id);
        let mut bodies = names.parse(BASE).context("data/base.yaml")?;
        if profile.reset_types != crate::profile::ResetTypes::ActionInfo {
            bodies.retain(|key, _| !key.ends_with("/ResetActionInfo"));
        }
        if profile.boot_place != crate::profile::BootPlace::SettingsObject {
            bodies.retain(|key, _| {
                !(key.starts_with("Systems/")
                    && key.ends_with("/SD")
                    && key.matches('/').count() == 2)
            });
        }
        let patches = serde_json::to_string(&profile.tree)?;
        let patches: Map<String, Value> = serde_json::from_str(&names.fill(&patches))?;
        for (path, patch) in patches {
            if patch.is_null() {
                let below = format!("{path}/");
                bodies.retain(|key, _| *key != path && !key.starts_with(&below));
            } else {
                let body = bodies.entry(path).or_insert_with(|| (0, json!({})));
                merge(&mut body.1, &patch);
            }
        }
        let mut tree = Self::default();
        for (path, (number, body)) in bodies {
            let node = Node::new(&path, number, body).with_context(|| path.clone())?;
            tree.nodes.insert(path, node);
        }
        let known: Vec<String> = tree.nodes.keys().map(|path| address(path)).collect();
        for node in tree.nodes.values_mut() {
            prune(&mut node.body, &known);
        }
        Ok(tree)
    }

    pub(crate) fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// Resources directly below, in the order they are listed.
    pub(crate) fn below(&self, path: &str) -> Vec<(&str, &Node)> {
        let prefix = format!("{path}/");
        let mut found: Vec<(&str, &Node)> = self
            .nodes
            .range(prefix.clone()..)
            .take_while(|(key, _)| key.starts_with(&prefix))
            .filter(|(key, _)| !key.trim_start_matches(&prefix).contains('/'))
            .map(|(key, node)| (key.as_str(), node))
            .collect();
        found.sort_by_key(|(_, node)| node.order);
        found
    }

    /// Schemas in use, as `(namespace, version)`; collections have no version.
    pub(crate) fn schemas(&self) -> Vec<(String, Option<String>)> {
        let extra = [
            "#Session.v1_7_1.Session",
            "#ManagerAccount.v1_12_0.ManagerAccount",
            "#Task.v1_7_3.Task",
            "#LogEntry.v1_16_0.LogEntry",
        ];
        let types = self
            .nodes
            .values()
            .filter_map(|node| node.body.get("@odata.type")?.as_str());
        let mut schemas: Vec<(String, Option<String>)> = types
            .chain(extra)
            .map(|kind| {
                let mut parts = kind.trim_start_matches('#').split('.');
                let name = parts.next().unwrap_or_default().to_owned();
                let version = parts.next().filter(|part| part.starts_with("v1_"));
                (name, version.map(ToOwned::to_owned))
            })
            .collect();
        schemas.sort();
        schemas.dedup();
        schemas
    }
}

impl Node {
    fn new(path: &str, number: usize, mut body: Value) -> anyhow::Result<Self> {
        let Some(properties) = body.as_object_mut() else {
            bail!("not an object")
        };
        let sim: Sim = match properties.remove("@sim") {
            Some(sim) => serde_json::from_value(sim)?,
            None => Sim::default(),
        };
        let order = properties
            .remove("@order")
            .and_then(|order| order.as_i64())
            .unwrap_or(0);
        let mut whole = Map::new();
        let slash = if path.is_empty() { "/" } else { "" };
        whole.insert(
            "@odata.id".to_owned(),
            json!(format!("{}{slash}", address(path))),
        );
        let collection = properties.remove("@collection");
        let kind = properties.remove("@type");
        match (&collection, &kind) {
            (Some(Value::String(of)), None) => {
                whole.insert(
                    "@odata.type".to_owned(),
                    json!(format!("#{of}Collection.{of}Collection")),
                );
                whole.insert("Name".to_owned(), json!(format!("{of} Collection")));
            }
            (None, Some(Value::String(kind))) => {
                let name = kind.split('.').next().unwrap_or_default();
                whole.insert("@odata.type".to_owned(), json!(format!("#{kind}.{name}")));
                let id = path.rsplit('/').next().unwrap_or_default();
                whole.insert("Id".to_owned(), json!(id));
                whole.insert("Name".to_owned(), json!(id));
            }
            _ => bail!("either @type or @collection is needed"),
        }
        whole.append(properties);
        Ok(Self {
            body: Value::Object(whole),
            live: sim.live,
            writable: sim.writable,
            keeps: sim.keeps,
            needs: sim.needs,
            number,
            is_collection: collection.is_some(),
            order,
        })
    }
}

/// The address of a path.
pub(crate) fn address(path: &str) -> String {
    if path.is_empty() {
        ROOT.to_owned()
    } else {
        format!("{ROOT}/{path}")
    }
}

struct Names(Vec<(String, String)>);

impl Names {
    fn of(profile: &Profile, system_id: &str) -> Self {
        let mut names: BTreeMap<&str, &str> = NAMES.iter().copied().collect();
        names.insert("product", &profile.product);
        names.insert("manufacturer", &profile.manufacturer);
        names.insert("model", &profile.model);
        names.insert("vendor", profile.vendor.as_deref().unwrap_or_default());
        names.insert("system", system_id);
        for (name, word) in &profile.names {
            names.insert(name, word);
        }
        Self(
            names
                .iter()
                .map(|(name, word)| (format!("<{name}>"), (*word).to_owned()))
                .collect(),
        )
    }

    fn fill(&self, text: &str) -> String {
        let mut text = text.to_owned();
        // Twice: a name may be made of names.
        for (name, word) in self.0.iter().chain(&self.0) {
            text = text.replace(name, word);
        }
        text
    }

    fn parse(&self, text: &str) -> anyhow::Result<BTreeMap<String, (usize, Value)>> {
        let raw: BTreeMap<String, Value> = yaml::from_str(text)?;
        let mut bodies = BTreeMap::new();
        for (key, body) in raw {
            let key = self.fill(&key);
            let body = body.to_string();
            let Some((before, rest)) = key.split_once('{') else {
                bodies.insert(key, (0, serde_json::from_str(&self.fill(&body))?));
                continue;
            };
            let (range, after) = rest.split_once('}').context("a brace is not closed")?;
            let (first, last) = range.split_once("..").context("a range is a..b")?;
            for number in first.parse::<usize>()?..=last.parse()? {
                let body = self.fill(&body.replace("<n>", &number.to_string()));
                bodies.insert(
                    format!("{before}{number}{after}"),
                    (number, serde_json::from_str(&body)?),
                );
            }
        }
        Ok(bodies)
    }
}

/// Turns `->path` into a link and leaves out what leads nowhere.
fn prune(value: &mut Value, known: &[String]) {
    let alive = |value: &Value| match value.as_str().and_then(|text| text.strip_prefix("->")) {
        Some(path) => known.binary_search(&address(path)).is_ok(),
        None => true,
    };
    match value {
        Value::Object(properties) => {
            properties.retain(|_, value| alive(value));
            properties
                .values_mut()
                .for_each(|value| prune(value, known));
        }
        Value::Array(items) => {
            items.retain(alive);
            for item in items {
                prune(item, known);
            }
        }
        Value::String(text) => {
            if let Some(path) = text.strip_prefix("->") {
                *value = json!({"@odata.id": address(path)});
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(properties) => {
                if let (1, Some(Value::String(id))) =
                    (properties.len(), properties.get("@odata.id"))
                {
                    found.push(id.clone());
                }
                properties.values().for_each(|value| links(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| links(item, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn every_profile_has_a_whole_tree_without_dead_links() {
        for name in Profile::NAMES {
            let profile = Profile::named(name).unwrap();
            let tree = Tree::build(&profile, &profile.system_id)
                .unwrap_or_else(|error| panic!("{name}: {error:#}"));
            for live in [
                Live::Root,
                Live::System,
                Live::Chassis,
                Live::Manager,
                Live::Log,
            ] {
                let found = tree.nodes.values().any(|node| node.live == live);
                assert!(found, "{name}: {live:?}");
            }
            for (path, node) in &tree.nodes {
                assert!(!path.contains(['<', '{']), "{name}: {path}");
                let mut found = Vec::new();
                links(&node.body, &mut found);
                for link in found {
                    let below = link.trim_start_matches(ROOT).trim_matches('/');
                    assert!(tree.get(below).is_some(), "{name}: {path} links to {link}");
                }
            }
        }
    }

    #[test]
    fn baseboard_comes_first_where_a_profile_says_so() {
        let profile = Profile::named("ami").unwrap();
        let tree = Tree::build(&profile, "DGX").unwrap();
        let systems: Vec<&str> = tree
            .below("Systems")
            .iter()
            .map(|(path, _)| *path)
            .collect();
        assert_eq!(systems, ["Systems/HGX_Baseboard_0", "Systems/DGX"]);
        assert!(tree.get("Systems/DGX/SD").is_some());
        assert_eq!(tree.below("Systems/DGX/Memory").len(), 8);
    }
}
