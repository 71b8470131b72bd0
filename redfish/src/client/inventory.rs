//! Reading what a machine is made of.
//!
//! Many requests on BMCs without `$expand`: for enrolment and for people, not for polling.

use serde_json::Value;

use super::Client;
use super::ask::Collected;
use crate::error::Error;
use crate::model::{
    Chassis, Drive, Firmware, Interface, Inventory, MemoryModule, Processor, System, is_absent,
    items, links,
};
use crate::operation::Operation;

const OPERATION: Operation = Operation::ReadInventory;
/// Members read of each collection.
const MEMBER_LIMIT: usize = 256;
/// Network adapters whose functions are read where the system lists no interfaces.
const ADAPTER_LIMIT: usize = 32;

impl Client {
    /// Reads the inventory. Parts that fail by themselves are left out and named in
    /// [`Inventory::gaps`].
    ///
    /// # Errors
    /// Whatever concerns the BMC as a whole.
    pub async fn inventory(&self) -> Result<Inventory, Error> {
        let system = self.raw_system().await?;
        let mut gaps = Vec::new();
        let bmc_version = match self.manager().await {
            Ok(manager) => manager.firmware_version,
            Err(error) if super::ask::is_gap(&error) => None,
            Err(error) => return Err(error),
        };
        let links = &system.links;
        let processors = self.parts(links.processors.as_deref(), &mut gaps).await?;
        let memory = self.parts(links.memory.as_deref(), &mut gaps).await?;
        let drives = self.drives(&system, &mut gaps).await?;
        let interfaces = self.all_interfaces(&system, &mut gaps).await?;
        let firmware = self.firmware(&mut gaps).await?;
        Ok(Inventory {
            manufacturer: system.manufacturer,
            model: system.model,
            serial_number: system.serial_number,
            sku: system.sku,
            uuid: system.uuid,
            bios_version: system.bios_version,
            bmc_version,
            memory_gib: system.memory_gib,
            processors: processors.iter().map(Processor::parse).collect(),
            memory: memory.iter().map(MemoryModule::parse).collect(),
            drives,
            interfaces,
            firmware,
            gaps,
        })
    }

    /// The network interfaces of the host: the cheap part of the inventory, for finding MACs.
    pub async fn interfaces(&self) -> Result<Vec<Interface>, Error> {
        let system = self.raw_system().await?;
        self.all_interfaces(&system, &mut Vec::new()).await
    }

    async fn parts(
        &self,
        collection: Option<&str>,
        gaps: &mut Vec<String>,
    ) -> Result<Vec<Value>, Error> {
        let Some(path) = collection else {
            return Ok(Vec::new());
        };
        let Collected { members, gaps: new } = self.collect(OPERATION, path, MEMBER_LIMIT).await?;
        gaps.extend(new);
        Ok(members
            .into_iter()
            .filter(|part| !is_absent(part))
            .collect())
    }

    async fn drives(&self, system: &System, gaps: &mut Vec<String>) -> Result<Vec<Drive>, Error> {
        let mut drives: Vec<Drive> = Vec::new();
        for unit in self.parts(system.links.storage.as_deref(), gaps).await? {
            for path in links(&unit, "Drives") {
                if drives.len() >= MEMBER_LIMIT {
                    return Ok(drives);
                }
                if let Some(drive) = self.get_or_note(OPERATION, &path, gaps).await?
                    && !is_absent(&drive.body)
                {
                    drives.push(Drive::parse(&drive.body));
                }
            }
        }
        if drives.is_empty() {
            let simple = system.links.simple_storage.as_deref();
            for controller in self.parts(simple, gaps).await? {
                let devices = items(&controller, "Devices").filter(|device| !is_absent(device));
                drives.extend(
                    devices
                        .enumerate()
                        .map(|(index, device)| Drive::parse_simple(device, index)),
                );
            }
        }
        Ok(drives)
    }

    async fn all_interfaces(
        &self,
        system: &System,
        gaps: &mut Vec<String>,
    ) -> Result<Vec<Interface>, Error> {
        let listed = self.parts(system.links.interfaces.as_deref(), gaps).await?;
        let mut interfaces: Vec<Interface> = listed.iter().map(Interface::parse).collect();
        if interfaces
            .iter()
            .all(|interface| interface.mac.is_none() && interface.permanent_mac.is_none())
            && let Some(chassis) = self.chassis().await?
        {
            interfaces.extend(self.adapter_functions(&chassis, gaps).await?);
        }
        Ok(interfaces)
    }

    /// Interfaces by way of the chassis' adapters, for systems that list none of their own.
    async fn adapter_functions(
        &self,
        chassis: &Chassis,
        gaps: &mut Vec<String>,
    ) -> Result<Vec<Interface>, Error> {
        let mut found = Vec::new();
        let adapters = self
            .parts(chassis.network_adapters.as_deref(), gaps)
            .await?;
        for adapter in adapters.iter().take(ADAPTER_LIMIT) {
            let functions = crate::model::link(adapter, "NetworkDeviceFunctions");
            let functions = self.parts(functions.as_deref(), gaps).await?;
            found.extend(
                functions
                    .iter()
                    .map(Interface::parse_function)
                    .filter(|interface| {
                        interface.mac.is_some() || interface.permanent_mac.is_some()
                    }),
            );
        }
        Ok(found)
    }

    async fn firmware(&self, gaps: &mut Vec<String>) -> Result<Vec<Firmware>, Error> {
        let root = self.service_root().await?;
        let Some(path) = &root.updates else {
            return Ok(Vec::new());
        };
        let Some(service) = self.get_or_note(OPERATION, path, gaps).await? else {
            return Ok(Vec::new());
        };
        let collection = crate::model::link(&service.body, "FirmwareInventory");
        let listed = self.parts(collection.as_deref(), gaps).await?;
        Ok(listed.iter().map(Firmware::parse).collect())
    }
}
