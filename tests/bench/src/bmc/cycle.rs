//! One power cycle of every machine: one MachineOperation, judged by the BMCs' power history.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Fleet,
    fleet::{Log, PowerEvent},
};
use crate::embedded::Embedded;

const OPERATIONS: &str = "apis/unbounded-cloud.io/v1alpha3/machineoperations";
/// Pause between two looks at the operation: its status has a line for each machine.
const LOOK: Duration = Duration::from_millis(250);

/// What to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Value of the site label.
    pub site: String,
    /// Name of the operation.
    pub name: String,
    /// Longest wait for its end.
    pub limit: Duration,
}

/// Applies a HostReboot for all machines of the site and waits for its end.
pub async fn run(api: &Embedded, fleet: &Fleet, plan: &Plan) -> Result<Value> {
    fleet.clear().await?;
    let object = json!({
        "apiVersion": "unbounded-cloud.io/v1alpha3", "kind": "MachineOperation",
        "metadata": { "name": plan.name },
        "spec": {
            "operationKind": "HostReboot",
            "machineSelector": { "matchLabels": { "unbounded-cloud.io/site": plan.site } },
        },
    });
    let (begun, applied) = (Instant::now(), now());
    api.create(OPERATIONS, &object).await?;
    let path = format!("{OPERATIONS}/{}", plan.name);
    let mut look = tokio::time::interval(LOOK);
    let ended = loop {
        look.tick().await;
        let operation = api.get(&path).await?;
        let phase = operation.pointer("/status/phase").and_then(Value::as_str);
        let phase = phase.unwrap_or_default();
        if matches!(phase, "Complete" | "Failed") {
            break operation;
        }
        ensure!(
            begun.elapsed() < plan.limit,
            "{} is {phase} after {:?}: {}",
            plan.name,
            plan.limit,
            operation.pointer("/status/message").unwrap_or(&Value::Null)
        );
    };
    let seconds = begun.elapsed().as_secs_f64();
    let (log, counters) = (fleet.log().await?, fleet.counters().await?);
    let targets = ended.pointer("/status/targets").and_then(Value::as_array);
    let machines = targets.map_or(0, Vec::len);
    let complete = targets.into_iter().flatten();
    let complete =
        complete.filter(|target| target.get("phase").is_some_and(|phase| phase == "Complete"));
    Ok(json!({
        "machines": machines,
        "complete": complete.count(),
        "seconds": seconds,
        "all_on_s": last_on(&log, applied)?,
        "exact": exact(&log.power),
        "requests": counters.total.requests,
    }))
}

#[expect(
    clippy::disallowed_methods,
    reason = "compared with the BMCs' own times"
)]
fn now() -> Timestamp {
    Timestamp::now()
}

fn last_on(log: &Log, since: Timestamp) -> Result<f64> {
    let last = log.power.iter().rfind(|event| event.kind == "On");
    let last: Timestamp = last.context("nothing was turned on")?.at.parse()?;
    Ok(last.duration_since(since).as_secs_f64())
}

/// How many machines were turned off once and on once, in that order, and nothing else.
fn exact(power: &[PowerEvent]) -> usize {
    let mut histories: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for event in power {
        histories.entry(&event.bmc).or_default().push(&event.kind);
    }
    let exact = histories.values().filter(|kinds| ***kinds == ["Off", "On"]);
    exact.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_off_and_one_on_in_this_order_is_a_cycle() {
        let event = |(bmc, kind): &(&str, &str)| PowerEvent {
            at: "2026-01-01T00:00:00Z".into(),
            bmc: (*bmc).into(),
            kind: (*kind).into(),
        };
        let history = [
            ("right", "Off"),
            ("twice", "Off"),
            ("off", "Off"),
            ("restarted", "Restart"),
            ("right", "On"),
            ("twice", "On"),
            ("twice", "Off"),
            ("twice", "On"),
            ("backwards", "On"),
            ("backwards", "Off"),
        ];
        let events: Vec<_> = history.iter().map(event).collect();
        assert_eq!(exact(&events), 1);
    }
}
