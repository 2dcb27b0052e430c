//! The backups that were made and verified.

use rusqlite::Row;
use serde::Serialize;

use super::{Result, Store};
use crate::domain::DeploymentName;

/// A sealed archive outside the deployment's volumes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Backup {
    /// Its id.
    pub id: String,
    /// The deployment's own id.
    #[serde(skip)]
    pub deployment_id: String,
    /// The deployment's name.
    pub deployment: String,
    /// Where it lies.
    pub path: String,
    /// Its size, in bytes.
    pub bytes: i64,
    /// The SHA-256 of the sealed file, in hexadecimal.
    pub sha256: String,
    /// The gateway's version that made it.
    pub version: String,
    /// The installed version or image digest to go back to with it.
    pub artefact: String,
    /// Why it was made.
    pub reason: String,
    /// When, RFC 3339 UTC.
    pub created_at: String,
}

const BACKUP: &str = "SELECT id, deployment_id, deployment, path, bytes, sha256, version, \
                      artefact, reason, created_at FROM backups";

fn backup(row: &Row<'_>) -> rusqlite::Result<Backup> {
    Ok(Backup {
        id: row.get(0)?,
        deployment_id: row.get(1)?,
        deployment: row.get(2)?,
        path: row.get(3)?,
        bytes: row.get(4)?,
        sha256: row.get(5)?,
        version: row.get(6)?,
        artefact: row.get(7)?,
        reason: row.get(8)?,
        created_at: row.get(9)?,
    })
}

impl Store {
    /// Records a backup, in place of what an earlier run of its operation recorded.
    pub fn put_backup(&self, backup: &Backup) -> Result<()> {
        self.write(|tx| {
            tx.execute(
                "INSERT INTO backups (id, deployment_id, deployment, path, bytes, sha256, \
                 version, artefact, reason, created_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
                 ON CONFLICT (id) DO UPDATE SET path = excluded.path, bytes = excluded.bytes, \
                 sha256 = excluded.sha256, version = excluded.version, \
                 artefact = excluded.artefact, created_at = excluded.created_at",
                (
                    &backup.id,
                    &backup.deployment_id,
                    &backup.deployment,
                    &backup.path,
                    backup.bytes,
                    &backup.sha256,
                    &backup.version,
                    &backup.artefact,
                    &backup.reason,
                    &backup.created_at,
                ),
            )?;
            Ok(())
        })
    }

    /// The backups of a deployment, newest first.
    pub fn backups(&self, name: &DeploymentName) -> Result<Vec<Backup>> {
        self.read(|db| {
            let mut statement = db.prepare_cached(&format!(
                "{BACKUP} WHERE deployment = ?1 ORDER BY sequence DESC"
            ))?;
            let found = statement.query_map([name.as_str()], backup)?;
            Ok(found.collect::<std::result::Result<_, _>>()?)
        })
    }

    /// Forgets a backup; whether there was one. Its file goes with the next sweep.
    pub fn delete_backup(&self, id: &str) -> Result<bool> {
        self.write(|tx| Ok(tx.execute("DELETE FROM backups WHERE id = ?1", [id])? == 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_the_one_that_was_recorded_last_whatever_the_clock_said() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("opens");
        let name = DeploymentName::main();
        // The second one after the clock stepped back.
        for (id, at) in [("7b", "2026-01-02"), ("3a", "2026-01-01")] {
            let backup = Backup {
                id: id.into(),
                deployment_id: "d".into(),
                deployment: name.to_string(),
                path: String::new(),
                bytes: 0,
                sha256: String::new(),
                version: String::new(),
                artefact: String::new(),
                reason: String::new(),
                created_at: at.into(),
            };
            store.put_backup(&backup).expect("records");
        }
        let ids: Vec<String> =
            store.backups(&name).expect("reads").into_iter().map(|it| it.id).collect();
        assert_eq!(ids, ["3a", "7b"]);
    }
}
