//! The governor of BMCs against every kind of trouble a BMC makes, in every call that operations
//! make. Each ends in success or in a named trouble, in bounded time; afterwards the BMC is driven
//! as before, it never had more than one session of ours, and none is left.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use bmcsim::{Bmc, BmcConfig, Config, Cut, Door, Fault, Habits, Power as Switch, Running};
use metalman::{
    bmc::{BmcAccess, Bmcs, Call, SecretVersion, Seen},
    clock,
    domain::facts::{BootOverride, Power, Trouble},
    store::Store,
};
use redfish::Timeouts;
use serde_json::json;

/// Longest time a call may take with the bounds below.
const DEADLINE: Duration = Duration::from_secs(12);

fn timeouts() -> Timeouts {
    let short = Duration::from_millis(600);
    Timeouts {
        connect: short,
        request: short,
        slow_request: short,
        logout: short,
        read_back: short,
        task: short,
        power: short,
        poll: Duration::from_millis(50),
    }
}

/// The trouble of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    Refused,
    SynDropped,
    HalfOpen,
    OneByteASecond,
    Error500,
    Busy503,
    TooMany429,
    Unauthorized401,
    SessionLimit,
    CutJson,
    WrongJson,
    TenMegabytes,
    Redirect,
    OtherCertificate,
    NeverChanges,
    LiesOnce,
}

const ROWS: [Row; 16] = [
    Row::Refused,
    Row::SynDropped,
    Row::HalfOpen,
    Row::OneByteASecond,
    Row::Error500,
    Row::Busy503,
    Row::TooMany429,
    Row::Unauthorized401,
    Row::SessionLimit,
    Row::CutJson,
    Row::WrongJson,
    Row::TenMegabytes,
    Row::Redirect,
    Row::OtherCertificate,
    Row::NeverChanges,
    Row::LiesOnce,
];

/// The call of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Session,
    Read,
    BootOverride,
    Off,
    On,
}

const COLUMNS: [Column; 5] = [
    Column::Session,
    Column::Read,
    Column::BootOverride,
    Column::Off,
    Column::On,
];

impl Column {
    fn call(self) -> Call {
        match self {
            Self::Session | Self::Read => Call::Read,
            Self::BootOverride => Call::NetworkBoot { http: None },
            Self::Off => Call::ForceOff,
            Self::On => Call::PowerOn,
        }
    }

    /// The request that the trouble meets.
    fn request(self) -> (&'static str, &'static str) {
        match self {
            Self::Session => ("POST", "*/Sessions"),
            Self::Read => ("GET", "/redfish/v1/Systems/1"),
            Self::BootOverride => ("PATCH", "/redfish/v1/Systems/1"),
            Self::Off | Self::On => ("POST", "*ComputerSystem.Reset"),
        }
    }
}

struct Rig {
    running: Running,
    bmc: Arc<Bmc>,
    address: SocketAddr,
    bmcs: Bmcs,
    access: BmcAccess,
    _folder: tempfile::TempDir,
}

impl Rig {
    async fn new() -> Result<Self> {
        let config = Config {
            admin: None,
            bmcs: vec![BmcConfig::memory("bmc-1", "right")],
        };
        let running = bmcsim::start(config).await?;
        let (address, bmc) = running.bmcs().first().context("one BMC")?.clone();
        let folder = tempfile::tempdir()?;
        let url = format!("sqlite:{}", folder.path().join("metalman.db").display());
        let store = Store::open(&url).await?;
        let access = BmcAccess {
            url: format!("https://{address}"),
            username: "admin".into(),
            password: "right".to_owned().into(),
            secret: SecretVersion {
                name: "unbounded-system/bmc".into(),
                uid: "u".into(),
                resource_version: "1".into(),
            },
            system_id: None,
            pinned: None,
            trust: metalman::bmc::Trust::FirstUse,
        };
        Ok(Self {
            running,
            bmc,
            address,
            bmcs: Bmcs::new(store, 16, clock::now).with_timeouts(timeouts()),
            access,
            _folder: folder,
        })
    }

