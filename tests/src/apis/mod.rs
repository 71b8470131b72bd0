//! Two servers of the Kubernetes API with the same resources: the embedded one, and the real one
//! that it is compared with. Invariant: each has its own directory, free ports, and ends with its value.

mod embedded;
mod pki;
mod reference;
mod roles;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

pub use embedded::Embedded;
pub use reference::{Reference, assets};
pub use roles::{AGENT_MACHINE, VIEWER, VIEWER_TOKEN};

/// Where a server listens and how its administrator is let in.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// `https://address:port`.
    pub url: String,
    /// Certificate of its CA.
    pub ca_pem: String,
    /// Bearer token of the administrator.
    pub token: String,
    /// A kubeconfig file with the above.
    pub kubeconfig: PathBuf,
}

impl Endpoint {
    /// An endpoint, with its kubeconfig written into `directory`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn new(directory: &Path, url: String, ca_pem: String, token: String) -> Result<Self> {
        let kubeconfig = directory.join("kubeconfig");
        let ca = directory.join("endpoint-ca.crt");
        std::fs::write(&ca, &ca_pem).context("write the CA of an endpoint")?;
        let text = json!({"apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": ca}}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}]});
        std::fs::write(&kubeconfig, text.to_string()).context("write a kubeconfig")?;
        Ok(Self {
            url,
            ca_pem,
            token,
            kubeconfig,
        })
    }

    /// An HTTP client that trusts this server only.
    ///
    /// # Errors
    /// When its certificate cannot be read.
    pub fn http(&self) -> Result<reqwest::Client> {
        // Whoever comes first installs it for all.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let ca = reqwest::Certificate::from_pem(self.ca_pem.as_bytes())?;
        let builder = reqwest::Client::builder();
        Ok(builder.tls_certs_only([ca]).no_proxy().build()?)
    }
}

/// A definition that uses what ours do not: every list type, patterns, formats, alternatives,
/// defaults in depth, embedded objects, CEL on lists and maps.
pub fn widget_definition() -> Value {
    let text = json!({"type": "string"});
    let spec = json!({
        "type": "object",
        "properties": {
            "size": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 10, "default": 3},
            "ratio": {"type": "number", "multipleOf": 0.5},
            "share": {"type": "number", "exclusiveMinimum": true, "minimum": 0},
            "colour": {"type": "string", "maxLength": 9, "enum": ["red", "green"]},
            "code": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 5},
            "when": {"type": "string", "format": "date-time"},
            "address": {"type": "string", "format": "ipv4"},
            "port": {"x-kubernetes-int-or-string": true},
            "note": {"type": "string", "nullable": true},
            "flag": {"type": "boolean"},
            "plain": {"type": "array", "items": {"type": "integer"}, "maxItems": 3},
            "tags": {"type": "array", "items": text, "x-kubernetes-list-type": "set", "maxItems": 8},
            "parts": {"type": "array", "x-kubernetes-list-type": "map", "maxItems": 8,
                "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "required": ["name"], "properties": {
                    "name": {"type": "string", "maxLength": 20}, "count": {"type": "integer", "default": 1},
                    "labels": {"type": "object", "additionalProperties": text}}}},
            "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": text},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "deep": {"type": "object", "default": {}, "properties": {
                "level": {"type": "integer", "default": 7},
                "mode": {"type": "string", "default": "auto", "x-kubernetes-validations": [
                    {"rule": "oldSelf == 'auto' || self == oldSelf", "message": "mode is chosen once"}]}}},
            "low": {"type": "integer"}, "high": {"type": "integer"},
        },
        "required": ["colour"],
        "x-kubernetes-validations": [
            {"rule": "!has(self.low) || !has(self.high) || self.low <= self.high",
             "message": "low must not be above high"},
            {"rule": "!has(self.parts) || self.parts.all(p, p.name != 'forbidden')",
             "messageExpression": "'no part may be called forbidden, colour is ' + self.colour",
             "reason": "FieldValueForbidden", "fieldPath": ".parts"},
            {"rule": "!has(self.code) || !self.code.startsWith('zz')"},
        ],
    });
    let status = json!({"type": "object", "properties": {
        "phase": text, "ready": {"type": "integer"},
        "conditions": {"type": "array", "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
            "items": {"type": "object", "required": ["type"],
                      "properties": {"type": text, "status": text}}}}});
    let column =
        |name: &str, kind: &str, path: &str| json!({"name": name, "type": kind, "jsonPath": path});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.test.metalman.io"},
        "spec": {"group": "test.metalman.io", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget",
                      "listKind": "WidgetList", "shortNames": ["wd"], "categories": ["all"]},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}},
                "selectableFields": [{"jsonPath": ".spec.colour"}, {"jsonPath": ".spec.size"}],
                "additionalPrinterColumns": [
                    column("Size", "integer", ".spec.size"),
                    column("Colour", "string", ".spec.colour"),
                    column("Flag", "boolean", ".spec.flag"),
                    column("Parts", "string", ".spec.parts[*].name"),
                    column("When", "date", ".spec.when"),
                    {"name": "Note", "type": "string", "jsonPath": ".spec.note", "priority": 1,
                     "description": "what somebody wrote"}],
                "schema": {"openAPIV3Schema": {"type": "object", "description": "A thing to test with.",
                    "properties": {"apiVersion": text, "kind": text, "metadata": {"type": "object"},
                                   "spec": spec, "status": status}}}}]}})
}

/// All definitions that both servers serve.
pub fn definitions() -> Vec<Value> {
    let own = metalman_api::crd::all();
    own.iter()
        .map(|definition| json!(definition))
        .chain([widget_definition()])
        .collect()
}
