//! The HTTP face: paths, queries, representations, and the handlers that join them to reads and
//! writes. It decides nothing about objects.

mod access;
mod audit;
mod discovery;
mod meter;
mod metrics;
mod negotiate;
mod openapi;
mod openapi_v2;
mod protobuf;
mod read;
mod request;
mod router;
mod tls;
mod watch;
mod write;

pub use meter::{Meter, Quota};
pub use metrics::ApiMetrics;
pub use router::{Server, router};
pub use tls::{Limits, STALL, serve};
