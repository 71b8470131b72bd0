//! Writers and watchers of a Kubernetes API: Machines are created and their statuses patched while
//! one watcher follows and others wait for what never comes.
//!
//! The same for the embedded API and for a real server. Invariant: a rate counts what the server
//! acknowledged, and the follower must see every one of these writes, in the order of versions.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::timeout};

use crate::{
    embedded::Embedded,
    fill::{MACHINES, Plan as Fill},
    hist::Hist,
};

/// Where nothing changes during a run.
const QUIET: &str = "apis/unbounded-cloud.io/v1alpha3/machineoperations";
/// How long the follower may be behind the last acknowledged write.
const BEHIND: Duration = Duration::from_secs(60);

/// What is asked of a server.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Machines to create and to patch.
    pub objects: Fill,
    /// Watchers that wait in vain.
    pub idle: usize,
    /// The objects are there already: they are only patched.
    pub is_filled: bool,
    /// Processes of the server, whose memory is read while all watchers are there.
    pub pids: Vec<u32>,
}

/// Creates, patches and watches.
pub async fn run(api: &Embedded, plan: &Plan) -> Result<Value> {
    let list = api.get(&format!("{MACHINES}?limit=1")).await?;
    let version = version_of(&list).context("a list without a resourceVersion")?;
    let mut idle = Vec::new();
    for _ in 0..plan.idle {
        idle.push(api.watch(QUIET, None).await?);
    }
    let rounds = if plan.is_filled { 1 } else { 2 };
    let expected = rounds * plan.objects.machines;
    let watch = api.watch(MACHINES, Some(version)).await?;
    let mut follower = JoinSet::new();
    follower.spawn(follow(watch, version, expected));
    let mut created = Value::Null;
    if !plan.is_filled {
        let create = |index| {
            let machine = plan.objects.machine(index);
            async move { api.create(MACHINES, &machine).await }
        };
        created = phase(plan, create).await?;
    }
    let patch = |index| async move {
        let path = format!("{MACHINES}/{}/status", Fill::name(index));
        let message = format!("patched after {version}");
        let status = json!({ "status": { "phase": "Ready", "message": message } });
        api.merge_patch(&path, &status).await
    };
    let patched = phase(plan, patch).await?;
    let acknowledged = Instant::now();
    let seen = timeout(BEHIND, follower.join_next())
        .await
        .context("the watcher did not see all writes within a minute")?
        .context("nobody watches")??;
    let behind = acknowledged.elapsed().as_micros();
    let report = json!({
        "idle": idle.len(), "create": created, "patch": patched,
        "watcher": { "seen": seen?, "behind_us": behind }, "rss_mb": rss_mb(&plan.pids)?,
    });
    drop(idle);
    Ok(report)
}

/// One write for each object, several at a time.
async fn phase<W, F>(plan: &Plan, write: W) -> Result<Value>
where
    W: Fn(u64) -> F,
    F: Future<Output = Result<()>>,
{
    let begun = Instant::now();
    let times: Vec<Duration> = stream::iter(0..plan.objects.machines)
        .map(|index| {
            let (write, begun) = (write(index), Instant::now());
            async move {
                write.await.with_context(|| format!("machine {index}"))?;
                anyhow::Ok(begun.elapsed())
            }
        })
        .buffer_unordered(plan.objects.parallel)
        .try_collect()
        .await?;
    let seconds = begun.elapsed().as_secs_f64();
    let mut hist = Hist::default();
    for time in &times {
        hist.add(*time);
    }
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let per_s = times.len() as f64 / seconds;
    Ok(json!({ "per_s": per_s, "us": hist.json() }))
}

/// Reads a watch until so many events came; versions must rise.
async fn follow(mut watch: reqwest::Response, since: u64, expected: u64) -> Result<u64> {
    let (mut seen, mut last, mut rest) = (0, since, Vec::new());
    while seen < expected {
        let chunk = watch.chunk().await?.context("the watch ended")?;
        rest.extend_from_slice(&chunk);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let event: Value = serde_json::from_slice(&line)?;
            match text_at(&event, "/type") {
                Some("ADDED" | "MODIFIED") => {
                    let version = event.get("object").and_then(version_of);
                    let version = version.context("no version")?;
                    ensure!(version > last, "version {version} came after {last}");
                    (last, seen) = (version, seen + 1);
                }
                Some("BOOKMARK") => {}
                _ => bail!("unexpected event {event}"),
            }
        }
    }
    Ok(seen)
}

/// Creates and patches Machines until the server is gone, and notes what it acknowledged last of
/// each.
pub async fn write_until_gone(api: &Embedded, objects: &Fill, notes: &Path) -> Result<Value> {
    let writer = |lane: u64| async move {
        let mut acknowledged = HashMap::new();
        for index in (lane..objects.machines).step_by(objects.parallel.max(1)) {
            let name = Fill::name(index);
            let Ok(made) = api.post(MACHINES, &objects.machine(index)).await else {
                break;
            };
            acknowledged.insert(name.clone(), version_of(&made).unwrap_or_default());
            let path = format!("{MACHINES}/{name}/status");
            let status = json!({ "status": { "phase": "Ready" } });
            let Ok(patched) = api.patch(&path, &status).await else {
                break;
            };
            acknowledged.insert(name, version_of(&patched).unwrap_or_default());
        }
        acknowledged
    };
    let lanes = (0..u64::try_from(objects.parallel)?).map(writer);
    let all = futures::future::join_all(lanes).await;
    let all: HashMap<String, u64> = all.into_iter().flatten().collect();
    fs::write(notes, serde_json::to_vec(&all)?)?;
    Ok(json!({ "acknowledged": all.len() }))
}

/// Compares what is there with what was acknowledged: `lost` counts Machines that are missing or
/// older, `back` by how much the version of the whole went back.
pub async fn check_acknowledged(api: &Embedded, notes: &Path) -> Result<Value> {
    let noted: HashMap<String, u64> = serde_json::from_slice(&fs::read(notes)?)?;
    let list = api.get(MACHINES).await?;
    let items = list.get("items").and_then(Value::as_array);
    let items = items.context("a list without items")?;
    let kept: HashMap<&str, u64> = items
        .iter()
        .filter_map(|item| Some((text_at(item, "/metadata/name")?, version_of(item)?)))
        .collect();
    let is_lost = |(name, version): &(&String, &u64)| kept.get(name.as_str()) < Some(*version);
    let lost = noted.iter().filter(is_lost).count();
    let newest = noted.values().copied().max().unwrap_or_default();
    let version = version_of(&list).context("a list without a resourceVersion")?;
    Ok(json!({ "acknowledged": noted.len(), "lost": lost, "back": newest.saturating_sub(version) }))
}

fn version_of(object: &Value) -> Option<u64> {
    text_at(object, "/metadata/resourceVersion")?.parse().ok()
}

fn text_at<'v>(object: &'v Value, pointer: &str) -> Option<&'v str> {
    object.pointer(pointer)?.as_str()
}

/// Resident memory of some processes together.
fn rss_mb(pids: &[u32]) -> Result<f64> {
    let mut kib = 0.0;
    for pid in pids {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.trim().strip_suffix("kB"));
        kib += number.context("no VmRSS")?.trim().parse::<f64>()?;
    }
    Ok(kib / 1024.0)
}
