//! `devices` and `approve`.

use serde_json::json;

use super::super::output::table;
use super::super::progress::Shown;
use super::Session;
use crate::app::Devices;
use crate::domain::Failure;

pub(super) async fn run(
    session: &Session<'_>,
    name: Option<&str>,
    remove: Option<String>,
    reject: Option<String>,
) -> Result<u8, Failure> {
    let name = session.name(name)?;
    let app = session.app()?;
    if let Some(device) = remove {
        app.remove_device_beginning(&name, &device).await?;
        session.out.answer(&json!({ "removed": device }), || format!("{device} is out"));
        return Ok(0);
    }
    if let Some(request) = reject {
        app.reject(&name, &request).await?;
        session.out.answer(&json!({ "rejected": request }), || format!("{request} is turned away"));
        return Ok(0);
    }
    let list = app.devices(&name).await?;
    session.out.answer(&as_json(&list), || as_text(&list));
    Ok(0)
}

fn as_json(list: &Devices) -> serde_json::Value {
    let pending: Vec<_> = list
        .pending
        .iter()
        .map(|request| {
            json!({
                "request_id": request.request_id,
                "device_id": request.device_id,
                "roles": request.roles,
                "scopes": request.scopes,
                "address": request.address,
                "platform": request.platform,
                "new": request.is_new,
            })
        })
        .collect();
    let paired: Vec<_> = list
        .paired
        .iter()
        .map(|device| {
            json!({
                "device_id": device.device_id,
                "roles": device.roles,
                "scopes": device.scopes,
                "address": device.address,
                "connected": device.connected,
            })
        })
        .collect();
    json!({ "pending": pending, "paired": paired })
}

fn as_text(list: &Devices) -> String {
    let mut text = String::new();
    if list.pending.is_empty() && list.paired.is_empty() {
        return "No browser has asked yet.".into();
    }
    if !list.pending.is_empty() {
        let rows: Vec<Vec<String>> = list
            .pending
            .iter()
            .map(|request| {
                vec![
                    request.request_id.clone(),
                    request.device_id.get(..12).unwrap_or(&request.device_id).to_owned(),
                    request.address.clone().unwrap_or_default(),
                    request.roles.join("+"),
                    request.scopes.join(" "),
                ]
            })
            .collect();
        text.push_str(&table(&["WAITING", "DEVICE", "FROM", "ROLE", "SCOPES"], &rows));
    }
    if !list.paired.is_empty() {
        if !text.is_empty() {
            text.push('\n');
        }
        let rows: Vec<Vec<String>> = list
            .paired
            .iter()
            .map(|device| {
                vec![
                    device.device_id.get(..12).unwrap_or(&device.device_id).to_owned(),
                    device.address.clone().unwrap_or_default(),
                    device.roles.join("+"),
                    if device.connected { "yes" } else { "no" }.to_owned(),
                ]
            })
            .collect();
        text.push_str(&table(&["DEVICE", "FROM", "ROLE", "CONNECTED"], &rows));
    }
    text
}

pub(super) async fn approve(
    session: &Session<'_>,
    name: Option<&str>,
    request: Option<String>,
) -> Result<u8, Failure> {
    let name = session.name(name)?;
    let app = session.app()?;
    session.interruptible()?;
    let shown = Shown::quiet(*session.out);
    let done = app.approve(&name, request.clone(), &shown, session.cancel).await?;
    // Who named one wanted that one; the others that wait are no failure.
    if let Some(left) = done.pending.iter().find(|it| request.as_ref() == Some(&it.request_id)) {
        return Err(Failure::failed(format!("{} was not let in: {}", left.device, left.reason))
            .remedy(format!("openclaw-pipeline devices {name} shows who waits")));
    }
    session.out.answer(&done, || {
        let mut lines: Vec<String> =
            done.approved.iter().map(|device| format!("{device} is in")).collect();
        lines.extend(
            done.pending
                .iter()
                .map(|it| format!("{} ({}) waits: {}", it.device, it.request_id, it.reason)),
        );
        if lines.is_empty() {
            lines.push("No browser is waiting.".into());
        }
        lines.join("\n")
    });
    Ok(0)
}
