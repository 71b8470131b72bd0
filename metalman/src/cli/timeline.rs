//! `metalman timeline MACHINE`: reads the store directly, so it also works while the appliance is
//! stopped. Invariant: only reads.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::stored::StoredArgs;
use crate::{store::TimelineEntry, timeline};

/// Entries shown at most, and kept at most while following.
const SHOWN: u32 = 2000;
/// How often the store is asked for news with `--follow`.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(500);

/// Whose timeline, and where the store is.
#[derive(Debug, Args)]
pub(super) struct TimelineArgs {
    /// Name of the Machine
    machine: String,
    /// Go on and show what happens from now on
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    stored: StoredArgs,
}

/// Prints the timeline of a machine; with `--follow` until the process is ended.
///
/// # Errors
/// There is no store there, or it cannot be read.
pub(super) async fn run(args: TimelineArgs) -> Result<()> {
    let (_, store) = args.stored.open().await?;
    // Before the list, so that nothing falls between the two; repeats are filtered by id.
    let mut seen = store.timeline().last_id().await?;
    let mut entries = store.timeline().list(&args.machine, None, SHOWN).await?;
    entries.sort_by_key(|entry| entry.id);
    let mut shown = show_rest(&entries, 0)?;
    if !args.follow {
        if entries.is_empty() {
            bail!("nothing is known about a machine {}", args.machine);
        }
        return Ok(());
    }
    let mut tick = tokio::time::interval(FOLLOW_INTERVAL);
    loop {
        tick.tick().await;
        let news = store.timeline().list_since(seen, SHOWN).await?;
        seen = news.last().map_or(seen, |entry| entry.id);
        let last = entries.last().map_or(0, |entry| entry.id);
        let ours = |entry: &TimelineEntry| entry.machine == args.machine && entry.id > last;
        entries.extend(news.into_iter().filter(ours));
        shown = show_rest(&entries, shown)?;
    }
}

/// Prints what the text of all entries has beyond its first `shown` bytes; entries only grow at the
/// end, so the text does too. Returns the new length.
fn show_rest(entries: &[TimelineEntry], shown: usize) -> Result<usize> {
    let mut text = Vec::new();
    timeline::print(entries, &mut text).context("write the timeline")?;
    let mut out = io::stdout().lock();
    out.write_all(text.get(shown..).unwrap_or_default())
        .and_then(|()| out.flush())
        .context("write to standard output")?;
    Ok(text.len())
}
