//! The NoCloud seed of an installation.

use metalman_api::machine::Machine;
use netboot::images::UnpackedImage;

use super::plan::trouble;
use crate::{domain::facts::Trouble, store::InstallToken};

pub(super) fn render(
    machine: &Machine,
    _token: &InstallToken,
    _image: &UnpackedImage,
    _boot_report_url: &str,
    _cloud_init_url: &str,
    _user_data: Option<String>,
) -> Result<Vec<(&'static str, String)>, Trouble> {
    Err(trouble(format!(
        "{:?}: seed templates",
        machine.metadata.name
    )))
}
