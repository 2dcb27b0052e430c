//! Taking a backup away. Making and putting back are operations.

use super::App;
use crate::domain::{DeploymentName, Failure};
use crate::operations::backup;
use crate::store::Backup;

impl App {
    /// The backups under a name, newest first. They outlive the deployment.
    pub fn backups_of(&self, name: &DeploymentName) -> Result<Vec<Backup>, Failure> {
        Ok(self.store().backups(name)?)
    }

    /// Deletes a backup, unless an operation is at work that may need it.
    pub async fn delete_backup(&self, name: &DeploymentName, id: &str) -> Result<Backup, Failure> {
        // A lock leaves its file behind: none is taken for a name that has no backup.
        self.backup_of(name, id)?;
        let _lock = self.engine().lock(name, "delete a backup").await?;
        if let Some(active) = self.store().active_operation(name)? {
            return Err(Failure::conflict(format!(
                "the {} of {name} was interrupted, and may need its backup",
                active.kind
            ))
            .remedy(format!(
                "go on with it first: openclaw-pipeline operations resume {}",
                active.id
            )));
        }
        let found = self.backup_of(name, id)?;
        self.store().delete_backup(&found.id)?;
        backup::sweep(self.store(), self.layout(), name)?;
        Ok(found)
    }

    fn backup_of(&self, name: &DeploymentName, id: &str) -> Result<Backup, Failure> {
        let found = self.store().backups(name)?.into_iter().find(|backup| backup.id == id);
        found.ok_or_else(|| {
            Failure::not_found(format!(
                "{name} has no backup {}",
                crate::domain::text::clean(id, 60)
            ))
            .remedy(format!("openclaw-pipeline backups {name} lists them"))
        })
    }
}
