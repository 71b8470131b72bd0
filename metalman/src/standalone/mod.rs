//! The embedded Kubernetes-compatible API of one appliance.
//!
//! It serves our own resources and the few core ones that metalman, its agent and their users
//! need, from the store, over TLS. It is not a cluster: no pods, no controllers, one process, one
//! writer. A request goes `http` → (`hub` for reads | `writer` → `ops` → pure rules → `storage` →
//! `hub` for writes). Invariant: what a client was told is on disk, and versions never go back.
//!
//! What differs from the real server in what is served, with reasons: `DIFFERENCES.md` beside this
//! file, which the conformance suite in `tests/` holds to the truth. What is not served:
//! - Other groups and kinds, the scale subresource; CRDs themselves.
//! - Four fixed roles instead of RBAC objects: see [`access`].
//! - Bodies are JSON or YAML; protobuf is read for what `kubectl create` sends, and written for
//!   `/openapi/v2` only.
//! - CEL: dates are strings; there is no cost limit, but the rules are only ours, and a test gives
//!   them large bodies; Kubernetes' own libraries (`url`, `ip`, `cidr`, `quantity`, `semver`,
//!   `format`, `sets`, `find` and `findAll`, `isSorted`, `sum` and `indexOf` of lists) are missing: a
//!   rule that needs them keeps the API from starting or refuses the object.
//! - Unchanged faults are not forgiven on update (no ratcheting).
//! - Server-side apply: see [`apply`]. It is refused for the `events.k8s.io` view.
//! - Strategic merge: see [`patch`].

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
