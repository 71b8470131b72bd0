//! The QEMU back-end, driven through Redfish: machines that really start, reset and end.
//!
//! Needs qemu-system-x86_64 and OVMF. Without them the tests are skipped aloud, or fail when
//! METALMAN_TEST_STRICT=1. The processor is emulated, so deadlines are generous.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bmcsim::{
    BackendConfig, Bmc, BmcConfig, BootChoice, Config, DiskConfig, Power, PowerEvent, PowerKind,
    QemuConfig,
};
use redfish::{
    BootOverride, BootSourceOverrideTarget as Target, Client, ClientConfig, ResetType, Timeouts,
    TlsTrust,
};
use secrecy::SecretString;
use support::Program;
use tokio::time::{Instant, sleep};

const DEADLINE: Duration = Duration::from_mins(3);

#[expect(clippy::print_stderr, reason = "a skip has to be seen")]
fn is_skipped() -> bool {
    let firmware = QemuConfig::default();
    let qemu = Command::new("qemu-system-x86_64")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if qemu.is_ok_and(|status| status.success())
        && firmware.firmware_code.exists()
        && firmware.firmware_vars.exists()
    {
        return false;
    }
    let missing = "qemu-system-x86_64 or /usr/share/OVMF/OVMF_*_4M.fd is missing";
    let is_strict = std::env::var_os("METALMAN_TEST_STRICT").is_some_and(|value| value == "1");
    assert!(!is_strict, "{missing}");
    eprintln!("SKIPPED: {missing}");
    true
}

fn client(address: &str) -> Client {
    Client::new(ClientConfig {
        base: format!("https://{address}").parse().unwrap(),
        username: "admin".into(),
        password: SecretString::from("secret"),
        system_id: None,
        trust: TlsTrust::FirstUse,
        timeouts: Timeouts {
            poll: Duration::from_millis(100),
            ..Timeouts::default()
        },
    })
    .unwrap()
}

async fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !reached() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(50)).await;
    }
}

struct Machine {
    bmc: Arc<Bmc>,
    client: Client,
    dir: PathBuf,
}

impl Machine {
    fn insert(&self, program: Program) {
        fs::write(self.dir.join("disk.raw"), support::disk(program)).unwrap();
        fs::write(self.dir.join("serial.log"), b"").unwrap();
        self.bmc.clear_log();
    }

    /// Waits until the program on the disk has said how often it started.
    async fn ready(&self, times: usize) {
        until("program on the disk", || {
            let said = fs::read(self.dir.join("serial.log")).unwrap_or_default();
            said.windows(6).filter(|word| word == b"READY\n").count() >= times
        })
        .await;
    }

    async fn power(&self, power: Power) {
        until(&format!("power {power:?}"), || self.bmc.power() == power).await;
    }

    fn history(&self) -> Vec<PowerEvent> {
        self.bmc.log().power.into_iter().collect()
    }
}

fn told(history: &[PowerEvent]) -> Vec<(PowerKind, &str, Option<BootChoice>)> {
    history
        .iter()
        .map(|event| (event.kind, event.cause.as_str(), event.boot))
        .collect()
}

#[tokio::test]
async fn machine_really_starts_resets_and_ends() {
    if is_skipped() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("m");
    fs::create_dir_all(&dir).unwrap();
    let qemu = QemuConfig {
        memory_mib: 256,
        disks: vec![DiskConfig {
            path: dir.join("disk.raw"),
            serial: "DISK0".into(),
            size_mib: Some(8),
        }],
        serial_log: dir.join("serial.log"),
        ..QemuConfig::default()
    };
    let bmc = BmcConfig {
        state_dir: Some(dir.clone()),
        backend: BackendConfig::Qemu(Box::new(qemu)),
        ..BmcConfig::memory("m", "secret")
    };
    let running = bmcsim::start(Config {
        admin: None,
        bmcs: vec![bmc],
    })
    .await
    .unwrap();
    let (address, bmc) = running.bmcs()[0].clone();
    let machine = Machine {
        bmc,
        client: client(&address.to_string()),
        dir,
    };

    power_button_and_cycles(&machine).await;
    guest_resets(&machine).await;

    machine.client.close().await.unwrap();
    running.stop().await;
    assert!(!machine.dir.join("qemu.pid").exists());
}

