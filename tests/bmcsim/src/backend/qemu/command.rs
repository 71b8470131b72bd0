//! The command line of one launch.
//!
//! Pure. Invariant: without an override there is no `bootindex` at all, so that the firmware's own
//! NVRAM order rules, as on a real machine.

use std::path::{Path, PathBuf};

use crate::boot::BootChoice;
use crate::config::QemuConfig;

/// Files of one machine in its state folder.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub(super) dir: PathBuf,
    pub(super) qmp: PathBuf,
    pub(super) vars: PathBuf,
    pub(super) pid: PathBuf,
    pub(super) stderr: PathBuf,
    pub(super) tpm_dir: PathBuf,
    pub(super) tpm_socket: PathBuf,
}

impl Files {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            qmp: dir.join("qmp.sock"),
            vars: dir.join("OVMF_VARS.fd"),
            pid: dir.join("qemu.pid"),
            stderr: dir.join("qemu.stderr"),
            tpm_dir: dir.join("tpm"),
            tpm_socket: dir.join("tpm").join("sock"),
        }
    }
}

/// Arguments for `qemu-system-x86_64`, which starts with the processor stopped.
pub(super) fn arguments(
    name: &str,
    uuid: uuid::Uuid,
    config: &QemuConfig,
    files: &Files,
    boot: BootChoice,
) -> Vec<String> {
    let threads = if config.cpus > 1 { ",thread=multi" } else { "" };
    let mut args = Args::default();
    args.pair("-name", name);
    args.pair("-accel", format!("tcg{threads}"));
    args.pair("-cpu", "max");
    args.pair("-machine", "q35");
    args.pair("-m", config.memory_mib.to_string());
    args.pair("-smp", config.cpus.to_string());
    args.pair("-uuid", uuid.to_string());
    for flag in ["-nodefaults", "-no-user-config", "-no-reboot", "-S"] {
        args.0.push(flag.to_owned());
    }
    args.pair("-display", "none");
    args.pair("-vga", "none");
    args.pair("-device", "virtio-rng-pci");
    args.pair(
        "-chardev",
        format!(
            "file,id=serial0,append=on,path={}",
            comma(&config.serial_log)
        ),
    );
    args.pair("-serial", "chardev:serial0");
    args.pair(
        "-qmp",
        format!("unix:{},server=on,wait=off", comma(&files.qmp)),
    );
    for (unit, readonly, file) in [(0, "on", &config.firmware_code), (1, "off", &files.vars)] {
        let file = comma(file);
        args.pair(
            "-drive",
            format!("if=pflash,unit={unit},format=raw,readonly={readonly},file={file}"),
        );
    }
    args.network(config, boot);
    args.disks(config, boot);
    if config.tpm {
        args.pair(
            "-chardev",
            format!("socket,id=tpmchar0,path={}", comma(&files.tpm_socket)),
        );
        args.pair("-tpmdev", "emulator,id=tpm0,chardev=tpmchar0");
        args.pair("-device", "tpm-crb,tpmdev=tpm0");
    }
    if boot == BootChoice::UefiHttp {
        for family in ["IPv4PXESupport", "IPv6PXESupport"] {
            args.pair(
                "-fw_cfg",
                format!("name=opt/org.tianocore/{family},string=n"),
            );
        }
    }
    args.0
}

#[derive(Default)]
struct Args(Vec<String>);

impl Args {
    fn pair(&mut self, option: &str, value: impl Into<String>) {
        self.0.push(option.to_owned());
        self.0.push(value.into());
    }

    fn network(&mut self, config: &QemuConfig, boot: BootChoice) {
        let Some(mac) = &config.mac else { return };
        let index = match boot {
            BootChoice::Default => "",
            BootChoice::Pxe | BootChoice::UefiHttp => ",bootindex=1",
            BootChoice::Hdd => ",bootindex=100",
        };
        self.pair(
            "-netdev",
            match &config.tap {
                Some(tap) => format!("tap,id=net0,ifname={tap},script=no,downscript=no"),
                None => "user,id=net0,restrict=on".to_owned(),
            },
        );
        // Without an option ROM it is the firmware's own network boot that runs.
        self.pair(
            "-device",
            format!("virtio-net-pci,netdev=net0,mac={mac},romfile={index}"),
        );
    }

    fn disks(&mut self, config: &QemuConfig, boot: BootChoice) {
        for (number, disk) in config.disks.iter().enumerate() {
            let format = match disk.path.extension() {
                Some(extension) if extension == "qcow2" => "qcow2",
                Some(_) | None => "raw",
            };
            let index = match boot {
                BootChoice::Default => String::new(),
                BootChoice::Hdd => format!(",bootindex={}", number + 1),
                BootChoice::Pxe | BootChoice::UefiHttp => format!(",bootindex={}", number + 2),
            };
            let file = comma(&disk.path);
            self.pair(
                "-drive",
                format!(
                    "if=none,id=disk{number},format={format},cache=unsafe,discard=unmap,file={file}"
                ),
            );
            let serial = &disk.serial;
            self.pair(
                "-device",
                format!("virtio-blk-pci,drive=disk{number},serial={serial}{index}"),
            );
        }
    }
}

/// A path inside an option list, where a comma is written twice.
fn comma(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DiskConfig;

    fn line(boot: BootChoice) -> String {
        let config = QemuConfig {
            tap: Some("tap1".into()),
            mac: Some("52:54:00:77:00:11".into()),
            disks: vec![DiskConfig {
                path: "/s/a,b.raw".into(),
                serial: "D1".into(),
                size_mib: None,
            }],
            serial_log: "/s/serial.log".into(),
            ..QemuConfig::default()
        };
        let files = Files::new(Path::new("/s"));
        arguments("n", uuid::Uuid::nil(), &config, &files, boot).join(" ")
    }

    #[test]
    fn without_override_the_firmware_decides() {
        let line = line(BootChoice::Default);
        assert!(!line.contains("bootindex") && !line.contains("fw_cfg"));
        assert!(line.contains("file=/s/a,,b.raw"));
        assert!(line.contains("-no-reboot -S"));
    }

    #[test]
    fn override_decides_what_comes_first() {
        let pxe = line(BootChoice::Pxe);
        assert!(pxe.contains("romfile=,bootindex=1") && pxe.contains("serial=D1,bootindex=2"));
        let hdd = line(BootChoice::Hdd);
        assert!(hdd.contains("romfile=,bootindex=100") && hdd.contains("serial=D1,bootindex=1"));
        let http = line(BootChoice::UefiHttp);
        assert!(http.contains("romfile=,bootindex=1") && http.contains("IPv4PXESupport,string=n"));
    }
}
