//! Whether a BMC offers what is needed: what was found out about it, and the report on that.
//!
//! Reading is `examine`, judging is `report`, so that every judgement is a table test.

mod examine;
mod report;

pub use examine::{CycleError, Findings, FoundBoot, FoundSystem, examine, power_cycle};
pub use report::{Line, Need, Report, Verdict, report};