async fn power_button_and_cycles(machine: &Machine) {
    let client = &machine.client;
    machine.insert(Program::ObeyPowerButton);
    client
        .set_boot_override(&BootOverride::once(Target::Hdd))
        .await
        .unwrap();
    client.reset(ResetType::On).await.unwrap();
    machine.ready(1).await;
    client.reset(ResetType::ForceRestart).await.unwrap();
    machine.ready(2).await;
    client.reset(ResetType::PowerCycle).await.unwrap();
    machine.ready(3).await;
    client.reset(ResetType::GracefulShutdown).await.unwrap();
    machine.power(Power::Off).await;
    assert_eq!(
        told(&machine.history()),
        [
            (PowerKind::On, "On", Some(BootChoice::Hdd)),
            (
                PowerKind::Restart,
                "ForceRestart",
                Some(BootChoice::Default)
            ),
            (PowerKind::Off, "PowerCycle", None),
            (PowerKind::On, "PowerCycle", Some(BootChoice::Default)),
            (PowerKind::Off, "guest shutdown", None),
        ]
    );
    assert!(
        !machine.dir.join("qemu.pid").exists(),
        "off means no process"
    );
}

async fn guest_resets(machine: &Machine) {
    let client = &machine.client;
    machine.insert(Program::Reset);
    client.reset(ResetType::On).await.unwrap();
    until("a guest reset", || machine.history().len() >= 2).await;
    client
        .set_boot_override(&BootOverride::once(Target::Hdd))
        .await
        .unwrap();
    let first = |history: &[PowerEvent]| {
        history
            .iter()
            .position(|event| event.boot == Some(BootChoice::Hdd))
    };
    until("boots by and after the override", || {
        let history = machine.history();
        first(&history).is_some_and(|at| history.len() > at + 1)
    })
    .await;
    client.reset(ResetType::ForceOff).await.unwrap();
    machine.power(Power::Off).await;
    let history = machine.history();
    let told = told(&history);
    assert_eq!(told[0], (PowerKind::On, "On", Some(BootChoice::Default)));
    assert_eq!(told.last(), Some(&(PowerKind::Off, "ForceOff", None)));
    let restarts = &told[1..told.len() - 1];
    let once = (PowerKind::Restart, "guest reset", Some(BootChoice::Hdd));
    let plain = (PowerKind::Restart, "guest reset", Some(BootChoice::Default));
    assert_eq!(
        restarts.iter().filter(|told| **told == once).count(),
        1,
        "{restarts:?}"
    );
    assert!(
        restarts.iter().all(|told| *told == once || *told == plain),
        "{restarts:?}"
    );
}

/// The program as a process of its own, ended with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn start(config: &Path) -> (Process, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_bmcsim"))
        .arg("--config")
        .arg(config)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let address = line.trim().rsplit('/').next().unwrap().to_owned();
    (Process(child), address)
}

/// A process that runs; a dead one nobody has reaped has no command line.
fn is_running(pid: &str) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).contains("qmp.sock")
}

/// The pid in the file once that process runs.
async fn machine_of(pid_file: &Path) -> String {
    let pid = || Some(fs::read_to_string(pid_file).ok()?.trim().to_owned());
    until("a running machine", || {
        pid().is_some_and(|pid| is_running(&pid))
    })
    .await;
    pid().unwrap()
}

#[tokio::test]
async fn machine_left_by_a_killed_simulator_is_ended_by_the_next() {
    if is_skipped() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("bmcsim.toml");
    let text = format!(
        "state_dir = {:?}\n[[bmc]]\nname = 'm'\nlisten = '127.0.0.1:0'\npassword = 'secret'\n\
         [bmc.qemu]\nmemory_mib = 256\n",
        folder.path()
    );
    fs::write(&config, text).unwrap();
    let pid_file = folder.path().join("m/qemu.pid");

    let (first, address) = start(&config);
    client(&address).reset(ResetType::On).await.unwrap();
    let left = machine_of(&pid_file).await;
    drop(first);
    assert!(is_running(&left), "the machine outlives a killed simulator");

    let (mut second, address) = start(&config);
    assert!(!is_running(&left));
    let system = client(&address).system().await.unwrap();
    assert_eq!(system.power_state, redfish::PowerState::Off);
    client(&address).reset(ResetType::On).await.unwrap();
    let running = machine_of(&pid_file).await;
    Command::new("kill")
        .arg(second.0.id().to_string())
        .status()
        .unwrap();
    assert!(second.0.wait().expect("exit").success());
    assert!(
        !is_running(&running),
        "an orderly end turns the machine off"
    );
}
