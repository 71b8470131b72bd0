//! A scripted host: firmware, installer and installed system as far as the appliance sees them.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result, ensure};
use metalman_api::{
    disk::DiskFacts,
    install::{BootReport, InstallClaim, InstallPlan, InstallReport, InstallStage},
};
use reqwest::{Client, Response};

use crate::{image, wait};

/// One host with its own loopback address.
#[derive(Debug)]
pub struct Host {
    client: Client,
    server: String,
    mac: String,
}

impl Host {
    /// A host that speaks from `address`.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn new(server: &str, address: Ipv4Addr, mac: &str) -> Result<Self> {
        let client = Client::builder()
            .no_proxy()
            .local_address(IpAddr::V4(address))
            .build()?;
        Ok(Self {
            client,
            server: server.to_owned(),
            mac: mac.to_owned(),
        })
    }

    /// Fetches a boot file as GRUB would.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn get(&self, path: &str) -> Result<Response> {
        Ok(self
            .client
            .get(format!("{}/{path}", self.server))
            .send()
            .await?)
    }

    /// The install token in this host's GRUB configuration, once it is told to install.
    ///
    /// # Errors
    /// When that does not happen.
    pub async fn install_token(&self) -> Result<String> {
        wait::until("GRUB to be told to install", async || {
            let text = self.get("grub/grub.cfg").await.ok()?.text().await.ok()?;
            let (_, rest) = text.split_once("unbounded.token=")?;
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
            Some(rest.get(..end.unwrap_or(rest.len()))?.to_owned())
        })
        .await
    }

    /// Whether this host's GRUB is told to start the local disk.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn is_told_to_start_disk(&self) -> Result<bool> {
        let text = self.get("grub/grub.cfg").await?.text().await?;
        Ok(text.contains("chainloader") && !text.contains("unbounded.token="))
    }

    /// Claims a token as the installer with this boot id.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn claim(&self, token: &str, boot_id: &str) -> Result<Response> {
        let claim = InstallClaim {
            boot_id: boot_id.into(),
            mac: self.mac.clone(),
            machine_uuid: None,
            agent_version: "test".into(),
            disks: vec![DiskFacts {
                name: "vda".into(),
                size: 1 << 30,
                removable: false,
                read_only: false,
                serial: None,
                wwn: None,
                model: None,
                by_id: Vec::new(),
                mark: None,
            }],
            secure_boot: false,
        };
        Ok(self
            .client
            .post(format!("{}/install/{token}/claim", self.server))
            .json(&claim)
            .send()
            .await?)
    }

    /// Sends a report of the installer.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn report(&self, token: &str, report: &InstallReport) -> Result<Response> {
        let url = format!("{}/install/{token}/report", self.server);
        Ok(self.client.post(url).json(report).send().await?)
    }

    /// Fetches the image of a plan, checks it against the plan and reports the write as finished.
    ///
    /// # Errors
    /// When anything is not as promised.
    pub async fn write_image(&self, token: &str, boot_id: &str, plan: &InstallPlan) -> Result<()> {
        let bytes = self
            .client
            .get(&plan.image.url)
            .send()
            .await?
            .error_for_status()?;
        let bytes = bytes.bytes().await?;
        let read_back = image::sha256(&bytes);
        ensure!(
            read_back == plan.image.raw_sha256,
            "the image has the promised hash"
        );
        let mut report = progress(boot_id, InstallStage::Finished, None);
        report.written_sha256 = Some(read_back);
        self.report(token, &report).await?.error_for_status()?;
        Ok(())
    }

    /// Reports a boot of the installed system.
    ///
    /// # Errors
    /// When the report is refused.
    pub async fn report_boot(&self, plan: &InstallPlan, boot_id: &str) -> Result<()> {
        let report = BootReport {
            boot_id: boot_id.into(),
            machine_uuid: None,
            kernel: "6.1.0".into(),
            agent_version: "test".into(),
            uptime_seconds: 5,
        };
        let sent = self
            .client
            .post(&plan.boot_report_url)
            .json(&report)
            .send()
            .await?;
        sent.error_for_status().context("boot report")?;
        Ok(())
    }
}

/// A report without failure.
pub fn progress(boot_id: &str, stage: InstallStage, percent: Option<u8>) -> InstallReport {
    InstallReport {
        boot_id: boot_id.into(),
        stage,
        percent,
        bytes: 0,
        total_bytes: 0,
        message: String::new(),
        failure: None,
        written_sha256: None,
    }
}
