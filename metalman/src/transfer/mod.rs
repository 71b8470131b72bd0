//! Moves the objects of a site from one Kubernetes API to another: `metalman api export | import`.
//!
//! Export reads any API and writes YAML for `kubectl apply`; import applies it, and can bring the
//! status along. Invariant: what is moved starts nothing on the other side: operations come
//! suspended, and counters that ask for operations stay behind.

mod clean;
mod export;
mod import;
mod kinds;
mod yaml;

pub use clean::{Options, portable};
pub use export::export;
pub use import::{Outcome, import};
pub use kinds::{KINDS, Kind};
pub use yaml::document;
