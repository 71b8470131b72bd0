//! Virtual media: a drive of the BMC that the host sees as a USB device.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json::{flag, id, link, text, words};

/// One virtual drive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualMedia {
    pub id: String,
    /// Path of the resource.
    pub path: String,
    /// `CD`, `DVD`, `USBStick`, `Floppy`.
    pub media_types: Vec<String>,
    /// Whether an image is in the drive.
    pub inserted: bool,
    /// Where the image comes from.
    pub image: Option<String>,
    #[serde(skip)]
    pub(crate) insert: Option<Action>,
    #[serde(skip)]
    pub(crate) eject: Option<Action>,
    #[serde(skip)]
    pub(crate) etag: Option<String>,
}

/// Where an action is posted to, and where its parameters are told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Action {
    pub(crate) target: String,
    pub(crate) info: Option<String>,
}

impl Action {
    pub(crate) fn parse(body: &Value, name: &str) -> Option<Self> {
        let action = body.get("Actions")?.get(name)?;
        Some(Self {
            target: text(action, "target")?,
            info: link(action, "@Redfish.ActionInfo"),
        })
    }
}

impl VirtualMedia {
    pub(crate) fn parse(body: &Value, etag: Option<String>) -> Self {
        let image = text(body, "Image");
        Self {
            id: id(body),
            path: text(body, "@odata.id").unwrap_or_default(),
            media_types: words(body.get("MediaTypes")),
            // ImageName stays on Supermicro after an eject, so it is no witness.
            inserted: flag(body, "Inserted").unwrap_or(image.is_some()),
            image,
            insert: Action::parse(body, "#VirtualMedia.InsertMedia"),
            eject: Action::parse(body, "#VirtualMedia.EjectMedia"),
            etag: etag.or_else(|| text(body, "@odata.etag")),
        }
    }

    /// Whether it takes an image of a compact disk.
    pub fn takes_cd(&self) -> bool {
        self.media_types
            .iter()
            .any(|kind| matches!(kind.as_str(), "CD" | "DVD"))
    }
}
