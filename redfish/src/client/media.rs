//! Virtual media: putting an image into a drive of the BMC, and taking it out.

use serde_json::{Value, json};

use super::Client;
use crate::error::Error;
use crate::model::{VirtualMedia, action_parameters};
use crate::operation::Operation;
use crate::quirks;

/// Virtual drives looked at.
const DRIVE_LIMIT: usize = 16;

impl Client {
    /// All virtual drives, of the system or of its manager.
    pub async fn virtual_media(&self) -> Result<Vec<VirtualMedia>, Error> {
        let operation = Operation::ReadMedia;
        let system = self.raw_system().await?;
        let mut collections = vec![system.links.virtual_media];
        if collections.iter().flatten().next().is_none() {
            collections.push(self.manager().await?.virtual_media);
        }
        let mut drives = Vec::new();
        for path in collections.iter().flatten() {
            let collected = self.collect(operation, path, DRIVE_LIMIT).await?;
            drives.extend(
                collected
                    .members
                    .iter()
                    .map(|body| VirtualMedia::parse(body, None)),
            );
        }
        Ok(drives)
    }

    /// Puts the image at `url` into the first drive that takes a CD, and reads back that it is in.
    /// Another image in it is taken out first; the same one is left in.
    ///
    /// # Errors
    /// [`Error::NotFound`] when no drive takes a CD, [`Error::NotApplied`] when the BMC accepted
    /// the image and shows none.
    pub async fn insert_media(&self, url: &str) -> Result<VirtualMedia, Error> {
        let operation = Operation::InsertMedia;
        let drive = self.cd_drive(operation).await?;
        if drive.inserted && drive.image.as_deref() == Some(url) {
            return Ok(drive);
        }
        if drive.inserted {
            self.eject(&drive).await?;
        }
        let platform = self.platform().await?;
        let mut bodies = self.insert_bodies(&drive, url).await?;
        if quirks::wants_bare_insert(platform) {
            bodies.reverse();
        }
        let mut last = None;
        for body in bodies {
            let written = match &drive.insert {
                Some(action) => {
                    let timeout = Some(self.timeouts.slow_request);
                    self.act(operation, &action.target, &body, timeout).await
                }
                None => {
                    self.patch(operation, &drive.path, drive.etag.as_deref(), &body)
                        .await
                }
            };
            match written {
                Ok(()) => {
                    self.confirm_media(&drive.path, Some(url)).await?;
                    let body = self.get(operation, &drive.path).await?.body;
                    return Ok(VirtualMedia::parse(&body, None));
                }
                Err(error @ Error::Rejected { .. }) => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        last.map_or(Ok(drive), Err)
    }

    /// Takes the images out of all drives, and reads back that they are out.
    pub async fn eject_media(&self) -> Result<(), Error> {
        for drive in self.virtual_media().await? {
            if drive.inserted {
                self.eject(&drive).await?;
            }
        }
        Ok(())
    }

    async fn eject(&self, drive: &VirtualMedia) -> Result<(), Error> {
        let operation = Operation::EjectMedia;
        match &drive.eject {
            Some(action) => {
                let timeout = Some(self.timeouts.slow_request);
                self.act(operation, &action.target, &json!({}), timeout)
                    .await?;
            }
            None => {
                let body = json!({ "Image": null, "Inserted": false });
                self.patch(operation, &drive.path, drive.etag.as_deref(), &body)
                    .await?;
            }
        }
        self.confirm_media(&drive.path, None).await
    }

    async fn cd_drive(&self, operation: Operation) -> Result<VirtualMedia, Error> {
        let drives = self.virtual_media().await?;
        drives
            .into_iter()
            .find(VirtualMedia::takes_cd)
            .ok_or_else(|| Error::NotFound {
                operation,
                path: "VirtualMedia".to_owned(),
                message: "no virtual drive takes a CD".to_owned(),
            })
    }

    /// The bodies to try: the whole one, as far as the action's parameters are known, then the
    /// image alone.
    async fn insert_bodies(&self, drive: &VirtualMedia, url: &str) -> Result<Vec<Value>, Error> {
        let info = drive
            .insert
            .as_ref()
            .and_then(|action| action.info.as_deref());
        let known = match info {
            Some(path) => {
                let info = self.try_get(Operation::ReadActionInfo, path).await?;
                info.map(|info| action_parameters(&info.body))
                    .unwrap_or_default()
            }
            None => Vec::new(),
        };
        let mut whole = json!({ "Image": url });
        for parameter in ["Inserted", "WriteProtected"] {
            if let Some(members) = whole.as_object_mut()
                && (known.is_empty() || known.iter().any(|name| name == parameter))
            {
                members.insert(parameter.to_owned(), Value::Bool(true));
            }
        }
        Ok(vec![whole, json!({ "Image": url })])
    }

    async fn confirm_media(&self, path: &str, wanted: Option<&str>) -> Result<(), Error> {
        self.confirm(
            Operation::ReadMedia,
            path,
            "virtual media",
            wanted.unwrap_or("none"),
            |body| {
                let drive = VirtualMedia::parse(body, None);
                match wanted {
                    // BMCs write the image in words of their own: that one is in has to do.
                    Some(_) if drive.inserted => Ok(()),
                    None if !drive.inserted => Ok(()),
                    Some(_) | None => Err(drive.image.unwrap_or_else(|| "none".to_owned())),
                }
            },
        )
        .await
    }
}
