//! The embedded Kubernetes-compatible API of one appliance.
//!
//! It serves our own resources and the few core ones that metalman, its agent and their users
//! need, from the store, over TLS. It is not a cluster: no pods, no controllers, one process, one
//! writer. A request goes `http` → (`hub` for reads | `writer` → `ops` → pure rules → `storage` →
//! `hub` for writes). Invariant: what a client was told is on disk, and versions never go back.
//!
//! Known differences from the real server:
//! - Other groups and kinds answer 404; CRDs themselves are not served, no `/openapi/v2` (kubectl
//!   before 1.25 needs `--validate=false`), no scale subresource.
//! - Four fixed roles instead of RBAC objects: see [`access`].
//! - Bodies are JSON or YAML; protobuf is read for what `kubectl create` sends, never written.
//! - CEL: dates are strings, there is no cost limit, Kubernetes' own libraries (`url`, `quantity`,
//!   `ip`, `format`) are missing; a rule that needs them keeps the API from starting or refuses the
//!   object.
//! - Unchanged faults are not forgiven on update (no ratcheting); duplicate keys are not reported.
//! - Server-side apply: see [`apply`]. It is refused for the `events.k8s.io` view.
//! - Strategic merge: see [`patch`]. A failed JSON patch says which operation failed.
//! - Pages after the first show the newest objects under the first page's version.

pub mod access;
pub mod api;
pub mod apply;
pub mod audit;
pub mod collector;
pub mod core;
pub mod event_view;
pub mod fields;
pub mod http;
pub mod hub;
pub mod identity;
pub mod jsonpath;
pub mod kubeconfig;
pub mod meta;
pub mod ops;
pub mod patch;
pub mod resource;
pub mod schema;
pub mod select;
pub mod status;
pub mod storage;
pub mod strategy;
pub mod table;
pub mod writer;

pub use api::{Api, ApiConfig, ApiFailure};
