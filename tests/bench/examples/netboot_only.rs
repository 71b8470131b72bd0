//! The boot servers alone, with machines made up in memory: DHCP for relays and TFTP, no store, no
//! API, no web page. `tests/bench/run` uses it where the whole program takes too long to fill.
//!
//! `netboot_only ADDRESS MACHINES DIRECTORY`

use std::{net::Ipv4Addr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use metalman_bench::dhcp;
use netboot::{
    dhcp::{
        decide::Role,
        relay::RelayPolicy,
        server::{DhcpConfig, DhcpMode, DhcpServer},
    },
    directory::{Architecture, BootMachine, BootProtocol, InMemory, Reservation},
    images::{ImageMetadata, UnpackedImage},
    mac::MacAddr,
    metrics::{DhcpMetrics, TftpMetrics},
    source::{FileContent, FileSource, SourceError},
    tftp::server::{TftpConfig, TftpServer},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Address of machine 0.
const FIRST: u32 = u32::from_be_bytes([198, 18, 16, 0]);

struct Directory(PathBuf);

#[async_trait::async_trait]
impl FileSource for Directory {
    async fn open(&self, _peer: Ipv4Addr, path: &str) -> Result<FileContent, SourceError> {
        let not_found = || SourceError::NotFound { path: path.into() };
        let name = path.trim_start_matches('/');
        if name.contains("..") {
            return Err(not_found());
        }
        let path = self.0.join(name);
        let metadata = tokio::fs::metadata(&path).await.map_err(|_| not_found())?;
        let length = metadata.len();
        Ok(FileContent::File { path, length })
    }
}

fn machines(count: u64, root: &std::path::Path, gateway: Ipv4Addr) -> Vec<BootMachine> {
    let image = Arc::new(UnpackedImage {
        digest: "sha256:00".into(),
        root: root.to_owned(),
        metadata: ImageMetadata {
            dhcp_boot_image_name: Some("shimx64.efi".into()),
            http_boot_path: None,
        },
        disk: None,
    });
    let machine = |index: u64| BootMachine {
        name: format!("node-{index:06}"),
        leases: vec![Reservation {
            mac: MacAddr::new(dhcp::mac(index)),
            ipv4: (FIRST + u32::try_from(index).unwrap_or_default()).into(),
            subnet_mask: Ipv4Addr::new(255, 254, 0, 0),
            gateway: Some(gateway),
            dns: vec![gateway],
            mtu: None,
        }],
        architecture: Architecture::Amd64,
        protocol: BootProtocol::Pxe,
        netboot: Some(Arc::clone(&image)),
        install: None,
        context: Arc::new(serde_json::Value::Null),
    };
    (0..count).map(machine).collect()
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().context("ADDRESS MACHINES DIRECTORY");
    let (address, count, root): (Ipv4Addr, u64, PathBuf) =
        (next()?.parse()?, next()?.parse()?, next()?.into());
    #[expect(
        clippy::disallowed_methods,
        reason = "the server counts requests per second; this is its process"
    )]
    let clock = || Timestamp::now();
    let directory = Arc::new(InMemory::new(machines(count, &root, address)));
    let config = DhcpConfig {
        mode: DhcpMode::Relay {
            bind: address,
            server: address,
        },
        port: dhcp::PORT,
        serve_url: format!("http://{address}:8880"),
        lease: Duration::from_hours(24),
        domain: None,
        ntp: vec![],
        role: Role::Authority,
        known_servers: vec![],
        relays: RelayPolicy::Any,
        clock,
    };
    let leases = DhcpServer::bind(config, DhcpMetrics::default())?;
    let config = TftpConfig::new(std::net::SocketAddrV4::new(address, 69), clock);
    let files = TftpServer::bind(config, TftpMetrics::default())?;
    let stop = CancellationToken::new();
    let known = Arc::clone(&directory);
    let mut tasks = JoinSet::new();
    let until = stop.clone();
    tasks.spawn(async move { leases.run(known, until).await });
    tasks.spawn(files.run(directory, Arc::new(Directory(root)), stop));
    tasks.join_all().await;
    Ok(())
}