    async fn call(&self, call: &Call) -> Result<Result<Seen, Trouble>> {
        tokio::time::timeout(DEADLINE, self.bmcs.call(&self.access, call))
            .await
            .with_context(|| format!("{call:?} did not end in {DEADLINE:?}"))
    }

    /// Calls until it works: what a driver would do, without waiting for its poll interval.
    async fn call_until(&self, call: &Call, wanted: impl Fn(&Seen) -> bool) -> Result<Seen> {
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        let mut last = None;
        for _ in 0..120 {
            match self.call(call).await? {
                Ok(seen) if wanted(&seen) => return Ok(seen),
                other => last = Some(other),
            }
            tick.tick().await;
        }
        bail!("{call:?} never worked: {last:?}")
    }

    /// Begins the trouble.
    fn trouble(&self, row: Row, column: Column) -> Result<()> {
        match row {
            Row::Refused => self.bmc.set_door(Door::Refused),
            Row::SynDropped => self.bmc.set_door(Door::Dropped),
            Row::HalfOpen => self.bmc.set_door(Door::HalfOpen),
            Row::SessionLimit => {
                self.bmc.clear_sessions();
                self.bmc.add_fault(session_limit());
            }
            Row::OtherCertificate => {
                self.bmc.change_certificate()?;
                // Kept connections have seen the old one.
                self.bmc.set_door(Door::Reset);
                self.bmc.set_door(Door::Open);
            }
            Row::LiesOnce => self.bmc.add_fault(Fault {
                method: Some("GET".into()),
                path: Some("/redfish/v1/Systems/1".into()),
                times: Some(1),
                merge: Some(json!({ "PowerState": "Paused" })),
                ..Fault::default()
            }),
            Row::OneByteASecond
            | Row::Error500
            | Row::Busy503
            | Row::TooMany429
            | Row::Unauthorized401
            | Row::CutJson
            | Row::WrongJson
            | Row::TenMegabytes
            | Row::Redirect
            | Row::NeverChanges => {
                let (method, path) = column.request();
                self.bmc.add_fault(Fault {
                    method: Some(method.into()),
                    path: Some(path.into()),
                    ..answer(row, column)
                });
            }
        }
        Ok(())
    }

    fn peace(&self) {
        self.bmc.clear_faults();
        self.bmc.set_habits(Habits::default());
        self.bmc.set_door(Door::Open);
    }

    fn sessions(&self) -> usize {
        self.bmc.sessions().len()
    }
}

fn status(status: u16) -> Fault {
    Fault {
        status: Some(status),
        ..Fault::default()
    }
}

fn session_limit() -> Fault {
    Fault {
        method: Some("POST".into()),
        path: Some("*/Sessions".into()),
        body: Some(json!({
            "error": { "code": "Base.1.8.SessionLimitExceeded", "message": "full" }
        })),
        ..status(503)
    }
}

/// What is wrong with the answer to the request that a column is about.
fn answer(row: Row, column: Column) -> Fault {
    let once = |fault: Fault| Fault {
        times: Some(1),
        ..fault
    };
    let busy = |code| Fault {
        retry_after: Some("1".into()),
        ..status(code)
    };
    let mut fault = Fault::default();
    match row {
        Row::OneByteASecond => fault.bytes_per_s = Some(1),
        Row::Error500 => fault = status(500),
        Row::Busy503 => fault = once(busy(503)),
        Row::TooMany429 => fault = once(busy(429)),
        Row::Unauthorized401 => {
            fault.forget_sessions = true;
            fault = once(fault);
        }
        Row::CutJson => fault.cut = Some(Cut::Middle),
        Row::WrongJson => fault.raw = Some("{\"PowerState\": 7, \"Boot\": [".into()),
        Row::TenMegabytes => fault.pad_bytes = 10 << 20,
        Row::Redirect => {
            fault = status(308);
            let elsewhere = "https://127.0.0.9:1/".to_owned();
            fault.headers.insert("Location".to_owned(), elsewhere);
        }
        // A read has nothing to change: it is not answered.
        Row::NeverChanges if matches!(column, Column::Session | Column::Read) => {
            fault.silent = true;
            fault = once(fault);
        }
        Row::NeverChanges => fault.ignore = true,
        // These are no answers.
        Row::Refused
        | Row::SynDropped
        | Row::HalfOpen
        | Row::SessionLimit
        | Row::OtherCertificate
        | Row::LiesOnce => {}
    }
    fault
}

