//! `backups`: what can be gone back to, and taking one of it away.

use serde_json::json;

use super::super::output::table;
use super::Session;
use crate::domain::Failure;

pub(super) fn list(session: &Session<'_>, name: Option<&str>) -> Result<u8, Failure> {
    let name = session.name(name)?;
    let app = session.app()?;
    let backups = app.store().backups(&name)?;
    if backups.is_empty() {
        // Backups outlive their deployment; without either, the name is unknown.
        app.deployment(&name)?;
    }
    session.out.answer(&json!({ "items": backups }), || {
        if backups.is_empty() {
            return format!("{name} has no backup. Make one: openclaw-pipeline backup {name}");
        }
        let rows: Vec<Vec<String>> = backups
            .iter()
            .map(|backup| {
                vec![
                    backup.id.clone(),
                    backup.created_at.clone(),
                    size(backup.bytes),
                    backup.version.clone(),
                    backup.reason.clone(),
                ]
            })
            .collect();
        table(&["ID", "MADE", "SIZE", "VERSION", "WHY"], &rows)
    });
    Ok(0)
}

fn size(bytes: i64) -> String {
    match bytes {
        ..=0x000f_ffff => format!("{} KiB", (bytes + 1023) >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

pub(super) async fn delete(
    session: &Session<'_>,
    name: Option<&str>,
    id: &str,
) -> Result<u8, Failure> {
    let name = session.name(name)?;
    let deleted = session.app()?.delete_backup(&name, id).await?;
    session.out.answer(&json!({ "name": name, "deleted": deleted }), || {
        format!("the backup {} of {name} is deleted", deleted.id)
    });
    Ok(0)
}
