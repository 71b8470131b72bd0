//! The catalogue: which resources are served and what is known about each. Pure.
//!
//! Ours come from CRD objects, the few core ones from `core`. It holds no objects. Invariant: two
//! resources that share objects (the two Event groups) share a slot.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use super::core;
use super::fields::Fields as _;
use super::jsonpath::JsonPath;
use super::schema::{BadSchema, Schema};
use super::table::Column;

/// What a resource is, beyond its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Defined by a CRD: structural schema decides.
    Custom,
    /// Built in, stored as it is served.
    Core,
    /// `events.k8s.io` view of core Events.
    EventView,
}

/// One served resource of one group and version.
#[derive(Debug)]
pub struct Resource {
    /// API group, empty for core.
    pub group: String,
    /// Version, such as `v1`.
    pub version: String,
    /// Kind, such as `Machine`.
    pub kind: String,
    /// Plural, as in paths.
    pub plural: String,
    /// Singular.
    pub singular: String,
    /// Short names for kubectl.
    pub short_names: Vec<String>,
    /// Categories for kubectl.
    pub categories: Vec<String>,
    /// Lives in a namespace.
    pub namespaced: bool,
    /// Has a status subresource.
    pub status: bool,
    /// Family.
    pub family: Family,
    /// Which store table of the cache its objects are in.
    pub slot: usize,
    /// Schema of the whole object.
    pub schema: Schema,
    /// The same as OpenAPI, for clients.
    pub openapi: Value,
    /// Table columns.
    pub columns: Vec<Column>,
    /// Field paths (dotted) that field selectors may use besides name and namespace.
    pub selectable: Vec<String>,
}

/// A CRD that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum BadResource {
    /// The schema has an error.
    #[error("resource {resource}")]
    Schema {
        /// Plural and group.
        resource: String,
        /// Where and what.
        #[source]
        source: BadSchema,
    },
    /// The definition lacks something.
    #[error("resource {resource}: {problem}")]
    Definition {
        /// Name of the CRD.
        resource: String,
        /// What is wrong.
        problem: String,
    },
}

impl Resource {
    /// `v1`, or `group/version`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Path below `/`: `api/v1` or `apis/group/version`.
    pub fn group_path(&self) -> String {
        let root = if self.group.is_empty() { "api" } else { "apis" };
        format!("{root}/{}", self.api_version())
    }

    /// May a field selector use `path`?
    pub fn is_selectable(&self, path: &str) -> bool {
        path == "metadata.name"
            || (path == "metadata.namespace" && self.namespaced)
            || self.selectable.iter().any(|p| p == path)
    }

