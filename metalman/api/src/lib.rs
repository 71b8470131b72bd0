//! Custom resource types of `unbounded-cloud.io/v1alpha3` and the pure rules on them.

pub mod configuration;
pub mod crd;
pub mod disk;
pub mod install;
pub mod machine;
pub mod operation;
pub mod scope;
