//! What somebody outside tells.
//!
//! Owns the one commit of it: the event, the approval window that it opens, and the audit log's
//! line of that. Refuses to open a window that is not on record.

use super::approvals::{self, Window};
use super::audit::{self, AuditRecord};
use super::events::{NewEvent, append};
use super::{Result, Store};
use crate::domain::DeploymentName;

/// An approval window that somebody opens anew.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The deployment's own id.
    pub deployment_id: String,
    /// The window.
    pub window: Window,
    /// What the audit log says.
    pub record: AuditRecord,
}

impl Store {
    /// Stores an event that somebody outside tells of, and opens a window with it.
    pub async fn tell(
        &self,
        name: DeploymentName,
        event: NewEvent,
        opening: Option<Opening>,
    ) -> Result<()> {
        self.write_grouped(move |tx| {
            append(tx, &name, None, &event)?;
            if let Some(Opening { deployment_id, window, record }) = &opening {
                approvals::reopen(tx, deployment_id, window)?;
                let record = record.clone().about(name.as_str());
                audit::append(tx, &record.detail("a new approval window, for one device"))?;
            }
            Ok(())
        })
        .await
    }
}