    fn from_crd(crd: &CustomResourceDefinition, slot: usize) -> Result<Self, BadResource> {
        let name = crd.metadata.name.clone().unwrap_or_default();
        let problem = |problem: &str| BadResource::Definition {
            resource: name.clone(),
            problem: problem.to_owned(),
        };
        let raw = serde_json::to_value(crd).map_err(|e| problem(&e.to_string()))?;
        let spec = raw.at("spec");
        let version = spec
            .at("versions")
            .as_array()
            .and_then(|all| all.iter().find(|v| v.at("storage") == true))
            .ok_or_else(|| problem("has no storage version"))?;
        let mut openapi = version.at("schema").at("openAPIV3Schema").clone();
        openapi
            .at_mut("properties")
            .set("metadata", core::object_meta());
        for (field, words) in core::DESCRIPTIONS {
            let described = openapi.at_mut("properties").at_mut(field);
            if field != "metadata" {
                described.set("type", json!("string"));
            }
            described.set("description", json!(words));
        }
        let texts = |list: &Value| -> Vec<String> {
            let list = list.as_array().into_iter().flatten();
            list.filter_map(|v| v.as_str().map(str::to_owned)).collect()
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let group = text(spec.at("group"));
        let version_name = text(version.at("name"));
        let kind = text(spec.at("names").at("kind"));
        openapi.set(
            "x-kubernetes-group-version-kind",
            json!([{"group": group, "version": version_name, "kind": kind}]),
        );
        let schema = Schema::parse(&openapi).map_err(|source| BadResource::Schema {
            resource: name.clone(),
            source,
        })?;
        let columns = printer_columns(version)
            .map_err(|column| problem(&format!("cannot use printer column {column}")))?;
        let selectable = version
            .at("selectableFields")
            .as_array()
            .into_iter()
            .flatten();
        let singular = text(spec.at("names").at("singular"));
        Ok(Self {
            singular: if singular.is_empty() {
                kind.to_lowercase()
            } else {
                singular
            },
            plural: text(spec.at("names").at("plural")),
            short_names: texts(spec.at("names").at("shortNames")),
            categories: texts(spec.at("names").at("categories")),
            namespaced: spec.at("scope") == "Namespaced",
            status: version.at("subresources").at("status").is_object(),
            family: Family::Custom,
            slot,
            schema,
            columns,
            selectable: selectable
                .map(|f| text(f.at("jsonPath")).trim_start_matches('.').to_owned())
                .collect(),
            version: version_name,
            group,
            kind,
            openapi,
        })
    }
}

/// Name, what the CRD asks for, and the age when it asks for nothing; or the name of a column that
/// cannot be used.
fn printer_columns(version: &Value) -> Result<Vec<Column>, String> {
    let mut columns = vec![Column::name()];
    let asked = version.at("additionalPrinterColumns").as_array();
    for column in asked.into_iter().flatten() {
        columns.push(printer_column(column).ok_or_else(|| column.at("name").to_string())?);
    }
    if columns.len() == 1 {
        columns.push(Column::age());
    }
    Ok(columns)
}

fn printer_column(raw: &Value) -> Option<Column> {
    let path = JsonPath::parse(raw.at("jsonPath").as_str()?)?;
    let text = |key: &str| raw.at(key).as_str().unwrap_or_default().to_owned();
    let column = Column::path(raw.at("name").as_str()?, raw.at("type").as_str()?, path);
    Some(Column {
        format: text("format"),
        description: Some(text("description"))
            .filter(|words| !words.is_empty())
            .unwrap_or_else(|| {
                let path = text("jsonPath");
                format!("Custom resource definition column (in JSONPath format): {path}")
            }),
        priority: raw.at("priority").as_i64().unwrap_or_default(),
        ..column
    })
}

/// All resources.
#[derive(Debug)]
pub struct Catalog {
    resources: Vec<Arc<Resource>>,
    slots: usize,
}

impl Catalog {
    /// Core resources and those of `crds`.
    ///
    /// # Errors
    /// A schema, rule or column that cannot be used; the server must not start with it.
    pub fn new(crds: &[CustomResourceDefinition]) -> Result<Self, BadResource> {
        let mut resources = core::resources()?;
        let mut slots = resources
            .iter()
            .map(|r| r.slot)
            .max()
            .map_or(0, |most| most + 1);
        for crd in crds {
            resources.push(Resource::from_crd(crd, slots)?);
            slots += 1;
        }
        Ok(Self {
            resources: resources.into_iter().map(Arc::new).collect(),
            slots,
        })
    }

    /// The resource behind `/apis/{group}/{version}/…/{plural}`.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.resources
            .iter()
            .find(|r| r.group == group && r.version == version && r.plural == plural)
    }

    /// The resource that stores objects of this group and plural.
    pub fn stored(&self, group: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.resources
            .iter()
            .find(|r| r.group == group && r.plural == plural && r.family != Family::EventView)
    }

    /// The stored resource of a slot.
    pub fn of_slot(&self, slot: usize) -> Option<&Arc<Resource>> {
        self.resources
            .iter()
            .find(|r| r.slot == slot && r.family != Family::EventView)
    }

    /// Every resource.
    pub fn all(&self) -> &[Arc<Resource>] {
        &self.resources
    }

    /// Number of slots.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Resources by (group, version), in a stable order.
    pub fn by_group(&self) -> BTreeMap<(&str, &str), Vec<&Resource>> {
        let mut groups: BTreeMap<(&str, &str), Vec<&Resource>> = BTreeMap::new();
        for resource in &self.resources {
            groups
                .entry((&resource.group, &resource.version))
                .or_default()
                .push(resource);
        }
        groups
    }
}
