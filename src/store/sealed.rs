//! Sealed values. The store never sees what is in them.

use rusqlite::OptionalExtension;

use super::{Result, Store};

impl Store {
    /// Keeps a sealed value, in place of an older one.
    pub fn put_sealed(&self, deployment_id: &str, name: &str, value: &[u8]) -> Result<()> {
        self.write(|tx| {
            tx.execute(
                "INSERT INTO sealed (deployment_id, name, value) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (deployment_id, name) DO UPDATE SET value = excluded.value",
                (deployment_id, name, value),
            )?;
            Ok(())
        })
    }

    /// A sealed value.
    pub fn sealed(&self, deployment_id: &str, name: &str) -> Result<Option<Vec<u8>>> {
        self.read(|db| {
            Ok(db
                .query_row(
                    "SELECT value FROM sealed WHERE deployment_id = ?1 AND name = ?2",
                    (deployment_id, name),
                    |row| row.get(0),
                )
                .optional()?)
        })
    }

    /// Forgets a sealed value.
    pub fn delete_sealed(&self, deployment_id: &str, name: &str) -> Result<()> {
        self.write(|tx| {
            tx.execute(
                "DELETE FROM sealed WHERE deployment_id = ?1 AND name = ?2",
                (deployment_id, name),
            )?;
            Ok(())
        })
    }

    /// Forgets every sealed value and the approval window of a deployment.
    pub fn forget(&self, deployment_id: &str) -> Result<()> {
        self.write(|tx| {
            tx.execute("DELETE FROM sealed WHERE deployment_id = ?1", [deployment_id])?;
            tx.execute("DELETE FROM approval_windows WHERE deployment_id = ?1", [deployment_id])?;
            Ok(())
        })
    }
}
