//! Finding the system, its manager and its chassis.
//!
//! Paths are remembered; a system that answers 404 is looked for again, since BMCs rename it when
//! they are updated.

use std::sync::Arc;

use super::Client;
use crate::discovery::{SystemRefusal, choose_system};
use crate::error::Error;
use crate::model::{Chassis, Manager, System, members};
use crate::operation::Operation;
use crate::wire::Response;

const DEFAULT_SYSTEMS: &str = "/redfish/v1/Systems";
const DEFAULT_MANAGERS: &str = "/redfish/v1/Managers";
const DEFAULT_CHASSIS: &str = "/redfish/v1/Chassis";
/// Members read during discovery.
const MEMBER_LIMIT: usize = 64;

impl Client {
    /// All systems behind this address, as far as they can be read.
    pub async fn systems(&self) -> Result<Vec<System>, Error> {
        let root = self.service_root().await?;
        let collection = root.systems.as_deref().unwrap_or(DEFAULT_SYSTEMS);
        let listed = self.get(Operation::ListSystems, collection).await?;
        let mut systems = Vec::new();
        for path in members(&listed.body).into_iter().take(MEMBER_LIMIT) {
            match self.read_system(&path).await {
                Ok(system) => systems.push(system),
                // A member that cannot be read is not the one we can drive.
                Err(Error::NotFound { .. } | Error::InvalidResponse { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(systems)
    }

    /// The manager of the system.
    pub async fn manager(&self) -> Result<Manager, Error> {
        let operation = Operation::ReadManager;
        let known = self.places().manager.clone();
        if let Some(path) = known {
            return Ok(Manager::parse(&self.get(operation, &path).await?.body));
        }
        let system = self.raw_system().await?;
        let manager = match system.links.managers.first() {
            Some(path) => Manager::parse(&self.get(operation, path).await?.body),
            None => self.search_manager(&system).await?,
        };
        self.places().manager = Some(manager.path.as_str().into());
        Ok(manager)
    }

    async fn search_manager(&self, system: &System) -> Result<Manager, Error> {
        let root = self.service_root().await?;
        let collection = root.managers.as_deref().unwrap_or(DEFAULT_MANAGERS);
        let collected = self
            .collect(Operation::ReadManager, collection, MEMBER_LIMIT)
            .await?;
        let mut managers: Vec<Manager> = collected.members.iter().map(Manager::parse).collect();
        let found = managers
            .iter()
            .position(|manager| manager.servers.contains(&system.odata_id))
            .or_else(|| {
                managers
                    .iter()
                    .position(|manager| manager.kind.as_deref() == Some("BMC"))
            })
            .unwrap_or(0);
        if found < managers.len() {
            return Ok(managers.swap_remove(found));
        }
        Err(Error::NotFound {
            operation: Operation::ReadManager,
            path: collection.to_owned(),
            message: "no manager is listed".to_owned(),
        })
    }

    /// The chassis of the system; `None` if the BMC shows none.
    pub(super) async fn chassis(&self) -> Result<Option<Chassis>, Error> {
        let operation = Operation::ReadChassis;
        let known = self.places().chassis.clone();
        if let Some(path) = known {
            let body = self.get(operation, &path).await?.body;
            return Ok(Some(Chassis::parse(&body)));
        }
        let system = self.raw_system().await?;
        let chassis = match system.links.chassis.first() {
            Some(path) => self
                .try_get(operation, path)
                .await?
                .map(|response| Chassis::parse(&response.body)),
            None => self.search_chassis(&system).await?,
        };
        if let Some(chassis) = &chassis {
            self.places().chassis = Some(chassis.path.as_str().into());
        }
        Ok(chassis)
    }

    async fn search_chassis(&self, system: &System) -> Result<Option<Chassis>, Error> {
        let root = self.service_root().await?;
        let collection = root.chassis.as_deref().unwrap_or(DEFAULT_CHASSIS);
        let collected = self
            .collect(Operation::ReadChassis, collection, MEMBER_LIMIT)
            .await?;
        let mut chassis: Vec<Chassis> = collected.members.iter().map(Chassis::parse).collect();
        let owner = chassis
            .iter()
            .position(|chassis| chassis.systems.contains(&system.odata_id));
        Ok(match (owner, chassis.len()) {
            (Some(index), _) => Some(chassis.swap_remove(index)),
            (None, 1) => chassis.pop(),
            (None, _) => None,
        })
    }

    /// Path of the system, found once.
    pub(super) async fn system_path(&self) -> Result<Arc<str>, Error> {
        let known = self.places().system.clone();
        if let Some(path) = known {
            return Ok(path);
        }
        let systems = self.systems().await?;
        let path: Arc<str> = match choose_system(self.wanted_system.as_deref(), &systems) {
            Ok(system) => system.odata_id.as_str().into(),
            Err(SystemRefusal::NotFound { wanted, found }) => {
                return Err(Error::SystemNotFound { wanted, found });
            }
            Err(SystemRefusal::NoneBootable { found }) => {
                return Err(Error::NoBootableSystem { found });
            }
            Err(SystemRefusal::Ambiguous { candidates }) => {
                return Err(Error::AmbiguousSystem { candidates });
            }
        };
        self.places().system = Some(Arc::clone(&path));
        Ok(path)
    }

    /// The answer of the system; looks for the system again when it is gone.
    pub(super) async fn system_response(&self) -> Result<Response, Error> {
        let path = self.system_path().await?;
        match self.get(Operation::ReadSystem, &path).await {
            Err(Error::NotFound { .. }) => {
                *self.places() = super::Places::default();
                let path = self.system_path().await?;
                self.get(Operation::ReadSystem, &path).await
            }
            outcome => outcome,
        }
    }

    /// The system as it is read, without what ActionInfo adds.
    pub(super) async fn raw_system(&self) -> Result<System, Error> {
        let response = self.system_response().await?;
        parse_system(&response)
    }

    pub(super) async fn read_system(&self, path: &str) -> Result<System, Error> {
        parse_system(&self.get(Operation::ReadSystem, path).await?)
    }
}

fn parse_system(response: &Response) -> Result<System, Error> {
    System::parse(&response.body, response.etag()).ok_or_else(|| Error::InvalidResponse {
        operation: Operation::ReadSystem,
        what: "system has no @odata.id".to_owned(),
    })
}