/// What is read must be what is, unless the BMC lies.
fn is_true(seen: &Seen, real: Switch) -> bool {
    match seen.power {
        Power::On => real == Switch::On,
        Power::Off => real == Switch::Off,
        Power::Other => true,
    }
}

async fn cell(row: Row, column: Column) -> Result<String> {
    let rig = Rig::new().await?;
    // The state from which the call has something to do, and a session, unless it is to be begun.
    if column == Column::Off {
        rig.call_until(&Call::PowerOn, |seen| seen.power == Power::On)
            .await?;
    } else if column != Column::Session {
        rig.call_until(&Call::Read, |_| true).await?;
    } else if row == Row::OtherCertificate {
        // Known before, so that there is something to differ from.
        rig.call_until(&Call::Read, |_| true).await?;
        rig.bmc.clear_sessions();
    }
    rig.trouble(row, column)?;
    let outcome = rig.call(&column.call()).await?;
    ensure!(rig.sessions() <= 1, "{} sessions", rig.sessions());
    let told = match &outcome {
        Ok(seen) => {
            ensure!(
                row == Row::LiesOnce || is_true(seen, rig.bmc.power()),
                "reads {seen:?} while the power is {:?}",
                rig.bmc.power()
            );
            "success".to_owned()
        }
        Err(trouble) => {
            ensure!(
                !trouble.reason.is_empty() && trouble.message.contains(&rig.address.to_string()),
                "no name: {trouble:?}"
            );
            trouble.reason.clone()
        }
    };
    rig.peace();
    if row == Row::OtherCertificate && outcome.is_err() {
        // Only an operator can say that the new one is right.
        ensure!(told == "CertificateMismatch", "{told}");
    } else {
        let wanted = |seen: &Seen| match column {
            Column::Session | Column::Read => true,
            Column::BootOverride => seen.boot_override == BootOverride::Network,
            Column::Off => seen.power == Power::Off,
            Column::On => seen.power == Power::On,
        };
        rig.call_until(&column.call(), wanted).await?;
    }
    rig.bmcs.close().await;
    // A session whose login lost its answer can only be ended by the BMC's own time-out.
    let lost = column == Column::Session
        && matches!(
            row,
            Row::OneByteASecond
                | Row::CutJson
                | Row::WrongJson
                | Row::TenMegabytes
                | Row::NeverChanges
        );
    ensure!(
        rig.sessions() <= usize::from(lost) || row == Row::OtherCertificate,
        "{} sessions are left",
        rig.sessions()
    );
    rig.running.stop().await;
    Ok(told)
}

/// All cells of one call.
#[expect(
    clippy::print_stderr,
    reason = "the table is what a reader wants to see"
)]
async fn column(column: Column) -> Result<()> {
    // On the heap: sixteen of them are more than a thread's stack.
    let cells = ROWS.map(|row| Box::pin(async move { (row, Box::pin(cell(row, column)).await) }));
    let mut wrong = Vec::new();
    for (row, outcome) in futures::future::join_all(cells).await {
        match outcome {
            Ok(told) => eprintln!("{column:?} {row:?}: {told}"),
            Err(error) => wrong.push(format!("{column:?} {row:?}: {error:#}")),
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[tokio::test]
async fn trouble_while_a_session_begins() -> Result<()> {
    column(Column::Session).await
}

#[tokio::test]
async fn trouble_while_the_system_is_read() -> Result<()> {
    column(Column::Read).await
}

#[tokio::test]
async fn trouble_while_the_boot_override_is_set() -> Result<()> {
    column(Column::BootOverride).await
}

#[tokio::test]
async fn trouble_while_power_is_turned_off() -> Result<()> {
    column(Column::Off).await
}

#[tokio::test]
async fn trouble_while_power_is_turned_on() -> Result<()> {
    column(Column::On).await
}

#[tokio::test]
async fn the_table_has_eighty_cells() {
    assert_eq!(ROWS.len() * COLUMNS.len(), 80);
}
