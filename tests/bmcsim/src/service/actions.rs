//! POST to an action: what the resource's kind can do.

use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::message::Refusal;
use super::query::Query;
use super::route::Asked;
use super::tasks;
use super::view::{Thing, view};
use crate::bmc::Bmc;
use crate::clock;
use crate::machine::ResetType;
use crate::tls::Certificate;
use crate::tree::Live;

/// Carries out an action of the resource at `path`.
pub(super) async fn act(
    bmc: &Bmc,
    path: &str,
    action: &str,
    asked: &Asked,
) -> Result<Response, Refusal> {
    let found = view(bmc, &bmc.state(), path, &Query::default()).ok_or_else(Refusal::missing)?;
    let Thing::Resource { live, .. } = found.thing else {
        return Err(Refusal::missing());
    };
    let body = if asked.body.is_empty() {
        json!({})
    } else {
        asked.json()?
    };
    let skips = asked.ignore || asked.task.is_some_and(|task| task.fails);
    match (live, action) {
        (Live::System, "ComputerSystem.Reset") => reset(bmc, &body, skips).await?,
        (Live::Manager, "Manager.Reset") => {
            if !skips {
                bmc.clear_sessions();
            }
        }
        (Live::Log, "LogService.ClearLog") => {
            if !skips {
                bmc.state().sel.clear(clock::now());
            }
        }
        (Live::Bios, "Bios.ResetBios") => {
            if !skips {
                bmc.state().written.retain(|key, _| !key.starts_with(path));
            }
        }
        (Live::CertificateService, "CertificateService.ReplaceCertificate") => {
            replace_certificate(bmc, &body, skips)?;
        }
        (Live::Media, "VirtualMedia.InsertMedia") => insert(bmc, path, &found.body, &body, skips)?,
        (Live::Media, "VirtualMedia.EjectMedia") => eject(bmc, path, &found.body, skips)?,
        _ => return Err(Refusal::missing()),
    }
    Ok(tasks::done(bmc, asked))
}

async fn reset(bmc: &Bmc, body: &Value, skips: bool) -> Result<(), Refusal> {
    let wanted = body.get("ResetType").cloned().ok_or_else(|| {
        Refusal::bad(
            "ActionParameterMissing",
            "The action ComputerSystem.Reset requires the parameter ResetType to be present in the request body.",
        )
    })?;
    let reset: Option<ResetType> = serde_json::from_value(wanted.clone()).ok();
    let Some(reset) = reset.filter(|reset| bmc.profile.resets.contains(reset)) else {
        return Err(Refusal::bad(
            "ActionParameterNotSupported",
            format!("The value {wanted} of the parameter ResetType is not supported."),
        ));
    };
    if skips || bmc.habits().ignores_resets || bmc.reset(reset).await {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::CONFLICT,
        "ResourceInUse",
        format!("The reset {wanted} is not possible in the present power state."),
    ))
}

fn replace_certificate(bmc: &Bmc, body: &Value, skips: bool) -> Result<(), Refusal> {
    let text = |name: &str| {
        body.get(name).and_then(Value::as_str).ok_or_else(|| {
            Refusal::bad(
                "ActionParameterMissing",
                format!("The action ReplaceCertificate requires the parameter {name} to be present in the request body."),
            )
        })
    };
    let pem = text("CertificateString")?;
    if text("CertificateType")? != "PEM" {
        return Err(Refusal::bad(
            "ActionParameterNotSupported",
            "The only CertificateType that is supported is PEM.",
        ));
    }
    // Without a key of its own a certificate would have to fit a signing request, which is not offered.
    let certificate = Certificate::of(pem.to_owned(), pem).map_err(|error| {
        Refusal::bad(
            "ActionParameterValueError",
            format!("CertificateString is no certificate with its key: {error:#}"),
        )
    })?;
    if !skips {
        bmc.line.set_certificate(certificate);
    }
    Ok(())
}

fn insert(bmc: &Bmc, path: &str, shown: &Value, body: &Value, skips: bool) -> Result<(), Refusal> {
    let Some(image) = body.get("Image").and_then(Value::as_str) else {
        return Err(Refusal::bad(
            "ActionParameterMissing",
            "The action InsertMedia requires the parameter Image to be present in the request body.",
        ));
    };
    let has_flags = body.get("Inserted").is_some() || body.get("WriteProtected").is_some();
    if bmc.profile.refuses_media_flags && has_flags {
        return Err(Refusal::bad(
            "ActionParameterUnknown",
            "The parameters Inserted and WriteProtected are not supported by the action InsertMedia.",
        ));
    }
    let is_url = ["http://", "https://", "nfs://", "smb://"]
        .iter()
        .any(|scheme| image.starts_with(scheme));
    if !is_url {
        return Err(Refusal::bad(
            "ActionParameterValueFormatError",
            "The value of the parameter Image is not a URI that can be mounted.",
        ));
    }
    if shown.get("Inserted") == Some(&json!(true)) {
        return Err(Refusal::new(
            StatusCode::CONFLICT,
            "ResourceInUse",
            "A medium is inserted already.",
        ));
    }
    if !skips {
        let name = image.rsplit('/').next().unwrap_or_default();
        let medium = json!({
            "Image": image,
            "ImageName": name,
            "Inserted": true,
            "ConnectedVia": "URI",
            "WriteProtected": body.get("WriteProtected").unwrap_or(&json!(true)),
        });
        bmc.state().written.insert(path.to_owned(), medium);
    }
    Ok(())
}

fn eject(bmc: &Bmc, path: &str, shown: &Value, skips: bool) -> Result<(), Refusal> {
    if shown.get("Inserted") != Some(&json!(true)) {
        return Err(Refusal::new(
            StatusCode::CONFLICT,
            "ResourceInUse",
            "There is no medium to eject.",
        ));
    }
    if skips {
        return Ok(());
    }
    let mut state = bmc.state();
    if bmc.profile.keeps_image_name {
        let left = json!({"ImageName": shown.get("ImageName")});
        state.written.insert(path.to_owned(), left);
    } else {
        state.written.remove(path);
    }
    Ok(())
}
